import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from dec_jax import batches, clustering, losses, networks, objectives, starts
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import Recipe
from dec_jax.networks import Identity
from dec_jax.objectives import (
    StepInputs,
    as_objective,
    dcn,
    dec,
    dkm,
    idec,
    kl,
    objective,
    reconstruction,
    size_balance,
)
from dec_jax.optimizers import sgd

RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.ones(4), 6), RNG.dirichlet(np.ones(4), 6)
X, DECODED = RNG.normal(size=(2, 6, 5))
Z, CENTROIDS = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3))


def inputs(**others):
    arrays = {
        "x": X,
        "network_input": X,
        "z": Z,
        "centroids": CENTROIDS,
        "log_q": np.log(Q),
        "p": P,
        "reconstruction": DECODED,
    } | others
    return StepInputs(**{name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()})


KL = np.mean(np.sum(P * np.log(P / Q), axis=1))
MSE = np.mean((X - DECODED) ** 2)
SQUARED = np.sum((Z[:, None] - CENTROIDS) ** 2, axis=2)
OWN = np.mean([SQUARED[i, j] for i, j in enumerate(Q.argmax(axis=1))]) / 2
SIZES = np.bincount(Q.argmax(axis=1), minlength=4)


def soft_distance(inverse_temperature):
    """Mean of Σ_j w_ij ‖z_i − μ_j‖², a sample after the other in float64."""
    total = 0.0
    for row in SQUARED:
        weights = np.exp(-inverse_temperature * (row - row.min()))
        total += np.sum(weights * row) / weights.sum()
    return total / len(SQUARED)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (dec(), {"kl": KL}),
        (idec(0.3), {"reconstruction": MSE, "kl": KL}),
        (reconstruction("mae"), {"reconstruction": np.mean(np.abs(X - DECODED))}),
        (size_balance(), {"size_balance": np.log(4) + np.sum(Q.mean(axis=0) * np.log(Q.mean(axis=0)))}),
        (dcn(), {"reconstruction": MSE, "distance": OWN}),
        (dkm(start=0.7), {"reconstruction": MSE, "distance": soft_distance(0.7)}),
    ],
    ids=["dec", "idec", "mae", "size_balance", "dcn", "dkm"],
)
def test_terms_against_float64(made, expected):
    value, terms = made(inputs(), made.init(CENTROIDS))
    assert set(terms) == set(expected)
    weights = {"kl": 0.3} if "reconstruction" in terms else {}
    for name, number in expected.items():
        assert float(terms[name]) == pytest.approx(number, rel=1e-5)
    assert float(value) == pytest.approx(sum(weights.get(name, 1) * number for name, number in expected.items()))


def test_objectives_add_and_scale():
    value, terms = (2 * (kl() + 0.5 * reconstruction("mse")))(inputs())
    assert float(value) == pytest.approx(2 * KL + MSE, rel=1e-5)
    assert float(terms["reconstruction"]) == pytest.approx(MSE, rel=1e-5)
    assert not kl().reads("reconstruction")
    assert (kl() + reconstruction()).reads("reconstruction")
    plain, _ = (kl() + shrink)(inputs())
    assert float(plain) == pytest.approx(KL + np.mean(Z**2), rel=1e-5)


def shrink(inputs):
    return jnp.mean(inputs.z**2)


def test_weights_and_parameters_are_traced():
    count = []

    def power(inputs, exponent):
        count.append(1)
        return jnp.mean(jnp.abs(inputs.z) ** exponent)

    value = jax.jit(lambda made, step: made(step)[0])
    results = [
        float(value(weight * objective(power, exponent=exponent), inputs()))
        for weight, exponent in ((1.0, 2.0), (3.0, 2.0), (1.0, 3.0))
    ]
    assert len(count) == 1
    np.testing.assert_allclose(results, [np.mean(Z**2), 3 * np.mean(Z**2), np.mean(np.abs(Z) ** 3)], rtol=1e-5)


def test_weights_under_vmap_equal_separate_values():
    gammas = jnp.array([0.0, 0.1, 2.0])
    together = jax.vmap(lambda gamma: idec(gamma)(inputs())[0])(gammas)
    np.testing.assert_allclose(together, [idec(float(gamma))(inputs())[0] for gamma in gammas], rtol=1e-6)


@pytest.mark.parametrize(
    "made",
    [dec(), size_balance(), idec(0.1), dkm(0.5), dkm(start=5.0)],
    ids=["dec", "size_balance", "idec", "dkm", "dkm with hard assignments"],
)
def test_gradients_by_finite_differences(made):
    def loss(z, centroids, decoded):
        log_q = losses.log_soft_assignment(z, centroids)
        return made(inputs()._replace(z=z, centroids=centroids, log_q=log_q, reconstruction=decoded))[0]

    with jax.enable_x64():
        arguments = tuple(jnp.asarray(array, jnp.float64) for array in (Z, CENTROIDS, DECODED))
        check_grads(jax.jit(loss), arguments, order=1, modes=["rev"], rtol=1e-3)


