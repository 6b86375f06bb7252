import sys
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from sklearn.datasets import load_digits, make_blobs

from dec_jax import batches, clustering, corruption, losses, networks, pretraining, starts
from dec_jax.assignment import Assignment
from dec_jax.augmentation import Noise
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import ClusteringInfo, Recipe, default_update_interval
from dec_jax.objectives import idec, kl, objective, size_balance
from dec_jax.optimizers import adam, sgd
from dec_jax.resets import ReseedEmpty, SoftReset
from dec_jax.samples import batch_rows, to_device

KEY = jax.random.key(0)
BLOBS, CLASSES = make_blobs(300, 8, centers=4, cluster_std=2.5, random_state=0)
X = to_device(BLOBS / np.sqrt(np.mean(BLOBS**2)))
MODEL = Autoencoder((8, 16, 3), kernel_init="glorot")
PARAMS = networks.init(jax.random.key(1), MODEL, 8)
RECIPE = Recipe(MODEL, optimizer=sgd(0.05), batch_size=64)
OPTIONS = {"update_interval": 10, "tolerance": 0.0, "max_steps": 40}


def start(k=4, x=X, recipe=RECIPE):
    return starts.from_kmeans(KEY, recipe, PARAMS, x, k, n_restarts=3)


def fit(state, recipe=RECIPE, x=X, key=KEY, **options):
    return clustering.fit(key, recipe, state, x, **(OPTIONS | options))


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def q_and_p(params, centroids, alpha=1.0):
    q = losses.soft_assignment(networks.encode(MODEL, params, X), centroids, alpha)
    return q, losses.target_distribution(q)


