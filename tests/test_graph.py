import itertools
import random

import igraph
import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import brentq
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score

from dec_jax import graph
from dec_jax.metrics import accuracy
from dec_jax.neighbors import METRICS, nearest


def test_graph_is_symmetric_and_without_loops():
    joined = graph.neighbor_graph(np.array([[0, 1], [1, 2], [2, 1]])).toarray()
    np.testing.assert_array_equal(joined, [[0, 0.5, 0], [0.5, 0, 1], [0, 1, 0]])


def test_modularity_by_hand():
    # Two pairs of samples with one edge between them.
    pairs = scipy.sparse.csr_array(np.array([[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 2], [0, 0, 2, 0]], float))
    assert graph.modularity(pairs, np.array([0, 0, 1, 1])) == pytest.approx(0.8 - 0.5)
    assert graph.modularity(pairs, np.zeros(4, int)) == pytest.approx(0)
    assert graph.modularity(pairs, np.array([0, 1, 0, 1])) == pytest.approx(0 - 0.5)


def test_modularity_gives_nothing_for_stray_samples():
    x, y = make_blobs(200, 4, centers=2, cluster_std=0.5, random_state=0)
    joined = graph.neighbor_graph(nearest(x, 5).indices)
    stray = np.zeros(200, int)
    stray[0] = 1
    assert graph.modularity(joined, stray) < 0.05 < graph.modularity(joined, y)


def test_fuzzy_weights_are_those_of_a_plain_loop():
    near = nearest(np.random.default_rng(0).normal(size=(40, 3)), 6)
    directed = np.zeros((40, 40))
    for i, (others, distances) in enumerate(zip(near.indices[:, 1:], near.distances[:, 1:], strict=True)):
        beyond = distances.astype(float) - distances[0]
        scale = brentq(lambda s, beyond=beyond: np.exp(-beyond / s).sum() - np.log2(5), 1e-6, 1e3, xtol=1e-12)
        directed[i, others] = np.exp(-beyond / scale)
    expected = directed + directed.T - directed * directed.T
    np.testing.assert_allclose(graph.fuzzy_graph(near).toarray(), expected, atol=1e-6)


@pytest.mark.parametrize("width", [2, 4])
def test_fuzzy_weights_of_equal_distances_are_1(width):
    near = nearest(np.zeros((8, 2)), width)
    assert set(graph.fuzzy_graph(near).data) == {1.0}


def test_a_diffusion_map_weighs_eigenvectors_by_powers_of_their_eigenvalues():
    joined = graph.fuzzy_graph(nearest(np.random.default_rng(0).normal(size=(60, 3)), 6))
    degree = joined.sum(axis=1)
    values = np.sort(np.linalg.eigvalsh(joined.toarray() / np.sqrt(np.outer(degree, degree))))[::-1]
    now, later = (graph.spectral_embedding(joined, 4, time=time) for time in (0, 3))
    np.testing.assert_allclose(later, now * values[:4] ** 3, atol=1e-9)


def rings(n=300):
    """Two rings, one in the other, and their graph: no two balls part them."""
    rng = np.random.default_rng(0)
    angle, inner = rng.uniform(0, 2 * np.pi, n), np.arange(n) < n // 2
    radius = np.where(inner, 1.0, 3.0) + rng.normal(0, 0.05, n)
    x = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return graph.neighbor_graph(nearest(x, 10).indices), inner.astype(int)


@pytest.mark.parametrize("partition", [graph.leiden, graph.spectral])
def test_the_graph_falls_apart_where_no_edge_joins_it(partition):
    joined, y = rings()
    labels = partition(joined, 2)
    assert labels.dtype == np.int32
    assert adjusted_rand_score(y, labels) == 1


