"""What sets clusters apart: the standardised mean difference of each feature."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

VALUES_AT_A_TIME = 2**22  # of samples as float64
ROUNDING = 1e-14  # of a mean, by which equal ones may differ


class Contrast(NamedTuple):
    """Clusters against all other samples, feature by feature; all float64 of shape (k, d), NaN for an empty cluster.

    Attributes:
        mean: in the cluster.
        rest: mean of all other samples.
        difference: (mean − rest) / √((variance in the cluster + variance of the rest) / 2), Cohen's d; 0 where neither
            varies and the means are equal, ±∞ where they are not.
    """

    mean: np.ndarray
    rest: np.ndarray
    difference: np.ndarray


def contrast(x: Any, labels: np.ndarray, n_clusters: int) -> Contrast:
    """Returns how the features of each cluster differ from those of all other samples.

    Args:
        x: (n, d), real numbers, dense or scipy sparse.
        labels: (n,), integers from 0 to k − 1.
        n_clusters: k.
    """
    sparse = scipy.sparse.issparse(x)
    # Around the middle, so that a large offset does not eat the variance; a sparse matrix stays as it is.
    centre = np.zeros(x.shape[1]) if sparse else np.mean(x, axis=0, dtype=np.float64)
    sums, squares = np.zeros((2, n_clusters, x.shape[1]))
    step = max(1, VALUES_AT_A_TIME // x.shape[1])
    for start in range(0, x.shape[0], step):
        part = labels[start : start + step]
        members = scipy.sparse.csr_array(
            (np.ones(len(part)), part, np.arange(len(part) + 1)), shape=(len(part), n_clusters)
        ).T
        rows = x[start : start + step].astype(np.float64)
        rows = rows if sparse else rows - centre
        sums += _dense(members @ rows)
        squares += _dense(members @ rows**2)
    sizes = np.bincount(labels, minlength=n_clusters)[:, None].astype(np.float64)
    with np.errstate(all="ignore"):
        mean, variance = _moments(sums, squares, sizes)
        rest, variance_of_rest = _moments(sums.sum(axis=0) - sums, squares.sum(axis=0) - squares, sizes.sum() - sizes)
        difference = (mean - rest) / np.sqrt((variance + variance_of_rest) / 2)
    difference[np.abs(mean - rest) <= ROUNDING * np.abs(centre)] = 0
    return Contrast(mean + centre, rest + centre, difference)


def _moments(sums: np.ndarray, squares: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = sums / sizes
    return mean, np.maximum(squares / sizes - mean**2, 0)


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if scipy.sparse.issparse(values) else np.asarray(values)
