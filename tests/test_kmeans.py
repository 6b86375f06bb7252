from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score

from dec_jax import data, networks, pretraining
from dec_jax.autoencoder import Autoencoder
from dec_jax.kmeans import _kmeans, _lloyd, _reseed, kmeans
from dec_jax.samples import to_device


def against_scikit_learn(x, k, n_restarts=20):
    """Inertia of ours over scikit-learn's, both the best of as many restarts, on the same samples."""
    x = np.asarray(x, np.float32)
    ours = kmeans(jax.random.key(0), jnp.asarray(x), k, n_restarts=n_restarts)
    theirs = KMeans(k, n_init=n_restarts, random_state=0).fit(x)
    consistent = np.sum((x - np.asarray(ours.centroids)[np.asarray(ours.labels)]) ** 2)
    assert float(ours.inertia) == pytest.approx(consistent, rel=1e-4)
    return float(ours.inertia) / theirs.inertia_


@pytest.mark.slow
def test_digits_within_half_a_percent_of_scikit_learn():
    assert against_scikit_learn(load_digits().data, 10) <= 1.005


@pytest.mark.slow
def test_hundred_blobs_within_half_a_percent_of_scikit_learn():
    x, _ = make_blobs(5000, 20, centers=100, random_state=0)
    assert against_scikit_learn(x, 100) <= 1.005


@pytest.mark.long
@pytest.mark.real_data
def test_mnist_embedding_within_half_a_percent_of_scikit_learn(optimized, real_data, real_data_dir):
    real_data("mnist")
    mnist = data.load("mnist", data_dir=real_data_dir)
    x = to_device(data.apply_scaling(data.fit_scaling("pixels", mnist.x), mnist.x))
    model = Autoencoder((784, 128, 10), kernel_init="glorot")
    stage = pretraining.fine_tuning_stage(
        model, n_steps=200, optimizer=pretraining.paper_optimizer(learning_rate=0.001)
    )
    params = networks.init(jax.random.key(0), model, 784)
    params, _ = pretraining.pretrain(jax.random.key(1), [stage], params, x)
    z = networks.embed(model, params, x)
    assert z.shape == (70_000, 10)
    assert against_scikit_learn(z, 10, n_restarts=5) <= 1.005


def test_separated_blobs_are_found():
    x, y = make_blobs(600, 5, centers=6, cluster_std=0.3, random_state=1)
    found = kmeans(jax.random.key(0), jnp.float32(x), 6, n_restarts=5)
    assert adjusted_rand_score(y, np.asarray(found.labels)) == 1.0
    means = np.stack([x[np.asarray(found.labels) == j].mean(axis=0) for j in range(6)])
    np.testing.assert_allclose(found.centroids, means, atol=1e-4)


def test_same_key_same_bits():
    z = jax.random.normal(jax.random.key(0), (500, 4))
    first, second = (kmeans(jax.random.key(7), z, 8, n_restarts=3) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.centroids, second.centroids)


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [1, 97, 500, 10_000])
def test_result_does_not_depend_on_the_chunk(chunk_size):
    x, _ = make_blobs(500, 4, centers=5, cluster_std=2.0, random_state=0)
    whole = kmeans(jax.random.key(0), jnp.float32(x), 5, n_restarts=3)
    found = kmeans(jax.random.key(0), jnp.float32(x), 5, n_restarts=3, chunk_size=chunk_size)
    assert float(found.inertia) == pytest.approx(float(whole.inertia), rel=1e-4)


@pytest.mark.slow
def test_more_restarts_are_not_worse():
    z = jax.random.normal(jax.random.key(0), (400, 3))
    best = [float(kmeans(jax.random.key(0), z, 12, n_restarts=n).inertia) for n in (1, 30)]
    assert best[1] < best[0]


def test_far_from_the_origin():
    x, y = make_blobs(300, 3, centers=3, cluster_std=0.1, random_state=0)
    found = kmeans(jax.random.key(0), jnp.float32(x + 1000), 3, n_restarts=5)
    assert adjusted_rand_score(y, np.asarray(found.labels)) == 1.0


