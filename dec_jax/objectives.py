"""Objectives of the clustering phase: sums of weighted terms, each a pure function of what a step has.

An objective adds and scales, `kl() + 0.1 * reconstruction("mse")`. It is a pytree whose leaves are its weights and the
parameters of its terms: these are traced values, so that another weight compiles nothing and many weights are a `vmap`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dec_jax.losses import RECONSTRUCTION_LOSSES, kl_divergence
from dec_jax.validation import check_choice, check_number

NEEDS = ("reconstruction",)


class StepInputs(NamedTuple):
    """What a term may read; b samples, k clusters, m embedding dimensions.

    Attributes:
        x: (b, d) batch.
        network_input: (b, d) what the network saw: x, or an augmentation of it.
        z: (b, m) embedding of the network's input.
        centroids: (k, m).
        log_q: (b, k) log soft assignment; −inf marks a cluster that takes no part.
        p: (b, k) target distribution, fixed since the last refresh.
        reconstruction: (b, d) of the network's input, or None where no term needs it.
        step: scalar int32, updates done before.
        key: PRNG key of this step.
    """

    x: jax.Array
    network_input: jax.Array
    z: jax.Array
    centroids: jax.Array
    log_q: jax.Array
    p: jax.Array
    reconstruction: jax.Array | None = None
    step: jax.Array | int = 0
    key: jax.Array | None = None

    @property
    def labels(self) -> jax.Array:
        """(b,) int32, the hard assignment: the largest soft one."""
        return jnp.argmax(self.log_q, axis=-1).astype(jnp.int32)


@struct.dataclass
class Term:
    """One weighted summand of an objective.

    Attributes:
        weight: scalar, at least 0.
        parameters: further arguments of the function, traced.
        function: (inputs, **parameters) → scalar.
        name: what progress and history call it.
        needs: which of `NEEDS` the function reads; what no term needs is not computed.
    """

    weight: float | jax.Array
    parameters: dict[str, Any]
    function: Callable[..., jax.Array] = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)
    needs: tuple[str, ...] = struct.field(pytree_node=False, default=())


@struct.dataclass
class Objective:
    """A sum of terms. Objectives add; times a number at least 0, every weight is scaled."""

    terms: tuple[Term, ...]

    def __call__(self, inputs: StepInputs) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum, a scalar, and each term's own value by name, unweighted.

        Raises:
            TypeError: a term's value is no scalar.
        """
        values = {term.name: _scalar(term, inputs) for term in self.terms}
        return sum(term.weight * values[term.name] for term in self.terms), values

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(term.name for term in self.terms)

    def needs(self, what: str) -> bool:
        """Whether a term reads `what`, one of `NEEDS`."""
        return any(what in term.needs for term in self.terms)

    def __add__(self, other: Objective | Callable[[StepInputs], jax.Array]) -> Objective:
        terms = self.terms + as_objective(other).terms
        names = [term.name for term in terms]
        if len(set(names)) < len(names):
            raise ValueError(f"the terms of an objective must have different names, got {', '.join(names)}")
        return Objective(terms)

    def __mul__(self, factor: float | jax.Array) -> Objective:
        if not isinstance(factor, jax.Array):
            check_number("weight", factor, 0)
        return Objective(tuple(term.replace(weight=factor * term.weight) for term in self.terms))

    __rmul__ = __mul__


def _scalar(term: Term, inputs: StepInputs) -> jax.Array:
    value = term.function(inputs, **term.parameters)
    if jnp.shape(value) != ():
        raise TypeError(f"objective {term.name} must return a scalar, got shape {jnp.shape(value)}")
    return value


def objective(
    function: Callable[..., jax.Array],
    *,
    name: str | None = None,
    needs: tuple[str, ...] = (),
    **parameters: Any,
) -> Objective:
    """An objective of one term with weight 1.

    Args:
        function: (inputs: StepInputs, **parameters) → scalar, pure.
        name: default the function's own.
        needs: which of `NEEDS` it reads.
        **parameters: further arguments of the function, traced.

    Raises:
        TypeError: it cannot be called with the inputs and these parameters.
        ValueError: a need is unknown.
    """
    for need in needs:
        check_choice("need", need, NEEDS)
    try:
        inspect.signature(function).bind(None, **parameters)
    except TypeError as error:
        raise TypeError(f"an objective must be a function (inputs, **parameters) → scalar: {error}") from None
    return Objective((Term(1.0, parameters, function, name or getattr(function, "__name__", "objective"), needs),))


def as_objective(value: Objective | Callable[[StepInputs], jax.Array]) -> Objective:
    """`value` itself, or the objective of one term that a plain function is."""
    return value if isinstance(value, Objective) else objective(value)


def kl() -> Objective:
    """KL(P‖Q), mean over the batch (DEC paper, equation 2)."""
    return objective(_kl, name="kl")


def reconstruction(loss: str = "mse") -> Objective:
    """A reconstruction loss of the network's input under the decoder, one of `losses.RECONSTRUCTION_LOSSES`."""
    check_choice("loss", loss, RECONSTRUCTION_LOSSES)
    return objective(_RECONSTRUCTIONS[loss], name="reconstruction", needs=("reconstruction",))


def size_balance() -> Objective:
    """KL(q̄‖uniform) = log k + Σ_j q̄_j log q̄_j of the batch's mean assignment q̄: 0 where clusters are of one size."""
    return objective(_size_balance, name="size_balance")


def dec() -> Objective:
    """Deep embedded clustering (Xie et al. 2016): `kl()`."""
    return kl()


def idec(gamma: float | jax.Array = 0.1, loss: str = "mse") -> Objective:
    """Improved deep embedded clustering (Guo et al. 2017): reconstruction + γ KL(P‖Q), γ at least 0."""
    return reconstruction(loss) + gamma * kl()


def _kl(inputs: StepInputs) -> jax.Array:
    return kl_divergence(inputs.p, inputs.log_q).mean()


def _of_reconstruction(loss: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[StepInputs], jax.Array]:
    return lambda inputs: loss(inputs.reconstruction, inputs.network_input)


# Made once: a function made anew would be compiled anew.
_RECONSTRUCTIONS = {name: _of_reconstruction(loss) for name, loss in RECONSTRUCTION_LOSSES.items()}


def _size_balance(inputs: StepInputs) -> jax.Array:
    mean = jnp.exp(inputs.log_q).mean(axis=0)
    n_active = jnp.sum(jnp.any(jnp.isfinite(inputs.log_q), axis=0))
    return jnp.log(n_active) + jnp.sum(jax.scipy.special.xlogy(mean, jnp.where(mean > 0, mean, 1.0)))