def test_init_takes_centroids_labels_and_target_from_kmeans_on_the_embedding():
    state = start()
    q, p = q_and_p(state.params, state.centroids)
    np.testing.assert_allclose(state.target, p, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(state.labels, q.argmax(axis=1))
    z = networks.encode(MODEL, PARAMS, X)
    means = np.stack([np.asarray(z)[np.asarray(state.labels) == j].mean(axis=0) for j in range(4)])
    np.testing.assert_allclose(state.centroids, means, atol=0.05)
    assert set(state.params) == {"encoder_0", "encoder_1"}
    assert int(state.step) == 0


class TestTrainStep(chex.TestCase):
    @chex.variants(with_jit=True)
    def test_train_step_is_one_step_down_the_closed_form_gradient(self):
        recipe = RECIPE.replace(optimizer=optax.sgd(0.1), assignment=Assignment(2.0))
        state = start(recipe=recipe)
        x, p = X[:32], state.target[:32]
        after, value, _ = self.variant(lambda state: clustering.train_step(KEY, recipe, state, batches.Batch(x, p)))(
            state
        )
        z = np.asarray(networks.encode(MODEL, state.params, x))
        q = np.asarray(losses.soft_assignment(z, state.centroids, 2.0))
        difference = z[:, None] - np.asarray(state.centroids)
        kernel = 1 / (1 + np.sum(difference**2, axis=-1) / 2)
        gradient = -1.5 * np.sum((kernel * (p - q))[..., None] * difference, axis=0) / len(x)
        np.testing.assert_allclose(after.centroids, state.centroids - 0.1 * gradient, atol=1e-6)
        assert float(value) == pytest.approx(float(np.sum(p * np.log(p / q)) / len(x)), rel=1e-4)
        assert not equal(after.params, state.params)
        assert int(after.step) == 1
        assert after.target is state.target or equal(after.target, state.target)


@pytest.mark.slow
def test_an_interval_equals_a_plain_loop_and_a_target_of_all_samples():
    state, labels = start(), np.array(start().labels)
    plain, values = start(), []
    train_step = jax.jit(clustering.train_step)
    for step in range(7):
        batch = batch_rows(KEY, jnp.int32(step), len(X), 50)
        plain, value, _ = train_step(KEY, RECIPE, plain, batches.Batch(X[batch], plain.target[batch]))
        values.append(float(value))
    after, info = jax.jit(clustering.train_interval)(KEY, RECIPE.replace(batch_size=50), state, X, 7)
    for name in ("params", "centroids", "opt_state"):
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
        jax.tree.map(close, getattr(after, name), getattr(plain, name))
    q, p = q_and_p(after.params, after.centroids)
    np.testing.assert_allclose(after.target, p, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(after.labels, q.argmax(axis=1))
    assert float(info.loss) == pytest.approx(np.mean(values), rel=1e-4)
    assert float(info.label_change) == pytest.approx(np.mean(labels != np.asarray(after.labels)))
    assert int(info.smallest_cluster) == np.bincount(after.labels, minlength=4).min()
    assert int(after.step) == 7


def test_updates_bring_q_closer_to_their_target():
    state = start()
    target = np.array(state.target)
    after = fit(state, update_interval=50, max_steps=50).state
    divergence = [
        float(losses.kl_divergence(target, jnp.log(q_and_p(params, centroids)[0])).mean())
        for params, centroids in ((start().params, start().centroids), (after.params, after.centroids))
    ]
    assert divergence[1] < 0.5 * divergence[0]


def test_fit_keeps_the_clusters():
    end = fit(start(), max_steps=200)
    assert end.stop_reason == "max_steps"
    assert int(end.state.step) == 200
    assert len(set(np.asarray(end.state.labels).tolist())) == 4


def test_fit_stops_when_few_labels_change():
    end = fit(start(), tolerance=0.01, max_steps=5000)
    assert end.stop_reason == "tolerance"
    assert end.history[-1].label_change < 0.01
    assert all(info.label_change >= 0.01 for info in end.history[:-1])
    assert int(end.state.step) == 10 * len(end.history)


def test_last_window_is_cut_at_max_steps():
    end = fit(start(), max_steps=25)
    assert int(end.state.step) == 25
    assert len(end.history) == 3


def test_frozen_encoder_moves_the_centroids_alone():
    recipe, params, z = clustering.freeze_encoder(RECIPE, PARAMS, X)
    np.testing.assert_allclose(z, networks.encode(MODEL, PARAMS, X), rtol=1e-5)
    state = starts.from_kmeans(KEY, recipe, params, z, 4, n_restarts=3)
    before = np.array(state.centroids)
    end = fit(state, recipe, z, max_steps=50)
    assert end.state.params == {}
    assert not np.array_equal(before, end.state.centroids)
    np.testing.assert_array_equal(end.state.labels, losses.soft_assignment(z, end.state.centroids).argmax(axis=1))


def test_same_key_same_bits():
    first, second = (fit(start()).state for _ in range(2))
    assert equal(first, second)
    other = fit(start(), key=jax.random.key(5))
    assert not equal(first.params, other.state.params)


def test_a_run_that_stopped_goes_on_as_if_it_had_not():
    kept = []
    whole = fit(start(), on_interval=lambda state, _: kept.append(jax.tree.map(np.array, state)))
    assert [int(state.step) for state in kept] == [10, 20, 30, 40]
    resumed = fit(jax.tree.map(jnp.asarray, kept[1]))
    assert equal(whole.state, resumed.state)
    assert len(resumed.history) == 2


def test_callers_arrays_survive():
    centroids = jnp.ones((4, 3)) * jnp.arange(4.0)[:, None]
    state = starts.from_centroids(RECIPE, PARAMS, centroids, X)
    fit(state)
    assert float(centroids[3, 0]) == 3.0
    assert np.isfinite(np.asarray(PARAMS["encoder_0"]["kernel"])).all()


def test_objective_of_the_users_own():
    def shrink(inputs):
        return jnp.mean(jnp.sum(inputs.z**2, axis=1))

    before = float(jnp.mean(jnp.sum(networks.embed(MODEL, PARAMS, X) ** 2, axis=1)))
    end = fit(start(), RECIPE.replace(objective=objective(shrink)))
    after = float(jnp.mean(jnp.sum(networks.embed(MODEL, end.state.params, X) ** 2, axis=1)))
    assert after < 0.5 * before


def test_soft_assignments_of_all_samples():
    state = start()
    q = clustering.soft_assignments(MODEL, state.params, state.centroids, X, Assignment(3.0))
    np.testing.assert_allclose(q, q_and_p(state.params, state.centroids, 3.0)[0], rtol=1e-4, atol=1e-6)


def test_sparse_samples_cluster_like_dense_ones():
    sparse = to_device(scipy.sparse.csr_array(np.asarray(X)))
    dense_end = fit(start()).state
    end = fit(start(x=sparse), x=sparse).state
    np.testing.assert_array_equal(end.labels, dense_end.labels)
    np.testing.assert_allclose(end.centroids, dense_end.centroids, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_duplicate_samples_do_not_make_nan():
    x = jnp.tile(X[:3], (50, 1))
    end = fit(start(5, x), x=x, max_steps=60)
    chex.assert_tree_all_finite(end.state)


def test_released_update_intervals():
    assert default_update_interval(70_000) == 160
    assert default_update_interval(100) == 20
    assert default_update_interval(70_000, 512) == 80


def broken_later(inputs):
    return jnp.where(inputs.step == 2, jnp.nan, 1.0) * inputs.z.sum()


def steep(inputs):
    return jnp.sqrt(jnp.sum(jnp.square(inputs.z - jax.lax.stop_gradient(inputs.z))))  # 0, and its slope is 0 / 0


@pytest.mark.parametrize(
    ("added", "optimizer", "message"),
    [
        (broken_later, sgd(0.01), "in step 3: broken_later, a term of the objective, became NaN or infinite first"),
        (steep, sgd(0.01), "in step 1: the gradient became"),
        (size_balance(), optax.scale(float("inf")), "in step 1: the centroids became .* lower the learning rate"),
    ],
)
def test_what_became_nan_first_is_named_with_its_step(added, optimizer, message):
    recipe = RECIPE.replace(objective=kl() + added, optimizer=optimizer)
    with pytest.raises(FloatingPointError, match=f"clustering failed {message}"):
        fit(start(recipe=recipe), recipe, update_interval=6)


def test_what_is_nan_before_the_first_step_is_named():
    state = start()
    with pytest.raises(FloatingPointError, match="before its first step: the centroids"):
        fit(state._replace(centroids=state.centroids.at[1].set(jnp.nan)), update_interval=6)
    state = start()
    with pytest.raises(FloatingPointError, match="before its first step: the target distribution P"):
        fit(state._replace(target=state.target.at[1].set(jnp.nan)), update_interval=6)


@pytest.mark.slow
def test_a_target_that_nothing_reads_is_not_computed():
    recipe = RECIPE.replace(objective=size_balance())
    state = start(recipe=recipe)
    assert state.target is None
    read = recipe.replace(objective=objective(lambda inputs: 0 * inputs.p.sum()) + size_balance())
    end, same = fit(state, recipe, max_steps=60), fit(start(recipe=read), read, max_steps=60)
    assert end.state.target is None
    np.testing.assert_array_equal(end.state.labels, same.state.labels)
    assert [info.label_change for info in end.history] == [info.label_change for info in same.history]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 1}, ValueError, r"n_clusters must be between 2 and 300 \(the number of samples\), got 1"),
        ({"k": 301}, ValueError, "n_clusters must be between 2 and 300"),
        ({"k": 2.5}, TypeError, "n_clusters must be an integer, got 2.5"),
    ],
)
def test_bad_input_of_init(options, error, message):
    with pytest.raises(error, match=message):
        start(**options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tolerance": -0.1}, ValueError, "tolerance must be at least 0 and at most 1, got -0.1"),
        ({"update_interval": 0}, ValueError, "update_interval must be at least 1, got 0"),
        ({"update_interval": -5}, ValueError, "update_interval must be at least 1, got -5"),
        ({"max_steps": -1}, ValueError, "max_steps must be at least 0"),
    ],
)
def test_bad_input_of_fit(options, error, message):
    with pytest.raises(error, match=message):
        fit(start(), **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": "256"}, TypeError, "batch_size must be an integer, got '256'"),
        ({"optimizer": 0.1}, TypeError, "optimizer must have init and update, as optax's have, got 0.1"),
        ({"objective": 0.1}, TypeError, "objective must be a function"),
        ({"augmentation": "noise"}, TypeError, "augmentation must be a function"),
    ],
)
def test_bad_input_of_a_recipe(options, error, message):
    with pytest.raises(error, match=message):
        Recipe(MODEL, **options)


