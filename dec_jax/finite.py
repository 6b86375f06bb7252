"""Watches numbers inside compiled loops: what became NaN or infinite first, and in which step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

NEVER = -1
ADVICE = "lower the learning rate, or scale the data so that the mean of ‖x‖²/d is about 1"


class FirstBad(NamedTuple):
    """What was not finite first.

    Attributes:
        step: scalar int32, updates done when it was seen, the one that made it counted; `NEVER` where all was finite.
        what: scalar int32, its place among what is watched.
    """

    step: Any
    what: Any


def nothing_bad() -> FirstBad:
    """What is noted before anything was watched."""
    return FirstBad(jnp.int32(NEVER), jnp.int32(0))


def is_finite(tree: Any) -> jax.Array:
    """Whether all numbers of a pytree are finite, a scalar bool: one pass over them."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack(leaves)) if leaves else jnp.bool_(True)


def vectors_are_finite(tree: Any) -> jax.Array:
    """`is_finite` of the vectors and scalars of a pytree, or of all where there are none: next to no work.

    The gradient of a layer's weights is made of that of its biases and of what the layer saw: where the former and the
    loss are finite, so is it, but for an overflow that the next step shows.
    """
    leaves = jax.tree.leaves(tree)
    return is_finite([leaf for leaf in leaves if leaf.ndim < 2] or leaves)


def note(before: FirstBad, step: jax.Array, finite: Sequence[jax.Array]) -> FirstBad:
    """What was bad before, or else the first of what is not `finite` after `step` updates; each a scalar bool."""
    finite = jnp.stack(finite)
    is_new = (before.step == NEVER) & ~jnp.all(finite)
    new = FirstBad(jnp.asarray(step, jnp.int32), jnp.argmin(finite).astype(jnp.int32))
    return jax.tree.map(lambda a, b: jnp.where(is_new, a, b), new, before)


def failure(phase: str, step: int, what: str, advice: str = ADVICE) -> str:
    """One line that says what failed, and what to try."""
    when = "before its first step" if step == 0 else f"in step {step:,}"
    return f"{phase} failed {when}: {what} became NaN or infinite first; {advice}"
