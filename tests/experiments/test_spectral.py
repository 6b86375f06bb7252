import numpy as np
import pytest
import scipy.linalg
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits, make_blobs, make_circles, make_moons
from sklearn.metrics import adjusted_rand_score

from dec_jax.graph import neighbor_graph
from dec_jax.metrics import accuracy
from experiments import baselines, spectral
from experiments.spectral import LDMGI_VALUES, SEC_VALUES, find_neighbors

pytestmark = pytest.mark.slow


def digits(n=300):
    # Pixels are integers, and many distances equal: the noise makes neighbours unique.
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(n, 64))
    return (load_digits().data[:n] / 16 + noise).astype(np.float32)


def shapes(name):
    if name == "moons":
        return make_moons(400, noise=0.05, random_state=0)
    return make_circles(400, factor=0.5, noise=0.04, random_state=0)


def dense_sec_matrix(x, mu, gamma=1.0, n_neighbors=5):
    """From its definition in the paper, all n × n."""
    n = len(x)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(squared, np.inf)
    a = np.zeros((n, n))
    for i, near in enumerate(np.argsort(squared, axis=1)[:, : n_neighbors - 1]):
        a[i, near] += 0.5
        a[near, i] += 0.5
    scale = 1 / np.sqrt(a.sum(axis=1))
    h = np.eye(n) - 1 / n
    ridge = np.linalg.solve(x.T @ h @ x + gamma * np.eye(x.shape[1]), x.T @ h)
    return np.eye(n) - scale[:, None] * a * scale + mu * (h - h @ x @ ridge)


def dense_ldmgi_matrix(x, lam, n_neighbors=5):
    n = len(x)
    total = np.zeros((n, n))
    h = np.eye(n_neighbors) - 1 / n_neighbors
    for i in range(n):
        distances = ((x - x[i]) ** 2).sum(-1)
        distances[i] = -1
        near = np.argsort(distances)[:n_neighbors]
        centred = x[near].T @ h
        total[np.ix_(near, near)] += h @ np.linalg.inv(centred.T @ centred + lam * np.eye(n_neighbors)) @ h
    return total


def dense_partition(embedding):
    rows = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    return KMeans(embedding.shape[1], n_init=20, random_state=0).fit(rows).labels_


def largest_angle(first, second):
    return scipy.linalg.subspace_angles(first, second).max()


@pytest.mark.parametrize("shape", ["moons", "circles"])
def test_finds_what_kmeans_cannot(shape):
    x, y = shapes(shape)
    assert accuracy(y, baselines.kmeans(x, 2)) < 0.9
    near = find_neighbors(x, 10)
    assert accuracy(y, spectral.spectral_clustering(x, 2)) >= 0.95
    assert accuracy(y, spectral.sec(x, 2, 1e-6, neighbors=near)) >= 0.95
    assert accuracy(y, spectral.ldmgi(x, 2, 1e-2, neighbors=near)) >= 0.95


@pytest.mark.parametrize("method", ["sec", "ldmgi"])
@pytest.mark.parametrize("shape", ["moons", "circles"])
def test_the_value_chosen_without_labels_finds_the_shapes(method, shape):
    x, y = shapes(shape)
    found = spectral.sweep(method, x, 2, n_neighbors=10)
    by_value = [accuracy(y, labels) for labels in found.labels]
    assert by_value[found.chosen] >= 0.95
    assert found.chosen == int(np.argmax(found.modularity))


@pytest.mark.parametrize("gamma", [1.0, 100.0])
@pytest.mark.parametrize("mu", SEC_VALUES)
def test_sec_spans_the_eigenvectors_of_the_dense_matrix(mu, gamma):
    x = digits()
    graph = neighbor_graph(find_neighbors(x))
    found = spectral._sec_embedding(x, graph, 6, gamma, 0)(mu)
    expected = np.linalg.eigh(dense_sec_matrix(x.astype(float), mu, gamma))[1][:, :6]
    # The dense matrix itself loses digits where μ is large: 1e8 times an inverse.
    assert largest_angle(found, expected) < (1e-3 if mu < 1e6 else 1e-2)
    assert adjusted_rand_score(dense_partition(expected), spectral.sec(x, 6, mu, gamma=gamma)) > 0.99


@pytest.mark.parametrize("lam", LDMGI_VALUES)
def test_ldmgi_spans_the_eigenvectors_of_the_dense_matrix(lam):
    x = digits()
    laplacian = spectral._ldmgi_laplacian(x, find_neighbors(x), lam)
    dense = dense_ldmgi_matrix(x.astype(float), lam)
    np.testing.assert_allclose(laplacian.toarray(), dense, atol=1e-6 * dense.max())
    expected = np.linalg.eigh(dense)[1][:, :6]
    assert largest_angle(spectral._smallest_eigenvectors(laplacian, 6, 0), expected) < 1e-3
    assert adjusted_rand_score(dense_partition(expected), spectral.ldmgi(x, 6, lam)) > 0.99


def test_of_more_parts_than_eigenvectors_the_largest_count():
    sizes = (20, 90, 7, 80, 12, 8)
    x = np.concatenate([np.random.default_rng(i).normal(100 * i, 1, (size, 3)) for i, size in enumerate(sizes)])
    laplacian = spectral._normalised_laplacian(neighbor_graph(find_neighbors(x, 7)))
    found = spectral._smallest_eigenvectors(laplacian, 3, 0)
    part = np.repeat(np.arange(len(sizes)), sizes)
    assert [set(part[column != 0]) for column in found.T] == [{1}, {3}, {0}]
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-12)