def test_dcn_pulls_the_embedding_alone():
    def loss(z, centroids):
        log_q = losses.log_soft_assignment(z, centroids)
        return dcn(2.0)(inputs()._replace(z=z, centroids=centroids, log_q=log_q), ((), jnp.ones(4)))[0]

    towards, none = jax.jit(jax.grad(loss, argnums=(0, 1)))(inputs().z, inputs().centroids)
    own = CENTROIDS[SQUARED.argmin(axis=1)]
    np.testing.assert_allclose(towards, 2 * (Z - own) / len(Z), rtol=1e-4)
    np.testing.assert_array_equal(none, np.zeros_like(CENTROIDS))
    with jax.enable_x64():
        z, centroids = (jnp.asarray(array, jnp.float64) for array in (Z, CENTROIDS))
        check_grads(jax.jit(lambda z: loss(z, centroids)), (z,), order=1, modes=["rev"], rtol=1e-3)


SAMPLES = jnp.asarray(RNG.normal(size=(90, 5)), jnp.float32)
MODEL = Autoencoder((5, 3), kernel_init="glorot")
PARAMS = networks.init(jax.random.key(0), MODEL, 5)
CENTERS = SAMPLES[:4, :3]


def recipe_of(made, optimizer=None):
    return Recipe(MODEL, made, optimizer=optimizer or sgd(0.05), batch_size=40)


def start(recipe):
    return starts.from_centroids(recipe, PARAMS, CENTERS, SAMPLES)


def step(recipe, state, x, p=None):
    p = state.target if p is None else p
    batch = batches.Batch(x, None if p is None else p[: len(x)])
    return jax.jit(clustering.train_step)(KEY, recipe, state, batch)


KEY = jax.random.key(1)


