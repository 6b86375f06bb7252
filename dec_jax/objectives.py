"""Objectives of the clustering phase: sums of weighted terms, each a pure function of what a step has.

An objective adds and scales, `kl() + 0.1 * reconstruction("mse")`. It is a pytree whose leaves are its weights and the
parameters of its terms: these are traced values, so that another weight compiles nothing and many weights are a `vmap`.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dec_jax.losses import RECONSTRUCTION_LOSSES, kl_divergence, squared_distances
from dec_jax.side import LABEL, WEIGHT
from dec_jax.validation import check_choice, check_unless_traced

READS = ("reconstruction", "view", "clean", "neighbor", "pairs", "label")
TermStates = tuple[Any, ...]
N_TEMPERATURES = 40  # of deep k-means
_GROWTH = np.cumprod([1.0, *2 ** (1 / np.log(np.arange(2, N_TEMPERATURES + 1)) ** 2)]).astype(np.float32)
# A compiled program may subtract the rounded largest logit from the exact ones: beyond this, exp of the difference
# overflows.
LARGEST_LOGIT = 1e5
COUNT = 100.0  # of samples that a centroid of k-means stands for, as in the DCN authors' code


class View(NamedTuple):
    """What a step computes of samples that it sees beside the batch, or of the batch once more.

    Attributes:
        network_input: (b, d).
        z: (b, m).
        log_q: (b, k).
    """

    network_input: jax.Array
    z: jax.Array
    log_q: jax.Array


class Pairs(NamedTuple):
    """Pairs of samples that must or must not be in one cluster, drawn at random from all of them.

    Attributes:
        first: of b samples.
        second: of b samples.
        together: (b,) bool, whether they must be in one cluster.
    """

    first: View
    second: View
    together: jax.Array


class StepInputs(NamedTuple):
    """What a term may read; b samples, k clusters, m embedding dimensions.

    What is None is computed where a term says that it reads it.

    Attributes:
        x: (b, d) batch.
        network_input: (b, d) what the network saw: x, or an augmentation of it.
        z: (b, m) embedding of the network's input.
        centroids: (k, m).
        log_q: (b, k) log soft assignment; −inf marks a cluster that takes no part.
        p: (b, k) target distribution, fixed since the last refresh; None where no term reads it.
        reconstruction: (b, d) of the network's input, or None where no term needs it.
        step: scalar int32, updates done before.
        key: PRNG key of this step.
        state: the term's own, as its `init` made it and its `update` left it; () where it has none.
        rows: (b,) int32, which samples the batch holds.
        view: another augmentation of the batch ("view").
        clean: the batch without augmentation ("clean").
        neighbor: an augmentation of a random neighbour of each sample ("neighbor").
        pairs: ("pairs").
        side: rows of the arrays of `dec_jax.side.Side`, by name, each (b, …).
    """

    x: jax.Array
    network_input: jax.Array
    z: jax.Array
    centroids: jax.Array
    log_q: jax.Array
    p: jax.Array | None
    reconstruction: jax.Array | None = None
    step: jax.Array | int = 0
    key: jax.Array | None = None
    state: Any = ()
    rows: jax.Array | None = None
    view: View | None = None
    clean: View | None = None
    neighbor: View | None = None
    pairs: Pairs | None = None
    side: dict[str, jax.Array] = {}  # noqa: RUF012 - a pytree, and nobody writes to it

    @property
    def labels(self) -> jax.Array:
        """The hard assignment (b,) int32, which is the largest soft one."""
        return jnp.argmax(self.log_q, axis=-1).astype(jnp.int32)


@struct.dataclass
class Term:
    """One weighted summand of an objective.

    Attributes:
        weight: scalar, at least 0.
        parameters: further arguments of the function, traced.
        function: `(inputs, **parameters) → scalar`.
        name: what progress and history call it.
        reads: which of `READS` the function reads; what no term reads is not computed.
        reads_target: whether it reads the target distribution p.
        init: centroids (k, m) → the term's state, a pytree of arrays; None where it has none.
        update: inputs → (state, centroids) after a step; None where nothing changes. A term with it moves the
            centroids by a rule of its own, and no optimiser does.
    """

    weight: float | jax.Array
    parameters: dict[str, Any]
    function: Callable[..., jax.Array] = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)
    reads: tuple[str, ...] = struct.field(pytree_node=False, default=())
    reads_target: bool = struct.field(pytree_node=False, default=True)
    init: Callable[[jax.Array], Any] | None = struct.field(pytree_node=False, default=None)
    update: Callable[[StepInputs], tuple[Any, jax.Array]] | None = struct.field(pytree_node=False, default=None)


@struct.dataclass
class Objective:
    """A sum of terms. Objectives add; times a number at least 0, every weight is scaled."""

    terms: tuple[Term, ...]

    def __call__(self, inputs: StepInputs, states: TermStates = ()) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum, a scalar, and each term's own value by name, unweighted.

        Args:
            inputs: what a step has; each term gets its own state with them.
            states: of the terms, from `init`; may be left out where no term has one.

        Raises:
            TypeError: a term's value is not a scalar.
        """
        pairs = zip(self.terms, states or self._no_states, strict=True)
        values = {term.name: _scalar(term, inputs._replace(state=state)) for term, state in pairs}
        return sum(term.weight * values[term.name] for term in self.terms), values

    def init(self, centroids: jax.Array) -> TermStates:
        """The terms' states before the first step, for centroids (k, m)."""
        return tuple(term.init(centroids) if term.init else () for term in self.terms)

    def update(self, states: TermStates, inputs: StepInputs, moved: jax.Array) -> tuple[TermStates, jax.Array]:
        """The terms' states after a step, and the centroids (k, m).

        Args:
            states: before the step.
            inputs: of the step.
            moved: (k, m), the centroids as the optimiser would have them. A term with a rule of its own for them
                takes its centroids from the inputs, so that nothing else moves them, such as the decay of weights.
        """
        own = any(term.update for term in self.terms)
        after = []
        for term, state in zip(self.terms, states or self._no_states, strict=True):
            if term.update:
                state, centroids = term.update(inputs._replace(state=state))
                inputs = inputs._replace(centroids=centroids)
            after.append(state)
        return tuple(after), inputs.centroids if own else moved

    @property
    def _no_states(self) -> TermStates:
        return ((),) * len(self.terms)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the terms."""
        return tuple(term.name for term in self.terms)

    def reads(self, what: str) -> bool:
        """Whether a term reads `what`, one of `READS`."""
        return any(what in term.reads for term in self.terms)

    @property
    def reads_target(self) -> bool:
        """Whether a term reads the target distribution."""
        return any(term.reads_target for term in self.terms)

    def __add__(self, other: Objective | Callable[[StepInputs], jax.Array]) -> Objective:
        terms = self.terms + as_objective(other).terms
        names = [term.name for term in terms]
        if len(set(names)) < len(names):
            raise ValueError(f"the terms of an objective must have different names, got {', '.join(names)}")
        return Objective(terms)

    def __mul__(self, factor: float | jax.Array) -> Objective:
        check_unless_traced("weight", factor, 0)
        return Objective(tuple(term.replace(weight=factor * term.weight) for term in self.terms))

    __rmul__ = __mul__


def _scalar(term: Term, inputs: StepInputs) -> jax.Array:
    value = term.function(inputs, **term.parameters)
    if not isinstance(value, jax.Array | np.ndarray | numbers.Real):
        raise TypeError(f"objective {term.name} must return a scalar, got {value!r}")
    if jnp.shape(value) != ():
        raise TypeError(f"objective {term.name} must return a scalar, got shape {jnp.shape(value)}")
    return value


def objective(
    function: Callable[..., jax.Array],
    *,
    name: str | None = None,
    reads: tuple[str, ...] = (),
    reads_target: bool = True,
    init: Callable[[jax.Array], Any] | None = None,
    update: Callable[[StepInputs], tuple[Any, jax.Array]] | None = None,
    **parameters: Any,
) -> Objective:
    """An objective of one term with weight 1.

    Args:
        function: `(inputs: StepInputs, **parameters) → scalar`, pure.
        name: default the function's own.
        reads: which of `READS` it reads.
        reads_target: whether it reads the target distribution p, which is not computed where no term does.
        init: centroids (k, m) → state that the term carries from step to step, a pytree of arrays.
        update: inputs → (state, centroids) after each step, of the state and the centroids before it; where it is
            given, no optimiser moves the centroids.
        **parameters: further arguments of the function, traced.

    Raises:
        TypeError: it cannot be called with the inputs and these parameters.
        ValueError: something that it reads is unknown.
    """
    for what in reads:
        check_choice("reads", what, READS)
    try:
        inspect.signature(function).bind(None, **parameters)
    except TypeError as error:
        raise TypeError(f"an objective must be a function (inputs, **parameters) → scalar: {error}") from None
    name = name or getattr(function, "__name__", "objective")
    return Objective((Term(1.0, parameters, function, name, reads, reads_target, init, update),))


_without_target = partial(objective, reads_target=False)


def as_objective(value: Objective | Callable[[StepInputs], jax.Array]) -> Objective:
    """`value` itself, or the objective of one term that a plain function is."""
    return value if isinstance(value, Objective) else objective(value)


def kl() -> Objective:
    """KL(P‖Q), mean over the batch (DEC paper, equation 2)."""
    return objective(_kl, name="kl")


def reconstruction(loss: str = "mse") -> Objective:
    """A reconstruction loss of the network's input under the decoder, one of `losses.RECONSTRUCTION_LOSSES`."""
    check_choice("loss", loss, RECONSTRUCTION_LOSSES)
    return _without_target(_RECONSTRUCTIONS[loss], name="reconstruction", reads=("reconstruction",))


