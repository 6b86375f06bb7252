"""The graph that joins samples to their nearest ones, and how it falls apart.

`modularity` judges a partition of the graph, `partition`, `leiden` and `spectral` find one, `partitions` finds several
where it is in doubt, and `refine` improves one.
None of them takes labels of samples that are known beforehand.

All functions raise a TypeError or a ValueError that names the parameter where it has the wrong type or is out of range.
"""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import jax
import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from sklearn.cluster import KMeans

from dec_jax.metrics import accuracy
from dec_jax.neighbors import METRICS, Neighbors, metric_of, nearest
from dec_jax.samples import SparseRows
from dec_jax.validation import check_choice, check_integer, check_labels, check_samples

LINKAGES = ("modularity", "ratio")
SIGHTS = (6, 8, 11, 16, 21)  # neighbours, oneself included
JUDGES = 6
DOUBT, ALIKE = 0.0015, 0.95  # modularities that differ by less do not tell partitions apart; what agrees more is one
SMALLEST = 8, 0.0005  # samples of a group that stands apart, and their share of all: fewer are strays
DIRECTIONS = 11  # neighbours of a direction, itself included
DIFFUSION_TIME = 2
BISECTIONS = 40


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


def fuzzy_graph(near: Neighbors) -> scipy.sparse.csr_array:
    """The symmetric graph of neighbourhoods, with the weights of UMAP (McInnes, Healy, Melville 2018).

    w_ij = exp(−max(0, d_ij − d_i1) / σ_i), where d_i1 is the distance of the nearest and σ_i such that the weights of
    all κ − 1 neighbours add up to log₂(κ − 1); an edge counts from either side: w + wᵀ − w ∘ wᵀ.

    Args:
        near: (n, κ) from `nearest`.

    Returns:
        (n, n), sparse, float64, between 0 and 1.
    """
    n, width = near.indices.shape
    beyond = np.maximum(near.distances[:, 1:] - near.distances[:, 1:2], 0).astype(np.float64)
    low, high = np.zeros(n), np.full(n, max(float(beyond.max()), 1.0) * width)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_wide = np.exp(-beyond / middle[:, None]).sum(axis=1) > np.log2(max(width - 1, 2))
        low, high = np.where(too_wide, low, middle), np.where(too_wide, middle, high)
    weights = np.exp(-beyond / high[:, None])
    row = np.repeat(np.arange(n, dtype=np.int32), width - 1)
    directed = scipy.sparse.csr_array((weights.ravel(), (row, near.indices[:, 1:].ravel())), shape=(n, n))
    return (directed + directed.T - directed.multiply(directed.T)).tocsr()


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


def cluster(x: Any, n_clusters: int, *, metric: str | None = None, seed: int = 0) -> np.ndarray:
    """Labels of samples by the graph of their neighbours alone, in seconds.

    Samples that are directions, such as texts, are compared by the cosine; their clusters overlap and differ in size,
    and modularity prefers equal ones. So they are parted by `spectral_partition`, of the `DIRECTIONS` − 1 nearest.
    Others are parted by `partition`.

    Args:
        x: (n, d), dense or sparse.
        n_clusters: k, between 2 and n − 1.
        metric: one of METRICS; None for `metric_of`.
        seed: fixes the labels.

    Returns:
        (n,) int32, clusters from 0 to k − 1.
    """
    x = x if isinstance(x, jax.Array | SparseRows) else check_samples(x)
    n = x.shape[0]
    check_integer("n_clusters", n_clusters, 2, n - 1, why="one less than the number of samples")
    metric = metric_of(x) if metric is None else check_choice("metric", metric, METRICS)
    if metric == "euclidean":
        return partition(nearest(x, min(max(SIGHTS), n)), n_clusters, seed=seed)
    return spectral_partition(nearest(x, min(DIRECTIONS, n), metric=metric), n_clusters, seed=seed)