def test_a_lost_cluster_restarts_at_the_farthest_sample():
    z = jnp.float32([[0, 0], [0.1, 0], [5, 0], [9, 0]])
    centroids = jnp.float32([[[0, 0], [77, 77], [5, 0]]])
    empty = jnp.array([[False, True, False]])
    np.testing.assert_array_equal(_reseed(z, 2, centroids, empty, empty)[0], [[0, 0], [9, 0], [5, 0]])


def test_no_cluster_stays_empty_while_samples_differ():
    # Two far groups of many samples, and fewer distinct places than k-means++ tends to seed well.
    z = jnp.float32(np.repeat(np.arange(8.0)[:, None] ** 3, 5, axis=0))
    found = kmeans(jax.random.key(0), z, 8, n_restarts=1)
    assert len(set(np.asarray(found.labels).tolist())) == 8
    assert float(found.inertia) == pytest.approx(0, abs=1e-3)


def test_fewer_distinct_samples_than_clusters_ends():
    z = jnp.float32(np.repeat(np.arange(3.0)[:, None], 10, axis=0))
    found = kmeans(jax.random.key(0), z, 5, n_restarts=2)
    assert np.isfinite(np.asarray(found.centroids)).all()
    assert float(found.inertia) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("k", [1, 50])
def test_one_cluster_and_a_cluster_a_sample(k):
    z = jax.random.normal(jax.random.key(0), (50, 3))
    found = kmeans(jax.random.key(0), z, k, n_restarts=2)
    expected = float(jnp.sum((z - z.mean(axis=0)) ** 2)) if k == 1 else 0.0
    assert float(found.inertia) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.slow
def test_memory_is_bounded_by_the_chunk():
    n, k, restarts = 200_000, 50, 20
    shape = jax.ShapeDtypeStruct((n, 4), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    number = jax.ShapeDtypeStruct((), jnp.float32)
    lowered = _kmeans.lower(key, shape, number, number, None, n_clusters=k, n_restarts=restarts, chunk_size=4096)
    used = lowered.compile().memory_analysis().temp_size_in_bytes
    all_distances = n * k * restarts * 4
    assert used < all_distances / 20


@pytest.mark.slow
def test_the_tolerance_is_relative_to_the_features_that_vary():
    x, _ = make_blobs(2000, 4, centers=8, cluster_std=2.5, random_state=0)
    padded = np.concatenate([x, np.full((2000, 60), 3.0)], axis=1)
    for tolerance in (1e-1, 1e-3):
        own, wide = (
            kmeans(jax.random.key(0), jnp.float32(z), 8, n_restarts=4, tolerance=tolerance) for z in (x, padded)
        )
        np.testing.assert_array_equal(own.n_iterations, wide.n_iterations)
        np.testing.assert_allclose(wide.centroids[:, :4], own.centroids, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_clusters": 0}, ValueError, "n_clusters must be between 1 and 9"),
        ({"n_clusters": 10}, ValueError, r"n_clusters must be between 1 and 9 \(the number of samples\), got 10"),
        ({"n_clusters": 2.0}, TypeError, "n_clusters must be an integer, got 2.0"),
        ({"n_clusters": 2, "n_restarts": 0}, ValueError, "n_restarts must be at least 1, got 0"),
        ({"n_clusters": 2, "tolerance": -1.0}, ValueError, "tolerance must be at least 0, got -1"),
        ({"n_clusters": 2, "max_iterations": 0}, ValueError, "max_iterations must be at least 1"),
        ({"n_clusters": 2, "chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        kmeans(jax.random.key(0), jnp.ones((9, 2)), **arguments)


@pytest.mark.slow
def test_restarts_stop_one_by_one_as_if_each_ran_alone():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(600, 2)), jnp.float32)
    seeds = z[jax.random.randint(jax.random.key(1), (20, 8), 0, 600)]
    lloyd = jax.jit(partial(_lloyd, active=None, chunk_size=200))
    together, iterations = lloyd(z, seeds, threshold=1e-6, max_iterations=300)
    for restart in range(20):
        alone, n = lloyd(z, seeds[restart : restart + 1], threshold=1e-6, max_iterations=300)
        np.testing.assert_allclose(together[restart], alone[0], atol=1e-5)
        assert iterations[restart] == n[0]
    assert iterations.max() > 2 * iterations.min()
    few = lloyd(z, seeds, threshold=1e-6, max_iterations=int(iterations.min()) + 1)[1]
    assert few.max() == iterations.min() + 1
