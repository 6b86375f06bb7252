import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score

from dec_jax.metrics import accuracy
from experiments import baselines, spectral

pytestmark = pytest.mark.slow

METHODS = (*baselines.METHODS, *spectral.METHODS)
CLUSTERINGS = {
    "kmeans": baselines.kmeans,
    "gaussian_mixture": baselines.gaussian_mixture,
    "pca_kmeans": lambda x, k, **options: baselines.pca_kmeans(x, k, n_components=5, **options),
    "spectral_clustering": spectral.spectral_clustering,
    "sec": lambda x, k, **options: spectral.sec(x, k, 1e-2, **options),
    "ldmgi": lambda x, k, **options: spectral.ldmgi(x, k, 1.0, **options),
}
SPARSE = sorted(set(CLUSTERINGS) - {"gaussian_mixture"})


def memory_needed(method, *sizes, **options):
    return (spectral if method in spectral.METHODS else baselines).memory_needed(method, *sizes, **options)


def digits(n=300):
    # Pixels are integers, and many distances equal: the noise makes neighbours unique.
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(n, 64))
    return (load_digits().data[:n] / 16 + noise).astype(np.float32)


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_blobs_are_found_and_a_seed_fixes_the_labels(method):
    x, y = make_blobs(240, 6, centers=3, cluster_std=0.5, random_state=0)
    first, second = (CLUSTERINGS[method](x.astype(np.float32), 3, seed=5) for _ in range(2))
    assert accuracy(y, first) == 1.0
    assert first.shape == (240,)
    assert first.dtype == np.int32
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("method", SPARSE)
def test_sparse_samples_give_the_labels_of_dense_ones(method, kind):
    x = digits()
    dense = CLUSTERINGS[method](x, 6)
    assert adjusted_rand_score(dense, CLUSTERINGS[method](kind(x), 6)) > 0.99


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_one_cluster_and_integers(method):
    labels = CLUSTERINGS[method]((load_digits().data[:80]).astype(np.uint8), 1)
    np.testing.assert_array_equal(labels, np.zeros(80))


@pytest.mark.parametrize("method", METHODS)
def test_memory_grows_linearly_with_the_samples(method):
    # A fixed part, and the same for every further sample.
    needed = [memory_needed(method, n, 784) for n in (10_000, 20_000, 30_000)]
    assert needed[2] - needed[1] == needed[1] - needed[0] > 0
    assert memory_needed(method, 70_000, 784) < 16e9


@pytest.mark.parametrize("method", METHODS)
def test_memory_is_what_a_run_allocates(method, monkeypatch):
    monkeypatch.setattr(spectral, "CHUNK", 2**16)  # or it would be most of what LDMGI takes here
    x = np.random.default_rng(0).normal(size=(2000, 300)).astype(np.float32)
    CLUSTERINGS[method](x[:200], 3)  # what is imported and cached on the first call
    tracemalloc.start()
    CLUSTERINGS[method](x, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    needed = memory_needed(method, 2000, 300, **({"n_neighbors": 10} if method == "spectral_clustering" else {}))
    assert peak <= needed
    # PCA is content with the covariance where samples are many, as they are not on other data.
    assert needed <= (40 if method == "pca_kmeans" else 3) * peak


def test_memory_refuses_unknown_methods_and_sizes():
    with pytest.raises(ValueError, match="unknown method 'ldgmi'; did you mean 'ldmgi'"):
        spectral.memory_needed("ldgmi", 100, 10)
    with pytest.raises(ValueError, match="unknown method 'kmean'; did you mean 'kmeans'"):
        baselines.memory_needed("kmean", 100, 10)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        memory_needed("sec", 0, 10)


@pytest.mark.parametrize("method", CLUSTERINGS)
@pytest.mark.parametrize(
    ("k", "options", "error", "message"),
    [
        (0, {}, ValueError, r"n_clusters must be between 1 and 40 \(the number of samples\), got 0"),
        (41, {}, ValueError, "n_clusters must be between 1 and 40"),
        (2.0, {}, TypeError, "n_clusters must be an integer, got 2.0"),
        (2, {"seed": -1}, ValueError, "seed must be between 0 and 4294967295, got -1"),
    ],
)
def test_bad_clusters_and_seeds(method, k, options, error, message):
    with pytest.raises(error, match=message):
        CLUSTERINGS[method](digits(40), k, **options)


@pytest.mark.parametrize("method", CLUSTERINGS)
def test_bad_samples(method):
    x = digits(40)
    x[7, 3] = np.nan
    with pytest.raises(ValueError, match="x must be finite, got 1 NaN or infinite values, the first in row 7"):
        CLUSTERINGS[method](x, 2)
    with pytest.raises(ValueError, match=r"x must be two-dimensional \(samples, features\), got shape \(40,\)"):
        CLUSTERINGS[method](x[:, 0], 2)


def test_bad_options():
    x = digits(40)
    with pytest.raises(ValueError, match="n_components must be between 1 and 40"):
        baselines.pca_kmeans(x, 2, n_components=41)
    with pytest.raises(ValueError, match="n_components must be between 1 and 39"):
        baselines.pca_kmeans(scipy.sparse.csr_array(x), 2, n_components=40)
    with pytest.raises(ValueError, match="n_restarts must be at least 1, got 0"):
        baselines.kmeans(x, 2, n_restarts=0)
    with pytest.raises(ValueError, match="unknown covariance 'diagonal'; did you mean 'diag'"):
        baselines.gaussian_mixture(x, 2, covariance="diagonal")
    with pytest.raises(TypeError, match="x must be a dense array, got csr_array"):
        baselines.gaussian_mixture(scipy.sparse.csr_array(x), 2)
