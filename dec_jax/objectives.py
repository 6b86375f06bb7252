"""Objectives of the clustering phase: pure functions of what a step has, (named arrays) → scalar."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from dec_jax.losses import kl_divergence


class StepInputs(NamedTuple):
    """What an objective may read; b samples, k clusters, m embedding dimensions.

    Attributes:
        x: (b, d) batch.
        z: (b, m) embedding of the batch.
        centroids: (k, m).
        log_q: (b, k) log soft assignment.
        p: (b, k) target distribution, fixed since the last refresh.
    """

    x: jax.Array
    z: jax.Array
    centroids: jax.Array
    log_q: jax.Array
    p: jax.Array


Objective = Callable[[StepInputs], jax.Array]


def dec(inputs: StepInputs) -> jax.Array:
    """KL(P‖Q), mean over the batch, a scalar (DEC paper, equation 2)."""
    return kl_divergence(inputs.p, inputs.log_q).mean()
