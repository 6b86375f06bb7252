"""A trained model: all that is needed to embed and to assign new samples."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dec_jax import clustering
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Params
from dec_jax.data.scaling import Scaling, apply_scaling
from dec_jax.samples import Samples, to_device
from dec_jax.validation import check_samples

ROWS_AT_A_TIME = 65_536


@dataclass(frozen=True)
class TrainedModel:
    """Result of a run.

    Attributes:
        model: the network: any Flax module with `encode`.
        params: the clustered encoder, and the decoder as pretraining left it.
        centroids: (k, m).
        scaling: what was done to the raw samples before training.
        assignment: kernel and α of the soft assignment.
    """

    model: nn.Module
    params: Params
    centroids: jax.Array
    scaling: Scaling
    assignment: Assignment = field(default_factory=Assignment)


def embed(trained: TrainedModel, x: Any) -> np.ndarray:
    """Embedding of raw samples.

    Args:
        trained: the model.
        x: (n, d) unscaled samples, dense or scipy sparse; scaled and embedded a chunk at a time.

    Returns:
        (n, m) float32.

    Raises:
        TypeError: the samples are no real numbers.
        ValueError: they have another number of features than the model, or hold NaN or infinity.
    """
    return _in_chunks(partial(clustering.embed, trained.model, trained.params), trained, x)


def soft_assign(trained: TrainedModel, x: Any) -> np.ndarray:
    """Soft assignment q (n, k), float32, rows sum to 1, of raw samples; arguments and errors as in `embed`."""
    fixed = trained.model, trained.params, trained.centroids
    return _in_chunks(partial(clustering.soft_assignments, *fixed, assignment=trained.assignment), trained, x)


def assign(trained: TrainedModel, x: Any) -> np.ndarray:
    """Cluster (n,), int32, of each raw sample: the largest soft assignment; arguments and errors as in `embed`."""
    return soft_assign(trained, x).argmax(axis=1).astype(np.int32)


def _in_chunks(function: Callable[..., jax.Array], trained: TrainedModel, x: Any) -> np.ndarray:
    x = check_samples(x, varying=False)
    dims = getattr(trained.model, "dims", x.shape[1:])  # a module of the user's own need not say
    if x.shape[1] != dims[0]:
        raise ValueError(f"x must have the {dims[0]} features that the model was trained on, got {x.shape[1]}")

    def chunk(start: int) -> np.ndarray:
        scaled: Samples = to_device(apply_scaling(trained.scaling, x[start : start + ROWS_AT_A_TIME]))
        return np.asarray(function(x=scaled))

    return np.concatenate([chunk(start) for start in range(0, x.shape[0], ROWS_AT_A_TIME)])
