"""The embedding laid out in the plane, for the pictures and the report alike."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from dec_jax.validation import check_integer, check_labels

MAX_LAID_OUT = 2000  # by t-SNE, whose time grows fast; more samples are placed among these
SURE = 5  # samples of each cluster that are shown before others
N_NEIGHBORS = 3  # among which a sample is placed


class Plane(NamedTuple):
    """Samples in the plane.

    Attributes:
        rows: (s,) int64, the samples that are shown, in random order, so that no cluster is painted over all others.
        points: (s, 2), where they lie.
        centres: (k, 2), where the centroids lie; (0, 2) without any.
        n_dimensions: of the embedding.
    """

    rows: np.ndarray
    points: np.ndarray
    centres: np.ndarray
    n_dimensions: int

    @property
    def axes(self) -> tuple[str, str]:
        """What the two axes are called."""
        if self.n_dimensions == 2:
            return "z₁", "z₂"
        if self.n_dimensions == 1:
            return "z", "one band for each cluster"
        return f"t-SNE of {self.n_dimensions} dimensions", ""


def lay_out(z: Any, labels: Any, *, seed: int = 0, max_samples: int = 5000, centroids: Any = None) -> Plane:
    """Returns the embedding in the plane; the same one for the same arguments.

    Two dimensions stay as they are, one is spread out with a band for each cluster, more are laid out by t-SNE.

    Args:
        z: (n, m), float, the embedding.
        labels: (n,), integers, the cluster of each sample.
        seed: fixes the subsample, the jitter and the t-SNE.
        max_samples: a random subsample of this size is shown where there are more, some of every cluster among them.
        centroids: (k, m), float, laid out too.

    Raises:
        ValueError: `z` is not a finite matrix, or `labels` does not hold one label per sample.
    """
    z = finite_matrix("z", z)
    labels = check_labels(labels, len(z))
    centroids = np.empty((0, z.shape[1])) if centroids is None else finite_matrix("centroids", centroids)
    random = np.random.default_rng(seed)
    rows = _subsample(labels, check_integer("max_samples", max_samples, 1), random)
    n_free = min(len(rows), MAX_LAID_OUT) if z.shape[1] > 2 else len(rows)
    bands = np.append(labels[rows] + random.uniform(-0.3, 0.3, len(rows)), np.arange(len(centroids)))
    points = _plane(np.concatenate([z[rows[:n_free]], centroids]), bands, seed)
    points, centres = points[:n_free], points[n_free:]
    if n_free < len(rows):
        points = np.concatenate([points, _placed(z[rows[n_free:]], z[rows[:n_free]], points)])
    return Plane(rows, points, centres, z.shape[1])


def finite_matrix(name: str, values: Any) -> np.ndarray:
    """Returns the values as an array.

    Raises:
        ValueError: they are not a matrix, or empty, or not finite.
    """
    values = np.asarray(values)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"{name} must be a finite matrix that is not empty, got shape {values.shape}")
    return values


def _subsample(labels: np.ndarray, n: int, random: np.random.Generator) -> np.ndarray:
    """At most n rows in random order, but for the first few of every cluster, which come before the others."""
    order = random.permutation(len(labels))
    by_cluster = order[np.argsort(labels[order], kind="stable")]
    _, starts, sizes = np.unique(labels[by_cluster], return_index=True, return_counts=True)
    rank = np.empty(len(labels), np.int64)
    rank[by_cluster] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return order[np.argsort(np.minimum(rank[order], SURE), kind="stable")][:n]


def _plane(z: np.ndarray, bands: np.ndarray, seed: int) -> np.ndarray:
    """Lays points (n, m) out in the plane, (n, 2); `bands` (n,) are their heights where m = 1."""
    if z.shape[1] == 1:
        return np.column_stack([z, bands])
    if z.shape[1] == 2 or not np.ptp(z, axis=0).any():  # t-SNE divides by the spread, 0 where all collapsed
        return z[:, :2]
    perplexity = min(30.0, max(1.0, (len(z) - 1) / 3))
    layout = TSNE(init="pca", random_state=seed, perplexity=perplexity, max_iter=500)
    with threadpool_limits(1):  # its threads spin: on shared cores two of them take four times as long as one
        return layout.fit_transform(z)


def _placed(z: np.ndarray, known: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 2) for z (n, m): the mean of those of the nearest known ones (s, m), nearer ones counting more."""
    distances, nearest = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(known).kneighbors(z)
    weights = 1 / np.maximum(distances, 1e-9)
    weights /= weights.sum(axis=1, keepdims=True)
    return (weights[..., None] * points[nearest]).sum(axis=1)
