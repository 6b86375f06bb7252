from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from sklearn.datasets import make_blobs

from dec_jax import autoencoder, clustering, corruption, losses
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import ClusteringInfo, default_update_interval
from dec_jax.samples import batch_indices, to_device

KEY = jax.random.key(0)
BLOBS, CLASSES = make_blobs(300, 8, centers=4, cluster_std=2.5, random_state=0)
X = to_device(BLOBS / np.sqrt(np.mean(BLOBS**2)))
MODEL = Autoencoder((8, 16, 3), kernel_init="glorot")
PARAMS = autoencoder.init(jax.random.key(1), MODEL, 8)
SGD = clustering.paper_optimizer(0.05)


def start(k=4, **options):
    return clustering.init(KEY, MODEL, PARAMS, X, k, n_restarts=3, **options)


def fit(state, **options):
    options = {"update_interval": 10, "tolerance": 0.0, "max_steps": 40, "batch_size": 64, "optimizer": SGD} | options
    return clustering.fit(KEY, MODEL, state, X, **options)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def q_and_p(params, centroids, alpha=1.0):
    q = losses.soft_assignment(autoencoder.encode(MODEL, params, X), centroids, alpha)
    return q, losses.target_distribution(q)


def test_init_takes_centroids_labels_and_target_from_kmeans_on_the_embedding():
    state = start()
    q, p = q_and_p(state.params, state.centroids)
    np.testing.assert_allclose(state.target, p, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(state.labels, q.argmax(axis=1))
    z = autoencoder.encode(MODEL, PARAMS, X)
    means = np.stack([np.asarray(z)[np.asarray(state.labels) == j].mean(axis=0) for j in range(4)])
    np.testing.assert_allclose(state.centroids, means, atol=0.05)
    assert set(state.params) == {"encoder_0", "encoder_1"}
    assert int(state.step) == 0


class TestUpdate(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_update_is_one_step_down_the_closed_form_gradient(self):
        state = start(optimizer=optax.sgd(0.1))
        x, p = X[:32], state.target[:32]
        step = self.variant(
            lambda state: clustering.update(
                state, x, p, model=MODEL, optimizer=optax.sgd(0.1), assignment=Assignment(2.0)
            )
        )
        after, value, _ = step(state)
        z = np.asarray(autoencoder.encode(MODEL, state.params, x))
        q = np.asarray(losses.soft_assignment(z, state.centroids, 2.0))
        difference = z[:, None] - np.asarray(state.centroids)
        kernel = 1 / (1 + np.sum(difference**2, axis=-1) / 2)
        gradient = -1.5 * np.sum((kernel * (p - q))[..., None] * difference, axis=0) / len(x)
        np.testing.assert_allclose(after.centroids, state.centroids - 0.1 * gradient, atol=1e-6)
        assert float(value) == pytest.approx(float(np.sum(p * np.log(p / q)) / len(x)), rel=1e-4)
        assert not equal(after.params, state.params)
        assert int(after.step) == 1
        assert after.target is state.target or equal(after.target, state.target)


def test_advance_equals_a_plain_loop_and_refreshes_from_all_data():
    state, labels = start(optimizer=SGD), np.array(start(optimizer=SGD).labels)
    plain, values = start(optimizer=SGD), []
    for batch in batch_indices(KEY, jnp.int32(0), len(X), 50, 7):
        plain, value, _ = clustering.update(plain, X[batch], plain.target[batch], model=MODEL, optimizer=SGD)
        values.append(float(value))
    after, info = clustering.advance(KEY, state, X, model=MODEL, optimizer=SGD, batch_size=50, n_steps=7, longest=9)
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
    state = start(optimizer=SGD)
    target = np.array(state.target)
    after = fit(state, update_interval=50, max_steps=50).state
    divergence = [
        float(losses.kl_divergence(target, jnp.log(q_and_p(params, centroids)[0])).mean())
        for params, centroids in ((start().params, start().centroids), (after.params, after.centroids))
    ]
    assert divergence[1] < 0.5 * divergence[0]


def test_fit_keeps_the_clusters():
    end = fit(start(optimizer=SGD), max_steps=200)
    assert end.stop_reason == "max_steps"
    assert int(end.state.step) == 200
    assert len(set(np.asarray(end.state.labels).tolist())) == 4


def test_fit_stops_when_few_labels_change():
    end = fit(start(optimizer=SGD), tolerance=0.01, max_steps=5000)
    assert end.stop_reason == "tolerance"
    assert end.history[-1].label_change < 0.01
    assert all(info.label_change >= 0.01 for info in end.history[:-1])
    assert int(end.state.step) == 10 * len(end.history)


def test_last_window_is_cut_at_max_steps():
    end = fit(start(optimizer=SGD), max_steps=25)
    assert int(end.state.step) == 25
    assert len(end.history) == 3


def test_frozen_encoder_moves_the_centroids_alone():
    model, params, z = clustering.freeze_encoder(MODEL, PARAMS, X)
    np.testing.assert_allclose(z, autoencoder.encode(MODEL, PARAMS, X), rtol=1e-5)
    state = clustering.init(KEY, model, params, z, 4, optimizer=SGD, n_restarts=3)
    before = np.array(state.centroids)
    end = clustering.fit(KEY, model, state, z, optimizer=SGD, update_interval=10, tolerance=0.0, max_steps=50)
    assert end.state.params == {}
    assert not np.array_equal(before, end.state.centroids)
    np.testing.assert_array_equal(end.state.labels, losses.soft_assignment(z, end.state.centroids).argmax(axis=1))


def test_same_key_same_bits():
    first, second = (fit(start(optimizer=SGD)).state for _ in range(2))
    assert equal(first, second)
    other = clustering.fit(
        jax.random.key(5),
        MODEL,
        start(optimizer=SGD),
        X,
        optimizer=SGD,
        update_interval=10,
        tolerance=0.0,
        max_steps=40,
    )
    assert not equal(first.params, other.state.params)


def test_a_run_that_stopped_goes_on_as_if_it_had_not():
    kept = []
    whole = fit(start(optimizer=SGD), on_refresh=lambda state, _: kept.append(jax.tree.map(np.array, state)))
    assert [int(state.step) for state in kept] == [10, 20, 30, 40]
    resumed = fit(jax.tree.map(jnp.asarray, kept[1]))
    assert equal(whole.state, resumed.state)
    assert len(resumed.history) == 2


def test_callers_arrays_survive():
    centroids = jnp.ones((4, 3)) * jnp.arange(4.0)[:, None]
    state = clustering.start(MODEL, PARAMS, centroids, X, optimizer=SGD)
    fit(state)
    assert float(centroids[3, 0]) == 3.0
    assert np.isfinite(np.asarray(PARAMS["encoder_0"]["kernel"])).all()


def test_objective_of_the_users_own():
    def shrink(inputs):
        return jnp.mean(jnp.sum(inputs.z**2, axis=1))

    before = float(jnp.mean(jnp.sum(clustering.embed(MODEL, PARAMS, X) ** 2, axis=1)))
    end = fit(start(optimizer=SGD), objective=shrink)
    after = float(jnp.mean(jnp.sum(clustering.embed(MODEL, end.state.params, X) ** 2, axis=1)))
    assert after < 0.5 * before


def test_soft_assignments_of_all_samples():
    state = start()
    q = clustering.soft_assignments(MODEL, state.params, state.centroids, X, Assignment(3.0))
    np.testing.assert_allclose(q, q_and_p(state.params, state.centroids, 3.0)[0], rtol=1e-4, atol=1e-6)


def test_sparse_samples_cluster_like_dense_ones():
    sparse = to_device(scipy.sparse.csr_array(np.asarray(X)))
    dense_end = fit(start(optimizer=SGD)).state
    state = clustering.init(KEY, MODEL, PARAMS, sparse, 4, n_restarts=3, optimizer=SGD)
    end = clustering.fit(
        KEY, MODEL, state, sparse, optimizer=SGD, update_interval=10, tolerance=0.0, max_steps=40, batch_size=64
    ).state
    np.testing.assert_array_equal(end.labels, dense_end.labels)
    np.testing.assert_allclose(end.centroids, dense_end.centroids, rtol=1e-3, atol=1e-4)


def test_duplicate_samples_do_not_make_nan():
    x = jnp.tile(X[:3], (50, 1))
    state = clustering.init(KEY, MODEL, PARAMS, x, 5, n_restarts=2, optimizer=SGD)
    end = clustering.fit(KEY, MODEL, state, x, optimizer=SGD, tolerance=0.0, max_steps=60)
    chex.assert_tree_all_finite(end.state)


def test_released_update_intervals():
    assert default_update_interval(70_000) == 160
    assert default_update_interval(100) == 20
    assert default_update_interval(70_000, 512) == 80


def test_nan_is_an_error():
    with pytest.raises(FloatingPointError, match="clustering loss became nan after step 0"):
        fit(start(optimizer=SGD), objective=lambda inputs: inputs.z.sum() * jnp.nan)


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
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": "256"}, TypeError, "batch_size must be an integer, got '256'"),
    ],
)
def test_bad_input_of_fit(options, error, message):
    with pytest.raises(error, match=message):
        fit(start(optimizer=SGD), **options)