def test_centroids_of_dcn_are_running_means_sample_by_sample():
    recipe = recipe_of(dcn())
    state = start(recipe)
    means, counts = np.asarray(state.centroids, np.float64), np.full(4, objectives.COUNT)
    for batch in (SAMPLES[:30], SAMPLES[30:40], SAMPLES[40:]):
        z = np.asarray(networks.encode(MODEL, state.params, batch), np.float64)
        labels = np.argmin(np.sum((z[:, None] - np.asarray(state.centroids)) ** 2, axis=2), axis=1)
        for sample, own in zip(z, labels, strict=True):
            counts[own] += 1
            means[own] += (sample - means[own]) / counts[own]
        state, *_ = step(recipe, state, batch)
        np.testing.assert_allclose(state.centroids, means, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(state.term_states[1], counts)


@pytest.mark.parametrize(
    "optimizer", [optax.adamw(0.1, weight_decay=0.5), optax.sgd(0.1)], ids=["decay of weights", "none"]
)
def test_no_optimiser_moves_the_centroids_of_dcn(optimizer):
    recipe = recipe_of(dcn(), optimizer)
    state = start(recipe)
    after, *_ = step(recipe, state, SAMPLES[:30])
    z = np.asarray(networks.encode(MODEL, state.params, SAMPLES[:30]), np.float64)
    members = np.eye(4)[np.argmin(np.sum((z[:, None] - np.asarray(CENTERS)) ** 2, axis=2), axis=1)]
    expected = (100 * np.asarray(CENTERS) + members.T @ z) / (100 + members.sum(axis=0))[:, None]
    np.testing.assert_allclose(after.centroids, expected, rtol=1e-5, atol=1e-7)


def test_dkm_takes_the_temperatures_of_fard_et_al():
    values = [0.1]
    for i in range(2, 41):  # the recursion as it is printed: a_{i+1} = 2^(1/ln(i)²) · a_i
        values.append(values[-1] * 2 ** (1 / np.log(i) ** 2))
    assert len(values) == 40
    made = dkm(steps_per_value=3)
    distance = jax.jit(lambda step: made(inputs()._replace(step=step))[1]["distance"])
    for step in (0, 1, 2, 3, 5, 6, 59, 60, 116, 117, 118, 1000, 10**7):
        expected = soft_distance(values[min(step // 3, 39)])
        assert float(distance(jnp.int32(step))) == pytest.approx(expected, rel=1e-5)
    assert soft_distance(values[0]) > 1.5 * soft_distance(values[39])


@pytest.mark.parametrize("step", [0, 10**7])
def test_dkm_ends_at_hard_assignments_without_nan(step):
    made = dkm(start=1000.0)

    def loss(z, centroids):
        return made(inputs()._replace(z=z, centroids=centroids, step=jnp.int32(step)))[1]["distance"]

    assert float(loss(inputs().z, inputs().centroids)) == pytest.approx(SQUARED.min(axis=1).mean(), rel=1e-5)
    # Samples far away, and on a centroid.
    for z in (1e4 * Z, CENTROIDS[[0, 0, 1, 1, 2, 3]]):
        gradients = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.float32(z), inputs().centroids)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_dkm_of_a_start_of_0_is_the_mean_distance():
    _, terms = dkm(start=0.0)(inputs()._replace(step=jnp.int32(10**7)))
    assert float(terms["distance"]) == pytest.approx(SQUARED.mean(), rel=1e-5)


@pytest.mark.parametrize("made", [dcn(), dkm()], ids=["dcn", "dkm"])
def test_distances_count_only_the_clusters_that_take_part(made):
    active = jnp.array([True, True, False, True])
    log_q = losses.log_soft_assignment(inputs().z, inputs().centroids, active=active)
    own = losses.log_soft_assignment(inputs().z, inputs().centroids[active])
    _, terms = made(inputs()._replace(log_q=log_q), made.init(CENTROIDS))
    _, alone = made(inputs()._replace(log_q=own, centroids=inputs().centroids[active]), made.init(CENTROIDS[:3]))
    assert float(terms["distance"]) == pytest.approx(float(alone["distance"]), rel=1e-6)


def test_idec_with_a_large_gamma_walks_where_dec_does():
    def direction(made):
        def loss(z):
            log_q = losses.log_soft_assignment(z, inputs().centroids)
            return made(inputs()._replace(z=z, log_q=log_q, reconstruction=jnp.tile(z, 2)[:, :5]))[0]

        gradient = jax.jit(jax.grad(loss))(inputs().z).ravel()
        return gradient / jnp.linalg.norm(gradient)

    assert float(direction(dec()) @ direction(idec(1e6))) == pytest.approx(1, abs=1e-5)
    assert float(direction(dec()) @ direction(idec(0.1))) < 0.999


def run(made, n_steps, state=None):
    """The state after, every tenth step a new target."""
    recipe = recipe_of(made)
    options = {"update_interval": 10, "tolerance": 0.0, "max_steps": n_steps}
    return clustering.fit(KEY, recipe, state or start(recipe), SAMPLES, **options).state


def test_a_large_gamma_moves_encoder_and_centroids_as_dec_does():
    batch, p = SAMPLES[:40], jax.nn.softmax(SAMPLES[:40, :4])

    def moves(made):
        recipe = recipe_of(made, optax.sgd(1.0))
        before = start(recipe)
        after, *_ = step(recipe, before, batch, p)
        moved = [before.centroids - after.centroids]
        moved += jax.tree.leaves(jax.tree.map(jnp.subtract, before.params["encoder_0"], after.params["encoder_0"]))
        moved = jnp.concatenate([leaf.ravel() for leaf in moved])
        return moved / jnp.linalg.norm(moved)

    plain = moves(dec())
    cosines = [float(plain @ moves(idec(gamma))) for gamma in (0.1, 10.0, 1e5)]
    assert cosines == sorted(cosines)
    assert cosines[0] < 0.99
    assert cosines[-1] == pytest.approx(1, abs=1e-4)


def balanced(weight=0.5):
    return dcn(weight) + weight * size_balance()


def test_weights_under_vmap_equal_separate_runs():
    weights = jnp.array([0.0, 0.1, 2.0])

    @jax.jit
    @jax.vmap
    def together(weight):
        recipe = recipe_of(balanced(weight))
        state = clustering.init_state(recipe, PARAMS, CENTERS, SAMPLES)
        return clustering.train_interval(KEY, recipe, state, SAMPLES, 10)[0].centroids

    for found, weight in zip(together(weights), weights.tolist(), strict=True):
        alone = run(balanced(weight), 10)
        np.testing.assert_allclose(found, alone.centroids, rtol=1e-4, atol=1e-6)


def first_state(centroids):
    return {"mean": centroids.mean(axis=0), "n": jnp.int32(0)}


def count(inputs):
    before = inputs.state
    mean = 0.9 * before["mean"] + 0.1 * inputs.z.mean(axis=0)
    return {"mean": mean, "n": before["n"] + 1}, inputs.centroids + 0.01


def stay(inputs, strength):
    """Keeps the batch's mean near the running one."""
    return strength * jnp.sum(jnp.square(inputs.z.mean(axis=0) - inputs.state["mean"]))


def test_a_term_of_the_users_own_has_a_state_and_moves_the_centroids():
    recipe = recipe_of(kl() + objective(stay, init=first_state, update=count, strength=2.0))
    state = start(recipe)
    means = np.asarray(CENTERS).mean(axis=0)
    np.testing.assert_allclose(state.term_states[1]["mean"], means, rtol=1e-5)
    z = np.asarray(networks.encode(MODEL, state.params, SAMPLES[:40]))
    after, _, terms = step(recipe, state, SAMPLES[:40])
    assert float(terms["stay"]) == pytest.approx(2 * np.sum((z.mean(axis=0) - means) ** 2), rel=1e-4)
    np.testing.assert_allclose(after.term_states[1]["mean"], 0.9 * means + 0.1 * z.mean(axis=0), rtol=1e-4)
    # Its rule takes the place of the optimiser's, which would move the centroids down the gradient of KL.
    np.testing.assert_allclose(after.centroids, CENTERS + 0.01, rtol=1e-5)
    alone = recipe_of(kl())
    assert not np.allclose(step(alone, start(alone), SAMPLES[:40])[0].centroids, CENTERS)


@pytest.mark.parametrize(
    "make",
    [lambda: kl() + objective(stay, init=first_state, update=count, strength=2.0), balanced],
    ids=["of the user's own", "dcn"],
)
def test_states_of_terms_are_carried_through_a_run_that_stops_and_goes_on(make):
    whole = run(make(), 40)
    first = jax.tree.map(np.array, run(make(), 20))
    resumed = run(make(), 40, jax.tree.map(jnp.asarray, first))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, whole, resumed)))
    if make is balanced:
        counted = [np.sum(state.term_states[1]) - 4 * objectives.COUNT for state in (first, whole)]
        assert counted == [20 * 40, 40 * 40]
    else:
        assert [int(state.term_states[1]["n"]) for state in (first, whole)] == [20, 40]