def partition(near: Neighbors, n_clusters: int, *, seed: int = 0, n_restarts: int | None = None) -> np.ndarray:
    """The first of `partitions`: the one of the highest modularity.

    Args:
        near: (n, κ) from `nearest`.
        n_clusters: k, between 1 and n.
        seed: of Leiden.
        n_restarts: as in `partitions`.

    Returns:
        (n,) int32, clusters from 0 to k − 1.
    """
    return partitions(near, n_clusters, seed=seed, n_restarts=n_restarts, most=1)[0]


def partitions(
    near: Neighbors, n_clusters: int, *, seed: int = 0, n_restarts: int | None = None, most: int = 4
) -> np.ndarray:
    """The best partition that `leiden` finds in graphs of several numbers of neighbours, and others almost as good.

    Which number suits is not known: few leave clusters in pieces, many join them. So each partition is refined, and
    judged by modularity, on the graph of the `JUDGES` − 1 nearest, whose edges are the surest. Where another one is
    within `DOUBT` of the best and differs in more than 1 − `ALIKE` of the samples, modularity does not tell which is
    right, and something else has to. Modularity prefers clusters of one size, so that a small one would be joined to
    another and a large one be cut: `keep_apart` follows.

    Args:
        near: (n, κ) from `nearest`; those of `SIGHTS` count that are not above κ.
        n_clusters: k, between 1 and n.
        seed: of Leiden.
        n_restarts: of Leiden in each graph, at least 1; None for 5 of few samples, and fewer of more than 10,000.
        most: partitions that are returned, at least 1.

    Returns:
        (s, n) int32, clusters from 0 to k − 1; the first has the highest modularity, and s is between 1 and `most`.
    """
    n, width = near.indices.shape
    if n_restarts is None:
        n_restarts = min(max(50_000 // n, 1), 5)
    check_integer("most", most, 1)
    judge = neighbor_graph(near.indices[:, :JUDGES])
    graphs = {sight: neighbor_graph(near.indices[:, :sight]) for sight in SIGHTS if sight <= width}
    judged = []
    for seen in list(graphs.values()) or [neighbor_graph(near.indices)]:
        for labels in _restarts_of_leiden(seen, n_clusters, seed=seed, n_restarts=n_restarts):
            labels = refine(judge, labels, n_clusters)
            judged.append((modularity(judge, labels), labels))
    chosen = _in_doubt(judged, most)
    if not graphs:
        return np.stack(chosen)
    apart = groups_apart(graphs)
    return np.stack([keep_apart(graphs[max(graphs)], labels, apart, n_clusters) for labels in chosen])


def _in_doubt(judged: Sequence[tuple[float, np.ndarray]], most: int) -> list[np.ndarray]:
    """The best of partitions by their modularity, and those that hardly differ in that, but in their clusters."""
    judged = sorted(judged, key=itemgetter(0), reverse=True)
    chosen: list[np.ndarray] = []
    for reached, labels in judged:
        if len(chosen) == most or reached < judged[0][0] - DOUBT:
            break
        if all(accuracy(other, labels) < ALIKE for other in chosen):
            chosen.append(labels)
    return chosen


def groups_apart(graphs: Mapping[int, scipy.sparse.csr_array]) -> np.ndarray:
    """The groups that no edge joins to other samples, in the graph of half as many neighbours as a group has samples.

    Each sample has half of its group nearer than any other, and none of another group has it among its nearest.

    Args:
        graphs: (n, n), from `neighbor_graph`, by the numbers of neighbours, oneself included.

    Returns:
        (n,), integers from 0; −1 for strays, of which there are too few for a group.
    """
    sights = sorted(graphs)
    n = graphs[sights[0]].shape[0]
    bounds = [SMALLEST[0], *(2 * sight for sight in sights[1:]), n + 1]
    groups, n_groups = np.full(n, -1), 0
    for sight, low, high in reversed(list(zip(sights, bounds, bounds[1:], strict=False))):
        part = connected_components(graphs[sight], directed=False)[1]
        size = np.bincount(part)[part]
        found = (size >= max(low, SMALLEST[1] * n)) & (size < high)
        groups[found] = n_groups + part[found]
        n_groups += part.max() + 1
    return np.unique(groups, return_inverse=True)[1] - (groups.min() < 0)


def keep_apart(graph: scipy.sparse.csr_array, labels: np.ndarray, groups: np.ndarray, n_clusters: int) -> np.ndarray:
    """Parts clusters that hold several groups, and joins parts of one group, so that there are k clusters as before.

    Where there is one group, or there are more of them than clusters, labels stay.

    Args:
        graph: (n, n), sparse, symmetric, at least 0; edges between groups do not count.
        labels: (n,), clusters from 0 to k − 1.
        groups: (n,) from `groups_apart`; a stray goes with most of its cluster.
        n_clusters: k.
    """
    n_groups = groups.max() + 1
    if not 2 <= n_groups <= n_clusters:
        return labels
    members = np.zeros((n_clusters, n_groups))
    np.add.at(members, (labels[groups >= 0], groups[groups >= 0]), 1)
    groups = np.where(groups < 0, members.argmax(axis=1)[labels], groups)
    edges = graph.tocoo()
    row, column = edges.coords
    inside = groups[row] == groups[column]
    within = scipy.sparse.csr_array((edges.data[inside], (row[inside], column[inside])), shape=graph.shape)
    return merge(within, labels * n_groups + groups, n_clusters, linkage="ratio")


def says_little(near: Neighbors) -> bool:
    """Whether most samples have copies alone among the nearest: their graph tells clusters no better than equal rows.

    So it is for samples of a few numbers, such as answers to questions.

    Args:
        near: (n, κ) from `nearest`.
    """
    return bool((near.distances[:, :JUDGES] == 0).all(axis=1).mean() > 0.5)


def parts(near: Neighbors) -> np.ndarray:
    """The part (n,) of the graph of the neighbours that each sample lies in, integers from 0."""
    return connected_components(neighbor_graph(near.indices), directed=False)[1]


def spectral_partition(near: Neighbors, n_clusters: int, *, seed: int = 0) -> np.ndarray:
    """The partition that `spectral` finds in the graph of `fuzzy_graph`, by coordinates of a diffusion map.

    One restart of k-means in ten finds the best clusters of overlapping ones, so there are 40, or 10 of many samples.

    Args:
        near: (n, κ) from `nearest`.
        n_clusters: k, between 2 and n − 1.
        seed: fixes the labels.

    Returns:
        (n,) int32, clusters from 0 to k − 1.
    """
    n_restarts = min(max(750_000 // len(near.indices), 10), 40)
    return spectral(fuzzy_graph(near), n_clusters, seed=seed, n_restarts=n_restarts, time=DIFFUSION_TIME)


def leiden(graph: scipy.sparse.csr_array, n_clusters: int, *, seed: int = 0, n_restarts: int = 5) -> np.ndarray:
    """A partition of the graph in k clusters, by modularity (Traag, Waltman, van Eck 2019).

    Leiden finds communities at a resolution that is doubled until there are at least k. `merge` joins them to k, and
    `refine` moves single samples. The partition with the highest modularity of all restarts counts.

    Args:
        graph: (n, n), sparse, symmetric, at least 0.
        n_clusters: k, between 1 and n.
        seed: of Leiden.
        n_restarts: at least 1.

    Returns:
        (n,) int32, clusters from 0 to k − 1.

    """
    found = _restarts_of_leiden(graph, n_clusters, seed=seed, n_restarts=n_restarts)
    return max(found, key=lambda labels: modularity(graph, labels))


def _restarts_of_leiden(
    graph: scipy.sparse.csr_array, n_clusters: int, *, seed: int, n_restarts: int
) -> Iterator[np.ndarray]:
    """What each restart of `leiden` finds."""
    check_integer("n_clusters", n_clusters, 1, graph.shape[0], why="the number of samples")
    check_integer("seed", seed, 0, 2**32 - 1)
    check_integer("n_restarts", n_restarts, 1)
    communities_at = communities(graph, seed)
    resolution = 1.0
    for _ in range(n_restarts):
        while (parts := communities_at(resolution)).max() + 1 < n_clusters:
            resolution *= 2
        merged = (merge(graph, parts, n_clusters, linkage=linkage) for linkage in LINKAGES)
        yield max(
            (refine(graph, labels, n_clusters) for labels in merged), key=lambda labels: modularity(graph, labels)
        )


def communities(graph: scipy.sparse.csr_array, seed: int) -> Callable[[float], np.ndarray]:
    """Leiden's communities of the graph at a resolution; another call draws other random numbers.

    Args:
        graph: (n, n), sparse, symmetric, at least 0.
        seed: of Leiden.

    Returns:
        A function from a resolution, above 0, to labels (n,), integers from 0.
    """
    import igraph  # it loads matplotlib where that is installed: most of a second, also for who never comes here

    upper = scipy.sparse.triu(graph, 1).tocoo()
    edges = igraph.Graph(graph.shape[0], np.column_stack(upper.coords))
    draws = random.Random(seed)

    def at(resolution: float) -> np.ndarray:
        igraph.set_random_number_generator(draws)
        found = edges.community_leiden("modularity", weights=upper.data, resolution=resolution, n_iterations=2)
        igraph.set_random_number_generator(random)  # igraph's own, for whoever draws next
        return np.array(found.membership)

    return at


def merge(
    graph: scipy.sparse.csr_array, labels: np.ndarray, n_clusters: int, *, linkage: str = "modularity"
) -> np.ndarray:
    """Joins clusters two at a time until k are left.

    With A_ij the edges between clusters i and j as a share of all, and a_i the share of all ends of edges in cluster i,
    the two are joined whose union has the highest modularity, or the highest A_ij / (a_i a_j) (Bonald et al. 2018),
    which joins no parts of the graph without edges between them while there are edges between others.

    Args:
        graph: (n, n), sparse, symmetric, at least 0.
        labels: (n,), integers of at least 0.
        n_clusters: k, at least 1.
        linkage: one of LINKAGES.

    Returns:
        (n,) int32, clusters from 0 to k − 1, or to the number of clusters of `labels` less 1, where those are fewer.
    """
    labels = np.unique(check_labels(labels, graph.shape[0]), return_inverse=True)[1]
    check_integer("n_clusters", n_clusters, 1)
    check_choice("linkage", linkage, LINKAGES)
    member = _indicator(labels, labels.max() + 1)
    between = (member.T @ graph @ member).toarray()
    between = between / between.sum()
    joined = np.arange(len(between))
    for kept, gone in _joins(between, linkage, len(between) - n_clusters):
        joined[joined == gone] = kept
    return np.unique(joined, return_inverse=True)[1][labels].astype(np.int32)


def _joins(between: np.ndarray, linkage: str, n_joins: int) -> Iterator[tuple[int, int]]:
    """The pairs that `merge` joins, one after the other: the second goes, and the first stands for both.

    Only the gains of the joined cluster change, so each row keeps where its highest was when it last changed. Of every
    two clusters the row that changed last knows what joining them gains.
    """
    share, every = between.sum(axis=1), np.arange(len(between))
    gain = _gain(between, np.outer(share, share), linkage)
    np.fill_diagonal(gain, -np.inf)
    partner = gain.argmax(axis=1)
    for _ in range(n_joins):
        first = gain[every, partner].argmax()
        i, j = sorted((int(first), int(partner[first])))
        yield i, j
        between[i] += between[j]
        between[:, i] += between[:, j]
        share[i] += share[j]
        changed = np.where(gain[i] == -np.inf, -np.inf, _gain(between[i], share[i] * share, linkage))
        gain[i] = gain[:, i] = changed
        gain[j] = gain[:, j] = -np.inf
        lost = np.isin(partner, (i, j))
        lost[i] = True
        partner[lost] = gain[lost].argmax(axis=1)


def _gain(between: np.ndarray, expected: np.ndarray, linkage: str) -> np.ndarray:
    """What joining two clusters gains, by the edges between them and those expected."""
    return between - expected if linkage == "modularity" else between / np.maximum(expected, np.finfo(float).tiny)


def refine(
    graph: scipy.sparse.csr_array, labels: np.ndarray, n_clusters: int, *, n_rounds: int = 20, seed: int = 0
) -> np.ndarray:
    """Moves single samples between clusters while modularity grows.

    In each round a random half of the samples may move, each to the cluster that is best for it while the others stay.
    The best partition of all rounds counts that has as many clusters as `labels`.

    Args:
        graph: (n, n), sparse, symmetric, at least 0.
        labels: (n,), integers from 0 to k − 1.
        n_clusters: k.
        n_rounds: at least 0.
        seed: of the halves.

    Returns:
        (n,) int32, of at least the modularity of `labels`.
    """
    best = labels = check_labels(labels, graph.shape[0])
    check_integer("n_clusters", n_clusters, int(labels.max()) + 1, why="the clusters of labels")
    check_integer("n_rounds", n_rounds, 0)
    rng = np.random.default_rng(seed)
    degree = np.asarray(graph.sum(axis=1))
    highest, n_found = modularity(graph, labels), len(np.unique(labels))
    for _ in range(n_rounds):
        gain = graph @ np.eye(n_clusters)[labels]
        gain -= np.outer(degree, np.bincount(labels, degree, n_clusters) / degree.sum())
        gain[np.arange(len(labels)), labels] += degree**2 / degree.sum()  # a sample does not hold itself back
        wanted = gain.argmax(axis=1)
        moves = (wanted != labels) & (rng.random(len(labels)) < 0.5)
        labels = np.where(moves, wanted, labels)
        reached = modularity(graph, labels)
        if reached > highest and len(np.unique(labels)) == n_found:
            best, highest = labels, reached
        if moves.sum() <= len(labels) // 10_000:
            break
    return best.astype(np.int32)


def spectral(
    graph: scipy.sparse.csr_array, n_clusters: int, *, seed: int = 0, n_restarts: int = 10, time: int = 0
) -> np.ndarray:
    """k-means on the k first eigenvectors of the graph, rows of unit length (Ng, Jordan, Weiss 2001).

    Args:
        graph: (n, n), sparse, symmetric, at least 0, n above k.
        n_clusters: k, between 1 and n − 1.
        seed: of the eigensolver's start and of k-means.
        n_restarts: of k-means, at least 1.
        time: of `spectral_embedding`.

    Returns:
        (n,) int32, clusters from 0 to k − 1.
    """
    check_integer("n_restarts", n_restarts, 1)
    vectors = spectral_embedding(graph, n_clusters, seed=seed, time=time)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = vectors / np.where(norms > 0, norms, 1)
    return KMeans(n_clusters, n_init=n_restarts, random_state=seed).fit_predict(rows).astype(np.int32)


def spectral_embedding(graph: scipy.sparse.csr_array, n_vectors: int, *, seed: int = 0, time: int = 0) -> np.ndarray:
    """Eigenvectors (n, n_vectors) of D^−½ A D^−½ with the largest eigenvalues, the largest first.

    Each is multiplied by its eigenvalue to the power of `time`, as in a diffusion map (Coifman and Lafon 2006): the
    longer a walk on the graph, the less it sees of small groups.

    Args:
        graph: (n, n), sparse, symmetric, at least 0.
        n_vectors: between 1 and n − 1.
        seed: of the eigensolver's start.
        time: t, at least 0.
    """
    n = graph.shape[0]
    check_integer("n_vectors", n_vectors, 1, n - 1, why="one less than the number of samples")
    check_integer("seed", seed, 0, 2**32 - 1)
    check_integer("time", time, 0)
    degree = np.asarray(graph.sum(axis=1))
    scale = scipy.sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    rng = np.random.default_rng(seed)
    start = rng.normal(size=n)
    # Where the graph is in parts, eigenvalues are alike, and the solver draws new starts: from here, where it lets one.
    draws = {"rng": rng} if "rng" in inspect.signature(eigsh).parameters else {}
    basis = min(n, 4 * n_vectors + 20)
    values, vectors = eigsh(scale @ graph @ scale, n_vectors, which="LA", v0=start, ncv=basis, **draws)
    order = np.argsort(-values)
    return vectors[:, order] * values[order] ** time


def _indicator(labels: np.ndarray, n_clusters: int) -> scipy.sparse.csr_array:
    n = len(labels)
    return scipy.sparse.csr_array((np.ones(n), labels, np.arange(n + 1)), shape=(n, n_clusters))