def test_infos_are_plain_numbers():
    info = fit(start()).history[0]
    assert isinstance(info, ClusteringInfo)
    assert all(type(value) in (int, float) for value in jax.tree.leaves(info))
    assert info.terms == {"kl": info.loss}


def test_steps_see_augmented_samples_and_the_target_clean_ones():
    def turn(key, x):
        return -x

    state = start()

    def step(recipe, x):
        return clustering.train_step(KEY, recipe, state, batches.Batch(x, state.target[:32]))

    turned, *_ = step(RECIPE.replace(augmentation=turn), x=X[:32])
    plain, *_ = step(RECIPE, x=-X[:32])
    assert equal(turned.params, plain.params)
    assert equal(turned.centroids, plain.centroids)
    end = fit(start(), RECIPE.replace(augmentation=turn), max_steps=10).state
    _, p = q_and_p(end.params, end.centroids)
    np.testing.assert_allclose(end.target, p, rtol=1e-4, atol=1e-6)
    assert not equal(end.params, fit(start(), max_steps=10).state.params)


def test_an_augmentation_draws_anew_in_each_step():
    def inputs(inputs):
        return jnp.sum(inputs.network_input) + 0 * jnp.sum(inputs.z)

    noise = partial(corruption.gaussian_noise, standard_deviation=1.0, minimum=None, maximum=None)
    recipe = RECIPE.replace(augmentation=noise, objective=objective(inputs), batch_size=300)
    first, again = (
        [info.loss for info in fit(start(), recipe, update_interval=1, max_steps=3).history] for _ in range(2)
    )
    assert len(set(first)) == 3
    assert first == again


