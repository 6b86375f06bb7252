"""Simple baselines of the DEC paper (Xie et al. 2016, table 2): k-means, mixtures, PCA; no labels in here.

Samples are (n, d), numpy or scipy sparse, scaled by the caller. All functions raise a TypeError or a ValueError that
names the parameter where it has the wrong type or is out of range: n_clusters lies between 1 and n, and x has no NaN.
"""

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from dec_jax.validation import check_choice, check_integer, check_samples

METHODS = ("kmeans", "gaussian_mixture", "pca_kmeans")
COVARIANCES = ("full", "tied", "diag", "spherical")
N_RESTARTS = 20
NUMBER = 8  # bytes


def kmeans(x: Any, n_clusters: int, *, seed: int = 0, n_restarts: int = N_RESTARTS) -> np.ndarray:
    """scikit-learn's k-means, the best of several restarts.

    Args:
        x: (n, d), dense or sparse.
        n_clusters: k.
        seed: of the restarts.
        n_restarts: at least 1.

    Returns:
        (n,) int32.
    """
    x = check(x, n_clusters, seed)
    check_integer("n_restarts", n_restarts, 1)
    return run_kmeans(x, n_clusters, seed, n_restarts)


def gaussian_mixture(
    x: Any, n_clusters: int, *, seed: int = 0, covariance: str = "diag", n_restarts: int = 1
) -> np.ndarray:
    """The most probable component of a mixture of Gaussians, fitted by EM from k-means.

    Args:
        x: (n, d), dense.
        n_clusters: number of components.
        seed: of the k-means that EM starts from.
        covariance: one of COVARIANCES; "full" takes n·d² operations per component and iteration.
        n_restarts: at least 1; the likeliest mixture counts.

    Returns:
        (n,) int32.
    """
    x = check(x, n_clusters, seed, sparse=False)
    check_choice("covariance", covariance, COVARIANCES)
    check_integer("n_restarts", n_restarts, 1)
    # A covariance of float32 loses its positive definiteness where features hardly vary.
    mixture = GaussianMixture(n_clusters, covariance_type=covariance, n_init=n_restarts, random_state=seed)
    return mixture.fit_predict(x.astype(np.float64)).astype(np.int32)


def pca_kmeans(
    x: Any, n_clusters: int, *, seed: int = 0, n_components: int = 10, n_restarts: int = N_RESTARTS
) -> np.ndarray:
    """k-means on the first principal components.

    Args:
        x: (n, d), dense or sparse (which stays sparse).
        n_clusters: k.
        seed: of the restarts, and of the decomposition where it is a random one.
        n_components: between 1 and min(n, d), or one less where x is sparse; 10 is the size of DEC's embedding.
        n_restarts: at least 1.

    Returns:
        (n,) int32.
    """
    x = check(x, n_clusters, seed)
    sparse = scipy.sparse.issparse(x)
    check_integer("n_components", n_components, 1, min(x.shape) - sparse, why="samples and features")
    check_integer("n_restarts", n_restarts, 1)
    z = PCA(n_components, svd_solver="arpack" if sparse else "auto", random_state=seed).fit_transform(x)
    return run_kmeans(z, n_clusters, seed, n_restarts)


def memory_needed(method: str, n: int, d: int, *, n_clusters: int = 10) -> int:
    """What a baseline allocates at its peak, besides x itself; to skip what does not fit.

    An estimate from the sizes of the arrays, for dense float32 samples and default options, linear in n where d is
    smaller. The libraries are not in it.

    Args:
        method: one of METHODS.
        n: number of samples, at least 1.
        d: number of features, at least 1.
        n_clusters: k.

    Returns:
        Bytes.
    """
    check_choice("method", method, METHODS)
    for name, value in (("n", n), ("d", d), ("n_clusters", n_clusters)):
        check_integer(name, value, 1)
    copies = 3 if method == "gaussian_mixture" else 2
    return copies * n * d * NUMBER + d * d * NUMBER + memory_of_kmeans(n, n_clusters)


def memory_of_kmeans(n: int, n_clusters: int) -> int:
    """Bytes of k-means on n samples, without copies of them."""
    return n * (3 * n_clusters + 4) * NUMBER


def run_kmeans(x: Any, n_clusters: int, seed: int, n_restarts: int = N_RESTARTS) -> np.ndarray:
    """`kmeans` of arguments that have been checked."""
    return KMeans(n_clusters, n_init=n_restarts, random_state=seed).fit(x).labels_.astype(np.int32)


def check(x: Any, n_clusters: int, seed: int, *, sparse: bool = True) -> Any:
    """The samples as floats, once all arguments that every baseline has are as they should be."""
    if not sparse and scipy.sparse.issparse(x):
        raise TypeError(f"x must be a dense array, got {type(x).__name__}")
    x = floats(check_samples(x))
    check_integer("n_clusters", n_clusters, 1, x.shape[0], why="the number of samples")
    check_integer("seed", seed, 0, 2**32 - 1)
    return x


def floats(x: Any) -> Any:
    """The samples as floats; integers become float64."""
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
