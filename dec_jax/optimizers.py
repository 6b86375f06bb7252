"""Optimisers whose rates are data: another learning rate or momentum compiles nothing.

An `Optimizer` has optax's `init` and `update`. It is a pytree whose leaves are its rates, so that many rates are a
`vmap`.
"""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dec_jax.validation import check_choice, check_unless_traced

RULES = ("sgd", "adam")
SCHEDULES = ("constant", "step", "cosine")


@struct.dataclass
class Optimizer:
    """SGD with momentum, or Adam (Kingma and Ba 2015), under a schedule.

    Attributes:
        learning_rate: at the first step, above 0.
        momentum: of sgd, from 0 to 0.9999.
        decay_every: steps between two divisions of the rate by 10 in the schedule "step", above 0.
        n_steps: steps until the schedule "cosine" reaches 0, above 0.
        warmup: steps in which the rate grows to what the schedule says, 0 for none.
        bias_factor: learning rate of the biases relative to that of the weights; the DEC authors' release has 2.
        rule: one of `RULES`.
        schedule: one of `SCHEDULES`.

    Raises:
        TypeError: a rate is not a number.
        ValueError: a rate is out of range, or a name is unknown.
    """

    learning_rate: float | jax.Array
    momentum: float | jax.Array = 0.9
    decay_every: float | jax.Array = 20_000
    n_steps: float | jax.Array = 1
    warmup: float | jax.Array = 0
    bias_factor: float | jax.Array = 1.0
    rule: str = struct.field(pytree_node=False, default="sgd")
    schedule: str = struct.field(pytree_node=False, default="constant")

    def __post_init__(self) -> None:
        check_choice("rule", self.rule, RULES)
        check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("learning_rate", "decay_every", "n_steps", "bias_factor"):
            check_unless_traced(name, getattr(self, name), 0, exclusive=True)
        check_unless_traced("warmup", self.warmup, 0)
        check_unless_traced("momentum", self.momentum, 0, 0.9999)

    def rate(self, step: jax.Array) -> jax.Array:
        """Learning rate, a scalar, after `step` updates."""
        return self._scheduled(step) * jnp.minimum((step + 1) / jnp.maximum(self.warmup, 1), 1)

    def _scheduled(self, step: jax.Array) -> jax.Array:
        if self.schedule == "step":
            return self.learning_rate * 0.1 ** jnp.floor(step / self.decay_every)
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / self.n_steps, 1)))
        return jnp.asarray(self.learning_rate, jnp.float32)

    def init(self, params: Any) -> optax.OptState:
        """State before the first update of `params`, a pytree."""
        return self._transformation().init(params)

    def update(self, gradient: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        """What is added to the parameters, and the state after."""
        updates, state = self._transformation().update(gradient, state, params)
        return jax.tree_util.tree_map_with_path(self._scale_bias, updates), state

    def _transformation(self) -> optax.GradientTransformation:
        return optax.adam(self.rate) if self.rule == "adam" else optax.sgd(self.rate, self.momentum)

    def _scale_bias(self, path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        return self.bias_factor * update if getattr(path[-1], "key", None) == "bias" else update


@struct.dataclass
class Fixed:
    """Any optax transformation; what it is made of is compiled in."""

    transformation: optax.GradientTransformation = struct.field(pytree_node=False)

    def init(self, params: Any) -> optax.OptState:
        """State before the first update of `params`, a pytree."""
        return self.transformation.init(params)

    def update(self, gradient: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        """What is added to the parameters, and the state after."""
        return self.transformation.update(gradient, state, params)


def sgd(learning_rate: float | jax.Array, momentum: float | jax.Array = 0.9, **schedule: Any) -> Optimizer:
    """SGD with momentum; `schedule` holds further attributes of `Optimizer`."""
    return Optimizer(learning_rate, momentum, rule="sgd", **schedule)


def adam(learning_rate: float | jax.Array, **schedule: Any) -> Optimizer:
    """Adam; `schedule` holds further attributes of `Optimizer`."""
    return Optimizer(learning_rate, rule="adam", **schedule)


def as_optimizer(value: Any) -> Any:
    """`value` itself if it is a pytree with `init` and `update`, or a `Fixed` of an optax transformation.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, optax.GradientTransformation):
        return Fixed(value)
    if hasattr(value, "init") and hasattr(value, "update"):
        return value
    if isinstance(value, numbers.Real | str) or value is None:
        raise TypeError(f"optimizer must have init and update, as optax's have, got {value!r}")
    return value  # JAX rebuilds pytrees with placeholders
