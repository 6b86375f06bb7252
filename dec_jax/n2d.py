"""A partition of an embedding by its manifold, where k-means sees balls.

After McConville et al., "N2D: (Not Too) Deep Clustering via Clustering the Local Manifold of an Autoencoded Embedding",
ICPR 2020: UMAP lays the embedding out in as many dimensions as there are clusters, and a Gaussian mixture parts that.
`dec_jax.starts.from_labels` starts clustering from it. It takes no labels of samples.

All functions raise a TypeError or a ValueError that names the parameter where it has the wrong type or is out of range.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from dec_jax.data.extras import need
from dec_jax.graph import modularity, neighbor_graph
from dec_jax.neighbors import Neighbors, nearest
from dec_jax.validation import check_integer, check_samples

N_NEIGHBORS = 20
N_RESTARTS = 50
PATIENCE = 8
FITTED_TO = 10_000
SMALLEST_VARIANCE = 0.01  # without minimal distances a layout has places with hardly any, where likelihood has no bound


def n2d(z: Any, n_clusters: int, *, seed: int = 0, metric: str = "euclidean") -> np.ndarray:
    """Labels (n,) int32 of z (n, m): `mixture` of the `layout`, in k dimensions, of its `neighbors`.

    Args:
        z: (n, m) embedding, or the samples themselves, dense or sparse.
        n_clusters: k, between 2 and n − 1.
        seed: fixes the labels.
        metric: of the neighbours, one of `dec_jax.neighbors.METRICS`.

    Raises:
        ImportError: umap-learn is missing.
    """
    check_integer("n_clusters", n_clusters, 2, z.shape[0] - 1, why="one less than the number of samples")
    near = neighbors(z, metric=metric)
    return mixture(layout(z, n_clusters, near, seed=seed), near, n_clusters, seed=seed)


def neighbors(z: Any, n_neighbors: int = N_NEIGHBORS, *, metric: str = "euclidean") -> Neighbors:
    """The κ nearest samples of each sample.

    Args:
        z: (n, m) embedding or samples.
        n_neighbors: κ, at least 2; n where there are fewer samples.
        metric: one of `dec_jax.neighbors.METRICS`.
    """
    z = check_samples(z, "z")
    check_integer("n_neighbors", n_neighbors, 2)
    return nearest(z, min(n_neighbors, z.shape[0]), metric=metric)


def layout(z: Any, n_dimensions: int, near: Neighbors, *, seed: int = 0) -> np.ndarray:
    """Where UMAP lays the embedding out (n, n_dimensions) float32, with minimal distance 0.

    One seed always gives the same layout, which keeps UMAP to one core: about a minute for 70,000 samples.

    Args:
        z: (n, m) embedding.
        n_dimensions: at least 1.
        near: the `neighbors` of z.
        seed: of the layout.

    Raises:
        ImportError: umap-learn is missing.
    """
    umap = import_umap()
    z = check_samples(z, "z")
    check_integer("n_dimensions", n_dimensions, 1)
    check_integer("seed", seed, 0, 2**32 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed costs it its threads, and that no sample can be added later
        reducer = umap.UMAP(
            n_neighbors=near.indices.shape[1],
            n_components=n_dimensions,
            min_dist=0.0,
            random_state=seed,
            precomputed_knn=(near.indices, near.distances, None),
            force_approximation_algorithm=True,  # or the neighbours would be searched for anew among few samples
        )
        return reducer.fit_transform(z)


def mixture(
    laid_out: np.ndarray, near: Neighbors, n_clusters: int, *, seed: int = 0, n_restarts: int = N_RESTARTS
) -> np.ndarray:
    """Labels (n,) int32 of the best of several mixtures of Gaussians with covariances of their own.

    One mixture alone, as in N2D, often joins two clusters and halves a third. The likeliest of many still does, where
    the layout is thin somewhere. So the best is the one with the highest modularity on the graph of the neighbors. Each
    is fitted to 10,000 of the samples, drawn anew, and no more are fitted once `PATIENCE` in turn were not better.

    Args:
        laid_out: (n, m), from `layout`.
        near: the `neighbors` that were laid out.
        n_clusters: k, between 1 and n.
        seed: of the mixtures.
        n_restarts: how many there are at most, at least 1.
    """
    laid_out = check_samples(laid_out, "laid_out").astype(np.float64)
    check_integer("n_clusters", n_clusters, 1, len(laid_out), why="the number of samples")
    check_integer("seed", seed, 0, 2**32 - 1)
    check_integer("n_restarts", n_restarts, 1)
    rng = np.random.default_rng(seed)
    graph = neighbor_graph(near.indices)
    best, highest, in_vain = None, -np.inf, 0
    for _ in range(n_restarts):
        labels = _mixture(rng, laid_out, n_clusters)
        reached = modularity(graph, labels)
        if reached > highest:
            best, highest, in_vain = labels, reached, 0
        else:
            in_vain += 1
        if in_vain == PATIENCE:
            break
    return best.astype(np.int32)


def _mixture(rng: np.random.Generator, laid_out: np.ndarray, n_clusters: int) -> np.ndarray:
    rows = rng.permutation(len(laid_out))[: max(FITTED_TO, n_clusters)]
    found = GaussianMixture(n_clusters, reg_covar=SMALLEST_VARIANCE, random_state=int(rng.integers(2**32)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # modularity judges the partition, however it was found
        return found.fit(laid_out[rows]).predict(laid_out)


def import_umap() -> Any:
    """The module umap.

    Raises:
        ImportError: it is missing.
    """
    return need("umap", "n2d", "n2d", "umap-learn")