def size_balance() -> Objective:
    """KL(q̄‖uniform) = log k + Σ_j q̄_j log q̄_j of the batch's mean assignment q̄: 0 where clusters are of one size."""
    return _without_target(_size_balance, name="size_balance")


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
    distance = _without_target(_distance_to_own, name="distance", init=_first_counts, update=_running_means)
    return reconstruction(loss) + weight * distance


def dkm(
    weight: float | jax.Array = 1.0,
    loss: str = "mse",
    *,
    start: float | jax.Array = 0.1,
    steps_per_value: float | jax.Array = 100.0,
) -> Objective:
    """Deep k-means (Fard et al. 2020): reconstruction + λ Σ_j w_ij ‖z_i − μ_j‖², w_ij = softmax_j(−a ‖z_i − μ_j‖²).

    The inverse temperature a takes `N_TEMPERATURES` values, a_{i+1} = 2^(1/ln(i)²)·a_i from i = 2 on, and stays at the
    last: soft assignments become hard ones. Of a sample it is at most `LARGEST_LOGIT` / min_j ‖z_i − μ_j‖².

    Args:
        weight: λ, at least 0.
        loss: of the reconstruction.
        start: the first a, at least 0.
        steps_per_value: steps with each a, above 0; five epochs in the paper.
    """
    check_unless_traced("start", start, 0)
    check_unless_traced("steps_per_value", steps_per_value, 0, exclusive=True)
    distance = _without_target(_softmin_distance, name="distance", start=start, steps_per_value=steps_per_value)
    return reconstruction(loss) + weight * distance