def test_local_models_do_not_depend_on_the_chunk(monkeypatch):
    x = digits()
    whole = spectral._ldmgi_laplacian(x, find_neighbors(x), 0.1).toarray()
    monkeypatch.setattr(spectral, "CHUNK", 7 * 5 * 64)
    np.testing.assert_allclose(spectral._ldmgi_laplacian(x, find_neighbors(x), 0.1).toarray(), whole, rtol=1e-12)


@pytest.mark.parametrize("factorised_up_to", [0, 1000])
def test_equal_samples_under_a_small_lambda(monkeypatch, factorised_up_to):
    # Eigenvalues from 1e-3 to 1e9: Lanczos alone returns arbitrary vectors here.
    monkeypatch.setattr(spectral, "FACTORISED_UP_TO", factorised_up_to)
    x = digits()
    x[:20] = x[20:40]
    laplacian = spectral._ldmgi_laplacian(x, find_neighbors(x), 1e-8)
    if factorised_up_to:
        found = spectral._smallest_eigenvectors(laplacian, 6, 0)
        _, expected = scipy.linalg.eigh(laplacian.toarray(), subset_by_index=(0, 5))
        assert largest_angle(found, expected) < 1e-2
    else:
        with pytest.warns(RuntimeWarning, match="the eigenvectors have not converged"):
            spectral._smallest_eigenvectors(laplacian, 6, 0)


@pytest.mark.parametrize("method", ["sec", "ldmgi"])
def test_a_value_of_a_sweep_equals_the_value_alone(method):
    x = digits(200)
    found = spectral.sweep(method, x, 5, values=(1e-4, 1.0, 1e4), seed=3)
    assert found.labels.shape == (3, 200)
    assert found.labels.dtype == np.int32
    for value, labels in zip(found.values, found.labels, strict=True):
        np.testing.assert_array_equal(labels, getattr(spectral, method)(x, 5, value, seed=3))


def test_spectral_clustering_agrees_with_scikit_learn():
    x, y = make_blobs(400, 8, centers=4, cluster_std=4.0, random_state=0)
    theirs = SpectralClustering(4, affinity="nearest_neighbors", n_neighbors=10, random_state=0).fit_predict(x)
    assert adjusted_rand_score(theirs, spectral.spectral_clustering(x, 4)) > 0.98
    assert accuracy(y, theirs) > 0.95


@pytest.mark.parametrize("method", ["spectral_clustering", "sec", "ldmgi"])
def test_few_samples_of_many_features(method):
    # Fewer samples than features, and fewer than the iterative solvers take.
    x, y = make_blobs(24, 40, centers=3, cluster_std=0.5, random_state=0)
    labels = {
        "spectral_clustering": lambda: spectral.spectral_clustering(x, 3, n_neighbors=5),
        "sec": lambda: spectral.sec(x, 3, 1e-2),
        "ldmgi": lambda: spectral.ldmgi(x, 3, 1.0),
    }
    assert accuracy(y, labels[method]()) == 1.0


def test_neighbors_are_the_nearest_and_the_sample_itself_comes_first():
    x = np.random.default_rng(0).normal(size=(60, 4))
    x[1] = x[0]
    found = find_neighbors(x, 4)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found[:, 0], np.arange(60))
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.testing.assert_allclose(
        np.take_along_axis(distances, found, axis=1), np.sort(distances, axis=1)[:, :4], atol=1e-7
    )


def test_the_grid_is_that_of_the_papers():
    np.testing.assert_allclose(SEC_VALUES, 10.0 ** np.arange(-8, 9, 2))
    assert LDMGI_VALUES == SEC_VALUES


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "kmeans"}, ValueError, "unknown method 'kmeans'"),
        ({"values": (1.0, 0.0)}, ValueError, "values must be above 0, got 0.0"),
        ({"values": (-1.0,)}, ValueError, "values must be above 0, got -1.0"),
        ({"values": (np.nan,)}, ValueError, "values must be above 0, got nan"),
        ({"values": ("1",)}, TypeError, "values must be a number, got '1'"),
        ({"values": ()}, ValueError, "values must hold at least one number, got none"),
        ({"gamma": 0.0}, ValueError, "gamma must be above 0, got 0.0"),
        ({"n_neighbors": 41}, ValueError, r"n_neighbors must be between 2 and 40 \(the number of samples"),
        ({"n_neighbors": 1}, ValueError, "n_neighbors must be between 2 and 40"),
        ({"neighbors": np.zeros((39, 5), int)}, ValueError, r"neighbors must have shape \(40, 2 to 40\)"),
        ({"neighbors": np.zeros((40, 5), int)}, ValueError, "column 0 the sample itself"),
        ({"neighbors": np.zeros((40, 5))}, TypeError, "neighbors must be integers, got dtype float64"),
    ],
)
def test_bad_sweeps(arguments, error, message):
    with pytest.raises(error, match=message):
        spectral.sweep(**{"method": "ldmgi", "x": digits(40), "n_clusters": 2, **arguments})
