"""The nearest neighbours of samples, by comparing all of them on the device.

All functions raise a TypeError or a ValueError that names the parameter where it has the wrong type or is out of range.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from dec_jax.samples import Samples, SparseRows, take_rows, to_device
from dec_jax.validation import check_choice, check_integer, check_samples

METRICS = ("euclidean", "cosine")
BLOCK_BYTES = 2**26  # of the scores between a block of rows and a block of columns
ROWS = 256
# Scores are rounded, and those of projected samples are estimates: so many candidates a neighbour are measured again.
CANDIDATES = 3
PROJECTED_FROM = 1e12  # multiplications; below, projecting first would save less than a few seconds
PROJECTIONS = (32, 64, 96, 128, 192, 256)
PROBES = 256
RECALL = 0.995

ONE_LENGTH = 0.01

HIGHEST = jax.lax.Precision.HIGHEST


class Neighbors(NamedTuple):
    """The nearest samples of each sample, itself the first.

    Attributes:
        indices: (n, κ) int32.
        distances: (n, κ) float32, Euclidean, or 1 − cosine, in [0, 2].
    """

    indices: np.ndarray
    distances: np.ndarray


def nearest(x: Any, n_neighbors: int, *, metric: str = "euclidean") -> Neighbors:
    """The κ nearest samples of each sample, itself the first, also where others are equal to it.

    Every pair of samples is compared, a block of rows against a block of columns at a time. Candidates come from
    ‖x_j‖² − 2 x_i·x_j in float32, and are then measured by their differences, so that near neighbours far from the
    origin keep their digits. Many dense samples of many features are projected to their principal components for the
    candidates on a CPU, to as few as find 99.5 % of the neighbours of 256 samples that are searched in full.

    Args:
        x: (n, d), dense or sparse, numbers without NaN; on the device or not.
        n_neighbors: κ, between 2 and n.
        metric: one of METRICS; for "cosine" a row of zeros has distance 1 to all others.
    """
    x = x if isinstance(x, jax.Array | SparseRows) else check_samples(x, varying=False)
    check_integer("n_neighbors", n_neighbors, 2, x.shape[0], why="the number of samples; a sample is its own neighbor")
    check_choice("metric", metric, METRICS)
    x, further = _prepared(x, metric)
    n_candidates = min(CANDIDATES * n_neighbors, x.shape[0])
    seen, norms = _seen(x, further, n_neighbors, n_candidates)
    found = _candidates(seen, norms, n_candidates)
    indices, squares = _measured(x, further, found, n_neighbors)
    squares = np.asarray(squares)
    return Neighbors(np.array(indices), squares / 2 if metric == "cosine" else np.sqrt(squares))


def metric_of(x: Any) -> str:
    """Returns "cosine" where samples (n, d) are sparse or all of one length, as embeddings of texts are.

    Others are "euclidean". Lengths are one where they differ by less than a hundredth of how far samples are spread:
    those of samples far from the origin differ by little too.
    """
    if isinstance(x, SparseRows) or scipy.sparse.issparse(x):
        return "cosine"
    x = np.asarray(x)
    squares = np.einsum("ij,ij->i", x, x, dtype=np.float64)
    spread = math.sqrt(max(squares.mean() - np.square(x.mean(axis=0, dtype=np.float64)).sum(), 0))
    return "cosine" if spread > 0 and np.ptp(np.sqrt(squares)) <= ONE_LENGTH * spread else "euclidean"


def _prepared(x: Any, metric: str) -> tuple[Samples, jax.Array]:
    """Samples on the device, as float32: centred where they are dense, of unit length for the cosine.

    And by how much (n,) each one's squared distances are larger than that. A row of zeros lies at 1 from all of unit
    length and at 0 from others like it, and its cosine with each of them is 0, for which it is 2.
    """
    further = jnp.zeros(x.shape[0])
    if metric == "cosine":
        x = _unit_rows(x)
        further = jnp.asarray(_are_zero(x), jnp.float32)
    if isinstance(x, np.ndarray) and x.dtype.itemsize > 4:  # far from the origin float32 would lose their digits
        x = np.subtract(x, x.mean(axis=0), out=np.empty(x.shape, np.float32), casting="unsafe")
        x.setflags(write=False)
    x = to_device(x)
    return x if isinstance(x, SparseRows) else x - x.mean(axis=0), further


def _unit_rows(x: Any) -> Any:
    if isinstance(x, SparseRows):
        x = scipy.sparse.csr_array((np.asarray(x.values), np.asarray(x.columns), np.asarray(x.starts)), shape=x.shape)
    if scipy.sparse.issparse(x):
        norms = np.sqrt(np.asarray(x.multiply(x).sum(axis=1), np.float64)).ravel()
        return scipy.sparse.diags_array(1 / np.where(norms > 0, norms, 1)) @ x
    x = jnp.asarray(x, jnp.float32)
    norms = jnp.linalg.norm(x, axis=1, keepdims=True)
    return x / jnp.where(norms > 0, norms, 1)


def _are_zero(x: Any) -> Any:
    """Which rows (n,) hold zeros alone."""
    return np.asarray(abs(x).sum(axis=1)).ravel() == 0 if scipy.sparse.issparse(x) else ~x.any(axis=1)


def _seen(x: Samples, further: jax.Array, n_neighbors: int, n_candidates: int) -> tuple[Samples, jax.Array]:
    """What candidates are found in: the samples or their principal components; and the squared norms of the samples.

    ‖x_i − x_j‖² is ‖x_i‖² + ‖x_j‖² − 2 x_i·x_j, and only the product is estimated: what two samples have outside of the
    principal components is nearly orthogonal.
    """
    norms = _squared_norms(x) + further
    n, d = x.shape
    is_quick = n * n * d < PROJECTED_FROM or d > n // 3  # beside the principal components
    if isinstance(x, SparseRows) or is_quick or jax.default_backend() != "cpu":
        return x, norms
    directions = jnp.linalg.eigh(jnp.dot(x.T, x, precision=HIGHEST))[1][:, ::-1]
    probes = jnp.asarray(np.random.default_rng(0).choice(n, PROBES, replace=False))
    truth = _candidates_of(probes, x, norms, n_neighbors)
    for m in PROJECTIONS:
        if m > d // 2:
            break
        projected = jnp.dot(x, directions[:, :m], precision=HIGHEST)
        found = _candidates_of(probes, projected, norms, n_candidates)
        if (truth[:, :, None] == found[:, None, :]).any(axis=2).mean() >= RECALL:
            return projected, norms
    return x, norms


@jax.jit
def _squared_norms(x: Samples) -> jax.Array:
    if not isinstance(x, SparseRows):
        return jnp.sum(x**2, axis=1)
    row = jnp.repeat(jnp.arange(x.shape[0]), jnp.diff(x.starts), total_repeat_length=len(x.values))
    return jax.ops.segment_sum(x.values**2, row, x.shape[0])


@partial(jax.jit, static_argnames="n_candidates")
def _candidates(x: Samples, norms: jax.Array, n_candidates: int) -> jax.Array:
    """(n, n_candidates) int32: the samples with the lowest ‖x_j‖² − 2 x_i·x_j for each i, itself among them."""
    n = x.shape[0]
    of_rows = _search(x, norms, n_candidates)
    found = jax.lax.map(lambda start: of_rows(jnp.minimum(start + jnp.arange(ROWS), n - 1)), jnp.arange(0, n, ROWS))
    return found.reshape(-1, n_candidates)[:n]


@partial(jax.jit, static_argnames="n_candidates")
def _candidates_of(rows: jax.Array, x: Samples, norms: jax.Array, n_candidates: int) -> jax.Array:
    """(b, n_candidates) int32: the candidates of some rows (b,)."""
    return _search(x, norms, n_candidates)(rows)


def _search(x: Samples, norms: jax.Array, n_candidates: int) -> Callable[[jax.Array], jax.Array]:
    """The candidates of rows (b,), b at most ROWS, from one block of columns after the other."""
    n = x.shape[0]
    n_groups, size = _blocks(n, n_candidates, x.shape[1] if isinstance(x, SparseRows) else 0)
    n_blocks = -(-n // size)
    norms = jnp.pad(norms, (0, n_blocks * size - n), constant_values=jnp.inf)
    if not isinstance(x, SparseRows):
        columns = jnp.pad(x, ((0, n_blocks * size - n), (0, 0))).T

    def of_rows(rows: jax.Array) -> jax.Array:
        queries = take_rows(x, rows)

        def of_block(start: jax.Array) -> tuple[jax.Array, jax.Array]:
            if isinstance(x, SparseRows):
                block = take_rows(x, jnp.minimum(start + jnp.arange(size), n - 1)).T
            else:
                block = jax.lax.dynamic_slice_in_dim(columns, start, size, axis=1)
            products = jnp.dot(queries, block, precision=HIGHEST)
            scores = jax.lax.dynamic_slice_in_dim(norms, start, size) - 2 * products
            lowest, at = _lowest(scores, min(n_candidates, size), n_groups)
            return lowest, start + at

        lowest, at = jax.lax.map(of_block, jnp.arange(n_blocks) * size)
        lowest, at = (jnp.moveaxis(a, 0, 1).reshape(len(rows), -1) for a in (lowest, at))
        chosen = jax.lax.top_k(-lowest, n_candidates)[1]
        return jnp.take_along_axis(at, chosen, axis=1).astype(jnp.int32)

    return of_rows


def _blocks(n: int, n_candidates: int, n_features: int) -> tuple[int, int]:
    """Groups of columns, with which `_lowest` sorts the fewest numbers, and columns of a block, a multiple of them.

    A block of sparse rows is filled in, with all of its features.
    """
    at_most = min(n, max(BLOCK_BYTES // (4 * max(ROWS, n_features)), 128))
    n_groups = max(round(math.sqrt(n_candidates * at_most) / 128), 1) * 128
    columns = -(-n // -(-n // at_most))
    return n_groups, -(-columns // n_groups) * n_groups


def _lowest(scores: jax.Array, count: int, n_groups: int) -> tuple[jax.Array, jax.Array]:
    """The `count` lowest scores of each row (b, c) and their columns, without sorting all of them.

    They lie in the `count` groups of columns with the lowest minima: each group before theirs holds a lower score.
    So the groups are sorted by their minima, and then what lies in the first of them.
    """
    b, c = scores.shape
    if count >= n_groups or c == n_groups:
        lowest, at = jax.lax.top_k(-scores, count)
        return -lowest, at
    scores = scores.reshape(b, c // n_groups, n_groups)
    groups = jax.lax.top_k(-scores.min(axis=1), count)[1][:, None, :]
    within = jnp.take_along_axis(scores, groups, axis=2).reshape(b, -1)
    columns = (jnp.arange(c // n_groups)[:, None] * n_groups + groups).reshape(b, -1)
    lowest, at = jax.lax.top_k(-within, count)
    return -lowest, jnp.take_along_axis(columns, at, axis=1)


@partial(jax.jit, static_argnames="n_neighbors")
def _measured(x: Samples, further: jax.Array, candidates: jax.Array, n_neighbors: int) -> tuple[jax.Array, jax.Array]:
    """The sample itself, then the nearest of the candidates (n, c), by Σ (x_i − x_j)² and what they are further."""
    n, c = candidates.shape
    size = max(1, min(n, BLOCK_BYTES // 4 // (4 * c * x.shape[1])))

    def of_block(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = jnp.minimum(start + jnp.arange(size), n - 1)
        others = candidates[rows]
        differences = take_rows(x, rows)[:, None] - take_rows(x, others.ravel()).reshape(size, c, -1)
        squares = jnp.sum(differences**2, axis=2) + further[rows][:, None] + further[others]
        squares = jnp.where(others == rows[:, None], jnp.inf, squares)
        others, squares = (
            jnp.concatenate([own, other], axis=1)
            for own, other in ((rows[:, None].astype(jnp.int32), others), (jnp.full((size, 1), -1.0), squares))
        )
        squares, at = jax.lax.top_k(-squares, n_neighbors)
        return jnp.take_along_axis(others, at, axis=1), jnp.maximum(-squares, 0)

    indices, squares = jax.lax.map(of_block, jnp.arange(0, n, size))
    return indices.reshape(-1, n_neighbors)[:n], squares.reshape(-1, n_neighbors)[:n]
