import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import make_blobs

from dec_jax import n2d
from dec_jax.neighbor_graph import modularity, neighbor_graph


def test_graph_is_symmetric_and_without_loops():
    graph = neighbor_graph(np.array([[0, 1], [1, 2], [2, 1]])).toarray()
    np.testing.assert_array_equal(graph, [[0, 0.5, 0], [0.5, 0, 1], [0, 1, 0]])


def test_modularity_by_hand():
    # Two pairs of samples with one edge between them.
    graph = scipy.sparse.csr_array(np.array([[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 2], [0, 0, 2, 0]], float))
    assert modularity(graph, np.array([0, 0, 1, 1])) == pytest.approx(0.8 - 0.5)
    assert modularity(graph, np.zeros(4, int)) == pytest.approx(0)
    assert modularity(graph, np.array([0, 1, 0, 1])) == pytest.approx(0 - 0.5)


def test_modularity_gives_nothing_for_stray_samples():
    x, y = make_blobs(200, 4, centers=2, cluster_std=0.5, random_state=0)
    graph = neighbor_graph(n2d.neighbors(x, 5).indices)
    stray = np.zeros(200, int)
    stray[0] = 1
    assert modularity(graph, stray) < 0.05 < modularity(graph, y)
