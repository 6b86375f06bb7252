"""Spectral baselines of the DEC paper (Xie et al. 2016, table 2): spectral clustering, SEC, LDMGI; no labels in here.

All three share one way: a graph of nearest neighbours, the eigenvectors of the k smallest eigenvalues of a matrix built
on it, rows of unit length, k-means. No matrix of n × n is ever dense.

Samples are (n, d), numpy or scipy sparse, scaled by the caller. A neighbourhood counts the sample itself. All
functions raise a TypeError or a ValueError that names the parameter where it has the wrong type or is out of range:
n_clusters lies between 1 and n, n_neighbors between 2 and n, a swept value above 0, and x has no NaN.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, lobpcg

from dec_jax.graph import modularity, neighbor_graph
from dec_jax.neighbors import nearest
from dec_jax.validation import check_choice, check_integer, check_number, check_samples
from experiments.baselines import NUMBER, check, floats, memory_of_kmeans, run_kmeans

# The grid of the papers: nine values, each a hundred times the one before.
SEC_VALUES = (1e-8, 1e-6, 1e-4, 1e-2, 1e0, 1e2, 1e4, 1e6, 1e8)
LDMGI_VALUES = SEC_VALUES
SWEPT = ("sec", "ldmgi")
METHODS = ("spectral_clustering", *SWEPT)

CHUNK = 2**22  # numbers of the neighbourhoods held at a time
DENSE_UP_TO = 64  # samples; the iterative solvers need more of them than eigenvectors
LANCZOS_BASIS = 40
LANCZOS_RESTARTS = 500
BLOCK_ITERATIONS = 1000
# A factor fills up: 6 % of n² on 5,000 MNIST digits, far less where d is small.
FACTORISED_UP_TO = 20_000

Matrix = scipy.sparse.sparray
Apply = Callable[[np.ndarray], np.ndarray]


class Sweep(NamedTuple):
    """The labels of one method for each value of its parameter.

    Attributes:
        values: (v,) float64, the parameter: μ of SEC, λ of LDMGI.
        labels: (v, n) int32, clusters between 0 and n_clusters − 1.
        modularity: (v,) float64, of each row of labels on the shared graph; see `dec_jax.graph.modularity`.
        chosen: index of the value with the highest modularity, the first of them.
    """

    values: np.ndarray
    labels: np.ndarray
    modularity: np.ndarray
    chosen: int


def spectral_clustering(x: Any, n_clusters: int, *, seed: int = 0, n_neighbors: int = 10) -> np.ndarray:
    """Normalised spectral clustering (Ng, Jordan, Weiss 2001) on a graph of nearest neighbours.

    Not scikit-learn's: its "arpack" factorises the Laplacian, which fills up on many samples of many features, and its
    "lobpcg" stops after 20 iterations.

    Args:
        x: (n, d), dense or sparse.
        n_clusters: k.
        seed: of the eigensolver's start and of k-means.
        n_neighbors: samples in a neighbourhood.

    Returns:
        (n,) int32.
    """
    x = check(x, n_clusters, seed)
    laplacian = _normalised_laplacian(neighbor_graph(find_neighbors(x, n_neighbors)))
    return _cluster_rows(_smallest_eigenvectors(laplacian, n_clusters, seed), seed)


def sec(
    x: Any, n_clusters: int, mu: float, *, gamma: float = 1.0, seed: int = 0, neighbors: np.ndarray | None = None
) -> np.ndarray:
    """Spectral embedded clustering (Nie, Zeng, Tsang, Xu, Zhang 2011).

        min tr(Fᵀ L F) + μ (‖Xᵀ W + 1 bᵀ − F‖² + γ tr Wᵀ W)   over F (Fᵀ F = I), W and b

    with L the normalised Laplacian of the neighbours' graph. The best W and b leave the k smallest eigenvectors of
    L + μ (H − H X (Xᵀ H X + γI)⁻¹ Xᵀ H) (X here with a sample a row, H the centering matrix).

    Args:
        x: (n, d), dense, or sparse (which becomes dense).
        n_clusters: k.
        mu: weight of the linear regression; towards 0 it is spectral clustering.
        gamma: ridge of the regression, above 0.
        seed: of the eigensolver's start and of k-means.
        neighbors: what `find_neighbors` returned, or None to find 5 of them.

    Returns:
        (n,) int32.
    """
    return sweep("sec", x, n_clusters, values=(mu,), gamma=gamma, seed=seed, neighbors=neighbors).labels[0]


def ldmgi(x: Any, n_clusters: int, lam: float, *, seed: int = 0, neighbors: np.ndarray | None = None) -> np.ndarray:
    """Local discriminant models and global integration (Yang, Xu, Nie, Yan, Zhuang 2010).

        L = Σ_i S_i H (X̃_iᵀ X̃_i + λI)⁻¹ H S_iᵀ

    with X̃_i (d, κ) the centred neighbourhood of sample i, H the centering matrix of size κ and S_i the selection of
    its κ samples. The k smallest eigenvectors of L are the relaxed cluster indicators.

    Args:
        x: (n, d), dense or sparse.
        n_clusters: k.
        lam: λ, in units of squared distances.
        seed: of the eigensolver's start and of k-means.
        neighbors: what `find_neighbors` returned, or None to find 5 of them.

    Returns:
        (n,) int32.
    """
    return sweep("ldmgi", x, n_clusters, values=(lam,), seed=seed, neighbors=neighbors).labels[0]


def sweep(method: str, x: Any, n_clusters: int, *, values: Sequence[float] | None = None, **options: Any) -> Sweep:
    """SEC or LDMGI for each value of its parameter, on one graph; the labels of a value do not depend on the others.

    Args:
        method: one of SWEPT.
        x: (n, d), dense or sparse (which becomes dense for SEC).
        n_clusters: k.
        values: μ or λ, each above 0; None stands for SEC_VALUES or LDMGI_VALUES.
        **options: those of `solver`.

    Returns:
        The labels of every value, and which one is chosen.
    """
    values = _check_values(values_of(method) if values is None else values)
    labels, modularities = zip(*map(solver(method, x, n_clusters, **options), values), strict=True)
    return Sweep(np.array(values), np.stack(labels), np.array(modularities), int(np.argmax(modularities)))


def values_of(method: str) -> tuple[float, ...]:
    """The grid of the papers for the parameter of a method, one of SWEPT."""
    return SEC_VALUES if check_choice("method", method, SWEPT) == "sec" else LDMGI_VALUES


def solver(
    method: str,
    x: Any,
    n_clusters: int,
    *,
    seed: int = 0,
    gamma: float = 1.0,
    n_neighbors: int = 5,
    neighbors: np.ndarray | None = None,
) -> Callable[[float], tuple[np.ndarray, float]]:
    """SEC or LDMGI as a function of its parameter; what all values share is computed here.

    A value is chosen by `modularity`: it sees the labels and the one graph that all of them share. The inertia in the
    spectral embedding lives in another space for each value; the silhouette in the input prefers round clusters,
    which is what these methods are there to leave behind; and the normalised cut is near 0 for a few stray
    samples cut off from all others, and is SEC's own objective for μ → 0.

    Args:
        method: one of SWEPT.
        x: (n, d), dense or sparse (which becomes dense for SEC).
        n_clusters: k.
        seed: of the eigensolver's start and of k-means.
        gamma: ridge of SEC, above 0; of no use to LDMGI.
        n_neighbors: samples in a neighbourhood, where `neighbors` is None.
        neighbors: what `find_neighbors` returned for the same x.

    Returns:
        μ or λ, above 0 ↦ labels (n,) int32 and their modularity.
    """
    check_choice("method", method, SWEPT)
    x = check(x, n_clusters, seed)
    gamma = check_number("gamma", gamma, 0, exclusive=True)
    neighbors = find_neighbors(x, n_neighbors) if neighbors is None else _check_neighbors(neighbors, x)
    graph = neighbor_graph(neighbors)
    embed = (
        _sec_embedding(x, graph, n_clusters, gamma, seed)
        if method == "sec"
        else lambda lam: _smallest_eigenvectors(_ldmgi_laplacian(x, neighbors, lam), n_clusters, seed)
    )

    def solve(value: float) -> tuple[np.ndarray, float]:
        labels = _cluster_rows(embed(check_number("value", value, 0, exclusive=True)), seed)
        return labels, modularity(graph, labels)

    return solve


def find_neighbors(x: Any, n_neighbors: int = 5) -> np.ndarray:
    """Each sample and its nearest others by Euclidean distance.

    Args:
        x: (n, d), dense or sparse.
        n_neighbors: between 2 and n, the sample itself included.

    Returns:
        (n, n_neighbors) int32; column 0 is the sample itself, also where others are equal to it.
    """
    x = floats(check_samples(x))
    n = x.shape[0]
    check_integer("n_neighbors", n_neighbors, 2, n, why="the number of samples; a sample is its own neighbor")
    return nearest(x, n_neighbors).indices


def memory_needed(method: str, n: int, d: int, *, n_clusters: int = 10, n_neighbors: int = 5) -> int:
    """What a method allocates at its peak, besides x itself; to skip what does not fit.

    An estimate from the sizes of the arrays, for dense float32 samples and default options, linear in n where d
    is smaller. Not in it: the libraries, and the factor of an LDMGI matrix that needs one (see
    FACTORISED_UP_TO).

    Args:
        method: one of METHODS.
        n: number of samples, at least 1.
        d: number of features, at least 1.
        n_clusters: k.
        n_neighbors: samples in a neighbourhood.

    Returns:
        Bytes.
    """
    check_choice("method", method, METHODS)
    for name, value in (("n", n), ("d", d), ("n_clusters", n_clusters), ("n_neighbors", n_neighbors)):
        check_integer(name, value, 1)
    clustering = memory_of_kmeans(n, n_clusters)
    # Values and indices of a sparse matrix, and of its unsorted, transposed and shifted copies.
    graph = 5 * n * 2 * n_neighbors * (NUMBER + 4)
    lanczos = n * (max(LANCZOS_BASIS, 4 * n_clusters + 1) + 4 * n_clusters) * NUMBER
    if method == "spectral_clustering":
        return graph + lanczos + clustering
    if method == "ldmgi":
        neighborhoods = 2 * max(CHUNK, n_neighbors * d) * NUMBER
        return graph + 4 * n * n_neighbors**2 * (NUMBER + 8) + lanczos + clustering + neighborhoods
    basis = 1 + min(n, d) + 2 * n_clusters
    # The centred samples, their singular vectors, LAPACK's workspace and the basis; then L times the basis.
    return graph + 4 * n * basis * NUMBER + 6 * basis**2 * NUMBER + 2 * lanczos + clustering


def _cluster_rows(embedding: np.ndarray, seed: int) -> np.ndarray:
    # Of unit length, as in Ng et al. 2001 and in the spectral rotation (Yu and Shi 2003) of the SEC and LDMGI papers:
    # an indicator's row has the direction of its cluster, its length only the cluster's size or the sample's degree.
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    return run_kmeans(embedding / np.maximum(lengths, np.finfo(np.float64).tiny), embedding.shape[1], seed)


def _normalised_laplacian(graph: Matrix) -> Matrix:
    """I − D^(−1/2) A D^(−1/2); every sample has a neighbour and with it a degree above 0."""
    scale = scipy.sparse.diags_array(np.asarray(graph.sum(axis=1)) ** -0.5)
    return (scipy.sparse.eye_array(graph.shape[0]) - scale @ graph @ scale).tocsr()


def _ldmgi_laplacian(x: Any, neighbors: np.ndarray, lam: float) -> Matrix:
    """Σ_i S_i L_i S_iᵀ, (n, n) sparse with up to n·κ² entries."""
    n, width = neighbors.shape
    size = max(1, CHUNK // (width * x.shape[1]))
    local = np.concatenate([_local_models(x, neighbors[i : i + size], lam) for i in range(0, n, size)])
    row, column = np.repeat(neighbors, width, axis=1), np.tile(neighbors, width)
    return scipy.sparse.csr_array((local.ravel(), (row.ravel(), column.ravel())), shape=(n, n))


def _local_models(x: Any, neighbors: np.ndarray, lam: float) -> np.ndarray:
    """L_i = H (X̃_iᵀ X̃_i + λI)⁻¹ H of some neighbourhoods (b, κ): (b, κ, κ)."""
    rows = x[neighbors.ravel()]
    rows = (rows.toarray() if scipy.sparse.issparse(rows) else rows).reshape(*neighbors.shape, -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    gram = rows @ rows.transpose(0, 2, 1)
    width = neighbors.shape[1]
    # The inverse is 1/λ along the vector of ones, which H takes out again: another eigenvalue there keeps the digits.
    along_ones = np.trace(gram, axis1=1, axis2=2)[:, None, None] / width
    inverse = np.linalg.inv(gram + lam * np.eye(width) + along_ones)
    centering = np.eye(width) - 1 / width
    return centering @ ((inverse + inverse.transpose(0, 2, 1)) / 2) @ centering


def _sec_embedding(x: Any, graph: Matrix, n_clusters: int, gamma: float, seed: int) -> Callable[[float], np.ndarray]:
    """μ ↦ the k smallest eigenvectors (n, k) of L + μ (I − Q diag(1 − w) Qᵀ).

    Q = [1/√n, U] with U the left singular vectors of the centred samples: H X (Xᵀ H X + γI)⁻¹ Xᵀ H is
    U diag(s²/(s² + γ)) Uᵀ, so that w = γ/(s² + γ), and 0 for the constant. Q is orthonormal to the last digits,
    which a d × d inverse would not give and μ = 10⁸ needs.
    """
    laplacian = _normalised_laplacian(graph)
    start = _smallest_eigenvectors(laplacian, min(2 * n_clusters, graph.shape[0]), seed)
    basis, weights = _sec_basis(x, start, gamma)
    explained = basis[:, : len(weights)]
    reduced = basis.T @ (laplacian @ basis)
    penalties = np.append(weights, np.ones(basis.shape[1] - len(weights)))

    def embed(mu: float) -> np.ndarray:
        # For large μ the eigenvectors lie almost in Q, for small μ they are almost those of L: the best of both.
        small, mix = scipy.linalg.eigh(reduced + mu * np.diag(penalties), subset_by_index=(0, n_clusters - 1))
        apply = _low_rank(mu, -mu * (1 - weights), explained, laplacian)
        # The inverse, with I for L: near enough, as L's eigenvalues lie in [0, 2] and most of them near 1.
        invert = _low_rank(1 / (1 + mu), 1 / (1 + mu * weights) - 1 / (1 + mu), explained)
        return _refine(apply, invert, basis @ mix, max(1e-6 * small[-1], 1e-9))

    return embed


def _sec_basis(x: Any, start: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns [1/√n, U, what `start` adds], and the weights w of the first ones."""
    centred = (x.toarray() if scipy.sparse.issparse(x) else x).astype(np.float64)
    centred -= centred.mean(axis=0)
    n, d = centred.shape
    left, scales, _ = scipy.linalg.svd(centred, full_matrices=False, overwrite_a=True, check_finite=False)
    left = left[:, scales > max(n, d) * np.finfo(np.float64).eps * scales[0]]
    weights = np.append(0.0, gamma / (scales[: left.shape[1]] ** 2 + gamma))
    explained = np.column_stack([np.full(n, n**-0.5), left])
    for _ in range(2):  # once leaves the rounding errors of a long sum
        start = start - explained @ (explained.T @ start)
    added, sizes, _ = scipy.linalg.svd(start, full_matrices=False)
    return np.column_stack([explained, added[:, sizes > 1e-6]]), weights


