"""The graph that joins samples to their nearest ones, and how well a partition keeps such neighbours together."""

import numpy as np
import scipy.sparse


def neighbor_graph(neighbors: np.ndarray) -> scipy.sparse.csr_array:
    """The symmetric graph of neighbourhoods: (A + Aᵀ)/2 with A_ij = 1 where j ≠ i is a neighbour of i.

    Args:
        neighbors: (n, n_neighbors), the nearest samples of each, itself the first.

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
