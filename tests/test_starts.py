import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from dec_jax import clustering, networks, starts
from dec_jax.augmentation import Noise
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import Recipe
from dec_jax.kmeans import kmeans
from dec_jax.objectives import idec
from dec_jax.optimizers import sgd
from dec_jax.samples import to_device

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
BLOBS, Y = make_blobs(120, 6, centers=3, random_state=0)
X = to_device(BLOBS / np.sqrt(np.mean(BLOBS**2)))
MODEL = Autoencoder((6, 8, 5, 2), kernel_init="glorot")
PARAMS = networks.init(jax.random.key(1), MODEL, 6)
RECIPE = Recipe(MODEL, optimizer=sgd(0.05), batch_size=40)
ENCODER = {name: PARAMS[name] for name in ("encoder_0", "encoder_1", "encoder_2")}


def embedding():
    return networks.embed(MODEL, PARAMS, X)


def start(labels=Y, n_clusters=3, recipe=RECIPE, n_steps=60):
    return starts.from_labels(KEY, recipe, PARAMS, labels, X, n_clusters=n_clusters, n_steps=n_steps)


def test_from_kmeans_starts_at_the_centroids_of_kmeans_on_the_embedding():
    state = starts.from_kmeans(KEY, RECIPE, PARAMS, X, 3, n_restarts=2)
    expected = kmeans(KEY, embedding(), 3, n_restarts=2)
    np.testing.assert_array_equal(state.centroids, expected.centroids)
    np.testing.assert_array_equal(state.labels, expected.labels)


def test_the_decoder_is_dropped_where_the_objective_does_not_read_it():
    centroids = embedding()[:3]
    assert set(starts.from_centroids(RECIPE, PARAMS, centroids, X).params) == set(ENCODER)
    assert set(starts.from_centroids(RECIPE.replace(objective=idec()), PARAMS, centroids, X).params) == set(PARAMS)


def test_means_are_those_of_the_clusters_and_of_all_where_one_is_empty():
    z = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    labels = np.array([0, 0, 2, 2, 2, 0, 2, 0, 0])
    expected = [z[labels == 0].mean(axis=0), z.mean(axis=0), z[labels == 2].mean(axis=0)]
    np.testing.assert_allclose(starts.means(jnp.asarray(z), jnp.asarray(labels), 3), expected, rtol=1e-5)


def test_without_steps_the_centroids_are_the_means():
    state = start(n_steps=0)
    np.testing.assert_allclose(state.centroids, starts.means(embedding(), jnp.asarray(Y), 3), rtol=1e-6)
    for name, layer in ENCODER.items():
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
    target, labels = jax.jit(clustering.update_target)(RECIPE, state.params, state.centroids, X)
    np.testing.assert_array_equal(state.labels, labels)
    np.testing.assert_allclose(state.target, target, rtol=1e-5, atol=1e-7)


def test_objective_and_augmentation_are_those_of_the_run():
    recipe = RECIPE.replace(objective=idec(0.5))
    own = start(recipe=recipe.replace(augmentation=Noise(0.1, 0.0)))
    assert any(name.startswith("decoder") for name in own.params)
    assert len(own.term_states) == 2
    plain = start(recipe=recipe)
    assert not np.array_equal(own.centroids, plain.centroids)
    fit = clustering.fit(KEY, recipe, own, X, max_steps=20)
    assert np.isfinite(fit.history[-1].loss)


def test_the_callers_parameters_stay():
    before = jax.tree.map(np.array, PARAMS)
    start()
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, PARAMS))


@pytest.mark.parametrize(("n", "batch_size", "expected"), [(1000, 256, 200), (70_000, 64, 2188), (70_000, 256, 547)])
def test_default_steps_are_two_epochs_but_not_too_few(n, batch_size, expected):
    assert starts.default_steps(n, batch_size) == expected


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
def test_what_is_not_a_partition_is_refused(labels, options, error, message):
    with pytest.raises(error, match=message):
        start(labels, **options)


def test_a_loss_that_is_no_number_is_the_highest():
    assert starts.lowest([np.nan, 2.0, 1.0, np.inf]) == 2
    assert starts.lowest([np.nan, np.inf, 1e9]) == 2