def _low_rank(scale: float, weights: np.ndarray, vectors: np.ndarray, matrix: Matrix | None = None) -> Apply:
    """The map v ↦ scale·v + Q diag(weights) Qᵀ v, and A v added to it where there is a matrix A."""

    def apply(block: np.ndarray) -> np.ndarray:
        projected = vectors.T @ block
        result = scale * block + vectors @ (weights * projected.T).T
        return result if matrix is None else result + matrix @ block

    return apply


def _refine(apply: Apply, invert: Apply, start: np.ndarray, tolerance: float) -> np.ndarray:
    """Smallest eigenvectors (n, k) by LOBPCG (Knyazev 2001) from orthonormal ones that are near them."""
    if _residual(apply, start) <= tolerance:
        return start
    operators = [LinearOperator((len(start),) * 2, matvec=f, matmat=f, dtype=np.float64) for f in (apply, invert)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own words on convergence: the residual below says it
        _, found = lobpcg(operators[0], start, M=operators[1], largest=False, tol=tolerance, maxiter=BLOCK_ITERATIONS)
    residual = _residual(apply, found)
    if not residual <= 10 * tolerance:
        _warn(residual, 10 * tolerance)
    return found


def _smallest_eigenvectors(laplacian: Matrix, count: int, seed: int) -> np.ndarray:
    """Eigenvectors (n, count) of the smallest eigenvalues of a sparse Laplacian, ascending.

    Each connected part is solved on its own: Lanczos from one vector misses the copies of an eigenvalue, and 0 has
    one in each part. Where there are more parts than eigenvectors, the largest parts have theirs.
    """
    n = laplacian.shape[0]
    n_parts, part = connected_components(laplacian, directed=False)
    members = np.split(np.argsort(part, kind="stable"), np.cumsum(np.bincount(part))[:-1])
    solved, candidates = [], []
    for rows in members:
        matrix = laplacian[rows][:, rows] if n_parts > 1 else laplacian
        found = _connected_eigenvectors(matrix, min(count, len(rows)), seed)
        values = np.sum(found * (matrix @ found), axis=0)
        values[0] = 0  # as it is without rounding, so that the size decides
        candidates += [(value, -len(rows), len(solved), column) for column, value in enumerate(values)]
        solved.append(found)
    embedding = np.zeros((n, count))
    for position, (_, _, owner, column) in enumerate(sorted(candidates)[:count]):
        embedding[members[owner], position] = solved[owner][:, column]
    return embedding


def _connected_eigenvectors(matrix: Matrix, count: int, seed: int) -> np.ndarray:
    """By Lanczos on cI − A, which needs no factor.

    The eigenvalues span too much for that in LDMGI with a small λ on equal samples, or on fewer features than
    neighbours: then on the inverse.
    """
    n = matrix.shape[0]
    if n <= max(DENSE_UP_TO, 4 * count):
        return scipy.linalg.eigh(matrix.toarray(), subset_by_index=(0, count - 1))[1]
    bound = abs(matrix).sum(axis=1).max()
    for solve in (_lanczos, _inverse_lanczos if n <= FACTORISED_UP_TO else _block_solve):
        found = solve(matrix, count, seed, bound)
        residual = _residual(matrix.__matmul__, found)
        largest = found[:, -1] @ (matrix @ found[:, -1])
        accepted = max(1e-3 * largest, 1e-9 * np.median(matrix.diagonal()))
        if residual <= accepted:
            return found
    _warn(residual, accepted)
    return found


def _lanczos(matrix: Matrix, count: int, seed: int, bound: float) -> np.ndarray:
    n = matrix.shape[0]
    shifted = (bound * scipy.sparse.eye_array(n) - matrix).tocsr()
    start = np.random.default_rng(seed).standard_normal(n)
    basis = min(n, max(LANCZOS_BASIS, 2 * count + 1))
    try:
        found = eigsh(shifted, count, which="LA", v0=start, ncv=basis, tol=1e-11, maxiter=LANCZOS_RESTARTS)[1]
    except ArpackNoConvergence:
        return _start(n, count, seed)  # its residual sends the caller to the next solver
    return found[:, ::-1]


def _inverse_lanczos(matrix: Matrix, count: int, seed: int, bound: float) -> np.ndarray:
    start = np.random.default_rng(seed).standard_normal(matrix.shape[0])
    values, found = eigsh(matrix.tocsc(), count, sigma=-1e-13 * bound, which="LM", v0=start)
    return found[:, np.argsort(values)]


def _block_solve(matrix: Matrix, count: int, seed: int, bound: float) -> np.ndarray:
    """LOBPCG with the inverse diagonal: gets somewhere where Lanczos does not and a factor would not fit."""
    inverse = scipy.sparse.diags_array(1 / np.maximum(matrix.diagonal(), 1e-13 * bound))
    start = _start(matrix.shape[0], count, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caller looks at the residual
        return lobpcg(matrix, start, M=inverse, largest=False, maxiter=BLOCK_ITERATIONS)[1]


def _start(n: int, count: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, count)))[0]