def scan(weight: float | jax.Array = 1.0) -> Objective:
    """Neighbours share their cluster (SCAN, Van Gansbeke et al., ECCV 2020): agreement + λ size_balance.

    agreement = −mean log Σ_j q_j(x'_i) q_j(x''_n(i)), of augmentations of each sample and of a random neighbour.

    Args:
        weight: λ, at least 0; of −H(q̄) but for the constant log k.
    """
    agreement = _without_target(_agreement_with_neighbor, name="agreement", reads=("neighbor",))
    return agreement + weight * size_balance()


def view_agreement() -> Objective:
    """Two augmentations of a sample share their cluster: −mean log Σ_j q_j(x'_i) q_j(x''_i)."""
    return _without_target(_agreement_of_views, name="view_agreement", reads=("view",))


def imsat(weight: float | jax.Array = 0.1, balance: float | jax.Array = 4.0) -> Objective:
    """Information maximising self-augmented training (Hu et al., ICML 2017): consistency + λ (uncertainty − μ H(q̄)).

    consistency = −mean Σ_j q_j(x_i) log q_j(x'_i), of the clean sample, held fixed, and its augmentation; uncertainty =
    mean H(q(x_i)). With μ = 1 the bracket is minus the mutual information of sample and cluster.

    Args:
        weight: λ, at least 0.
        balance: μ, at least 0.
    """
    consistency = _without_target(_consistency, name="consistency", reads=("clean",))
    uncertainty = _without_target(_uncertainty, name="uncertainty", reads=("clean",))
    return consistency + weight * (
        uncertainty + balance * _without_target(_clean_balance, name="balance", reads=("clean",))
    )


