"""A mixture of Gaussians as the partition of samples, where the samples are one.

Heaps that overlap are parted more exactly by their densities than by the graph of neighbours, in which the border
between them is no thin place. Clusters of another form take several Gaussians each, and so a mixture of more than k
describes them better.
"""

import math
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from dec_jax.validation import check_integer, check_labels, check_samples

OBLIQUE, UPRIGHT = ("tied", "full"), ("spherical", "diag")  # covariances with correlations, and without
MORE = (1.5, 2, 3)  # times k Gaussians
SMALLEST_VARIANCE = 1e-3  # of standardised features
MOST_FEATURES = 64
LEAST_SAMPLES = 20  # of each cluster, on average
CHOSEN_BY, FITTED_TO = 2000, 20_000  # samples at most
RELATED = 0.25  # adjusted Rand index of the two partitions
SURE = 0.94  # mean of the largest posterior probability


def partition(x: np.ndarray, n_clusters: int, by_graph: np.ndarray, *, seed: int = 0) -> np.ndarray | None:
    """The components of a mixture of k Gaussians, where these describe the samples best.

    Expectation maximisation finds mixtures from the partition of the graph and from k-means; their Gaussians share a
    covariance, or have one each. The best by the Bayesian information criterion has to beat mixtures of k Gaussians
    without correlations, and of k + 1, 1.5 k, 2 k and 3 k of any kind (McLachlan and Peel 2000). And it has to be
    related to the partition of the graph, or sure of nearly all samples: two halves of rings in rings are neither.

    Args:
        x: (n, d), dense.
        n_clusters: k, between 1 and n.
        by_graph: (n,), clusters from 0 to k − 1.
        seed: of k-means, of the other mixtures, and of the 2,000 samples by which it is chosen.

    Returns:
        (n,) int32, clusters from 0 to k − 1; None where the samples are no such mixture, have more than 64 features, or
        are fewer than 20 a cluster, also of the 2,000.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
    """
    x = check_samples(x, varying=False).astype(np.float64)
    n, d = x.shape
    check_integer("n_clusters", n_clusters, 1, n, why="the number of samples")
    by_graph = check_labels(by_graph, n)
    if n_clusters == 1 or d > MOST_FEATURES or min(n, CHOSEN_BY) < LEAST_SAMPLES * n_clusters:
        return None
    x = StandardScaler().fit_transform(x / (np.abs(x).max() or 1))  # first, so that squares of large numbers are finite
    rows = np.random.default_rng(seed).permutation(n)[:FITTED_TO]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the criterion judges it, however it was found
        best = _best(x[rows[:CHOSEN_BY]], n_clusters, by_graph[rows[:CHOSEN_BY]], seed)
        if best is None:
            return None
        found = _from_labels(x[rows], best.covariance_type, best.predict(x[rows]), n_clusters).fit(x[rows])
        posterior = found.predict_proba(x)
    labels = posterior.argmax(axis=1).astype(np.int32)
    if adjusted_rand_score(by_graph, labels) < RELATED and posterior.max(axis=1).mean() < SURE:
        return None
    return labels


def _best(x: np.ndarray, n_clusters: int, by_graph: np.ndarray, seed: int) -> GaussianMixture | None:
    """The best mixture of k Gaussians with correlations, fitted to x; None where another mixture is better."""
    starts = by_graph, KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(x)
    found = [_from_labels(x, kind, start, n_clusters).fit(x) for kind in OBLIQUE for start in starts]
    reached = [mixture.bic(x) for mixture in found]
    if any(other.fit(x).bic(x) < min(reached) for other in _others(n_clusters, x.shape, seed)):
        return None
    return found[int(np.argmin(reached))]


def _others(n_clusters: int, shape: tuple[int, int], seed: int) -> Iterator[GaussianMixture]:
    """The mixtures that it has to beat, the quickest first: of one feature all kinds of k Gaussians are one."""
    n_samples, n_features = shape
    sizes = sorted({n_clusters + 1, *(math.ceil(times * n_clusters) for times in MORE)})
    tried = [(size, kind) for kind in UPRIGHT for size in ((n_clusters, *sizes) if n_features > 1 else sizes)]
    tried += [(size, kind) for kind in OBLIQUE for size in sizes]
    for size, kind in tried:
        if size <= n_samples:
            yield GaussianMixture(size, covariance_type=kind, reg_covar=SMALLEST_VARIANCE, random_state=seed)


def _from_labels(x: np.ndarray, kind: str, labels: np.ndarray, n_clusters: int) -> GaussianMixture:
    """A mixture that starts from clusters (n,): their shares, means and covariances."""
    member = np.eye(n_clusters)[labels]
    sizes = member.sum(axis=0) + 10 * np.finfo(float).eps
    means = member.T @ x / sizes[:, None]
    apart = x - means[labels]
    if kind == "tied":
        covariances = apart.T @ apart / len(x)
    else:
        covariances = np.stack([(apart * of_one).T @ apart for of_one in member.T[:, :, None]]) / sizes[:, None, None]
    return GaussianMixture(
        n_clusters,
        covariance_type=kind,
        reg_covar=SMALLEST_VARIANCE,
        weights_init=sizes / sizes.sum(),
        means_init=means,
        precisions_init=np.linalg.inv(covariances + SMALLEST_VARIANCE * np.eye(x.shape[1])),
    )