@pytest.mark.parametrize("partition", [graph.leiden, graph.spectral])
def test_a_seed_fixes_the_partition(partition):
    x = np.random.default_rng(0).normal(size=(200, 2))  # which no partition suits best
    joined = graph.neighbor_graph(nearest(x, 8).indices)
    labels = partition(joined, 5, seed=3)
    assert set(labels) == set(range(5))
    np.testing.assert_array_equal(partition(joined, 5, seed=3), labels)
    assert adjusted_rand_score(partition(joined, 5, seed=4), labels) < 1


def test_leiden_parts_digits_better_than_nine_in_ten():
    x, y = load_digits(return_X_y=True)
    joined = graph.neighbor_graph(nearest(x, 6).indices)
    scores = [adjusted_rand_score(y, graph.leiden(joined, 10, seed=seed)) for seed in range(3)]
    assert np.mean(scores) > 0.85


def test_parts_that_nothing_joins_are_merged_to_as_many_clusters_as_asked():
    x = 100 * np.repeat(np.arange(6.0), 10)[:, None] + np.random.default_rng(0).normal(size=(60, 1))
    joined = graph.neighbor_graph(nearest(x, 5).indices)
    labels = graph.leiden(joined, 3)
    assert set(labels) == {0, 1, 2}
    assert all(len(set(part)) == 1 for part in labels.reshape(6, 10))