def constrained() -> Objective:
    """Pairs that must and that must not be in one cluster: −mean log s or log(1 − s), s = Σ_j q_j(x_a) q_j(x_b).

    A term to add to another objective: `dec() + 0.1 * constrained()`.
    """
    return _without_target(_link, name="links", reads=("pairs",))


def semi_supervised() -> Objective:
    """Samples whose cluster is given: mean of −log q_y over those of the batch; 0 where it holds none of them.

    A term to add to another objective: `scan() + semi_supervised()`.
    """
    return _without_target(_known, name="known", reads=("label",))


def _mean(values: jax.Array, inputs: StepInputs) -> jax.Array:
    """Mean of (b,), weighted where samples have weights."""
    weights = inputs.side.get(WEIGHT)
    if weights is None:
        return values.mean()
    total = weights.sum()
    return jnp.sum(weights * values) / jnp.where(total > 0, total, 1)


def _kl(inputs: StepInputs) -> jax.Array:
    return _mean(kl_divergence(inputs.p, inputs.log_q), inputs)


def _log_agreement(a: jax.Array, b: jax.Array) -> jax.Array:
    """Logarithm of Σ_j q_j q'_j, (b,), from log q and log q', (b, k) each; −inf marks a cluster that takes no part."""
    both = jnp.isfinite(a) & jnp.isfinite(b)
    return jax.nn.logsumexp(jnp.where(both, a, 0) + jnp.where(both, b, 0), axis=-1, where=both)


def _log_disagreement(a: jax.Array, b: jax.Array) -> jax.Array:
    """Logarithm of 1 − Σ_j q_j q'_j = Σ_{j≠l} q_j q'_l, (b,), as `_log_agreement`: 1 − s itself would round to 0."""
    a, b = a[..., :, None], b[..., None, :]
    both = jnp.isfinite(a) & jnp.isfinite(b) & ~jnp.eye(a.shape[-2], dtype=bool)
    possible = both.any(axis=(-2, -1))  # not with one cluster
    of = both | ~possible[..., None, None]
    disagreement = jax.nn.logsumexp(jnp.where(both, a + b, 0), axis=(-2, -1), where=of)
    return jnp.where(possible, disagreement, math.log(jnp.finfo(jnp.float32).tiny))


def _agreement_with_neighbor(inputs: StepInputs) -> jax.Array:
    return -_mean(_log_agreement(inputs.log_q, inputs.neighbor.log_q), inputs)


def _agreement_of_views(inputs: StepInputs) -> jax.Array:
    return -_mean(_log_agreement(inputs.log_q, inputs.view.log_q), inputs)


def _consistency(inputs: StepInputs) -> jax.Array:
    clean = jax.lax.stop_gradient(jnp.exp(inputs.clean.log_q))
    return -_mean(jnp.sum(clean * _finite(inputs.log_q), axis=-1), inputs)


