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

from dec_jax.losses import RECONSTRUCTION_LOSSES, kl_divergence, squared_distances
from dec_jax.validation import check_choice, check_number

NEEDS = ("reconstruction",)
Memories = tuple[Any, ...]
COUNT = 100.0  # of samples that a centroid of k-means stands for, as in the DCN authors' code


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
        memory: the term's own, as its `init` made it and its `update` left it; () where it has none.
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
    memory: Any = ()

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
        init: centroids (k, m) → the term's memory, a pytree of arrays; None where it has none.
        update: inputs → (memory, centroids) after a step; None where nothing changes.
    """

    weight: float | jax.Array
    parameters: dict[str, Any]
    function: Callable[..., jax.Array] = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)
    needs: tuple[str, ...] = struct.field(pytree_node=False, default=())
    init: Callable[[jax.Array], Any] | None = struct.field(pytree_node=False, default=None)
    update: Callable[[StepInputs], tuple[Any, jax.Array]] | None = struct.field(pytree_node=False, default=None)


@struct.dataclass
class Objective:
    """A sum of terms. Objectives add; times a number at least 0, every weight is scaled."""

    terms: tuple[Term, ...]

    def __call__(self, inputs: StepInputs, memories: Memories = ()) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum, a scalar, and each term's own value by name, unweighted.

        Args:
            inputs: what a step has; each term gets its own memory with them.
            memories: of the terms, from `init`; may be left out where no term has one.

        Raises:
            TypeError: a term's value is no scalar.
        """
        pairs = zip(self.terms, memories or self._no_memories, strict=True)
        values = {term.name: _scalar(term, inputs._replace(memory=memory)) for term, memory in pairs}
        return sum(term.weight * values[term.name] for term in self.terms), values

    def init(self, centroids: jax.Array) -> Memories:
        """The terms' memories before the first step, for centroids (k, m)."""
        return tuple(term.init(centroids) if term.init else () for term in self.terms)

    def update(self, memories: Memories, inputs: StepInputs) -> tuple[Memories, jax.Array]:
        """The terms' memories after a step, and the centroids (k, m) where the terms move them by a rule of their own.

        Args:
            memories: before the step.
            inputs: of the step, with the centroids as the optimiser left them.
        """
        after = []
        for term, memory in zip(self.terms, memories or self._no_memories, strict=True):
            if term.update:
                memory, centroids = term.update(inputs._replace(memory=memory))
                inputs = inputs._replace(centroids=centroids)
            after.append(memory)
        return tuple(after), inputs.centroids

    @property
    def _no_memories(self) -> Memories:
        return ((),) * len(self.terms)

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
    init: Callable[[jax.Array], Any] | None = None,
    update: Callable[[StepInputs], tuple[Any, jax.Array]] | None = None,
    **parameters: Any,
) -> Objective:
    """An objective of one term with weight 1.

    Args:
        function: (inputs: StepInputs, **parameters) → scalar, pure.
        name: default the function's own.
        needs: which of `NEEDS` it reads.
        init: centroids (k, m) → memory that the term carries from step to step, a pytree of arrays.
        update: inputs → (memory, centroids) after each step; the inputs hold the memory before it, and the centroids as
            the optimiser left them.
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
    name = name or getattr(function, "__name__", "objective")
    return Objective((Term(1.0, parameters, function, name, needs, init, update),))


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


def dcn(weight: float | jax.Array = 1.0, loss: str = "mse") -> Objective:
    """Deep clustering network (Yang et al., ICML 2017): reconstruction + λ/2 ‖z − μ_s‖², s the hard assignment.

    No gradient reaches the centroids: each one is the running mean of the embeddings assigned to it, with `COUNT` for
    what it stands on at first.

    Args:
        weight: λ, at least 0.
        loss: of the reconstruction.
    """
    distance = objective(_distance_to_own, name="distance", init=_first_counts, update=_running_means)
    return reconstruction(loss) + weight * distance


def dkm(
    weight: float | jax.Array = 1.0,
    loss: str = "mse",
    *,
    start: float | jax.Array = 0.1,
    growth: float | jax.Array = 1.005,
    end: float | jax.Array = 1000.0,
) -> Objective:
    """Deep k-means (Fard et al. 2020): reconstruction + λ Σ_j w_ij ‖z_i − μ_j‖², w_ij = softmax_j(−a ‖z_i − μ_j‖²).

    The inverse temperature a grows with the steps, so that soft assignments become hard ones.

    Args:
        weight: λ, at least 0.
        loss: of the reconstruction.
        start: a at the first step, at least 0.
        growth: a at a step, relative to the step before, above 0.
        end: the largest a, above 0.
    """
    for name, value in (("start", start), ("growth", growth), ("end", end)):
        if not isinstance(value, jax.Array):
            check_number(name, value, 0, exclusive=name != "start")
    distance = objective(_softmin_distance, name="distance", start=start, growth=growth, end=end)
    return reconstruction(loss) + weight * distance


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


def _distance_to_own(inputs: StepInputs) -> jax.Array:
    own = jax.lax.stop_gradient(inputs.centroids)[jax.lax.stop_gradient(inputs.labels)]
    return 0.5 * jnp.mean(jnp.sum(jnp.square(inputs.z - own), axis=-1))


def _first_counts(centroids: jax.Array) -> jax.Array:
    return jnp.full(len(centroids), COUNT)


def _running_means(inputs: StepInputs) -> tuple[jax.Array, jax.Array]:
    """Counts (k,) and means (k, m) with the batch added: what one sample after the other would make of them."""
    members = jax.nn.one_hot(inputs.labels, len(inputs.centroids))
    before, counts = inputs.memory, inputs.memory + members.sum(axis=0)
    return counts, (before[:, None] * inputs.centroids + members.T @ inputs.z) / counts[:, None]


def _softmin_distance(inputs: StepInputs, start: jax.Array, growth: jax.Array, end: jax.Array) -> jax.Array:
    squared = squared_distances(inputs.z, inputs.centroids)
    # In logarithms, as the power would overflow in a long run.
    inverse_temperature = jnp.exp(jnp.minimum(jnp.log(start) + inputs.step * jnp.log(growth), jnp.log(end)))
    logits = jnp.where(jnp.isfinite(inputs.log_q), -inverse_temperature * squared, -jnp.inf)
    return jnp.mean(jnp.sum(jax.nn.softmax(logits) * squared, axis=-1))
