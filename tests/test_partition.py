import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from dec_jax import autoencoder, clustering, partition
from dec_jax.augmentation import Noise
from dec_jax.autoencoder import Autoencoder
from dec_jax.objectives import idec
from dec_jax.samples import to_device

KEY = jax.random.key(0)
BLOBS, Y = make_blobs(120, 6, centers=3, random_state=0)
X = to_device(BLOBS / np.sqrt(np.mean(BLOBS**2)))
MODEL = Autoencoder((6, 8, 5, 2), kernel_init="glorot")
PARAMS = autoencoder.init(jax.random.key(1), MODEL, 6)
SGD = clustering.paper_optimizer(0.05)


def embedding():
    return clustering.embed(MODEL, autoencoder.encoder_params(PARAMS), X)


def start(labels=Y, n_clusters=3, **options):
    defaults = {"n_steps": 60, "optimizer": SGD, "batch_size": 40}
    return partition.start(KEY, MODEL, PARAMS, labels, X, n_clusters, **(defaults | options))


def test_means_are_those_of_the_clusters_and_of_all_where_one_is_empty():
    z = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    labels = np.array([0, 0, 2, 2, 2, 0, 2, 0, 0])
    expected = [z[labels == 0].mean(axis=0), z.mean(axis=0), z[labels == 2].mean(axis=0)]
    np.testing.assert_allclose(partition.means(jnp.asarray(z), jnp.asarray(labels), 3), expected, rtol=1e-5)


def test_without_steps_the_centroids_are_the_means():
    state = start(n_steps=0)
    np.testing.assert_allclose(state.centroids, partition.means(embedding(), jnp.asarray(Y), 3), rtol=1e-6)
    for name, layer in autoencoder.encoder_params(PARAMS).items():
        np.testing.assert_array_equal(state.params[name]["kernel"], layer["kernel"])


def test_the_network_learns_a_partition_that_no_nearest_centroid_gives():
    halves = (Y == 0) | ((Y == 1) & (np.arange(120) % 2 == 0))  # one blob, and every other sample of another
    untrained, trained = (adjusted_rand_score(halves, start(halves.astype(int), 2, n_steps=n).labels) for n in (0, 400))
    assert trained > untrained
    untrained, trained = (adjusted_rand_score(Y, start(n_steps=n).labels) for n in (0, 400))
    assert trained >= max(untrained, 0.95)


def test_the_state_is_that_of_a_run_which_has_not_begun():
    state = start()
    assert int(state.step) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    target, labels = clustering.refresh(MODEL, state.params, state.centroids, X)
    np.testing.assert_array_equal(state.labels, labels)
    np.testing.assert_array_equal(state.target, target)


def test_objective_and_augmentation_are_those_of_the_run():
    own = start(objective=idec(0.5), augmentation=Noise(0.1, 0.0))
    assert any(name.startswith("decoder") for name in own.params)
    assert len(own.memories) == 2
    plain = start(objective=idec(0.5))
    assert not np.array_equal(own.centroids, plain.centroids)
    fit = clustering.fit(KEY, MODEL, own, X, objective=idec(0.5), optimizer=SGD, max_steps=20, batch_size=40)
    assert np.isfinite(fit.history[-1].loss)


def test_the_callers_parameters_stay():
    before = jax.tree.map(np.array, PARAMS)
    start()
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, PARAMS))


@pytest.mark.parametrize(("n", "batch_size", "expected"), [(1000, 256, 200), (70_000, 64, 2188), (70_000, 256, 547)])
def test_default_steps_are_two_epochs_but_not_too_few(n, batch_size, expected):
    assert partition.default_steps(n, batch_size) == expected


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (Y[:-1], {}, ValueError, "labels must hold one label per sample"),
        (Y + 0.5, {}, TypeError, "labels must be integers"),
        (Y + 1, {}, ValueError, "labels must lie between 0 and 2, got 1 to 3"),
        (Y - 1, {}, ValueError, "labels must lie between 0 and 2, got -1 to 1"),
        (Y, {"n_clusters": 121}, ValueError, "n_clusters must be between 2 and 120"),
        (Y, {"n_steps": -1}, ValueError, "n_steps must be at least 0"),
    ],
)
def test_no_partition_is_refused(labels, options, error, message):
    with pytest.raises(error, match=message):
        start(labels, **options)