FULL = Recipe(MODEL, idec(0.1), Assignment(1.0), sgd(0.05, 0.9), Noise(0.1), batch_size=64)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (FULL.replace(optimizer=sgd(0.01, 0.9)), {}),
        (FULL.replace(optimizer=sgd(0.05, 0.5)), {}),
        (FULL.replace(objective=idec(0.7)), {}),
        (FULL.replace(assignment=Assignment(3.0)), {}),
        (FULL.replace(augmentation=Noise(0.3)), {}),
        (FULL.replace(resets=(SoftReset(1000, 1),)), {}),
        (FULL, {"update_interval": 7, "max_steps": 9, "tolerance": 0.5}),
    ],
    ids=["learning rate", "momentum", "weight", "alpha", "augmentation", "resets", "interval"],
)
def test_another_number_compiles_no_interval(recipe, options):
    state = partial(start, recipe=FULL)
    plain = fit(state(), FULL).state
    before = clustering._compiled_interval._cache_size()
    other = fit(state(), recipe, **options).state
    assert clustering._compiled_interval._cache_size() == before
    assert recipe.resets or not equal(plain.centroids, other.centroids)


def test_an_interval_needs_no_memory_that_grows_with_its_length():
    state = jax.eval_shape(start)
    lowered = clustering._compiled_interval.lower(KEY, RECIPE, state, X, jax.ShapeDtypeStruct((), jnp.int32))
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 500_000  # for every number of steps


