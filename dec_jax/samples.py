"""Samples on the device, dense or sparse: rows are gathered, mapped and summed there, a chunk at a time."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from flax import struct

from dec_jax.permutation import permute, random_words
from dec_jax.validation import as_csr, check_integer

CHUNK_SIZE = 4096  # rows of few numbers
CHUNK_BYTES = 2**23  # of the widest array that a chunk of rows becomes: more would not stay in a processor's cache
ENTRIES_AT_A_TIME = 64  # of each sparse row


@struct.dataclass
class SparseRows:
    """A matrix (n, d) of compressed sparse rows on the device; only the rows asked for become dense.

    Attributes:
        starts: (n + 1,) int32, row i owns the entries starts[i] … starts[i + 1] − 1.
        columns: (entries,) int32.
        values: (entries,) float32.
        n_features: d.
    """

    starts: jax.Array
    columns: jax.Array
    values: jax.Array
    n_features: int = struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self.starts) - 1, self.n_features


Samples = jax.Array | SparseRows


def to_device(x: Any) -> Samples:
    """Copies a host matrix (n, d), dense or scipy sparse, to the device as float32.

    What is on the device already stays as it is. An array that is marked as read-only, `x.setflags(write=False)`, is
    shared where the device is the host, so that large data need not lie in memory twice.

    Raises:
        ValueError: a sparse matrix is damaged, as `as_csr` has it, or holds 2³¹ entries or more.
    """
    if isinstance(x, jax.Array | SparseRows):
        return x
    if not scipy.sparse.issparse(x):
        return _to_device(x, jnp.float32)
    x = as_csr(x)
    if not x.has_canonical_format:
        x = x.copy()  # its arrays may be the caller's
        x.sum_duplicates()
    if x.nnz >= 2**31:
        raise ValueError(f"x must hold fewer than 2**31 entries, got {x.nnz}")
    return SparseRows(
        starts=_to_device(x.indptr, jnp.int32),
        columns=_to_device(x.indices, jnp.int32),
        values=_to_device(x.data, jnp.float32),
        n_features=x.shape[1],
    )


def _to_device(x: Any, dtype: Any) -> jax.Array:
    # On a CPU `asarray` shares an aligned array, and what a caller writes there later would change the samples.
    writeable = not isinstance(x, np.ndarray) or x.flags.writeable
    return jnp.array(x, dtype) if writeable else jnp.asarray(x, dtype)


def take_rows(x: Samples, indices: jax.Array) -> jax.Array:
    """Rows `indices` (b,) of x (n, d) as a dense array (b, d)."""
    if not isinstance(x, SparseRows):
        return x[indices]
    if not len(x.values):
        return jnp.zeros((len(indices), x.n_features), x.values.dtype)
    starts, ends = x.starts[indices], x.starts[indices + 1]
    row = jnp.arange(len(indices))[:, None]

    # A few entries of each row at a time: one long row costs time where it is asked for, and no memory.
    def fill(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        done, dense = carry
        entries = (starts + done)[:, None] + jnp.arange(ENTRIES_AT_A_TIME)
        columns = jnp.where(entries < ends[:, None], x.columns.at[entries].get(mode="clip"), x.n_features)
        dense = dense.at[row, columns].set(x.values.at[entries].get(mode="clip"), mode="drop")
        return done + ENTRIES_AT_A_TIME, dense

    longest = jnp.max(ends - starts)
    dense = jnp.zeros((len(indices), x.n_features), x.values.dtype)
    return jax.lax.while_loop(lambda carry: carry[0] < longest, fill, (jnp.int32(0), dense))[1]


def _chunk(x: Samples, start: jax.Array, size: int) -> jax.Array:
    if isinstance(x, SparseRows):
        return take_rows(x, start + jnp.arange(size))
    return jax.lax.dynamic_slice_in_dim(x, start, size)


def _chunk_size(x: Samples, chunk_size: int | None) -> int:
    most = max(1, CHUNK_BYTES // (4 * x.shape[1]))
    return min(most if chunk_size is None else chunk_size, x.shape[0])


def map_rows(function: Callable[[jax.Array], Any], x: Samples, chunk_size: int | None = None) -> Any:
    """Applies `function` to chunks of rows, (b, d) to a pytree of (b, …), and joins the results to (n, …).

    A chunk has `chunk_size` rows, by default as many as `CHUNK_BYTES` hold.
    """
    n, size = x.shape[0], _chunk_size(x, chunk_size)
    full, rest = divmod(n, size)
    starts = jnp.arange(full) * size
    _, parts = jax.lax.scan(lambda _, start: (None, function(_chunk(x, start, size))), None, starts)
    parts = jax.tree.map(lambda part: part.reshape(full * size, *part.shape[2:]), parts)
    if not rest:
        return parts
    last = function(_chunk(x, full * size, rest))
    return jax.tree.map(lambda *ends: jnp.concatenate(ends), parts, last)


def sum_rows(function: Callable[[jax.Array], Any], x: Samples, chunk_size: int | None = None) -> Any:
    """Sum over chunks of rows of `function`, (b, d) to a pytree of arrays; no result of a chunk outlives it."""
    n, size = x.shape[0], _chunk_size(x, chunk_size)
    full, rest = divmod(n, size)
    total = function(_chunk(x, full * size, rest) if rest else _chunk(x, 0, size))

    def add(total: Any, start: jax.Array) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(_chunk(x, start, size))), None

    starts = jnp.arange(0 if rest else 1, full) * size
    return jax.lax.scan(add, total, starts)[0]


def usable_batch_size(batch_size: int, n_samples: int) -> int:
    """`batch_size`, or the number of samples where there are fewer, which a warning says.

    Raises:
        TypeError, ValueError: it is not an integer, or below 1.
    """
    check_integer("batch_size", batch_size, 1)
    if batch_size > n_samples:
        message = f"batch_size {batch_size} is more than the {n_samples} samples: it is {n_samples} now"
        warnings.warn(message, stacklevel=3)
    return min(batch_size, n_samples)


def batch_rows(key: jax.Array, step: jax.Array, n_samples: int, batch_size: int) -> jax.Array:
    """Rows (b,) int32 of the batch of a step in an endless stream of permutations.

    The stream is one random permutation of all samples after the other; step s reads its positions s·batch_size
    onwards. So every sample is seen once in each epoch, none is left out at its end, and a run that stops and goes on
    sees what an unbroken one sees.

    Args:
        key: PRNG key of the stream.
        step: scalar int32; step · batch_size must stay below 2³¹.
        n_samples: n.
        batch_size: b.
    """
    positions = step * batch_size + jnp.arange(batch_size)
    first_epoch = positions[0] // n_samples
    epochs = first_epoch + jnp.arange((batch_size - 1) // n_samples + 2)
    words = jax.vmap(lambda epoch: random_words(jax.random.fold_in(key, epoch)))(epochs)
    return permute(words[positions // n_samples - first_epoch], positions % n_samples, n_samples)
