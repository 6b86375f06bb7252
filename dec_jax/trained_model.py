"""A trained model: all that is needed to embed and to assign new samples."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from flax.errors import ScopeParamNotFoundError

from dec_jax import networks
from dec_jax.assignment import Assignment
from dec_jax.data import Encoding, to_table
from dec_jax.data import encode as encode_table
from dec_jax.data.scaling import Scaling, apply_scaling, invert_scaling
from dec_jax.networks import Params
from dec_jax.samples import Samples, map_rows, to_device
from dec_jax.validation import check_samples

ROWS_AT_A_TIME = 65_536  # on the device
VALUES_AT_A_TIME = 2**26  # of rows with many features, which a scaling may make dense
ROWS_PER_BLOCK = 256


@dataclass(frozen=True)
class TrainedModel:
    """Result of a run.

    Attributes:
        model: the network: any Flax module with `encode`.
        params: the clustered encoder, and the decoder as pretraining left it.
        centroids: (k, m).
        scaling: what was done to the raw samples before training.
        assignment: kernel and α of the soft assignment.
        encoding: how the columns of a table become features; None where the model was trained on an array.
    """

    model: Any
    params: Params
    centroids: jax.Array
    scaling: Scaling
    assignment: Assignment = field(default_factory=Assignment)
    encoding: Encoding | None = None


def embed(trained: TrainedModel, x: Any) -> np.ndarray:
    """Embedding of raw samples. That of a row is the same, to the last bit, whatever rows are beside it.

    Args:
        trained: the model.
        x: (n, d) unscaled samples, dense or scipy sparse; scaled and embedded a chunk at a time. A model that was
            trained on a table takes a pandas or polars frame with the same columns, in any order; a warning says which
            are new to it.

    Returns:
        (n, m) float32.

    Raises:
        TypeError: the samples are not real numbers.
        ValueError: they have another number of features than the model, or hold NaN or infinity.
    """
    return _of_raw(_embedding, trained, x)


def soft_assign(trained: TrainedModel, x: Any) -> np.ndarray:
    """Soft assignment q (n, k), float32, rows sum to 1, of raw samples; arguments and errors as in `embed`."""
    return _of_raw(_soft_assignment, trained, x)


def assign(trained: TrainedModel, x: Any) -> np.ndarray:
    """Cluster (n,), int32, of each raw sample: the largest soft assignment; arguments and errors as in `embed`."""
    return soft_assign(trained, x).argmax(axis=1).astype(np.int32)


def has_decoder(trained: TrainedModel) -> bool:
    """Whether the model can reconstruct: a network that was trained without an autoencoder cannot."""
    if not hasattr(trained.model, "decode"):
        return False
    z = jax.ShapeDtypeStruct((1, trained.centroids.shape[1]), jnp.float32)
    try:
        jax.eval_shape(partial(networks.decode, trained.model), trained.params, z)
    except ScopeParamNotFoundError:
        return False
    return True


def decode(trained: TrainedModel, z: Any) -> np.ndarray:
    """Raw samples (n, d) float64 that embeddings z (n, m) stand for, by the decoder as training left it.

    Raises:
        TypeError, ValueError: `z` is not real numbers, has another number of dimensions, or holds NaN or infinity; or
            the model has no decoder.
    """
    if not has_decoder(trained):
        raise ValueError("the model must have a decoder to reconstruct, got one that was trained without")
    z = check_samples(z, "z", varying=False)
    if z.shape[1] != trained.centroids.shape[1]:
        raise ValueError(f"z must have {trained.centroids.shape[1]} dimensions, got {z.shape[1]}")
    return invert_scaling(trained.scaling, _in_blocks(_reconstruction, trained, z, lambda rows: rows))


def _embedding(model: Any, arrays: tuple[Any, ...], x: jax.Array) -> jax.Array:
    return networks.encode(model, arrays[0], x)


def _soft_assignment(model: Any, arrays: tuple[Any, ...], x: jax.Array) -> jax.Array:
    params, centroids, assignment = arrays
    return jnp.exp(assignment.log_q(networks.encode(model, params, x), centroids))


def _reconstruction(model: Any, arrays: tuple[Any, ...], z: jax.Array) -> jax.Array:
    return networks.decode(model, arrays[0], z)


def _of_raw(function: Callable[..., jax.Array], trained: TrainedModel, x: Any) -> np.ndarray:
    """`function` of raw samples."""
    if trained.encoding is not None and hasattr(x, "columns"):
        encoded = encode_table(trained.encoding, to_table(x))
        for note in encoded.notes:
            warnings.warn(note, stacklevel=4)
        x = encoded.x
    x = check_samples(x, varying=False)
    dims = getattr(trained.model, "dims", x.shape[1:])  # a module of the user's own need not say
    if x.shape[1] != dims[0]:
        raise ValueError(f"x must have the {dims[0]} features that the model was trained on, got {x.shape[1]}")
    return _in_blocks(function, trained, x, partial(apply_scaling, trained.scaling))


def _in_blocks(
    function: Callable[..., jax.Array], trained: TrainedModel, x: Any, prepare: Callable[[Any], Any]
) -> np.ndarray:
    """`function` of all rows. A row's result does not depend on those beside it: blocks have one size, to the last bit.

    Args:
        function: pure, (network, arrays of the model, (ROWS_PER_BLOCK, d)) → (ROWS_PER_BLOCK, …).
        trained: the model.
        x: (n, d), dense or sparse.
        prepare: called with some rows on the host.
    """
    arrays = trained.params, trained.centroids, trained.assignment
    parts, step = [], max(1, min(ROWS_AT_A_TIME, VALUES_AT_A_TIME // x.shape[1]))
    for start in range(0, x.shape[0], step):
        rows = prepare(x[start : start + step])
        n = rows.shape[0]
        # Powers of two, so that few numbers of rows are compiled for.
        padded = ROWS_PER_BLOCK * 2 ** max(0, math.ceil(math.log2(n / ROWS_PER_BLOCK)))
        parts.append(np.asarray(_blocks(function, trained.model, arrays, to_device(_pad_rows(rows, padded))))[:n])
    return np.concatenate(parts)


@partial(jax.jit, static_argnames=("function", "model"))
def _blocks(function: Callable[..., jax.Array], model: Any, arrays: tuple[Any, ...], rows: Samples) -> jax.Array:
    return map_rows(partial(function, model, arrays), rows, ROWS_PER_BLOCK)


def _pad_rows(x: Any, n: int) -> Any:
    if scipy.sparse.issparse(x):
        return scipy.sparse.vstack([x, scipy.sparse.csr_array((n - x.shape[0], x.shape[1]), dtype=x.dtype)], "csr")
    return np.pad(x, ((0, n - x.shape[0]), (0, 0)))
