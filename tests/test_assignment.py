import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dec_jax import clustering, losses, starts
from dec_jax.assignment import Assignment
from dec_jax.clustering import Recipe
from dec_jax.losses import gaussian, log_target_distribution, students_t
from dec_jax.networks import Identity
from dec_jax.optimizers import sgd

RNG = np.random.default_rng(0)
Z, CENTROIDS = RNG.normal(size=(60, 3)).astype(np.float32), RNG.normal(size=(4, 3)).astype(np.float32)
RECIPE = Recipe(Identity(), optimizer=sgd(0.1), batch_size=60)  # samples are embeddings: the centroids alone move


def expected_q(kernel, alpha):
    squared = np.sum((Z.astype(np.float64)[:, None] - CENTROIDS) ** 2, axis=2)
    similarity = np.exp(-squared / (2 * alpha)) if kernel is gaussian else (1 + squared / alpha) ** (-(alpha + 1) / 2)
    return similarity / similarity.sum(axis=1, keepdims=True)


def expected_p(q, power=2.0, balance=1.0):
    p = q**power / q.sum(axis=0) ** balance
    return p / p.sum(axis=1, keepdims=True)


def to(power=2.0, balance=1.0):
    return Partial(log_target_distribution, power=power, balance=balance)


@jax.jit
def q_and_p(assignment):
    log_q = assignment.log_q(Z, CENTROIDS)
    return jnp.exp(log_q), assignment.p(log_q)


@pytest.mark.parametrize("kernel", [students_t, gaussian])
@pytest.mark.parametrize("alpha", [0.3, 1.0, 7.0])
@pytest.mark.parametrize(("power", "balance"), [(2.0, 1.0), (1.0, 0.0), (3.5, 0.0), (2.0, 2.0)])
def test_q_and_p_against_float64(kernel, alpha, power, balance):
    q, p = q_and_p(Assignment(alpha, kernel=kernel, target=to(power, balance)))
    np.testing.assert_allclose(q, expected_q(kernel, alpha), rtol=2e-5)
    np.testing.assert_allclose(p, expected_p(expected_q(kernel, alpha), power, balance), rtol=1e-4, atol=1e-37)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


def test_defaults_are_the_papers():
    q, p = q_and_p(Assignment())
    np.testing.assert_allclose(q, losses.soft_assignment(Z, CENTROIDS), rtol=1e-6)
    np.testing.assert_allclose(p, losses.target_distribution(q), rtol=1e-5)


def test_power_1_without_balance_leaves_q_as_it_is():
    q, p = q_and_p(Assignment(target=to(1.0, 0.0)))
    np.testing.assert_allclose(p, q, rtol=1e-5)


def test_other_values_compile_nothing():
    compiled = jax.jit(lambda assignment: assignment.p(assignment.log_q(Z, CENTROIDS)))
    for alpha, power, balance in ((1.0, 2.0, 1.0), (0.5, 2.0, 1.0), (0.5, 3.0, 0.0), (2.0, 1.0, 0.5)):
        compiled(Assignment(alpha, target=to(power, balance)))
    assert compiled._cache_size() == 1
    compiled(Assignment(kernel=gaussian, target=to()))
    assert compiled._cache_size() == 2


def fit(assignment):
    recipe = RECIPE.replace(assignment=assignment)
    state = starts.from_centroids(recipe, {}, CENTROIDS, jnp.asarray(Z))
    options = {"update_interval": 3, "tolerance": 0.0, "max_steps": 6}
    return clustering.fit(jax.random.key(0), recipe, state, jnp.asarray(Z), **options).state


def test_no_run_is_compiled_for_another_value():
    fit(Assignment(1.0, target=to()))
    before = clustering._compiled_interval._cache_size()
    ends = [fit(Assignment(alpha, target=to(power))).centroids for alpha, power in ((2.0, 2.0), (1.0, 4.0))]
    assert clustering._compiled_interval._cache_size() == before
    assert not np.allclose(*ends)