def large_and_small(n=3000, m=10, d=5):
    """A cluster and one of m samples far from it, in some order: samples and classes."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n + m, d)), (np.arange(n + m) >= n).astype(int)
    x[:, 0] += 10 * y
    order = rng.permutation(n + m)
    return x[order], y[order]


def graphs_of(x):
    near = nearest(x, 21)
    return {sight: graph.neighbor_graph(near.indices[:, :sight]) for sight in graph.SIGHTS}


@pytest.mark.parametrize("m", [8, 10, 25, 300])
def test_a_small_cluster_that_nothing_joins_is_found_beside_a_large_one(m):
    x, y = large_and_small(m=m)
    assert adjusted_rand_score(y, graph.groups_apart(graphs_of(x))) == 1


@pytest.mark.slow
def test_a_partition_keeps_a_small_cluster_apart():
    x, y = large_and_small()
    assert adjusted_rand_score(y, graph.partition(nearest(x, 21), 2)) == 1


def test_a_few_strays_and_equal_rows_are_no_group():
    x, _ = large_and_small(m=7)
    x[:20] = x[0]
    found = graph.groups_apart(graphs_of(x))
    assert found.max() == 0
    assert (found == -1).sum() in (0, 7)


@pytest.mark.parametrize("m", [7, 8])
def test_a_group_has_at_least_eight_samples(m):
    rng = np.random.default_rng(0)
    x = np.concatenate([100 + 0.01 * rng.normal(size=(m, 2)), rng.normal(size=(200, 2))])
    apart = (np.arange(m + 200) < m).astype(int) if m >= 8 else np.zeros(m + 200)
    assert adjusted_rand_score(apart, graph.groups_apart(graphs_of(x))) == 1


def test_a_large_group_may_fall_apart_in_the_graphs_of_few_neighbors():
    x = np.concatenate([np.arange(60), 68 + np.arange(60)])[:, None]
    assert set(graph.groups_apart(graphs_of(x))) == {0}


def test_digits_are_one_group():
    x, _ = load_digits(return_X_y=True)
    assert set(graph.groups_apart(graphs_of(x))) == {0}


def test_groups_are_kept_apart_and_what_is_joined_within_is_joined():
    # Two cliques with an edge between them, two samples beside, and a stray.
    edges = scipy.sparse.block_diag([np.ones((6, 6)), np.ones((2, 2)), np.zeros((1, 1))]).tolil()
    edges[:3, 3:6] = edges[3:6, :3] = 0
    edges[2, 3] = edges[3, 2] = 1
    labels, groups = np.array([0, 0, 0, 1, 1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 0, 0, 1, 1, -1])
    found = graph.keep_apart(edges.tocsr(), labels, groups, 2)
    assert adjusted_rand_score([0, 0, 0, 0, 0, 0, 1, 1, 0], found) == 1
    assert graph.keep_apart(edges.tocsr(), labels, np.zeros(9, int), 2) is labels


def test_where_modularity_does_not_tell_them_apart_several_partitions_are_found():
    near = nearest(np.random.default_rng(0).uniform(size=(600, 2)), max(graph.SIGHTS))  # which fall apart nowhere
    judge = graph.neighbor_graph(near.indices[:, : graph.JUDGES])
    found = graph.partitions(near, 5)
    reached = [graph.modularity(judge, labels) for labels in found]
    assert 2 <= len(found) <= 4
    assert reached[0] - graph.DOUBT <= min(reached)
    assert reached[0] == max(reached)
    assert all(accuracy(a, b) < graph.ALIKE for a, b in itertools.combinations(found, 2))
    np.testing.assert_array_equal(graph.partition(near, 5), found[0])
    assert len(graph.partitions(near, 5, most=2)) == 2


def test_a_partition_that_is_worse_by_more_or_hardly_differs_is_not_in_doubt():
    best = np.repeat([0, 1], 50)
    nearly, other, third = (np.where(np.arange(100) < n, 1, best) for n in (4, 10, 30))
    worse = 0.9 - 1.1 * graph.DOUBT
    judged = [(worse, third), (0.8999, other), (0.9, best), (0.8998, nearly)]
    found = graph._in_doubt(judged, 4)
    np.testing.assert_array_equal(found, [best, other])


def test_where_there_is_no_doubt_one_partition_is_found():
    x, y = make_blobs(200, 4, centers=3, cluster_std=0.5, random_state=0)
    found = graph.partitions(nearest(x, max(graph.SIGHTS)), 3)
    assert [adjusted_rand_score(y, labels) for labels in found] == [1]


@pytest.mark.parametrize(("n", "restarts"), [(100, 40), (30_000, 25), (10**6, 10)])
def test_fewer_restarts_of_kmeans_of_many_samples(n, restarts, monkeypatch):
    monkeypatch.setattr(graph, "fuzzy_graph", lambda near: near)
    monkeypatch.setattr(graph, "spectral", lambda *_, n_restarts, **__: n_restarts)
    near = graph.Neighbors(np.zeros((n, 2), np.int32), np.zeros((n, 2), np.float32))
    assert graph.spectral_partition(near, 3) == restarts


def test_of_several_graphs_the_partition_with_the_highest_modularity_counts():
    x, y = load_digits(return_X_y=True)
    near = nearest(x, 21)
    labels = graph.partition(near, 10, n_restarts=1)
    judge = graph.neighbor_graph(near.indices[:, : graph.JUDGES])
    seen = [graph.leiden(graph.neighbor_graph(near.indices[:, :s]), 10, n_restarts=1) for s in graph.SIGHTS]
    assert graph.modularity(judge, labels) >= max(graph.modularity(judge, one) for one in seen)
    assert adjusted_rand_score(y, labels) > 0.85


@pytest.mark.parametrize("metric", METRICS)
def test_samples_are_clustered_by_their_graph_alone(metric):
    y = np.repeat(np.arange(4), 30)
    x = (5 * np.eye(4)[y] + np.random.default_rng(0).normal(size=(120, 4))) * (1 + (y % 2))[:, None]
    labels = graph.cluster(x, 4, metric=metric)
    assert adjusted_rand_score(y, labels) > 0.9
    np.testing.assert_array_equal(graph.cluster(x, 4, metric=metric), labels)


def test_merging_joins_the_pair_whose_union_has_the_highest_modularity():
    joined, _ = rings()
    labels = np.arange(300) % 5
    merged = graph.merge(joined, labels, 4)
    every = [graph.modularity(joined, np.where(labels == b, a, labels)) for a in range(5) for b in range(a + 1, 5)]
    assert graph.modularity(joined, merged) == pytest.approx(max(every))
    assert set(merged) == set(range(4))


@pytest.mark.parametrize("linkage", graph.LINKAGES)
def test_every_pair_that_is_joined_is_the_best_of_those_left(linkage):
    weights = scipy.sparse.random_array((40, 40), density=0.2, rng=np.random.default_rng(0))
    joined, labels = (weights + weights.T).tocsr(), np.arange(40) % 30
    merged = graph.merge(joined, labels, 30, linkage=linkage)
    while merged.max() > 1:
        member = np.eye(merged.max() + 1)[merged]
        share = member.T @ joined @ member
        share /= share.sum()
        expected = np.outer(share.sum(axis=1), share.sum(axis=1))
        gain = share - expected if linkage == "modularity" else share / expected
        gain[np.tril_indices_from(gain)] = -np.inf
        a, b = np.unravel_index(gain.argmax(), gain.shape)
        merged = np.where(merged == b, a, merged - (merged > b))
        np.testing.assert_array_equal(graph.merge(joined, labels, merged.max() + 1, linkage=linkage), merged)


def test_merging_by_ratio_joins_arcs_of_a_ring_before_two_rings():
    joined, y = rings()
    first = np.flatnonzero(y == 1)
    arcs = np.where(y == 1, 0, 1)
    arcs[first[:7]] = 2
    arcs[first[7:15]] = 3
    np.testing.assert_array_equal(graph.merge(joined, arcs, 2, linkage="ratio") == 0, y == 1)


def test_refining_repairs_strays_and_never_loses_modularity():
    joined, y = rings()
    spoilt = np.where(np.random.default_rng(1).random(300) < 0.1, 1 - y, y)
    assert adjusted_rand_score(graph.refine(joined, spoilt, 2), y) > 0.95 > 0.7 > adjusted_rand_score(spoilt, y)
    for labels in (np.arange(300) % 3, np.zeros(300, int)):
        assert graph.modularity(joined, graph.refine(joined, labels, 3)) >= graph.modularity(joined, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, joined: graph.cluster(x, 9), "n_clusters must be between 2 and 8"),
        (lambda x, joined: graph.leiden(joined, 10), "n_clusters must be between 1 and 9"),
        (lambda x, joined: graph.leiden(joined, 3, seed=-1), "seed must be"),
        (lambda x, joined: graph.spectral(joined, 9), "n_vectors must be between 1 and 8"),
        (lambda x, joined: graph.refine(joined, np.arange(9), 8), "n_clusters must be at least 9"),
        (lambda x, joined: graph.merge(joined, np.arange(8), 2), "one label per sample"),
    ],
)
def test_bad_input_is_refused(call, message):
    x = np.random.default_rng(0).normal(size=(9, 2))
    with pytest.raises(ValueError, match=message):
        call(x, graph.neighbor_graph(nearest(x, 3).indices))


@pytest.mark.parametrize(("n", "k"), [(30, 28), (23, 22), (60, 30)])
def test_as_many_clusters_are_found_as_were_asked_for(n, k):
    x = np.random.default_rng(0).normal(size=(n, 2))
    assert len(np.unique(graph.partition(nearest(x, 21), k))) == k


def test_leiden_leaves_the_draws_of_others_alone():
    edges = graph.neighbor_graph(nearest(np.random.default_rng(0).normal(size=(200, 2)), 6).indices)
    alone = graph.communities(edges, 0)(1.0)
    first = graph.communities(edges, 0)
    graph.communities(edges, 5)(1.0)
    np.testing.assert_array_equal(first(1.0), alone)
    drawn = []
    for _ in range(2):
        random.seed(1)  # igraph draws from it by itself
        drawn.append(igraph.Graph.Erdos_Renyi(50, 0.1).get_edgelist())
    assert drawn[0] == drawn[1]
    assert igraph.Graph.Erdos_Renyi(50, 0.1).get_edgelist() != drawn[0]


def test_a_graph_of_copies_says_little():
    rng = np.random.default_rng(0)
    assert graph.says_little(nearest(rng.integers(0, 2, (600, 4)).astype(float), 21))
    assert not graph.says_little(nearest(rng.normal(size=(600, 4)), 21))