def _residual(apply: Apply, vectors: np.ndarray) -> float:
    """Largest ‖A v − (vᵀ A v) v‖ of orthonormal columns v."""
    images = apply(vectors)
    return float(np.linalg.norm(images - vectors * np.sum(vectors * images, axis=0), axis=0).max())


def _warn(residual: float, accepted: float) -> None:
    message = f"the eigenvectors have not converged: residual {residual:.2g}, accepted {accepted:.2g}"
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def _check_values(values: Sequence[float]) -> list[float]:
    if not len(values):
        raise ValueError("values must hold at least one number, got none")
    return [check_number("values", value, 0, exclusive=True) for value in values]


def _check_neighbors(neighbors: Any, x: Any) -> np.ndarray:
    neighbors, n = np.asarray(neighbors), x.shape[0]
    if neighbors.dtype.kind not in "iu":
        raise TypeError(f"neighbors must be integers, got dtype {neighbors.dtype}")
    if neighbors.ndim != 2 or len(neighbors) != n or not 2 <= neighbors.shape[1] <= n:
        raise ValueError(f"neighbors must have shape ({n}, 2 to {n}), got {neighbors.shape}")
    if not (neighbors[:, 0] == np.arange(n)).all() or neighbors.min() < 0 or neighbors.max() >= n:
        raise ValueError(f"neighbors must lie between 0 and {n - 1}, column 0 the sample itself")
    return neighbors