def _uncertainty(inputs: StepInputs) -> jax.Array:
    log_q = inputs.clean.log_q
    return -_mean(jnp.sum(jnp.exp(log_q) * _finite(log_q), axis=-1), inputs)


def _clean_balance(inputs: StepInputs) -> jax.Array:
    return _size_balance(inputs._replace(log_q=inputs.clean.log_q))


def _finite(log_q: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(log_q), log_q, 0)


def _link(inputs: StepInputs) -> jax.Array:
    first, second = inputs.pairs.first.log_q, inputs.pairs.second.log_q
    together, apart = _log_agreement(first, second), _log_disagreement(first, second)
    return -jnp.mean(jnp.where(inputs.pairs.together, together, apart))


def _known(inputs: StepInputs) -> jax.Array:
    labels = inputs.side[LABEL]
    own = jnp.take_along_axis(inputs.log_q, jnp.maximum(labels, 0)[:, None], axis=-1)[:, 0]
    weight = jnp.where(labels >= 0, inputs.side.get(WEIGHT, 1.0), 0.0)
    total = jnp.sum(weight)
    return -jnp.sum(jnp.where(labels >= 0, own, 0) * weight) / jnp.where(total > 0, total, 1)


def _of_reconstruction(loss: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[StepInputs], jax.Array]:
    def value(inputs: StepInputs) -> jax.Array:
        if WEIGHT not in inputs.side:
            return loss(inputs.reconstruction, inputs.network_input)
        return _mean(jax.vmap(loss)(inputs.reconstruction, inputs.network_input), inputs)

    return value


# Made once: a function made anew would be compiled anew.
_RECONSTRUCTIONS = {name: _of_reconstruction(loss) for name, loss in RECONSTRUCTION_LOSSES.items()}


def _size_balance(inputs: StepInputs) -> jax.Array:
    mean = jax.vmap(lambda column: _mean(column, inputs), 1)(jnp.exp(inputs.log_q))
    n_active = jnp.sum(jnp.any(jnp.isfinite(inputs.log_q), axis=0))
    return jnp.log(n_active) + jnp.sum(jax.scipy.special.xlogy(mean, jnp.where(mean > 0, mean, 1.0)))


def _distance_to_own(inputs: StepInputs) -> jax.Array:
    own = jax.lax.stop_gradient(inputs.centroids)[jax.lax.stop_gradient(inputs.labels)]
    return 0.5 * _mean(jnp.sum(jnp.square(inputs.z - own), axis=-1), inputs)


def _first_counts(centroids: jax.Array) -> jax.Array:
    return jnp.full(len(centroids), COUNT)


def _running_means(inputs: StepInputs) -> tuple[jax.Array, jax.Array]:
    """Counts (k,) and means (k, m) with the batch added: what one sample after the other would make of them."""
    members = jax.nn.one_hot(inputs.labels, len(inputs.centroids))
    if WEIGHT in inputs.side:
        members = members * inputs.side[WEIGHT][:, None]
    before, counts = inputs.state, inputs.state + members.sum(axis=0)
    return counts, (before[:, None] * inputs.centroids + jnp.matmul(members.T, inputs.z, precision="highest")) / counts[
        :, None
    ]


def _softmin_distance(inputs: StepInputs, start: jax.Array, steps_per_value: jax.Array) -> jax.Array:
    squared = squared_distances(inputs.z, inputs.centroids)
    value = jnp.minimum(inputs.step // steps_per_value, N_TEMPERATURES - 1).astype(jnp.int32)
    takes_part = jnp.isfinite(inputs.log_q)
    nearest = jnp.min(squared, axis=-1, keepdims=True, where=takes_part, initial=jnp.inf)
    largest = LARGEST_LOGIT / jax.lax.stop_gradient(nearest)
    logits = jnp.where(takes_part, -jnp.minimum(start * jnp.asarray(_GROWTH)[value], largest) * squared, -jnp.inf)
    return _mean(jnp.sum(jax.nn.softmax(logits) * squared, axis=-1), inputs)


DEC = dec()