def test_runs_under_vmap_equal_separate_ones():
    alphas, powers = jnp.array([0.5, 1.0, 4.0]), jnp.array([2.0, 1.0, 3.0])

    @jax.jit
    @jax.vmap
    def run(alpha, power):
        recipe = RECIPE.replace(assignment=Assignment(alpha, target=to(power)))
        state = clustering.init_state(recipe, {}, CENTROIDS, jnp.asarray(Z))
        for _ in range(2):
            state, _ = clustering.train_interval(jax.random.key(0), recipe, state, jnp.asarray(Z), 3)
        return state.centroids, state.target

    for centroids, target, alpha, power in zip(*run(alphas, powers), alphas, powers, strict=True):
        alone = fit(Assignment(float(alpha), target=to(float(power))))
        np.testing.assert_allclose(centroids, alone.centroids, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(target, alone.target, rtol=1e-3, atol=1e-5)


def cauchy(z, centroids, alpha):
    return -jnp.log1p(losses.squared_distances(z, centroids) / alpha)


def test_a_kernel_of_the_users_own_assigns_in_all_of_a_run():
    end = fit(Assignment(3.0, kernel=cauchy, target=to()))
    squared = np.sum((Z[:, None] - np.asarray(end.centroids)) ** 2, axis=2)
    q = 1 / (1 + squared / 3)
    q /= q.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(end.target, expected_p(q), rtol=1e-3)
    np.testing.assert_array_equal(end.labels, q.argmax(axis=1))
    np.testing.assert_array_equal(end.centroids, fit(Assignment(3.0, kernel=Partial(cauchy), target=to())).centroids)


def test_cauchy_is_students_t_with_one_degree_of_freedom():
    ends = [fit(Assignment(1.0, kernel=kernel, target=to())).centroids for kernel in (cauchy, students_t)]
    np.testing.assert_allclose(*ends, rtol=1e-5)


def hard(log_q):
    return jnp.log(jax.nn.one_hot(jnp.argmax(log_q, axis=1), log_q.shape[1]))


def test_a_target_of_the_users_own_is_what_the_updates_follow():
    end = fit(Assignment(target=hard))
    np.testing.assert_array_equal(end.target, np.eye(4)[end.labels])
    assert not np.allclose(end.centroids, fit(Assignment(target=to())).centroids)


@pytest.mark.parametrize("kernel", [students_t, gaussian, cauchy])
def test_inactive_clusters_have_no_share(kernel):
    active = jnp.array([True, False, True, False])
    q, p = q_and_p(Assignment(2.0, active=active, kernel=kernel))
    assert not np.asarray(q)[:, ~active].any()
    assert not np.asarray(p)[:, ~active].any()
    log_q = Assignment(2.0, kernel=kernel).log_q(Z, CENTROIDS[::2])
    np.testing.assert_allclose(q[:, ::2], jnp.exp(log_q), rtol=1e-5)
    np.testing.assert_allclose(p[:, ::2], Assignment().p(log_q), rtol=1e-4)


def test_inactive_clusters_stay_where_they_are():
    end = fit(Assignment(active=jnp.array([True, False, True, True])))
    np.testing.assert_array_equal(end.centroids[1], CENTROIDS[1])
    assert not np.allclose(end.centroids[0], CENTROIDS[0])
    assert set(np.asarray(end.labels).tolist()) == {0, 2, 3}


def test_many_assignments_are_one_tree_of_arrays():
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), Assignment(1.0, target=to()), Assignment(3.0, target=to(4.0))
    )
    assert jax.tree.structure(stacked) == jax.tree.structure(Assignment(target=to()))
    q, _ = jax.vmap(q_and_p)(stacked)
    np.testing.assert_allclose(q[1], expected_q(students_t, 3.0), rtol=2e-5)


@pytest.mark.parametrize(
    ("alpha", "error", "message"),
    [
        (0.0, ValueError, "alpha must be above 0, got 0"),
        (-1, ValueError, "alpha must be above 0, got -1"),
        (float("nan"), ValueError, "alpha must be above 0, got nan"),
        (float("inf"), ValueError, "alpha must be above 0, got inf"),
        (True, TypeError, "alpha must be a number, got True"),
        ("1", TypeError, "alpha must be a number, got '1'"),
    ],
)
def test_bad_alpha(alpha, error, message):
    with pytest.raises(error, match=message):
        Assignment(alpha)