def test_dec_moves_the_embedding_towards_likely_centroids():
    z, centroids = jnp.array([[0.4, 0.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])

    def loss(z):
        log_q = losses.log_soft_assignment(z, centroids)
        return dec()(inputs()._replace(z=z, centroids=centroids, log_q=log_q, p=jnp.array([[0.9, 0.1]])))[0]

    assert float(jax.grad(loss)(z)[0, 0]) > 0


def test_size_balance_counts_only_the_clusters_that_take_part():
    alike = jnp.log(jnp.array([[0.5, 0.5, 0.0]] * 4))
    assert float(size_balance()(inputs(log_q=alike))[0]) == pytest.approx(0, abs=1e-6)
    collapsed = jnp.log(jnp.array([[1.0, 1e-12, 0.0]] * 4))
    assert float(size_balance()(inputs(log_q=collapsed))[0]) == pytest.approx(np.log(2), rel=1e-5)


def test_labels_are_the_largest_assignment():
    np.testing.assert_array_equal(inputs().labels, Q.argmax(axis=1))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: -1 * kl(), ValueError, "weight must be at least 0, got -1"),
        (lambda: kl() + kl(), ValueError, "different names, got kl, kl"),
        (lambda: objective(shrink, reads=("decoder",)), ValueError, "unknown reads 'decoder'"),
        (lambda: objective(shrink, exponent=2), TypeError, "must be a function .inputs, ..parameters."),
        (lambda: as_objective(lambda: 0), TypeError, "must be a function .inputs"),
        (lambda: reconstruction("mes"), ValueError, "unknown loss 'mes'; did you mean 'mse'"),
        (
            lambda: objective(lambda inputs: inputs.z, name="mine")(inputs()),
            TypeError,
            "mine must return a scalar, got",
        ),
        (lambda: objective(lambda inputs: None, name="mine")(inputs()), TypeError, "return a scalar, got None"),
    ],
)
def test_bad_objectives(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_no_objective_is_made_anew_where_it_was_made_before():
    assert jax.tree.structure(objectives.idec(0.1)) == jax.tree.structure(objectives.idec(0.2))


def test_a_term_may_be_called_loss():
    def loss(inputs):
        return jnp.mean(inputs.z**2) + 0 * jnp.sum(inputs.centroids)

    recipe = Recipe(Identity(), kl() + 0.5 * objective(loss))
    x = jax.random.normal(jax.random.key(0), (60, 3))
    state = starts.from_centroids(recipe, {}, x[:4], x)
    _, value, terms = step(recipe, state, x)
    assert float(value) == pytest.approx(float(terms["kl"]) + 0.5 * float(jnp.mean(x**2)), rel=1e-5)


def test_a_state_of_another_objective_is_refused():
    with pytest.raises(ValueError, match="objective must be the one that the state was made with"):
        clustering.fit(KEY, recipe_of(kl() + size_balance()), start(recipe_of(kl())), SAMPLES)