@pytest.mark.parametrize("derive", ["itself", "split", "fold_in"])
def test_a_term_of_the_users_own_does_not_draw_what_the_augmentation_draws(derive):
    def noise(key, x):
        return jax.random.normal(key, x.shape)

    def nearest(inputs):
        """How near the term's own draws come to those of the augmentation."""
        keys = {
            "itself": lambda key: key[None],
            "split": lambda key: jax.random.split(key, 5),
            "fold_in": lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(5)),
        }[derive](inputs.key)
        own = jax.vmap(lambda key: jax.random.normal(key, inputs.x.shape))(keys)
        return jnp.abs(own - inputs.network_input).mean(axis=(1, 2)).min()

    recipe = RECIPE.replace(augmentation=noise, objective=objective(nearest))
    _, value, _ = jax.jit(clustering.train_step)(
        KEY, recipe, start(recipe=recipe), batches.Batch(X[:64], jnp.ones((64, 4)) / 4)
    )
    assert float(value) > 0.5


@pytest.mark.slow
def test_no_key_of_a_run_serves_two_purposes(monkeypatch):
    """Notes each key that a run makes, and each that it draws with, and the place in the code that did so."""
    made, drawn, parents = {}, {}, {}

    def watch(name, into):
        original = getattr(jax.random, name)

        def watched(key, *args, **options):
            caller = sys._getframe(1).f_code
            place = f"{Path(caller.co_filename).name}, {caller.co_name}"

            def note(words, into):
                for pair in np.reshape(words, (-1, 2)).tolist():
                    into.setdefault(tuple(pair), set()).add(place)

            result = original(key, *args, **options)
            if "dec_jax" in caller.co_filename:
                jax.debug.callback(partial(note, into=parents if into is made else drawn), jax.random.key_data(key))
                if into is made:
                    jax.debug.callback(partial(note, into=made), jax.random.key_data(result))
            return result

        monkeypatch.setattr(jax.random, name, watched)

    for name in ("split", "fold_in"):
        watch(name, made)
    for name in ("bits", "normal", "uniform", "permutation", "gumbel", "randint"):
        watch(name, drawn)

    def draw(inputs):
        return inputs.z.mean() + 0 * jnp.sum(inputs.p)

    resets = (SoftReset(2, 2, n_restarts=2), ReseedEmpty())
    recipe = Recipe(MODEL, objective(draw), augmentation=Noise(0.1), batch_size=4, resets=resets)
    state = starts.from_centroids(recipe, PARAMS, jnp.zeros((3, 3)), X[:6])  # of which two are empty
    clustering.fit(KEY, recipe, state, X[:6], update_interval=1, max_steps=6, tolerance=0.0)
    jax.effects_barrier()
    places = {place.split(",")[0] for place in set().union(*drawn.values())}
    assert places >= {"permutation.py", "corruption.py", "kmeans.py", "resets.py"}
    assert drawn.keys() & parents.keys() == set()
    assert {words: where for words, where in made.items() if len(where) > 1} == {}
    assert {words: where for words, where in drawn.items() if len(where) > 1} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "keeps"), [("bce_logits", True), ("mse", False)])
def test_the_reconstruction_survives_where_its_loss_is_that_of_pretraining(loss, keeps):
    x = to_device(load_digits().data / 16)
    model, entropy = Autoencoder((64, 32, 5), kernel_init="glorot"), losses.binary_cross_entropy_from_logits
    stage = pretraining.fine_tuning_stage(model, n_steps=200, optimizer=adam(5e-3), loss=entropy)
    params, _ = pretraining.pretrain(KEY, [stage], networks.init(KEY, model, 64), x)
    before = float(entropy(networks.reconstruct(model, params, x), x))
    recipe = Recipe(model, idec(0.1, loss), optimizer=sgd(0.01))
    state = starts.from_kmeans(KEY, recipe, params, x, 10, n_restarts=2)
    end = clustering.fit(KEY, recipe, state, x, update_interval=40, tolerance=0.0, max_steps=120).state
    after = float(entropy(networks.reconstruct(model, end.params, x), x))
    assert (after < 1.02 * before) == keeps
