"""The graph that joins samples to their nearest ones, and how well a partition keeps such neighbours together."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
from sklearn.neighbors import NearestNeighbors


class Neighbors(NamedTuple):
    """The nearest samples of each sample, itself the first.

    Attributes:
        indices: (n, κ) integers.
        distances: (n, κ), Euclidean.
    """

    indices: np.ndarray
    distances: np.ndarray


def nearest(x: np.ndarray | scipy.sparse.sparray, n_neighbors: int, *, n_jobs: int | None = None) -> Neighbors:
    """The κ nearest samples of each sample, itself the first, also where others are equal to it.

    Args:
        x: (n, d), dense or sparse, without NaN.
        n_neighbors: κ, between 2 and n.
        n_jobs: of scikit-learn's NearestNeighbors.
    """
    distances, indices = NearestNeighbors(n_neighbors=n_neighbors - 1, n_jobs=n_jobs).fit(x).kneighbors()
    own = np.arange(x.shape[0])  # left out by scikit-learn where no other samples are asked about
    return Neighbors(np.column_stack([own, indices]), np.column_stack([np.zeros(len(own)), distances]))


def neighbor_graph(neighbors: np.ndarray) -> scipy.sparse.csr_array:
    """The symmetric graph of neighbourhoods: (A + Aᵀ)/2 with A_ij = 1 where j ≠ i is a neighbour of i.

    Args:
        neighbors: (n, κ), the indices of `nearest`.

    Returns:
        (n, n), sparse, float64.
    """
    n, width = neighbors.shape
    row = np.repeat(np.arange(n, dtype=np.int32), width - 1)
    directed = scipy.sparse.csr_array((np.ones(len(row)), (row, neighbors[:, 1:].ravel())), shape=(n, n))
    return ((directed + directed.T) / 2).tocsr()


def modularity(graph: scipy.sparse.csr_array, labels: np.ndarray) -> float:
    """The edges inside clusters beyond those expected at random (Newman and Girvan 2004).

        Σ_c A_cc / Σ A − (Σ_{i∈c} degree_i / Σ A)²

    Args:
        graph: (n, n), sparse, symmetric, at least 0.
        labels: (n,), integers of at least 0.

    Returns:
        In [−0.5, 1): 0 where all samples share a cluster; stray samples as clusters of their own gain nothing.
    """
    degree = np.asarray(graph.sum(axis=1))
    edges = graph.tocoo()
    row, column = edges.coords
    inside = edges.data[labels[row] == labels[column]].sum()
    return float(inside / degree.sum() - np.sum((np.bincount(labels, degree) / degree.sum()) ** 2))