def test_infos_are_plain_numbers():
    info = fit(start(optimizer=SGD)).history[0]
    assert isinstance(info, ClusteringInfo)
    assert all(isinstance(value, float) for value in jax.tree.leaves(info._replace(settled=0.0)))
    assert info.settled is False
    assert info.terms == {"kl": info.loss}


def test_updates_see_augmented_samples_and_the_target_clean_ones():
    def turn(key, x):
        return -x

    state = start(optimizer=SGD)
    step = partial(clustering.update, state, p=state.target[:32], model=MODEL, optimizer=SGD, key=KEY)
    turned, *_ = step(x=X[:32], augmentation=turn)
    plain, *_ = step(x=-X[:32])
    assert equal(turned.params, plain.params)
    assert equal(turned.centroids, plain.centroids)
    end = fit(start(optimizer=SGD), augmentation=turn, max_steps=10).state
    _, p = q_and_p(end.params, end.centroids)
    np.testing.assert_allclose(end.target, p, rtol=1e-4, atol=1e-6)
    assert not equal(end.params, fit(start(optimizer=SGD), max_steps=10).state.params)


def test_an_augmentation_draws_anew_in_each_step():
    def inputs(inputs):
        return jnp.sum(inputs.network_input) + 0 * jnp.sum(inputs.z)

    noise = partial(corruption.gaussian_noise, standard_deviation=1.0, minimum=None, maximum=None)
    end = fit(
        start(optimizer=SGD), augmentation=noise, objective=inputs, update_interval=1, max_steps=3, batch_size=300
    )
    values = [info.loss for info in end.history]
    assert len(set(values)) == 3
    again = fit(
        start(optimizer=SGD), augmentation=noise, objective=inputs, update_interval=1, max_steps=3, batch_size=300
    )
    assert values == [info.loss for info in again.history]
