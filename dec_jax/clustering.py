"""Phase 2: encoder and centroids are refined together against a target distribution (DEC paper, section 3.1).

What is constant in the phase is one value, the `Recipe`. `dec_jax.starts` makes the first state, which goes through
`train_interval` until `dec_jax.slots` says that it has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dec_jax import batches, finite, networks, slots
from dec_jax.assignment import Assignment
from dec_jax.batches import Batch
from dec_jax.corruption import Corruption, as_pytree
from dec_jax.finite import FirstBad
from dec_jax.networks import Params
from dec_jax.objectives import DEC, Objective, Pairs, StepInputs, TermStates, View, as_objective
from dec_jax.optimizers import Optimizer, as_optimizer, sgd
from dec_jax.samples import Samples, batch_rows, map_rows, usable_batch_size
from dec_jax.side import Side
from dec_jax.slots import Course
from dec_jax.validation import check_function, check_integer

# What is folded into a run's key for the draws of its steps: no permutation of its batches has this number.
_NOISE = 2**32 - 1
_OTHERS = 2**32 - 4  # the same for the draws of neighbours and pairs
ASSIGNMENT = Assignment()
_TARGET = "the target distribution P"


class ClusteringState(NamedTuple):
    """What must be carried on: with the key and the recipe it determines the rest of the run.

    Attributes:
        params: of the encoder, and of the decoder where the objective reads the reconstruction.
        centroids: (k, m).
        opt_state: of the optimiser over encoder and centroids.
        target: (n, k) target distribution P of all samples; None where the objective does not read it.
        labels: (n,) int32, cluster of each sample when P was computed.
        step: scalar int32, updates done.
        term_states: of the objective's terms.
    """

    params: Params
    centroids: jax.Array
    opt_state: optax.OptState
    target: jax.Array | None
    labels: jax.Array
    step: jax.Array
    term_states: TermStates = ()


class ClusteringInfo(NamedTuple):
    """What is worth watching after λ updates and a new target distribution, each a scalar.

    Attributes:
        loss: mean objective of the updates.
        label_change: fraction of samples whose cluster changed since the last target, in [0, 1].
        smallest_cluster: number of samples in the smallest cluster.
        terms: mean value of each term of the objective, by name, unweighted.
        bad: what was not finite first, among what `watched` names.
    """

    loss: jax.Array
    label_change: jax.Array
    smallest_cluster: jax.Array
    terms: dict[str, jax.Array]
    bad: FirstBad

    @property
    def is_finite(self) -> bool:
        """Whether all that is watched was finite."""
        return int(self.bad.step) == finite.NEVER


@struct.dataclass
class Recipe:
    """What is constant in a clustering phase. Its numbers are leaves: others compile nothing, and many are a `vmap`.

    Attributes:
        model: a Flax module with `encode`, and `decode` where the objective reads the reconstruction.
        objective: what is minimised: an `Objective`, or a plain function of `StepInputs`.
        assignment: kernel, α and target, and the clusters that take part.
        optimizer: over {"params", "centroids"}: an `Optimizer`, or any of optax's.
        augmentation: (key, x → x̃) of what the network sees; P comes from clean samples (Guo et al., DEC-DA, ACML 2018).
        resets: what may change the state between two intervals, such as those of `dec_jax.resets`.
        batch_size: b.
        train_encoder: false moves the centroids alone ("DEC without back-propagation").
        side: what is known of the samples beside their features, for objectives that read it.
    """

    model: Any = struct.field(pytree_node=False)
    objective: Objective | Callable[[StepInputs], jax.Array] = DEC
    assignment: Assignment = ASSIGNMENT
    optimizer: Optimizer | optax.GradientTransformation = sgd(0.01, 0.9)
    augmentation: Corruption | None = None
    resets: tuple[Any, ...] = struct.field(pytree_node=False, default=())
    batch_size: int = struct.field(pytree_node=False, default=256)
    train_encoder: bool = struct.field(pytree_node=False, default=True)
    side: Side = struct.field(default_factory=Side)

    def __post_init__(self) -> None:
        for name in ("objective", "augmentation"):
            check_function(name, getattr(self, name))
        if callable(self.objective):
            object.__setattr__(self, "objective", as_objective(self.objective))
        object.__setattr__(self, "optimizer", as_optimizer(self.optimizer))
        object.__setattr__(self, "augmentation", as_pytree(self.augmentation))
        check_integer("batch_size", self.batch_size, 1)


class Fit(NamedTuple):
    """Result of `fit`: the last state, an info for each interval, and why it stopped ("tolerance" or "max_steps")."""

    state: ClusteringState
    history: list[ClusteringInfo]
    stop_reason: str


def default_update_interval(n_samples: int, batch_size: int = 256) -> int:
    """λ for n samples: 0.585 epochs, the released 160 for MNIST, and no less than the smallest released, 20."""
    return max(20, round(0.585 * n_samples / batch_size))


def freeze_encoder(recipe: Recipe, params: Params, x: Samples) -> tuple[Recipe, Params, jax.Array]:
    """Recipe, parameters and samples for "DEC without back-propagation".

    Clustering under a fixed encoder is clustering of its embedding, so that is computed once and takes the samples'
    place; only the centroids are left to move.
    """
    return frozen(recipe), {}, networks.embed(recipe.model, params, x)


def frozen(recipe: Recipe) -> Recipe:
    """The recipe for samples that are embeddings already."""
    return recipe.replace(model=networks.Identity(), augmentation=None, train_encoder=True)


def init_state(recipe: Recipe, params: Params, centroids: jax.Array, x: Samples) -> ClusteringState:
    """State before the first update from centroids (k, m): pure, and not compiled."""
    if not recipe.objective.reads("reconstruction"):
        params = networks.encoder_params(recipe.model, params, x.shape[1])
    trainable, _ = _trainable(recipe, params, centroids)
    target, labels = update_target(recipe, params, centroids, x)
    opt_state = recipe.optimizer.init(trainable)
    return ClusteringState(params, centroids, opt_state, target, labels, jnp.int32(0), recipe.objective.init(centroids))


def log_soft_assignments(recipe: Recipe, params: Params, centroids: jax.Array, x: Samples) -> jax.Array:
    """Log soft assignment (n, k) of all samples x (n, d), a chunk at a time."""
    return _log_q(recipe.model, recipe.assignment, params, centroids, x)


@partial(jax.jit, static_argnames="model")
def soft_assignments(
    model: Any, params: Params, centroids: jax.Array, x: Samples, assignment: Assignment = ASSIGNMENT
) -> jax.Array:
    """Soft assignment q (n, k) of all samples x (n, d), a chunk at a time."""
    return jnp.exp(_log_q(model, assignment, params, centroids, x))


def _log_q(model: Any, assignment: Assignment, params: Params, centroids: jax.Array, x: Samples) -> jax.Array:
    def chunk(rows: jax.Array) -> jax.Array:
        return assignment.log_q(networks.encode(model, params, rows), centroids)

    return map_rows(chunk, x, networks.rows_per_chunk(model, params, x.shape[1]))


def update_target(
    recipe: Recipe, params: Params, centroids: jax.Array, x: Samples
) -> tuple[jax.Array | None, jax.Array]:
    """Target distribution P (n, k) and labels (n,) int32 of all samples x (n, d): pure, and not compiled.

    P is None where the objective does not read it.
    """
    log_q = log_soft_assignments(recipe, params, centroids, x)
    target = recipe.assignment.p(log_q) if recipe.objective.reads_target else None
    return target, jnp.argmax(log_q, axis=1).astype(jnp.int32)


def _trainable(recipe: Recipe, params: Params, centroids: jax.Array) -> tuple[dict[str, Any], Params]:
    """What the optimiser moves, and the rest of the parameters."""
    moving, fixed = networks.split(params) if recipe.train_encoder else ({}, params)
    return {"params": moving, "centroids": centroids}, fixed


def train_step(
    key: jax.Array, recipe: Recipe, state: ClusteringState, batch: Batch
) -> tuple[ClusteringState, jax.Array, dict[str, jax.Array]]:
    """One update of encoder and centroids: pure, and not compiled.

    Args:
        key: PRNG key of the step, for the augmentation, and for a network and an objective that draw.
        recipe: what is constant.
        state: the state before.
        batch: from `take_batch`.

    Returns:
        The state after, with target and labels as before; the objective's value, and those of its terms by name, all
        scalars.
    """
    after, value, terms, _ = _update(key, recipe, state, batch)
    return after, value, terms


def _update(
    key: jax.Array, recipe: Recipe, state: ClusteringState, batch: Batch
) -> tuple[ClusteringState, jax.Array, dict[str, jax.Array], list[jax.Array]]:
    """`train_step`, and whether each of what `watched` names is finite but the target, scalars."""
    augmentation_key, objective_key, *network_keys = jax.random.split(key, 4)
    seen = batches.seen(augmentation_key, recipe, batch)
    trainable, fixed = _trainable(recipe, state.params, state.centroids)

    def loss(trainable: dict[str, Any]) -> tuple[jax.Array, Any]:
        params = trainable["params"] | fixed
        views, decoded, changed = _views(network_keys, recipe, params, trainable["centroids"], seen)
        of_batch, others = views.pop("batch"), _named(views, batch)
        inputs = StepInputs(
            batch.x,
            of_batch.network_input,
            of_batch.z,
            trainable["centroids"],
            of_batch.log_q,
            batch.p,
            decoded,
            state.step,
            objective_key,
            rows=batch.rows,
            side=batch.side,
            **others,
        )
        value, terms = recipe.objective(inputs, state.term_states)
        return value, (terms, inputs, changed)

    (value, (terms, inputs, changed)), gradient = jax.value_and_grad(loss, has_aux=True)(trainable)
    updates, opt_state = recipe.optimizer.update(gradient, state.opt_state, trainable)
    moved = optax.apply_updates(trainable, updates)
    term_states, centroids = recipe.objective.update(state.term_states, inputs, moved["centroids"])
    params = moved["params"] | fixed | changed
    after = state._replace(
        params=params, centroids=centroids, opt_state=opt_state, step=state.step + 1, term_states=term_states
    )
    of_terms = [jnp.isfinite(terms[name]) for name in recipe.objective.names]
    return after, value, terms, [*of_terms, *_are_finite(value, gradient, centroids, params)]


def _are_finite(value: jax.Array, gradient: dict[str, Any], centroids: jax.Array, params: Params) -> list[jax.Array]:
    of_centroids = finite.is_finite(gradient["centroids"])
    of_gradient = of_centroids & finite.vectors_are_finite(gradient["params"])
    return [finite.is_finite(value), of_gradient, finite.is_finite(centroids), finite.vectors_are_finite(params)]


def watched(objective: Objective) -> list[str]:
    """What is watched in every step, in the order in which it is computed."""
    terms = [f"{name}, a term of the objective," for name in objective.names]
    return [*terms, "the sum of the objective's terms", "the gradient", "the centroids", "the parameters", _TARGET]


def _views(
    keys: list[jax.Array], recipe: Recipe, params: Params, centroids: jax.Array, seen: dict[str, jax.Array]
) -> tuple[dict[str, View], jax.Array | None, Params]:
    """Embedding and assignment of all that the network sees, in one pass; the batch's reconstruction; what changes.

    Without training the encoder, nothing but an optimiser changes parameters.
    """
    z, changed = _encoded(keys[0], recipe, params, batches.joined(seen))
    log_q = recipe.assignment.log_q(z, centroids)
    parts = zip(jnp.split(z, len(seen)), jnp.split(log_q, len(seen)), strict=True)
    views = {name: View(given, *part) for (name, given), part in zip(seen.items(), parts, strict=True)}
    if not recipe.objective.reads("reconstruction"):
        return views, None, changed
    of_batch = views["batch"].z
    if not recipe.train_encoder:
        return views, networks.decode(recipe.model, params, of_batch), changed
    decoded, also_changed = networks.decode_in_training(keys[1], recipe.model, params | changed, of_batch)
    return views, decoded, changed | also_changed


def _encoded(key: jax.Array, recipe: Recipe, params: Params, x: jax.Array) -> tuple[jax.Array, Params]:
    if not recipe.train_encoder:
        return networks.encode(recipe.model, params, x), {}
    return networks.encode_in_training(key, recipe.model, params, x)


def _named(views: dict[str, View], batch: Batch) -> dict[str, View | Pairs]:
    """The views beside the batch as fields of `StepInputs`."""
    if "first" not in views:
        return views
    pairs = Pairs(views.pop("first"), views.pop("second"), batch.together)
    return views | {"pairs": pairs}


def train_steps(
    key: jax.Array, recipe: Recipe, state: ClusteringState, x: Samples, n_steps: int | jax.Array
) -> tuple[ClusteringState, jax.Array, dict[str, jax.Array], FirstBad]:
    """`n_steps` updates under one target distribution as one loop: pure, and not compiled.

    Args:
        key: of the run; step s draws its batch and its noise from it and from s alone.
        recipe: what is constant.
        state: the state before.
        x: (n, d) samples.
        n_steps: at least 1; traced, so that another number compiles nothing.

    Returns:
        The state after, with target and labels as before; the mean of the objective, and of its terms by name, all
        scalars; what was not finite first, among what `watched` names.
    """
    target, labels = state.target, state.labels
    noise_key = jax.random.fold_in(key, _NOISE)

    def body(_: int, carry: tuple[ClusteringState, Any, FirstBad]) -> tuple[ClusteringState, Any, FirstBad]:
        state, total, bad = carry
        rows = batch_rows(key, state.step, x.shape[0], recipe.batch_size)
        step_key = jax.random.fold_in(noise_key, state.step)
        others_key = jax.random.fold_in(jax.random.fold_in(key, _OTHERS), state.step)
        batch = batches.take_batch(others_key, recipe, x, rows, target, state.step)
        state, *values, checks = _update(step_key, recipe, state, batch)
        return state, jax.tree.map(jnp.add, total, values), finite.note(bad, state.step, checks)

    # Target and labels stay out of the loop, which would carry a copy of them along.
    zeros = [jnp.float32(0), dict.fromkeys(recipe.objective.names, jnp.float32(0))]
    start = (state._replace(target=(), labels=()), zeros, _noted_between_steps(finite.nothing_bad(), recipe, state))
    state, total, bad = jax.lax.fori_loop(0, n_steps, body, start)
    loss, terms = jax.tree.map(lambda value: value / n_steps, total)
    state = state._replace(target=target, labels=labels)
    return state, loss, terms, _noted_between_steps(bad, recipe, state)


def _noted_between_steps(bad: FirstBad, recipe: Recipe, state: ClusteringState) -> FirstBad:
    """What was bad, or else what of a state is not finite."""
    of_a_step = [jnp.bool_(True)] * (len(recipe.objective.names) + 2)
    parts = (state.centroids, state.params, state.target)
    return finite.note(bad, state.step, [*of_a_step, *map(finite.is_finite, parts)])


def train_interval(
    key: jax.Array, recipe: Recipe, state: ClusteringState, x: Samples, n_steps: int | jax.Array
) -> tuple[ClusteringState, ClusteringInfo]:
    """`train_steps`, then the new target distribution of all (clean) samples: pure, and not compiled."""
    state, loss, terms, bad = train_steps(key, recipe, state, x, n_steps)
    target, labels = update_target(recipe, state.params, state.centroids, x)
    sizes = jnp.bincount(labels, length=len(state.centroids))
    if recipe.assignment.active is not None:
        sizes = jnp.where(recipe.assignment.active, sizes, x.shape[0])
    change, state = jnp.mean(labels != state.labels), state._replace(target=target, labels=labels)
    return state, ClusteringInfo(loss, change, sizes.min(), terms, _noted_between_steps(bad, recipe, state))


def fit(
    key: jax.Array,
    recipe: Recipe,
    state: ClusteringState,
    x: Samples,
    *,
    update_interval: int | None = None,
    tolerance: float = 1e-3,
    max_steps: int = 20_000,
    on_interval: Callable[[ClusteringState, ClusteringInfo], None] | None = None,
) -> Fit:
    """Updates until fewer than `tolerance` of the samples change their cluster between two target distributions.

    Args:
        key: PRNG key of the batches.
        recipe: what is constant.
        state: from `dec_jax.starts`, or one that `on_interval` was given: the run goes on as if it had never stopped.
            Its memory is reused: it is not valid afterwards.
        x: (n, d) samples on the device.
        update_interval: λ, updates between two targets; default `default_update_interval(n, batch_size)`.
        tolerance: fraction of the samples in [0, 1]; 0 never stops early.
        max_steps: the run's last step at the latest.
        on_interval: called after each interval with the state (valid during the call) and what is worth watching.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
        FloatingPointError: the loss became NaN or infinite.
    """
    recipe = recipe.replace(batch_size=usable_batch_size(recipe.batch_size, x.shape[0]))
    batches.check_reads(recipe, x.shape[0], len(state.centroids))
    if len(state.term_states) != len(recipe.objective.terms):
        raise ValueError("objective must be the one that the state was made with: they have another number of terms")
    if update_interval is None:
        update_interval = default_update_interval(x.shape[0], recipe.batch_size)
    course = Course(None, update_interval, max_steps, tolerance, recipe.resets, int(state.step))
    program = _OneTrial(key, recipe, state, x)
    history: list[ClusteringInfo] = []

    def on_round() -> None:
        history.append(course.info)
        if on_interval:
            on_interval(program.state, course.info)

    for _ in slots.run(program, [course], n_slots=1, on_round=on_round):
        if course.stop_reason == slots.FAILED:
            raise FloatingPointError(failure(recipe.objective, course.info))
    return Fit(program.state, history, course.stop_reason)


def failure(objective: Objective, info: ClusteringInfo, advice: str = finite.ADVICE) -> str:
    """One line that says what became NaN or infinite first, in which step, and what to try."""
    return finite.failure("clustering", int(info.bad.step), watched(objective)[int(info.bad.what)], advice)


_compiled_interval = jax.jit(train_interval, donate_argnames="state")


@partial(jax.jit, static_argnames="reset", donate_argnames="state")
def _apply_reset(key: jax.Array, recipe: Recipe, state: ClusteringState, x: Samples, *, reset: Any) -> ClusteringState:
    return reset(key, recipe, state, x)


class _OneTrial:
    """A state that lives through its intervals: the only slot of a run."""

    def __init__(self, key: jax.Array, recipe: Recipe, state: ClusteringState, x: Samples) -> None:
        # No interval depends on the resets, and others compile nothing.
        self.key, self.recipe, self.state, self.x = key, recipe.replace(resets=()), state, x

    def start(self, slot: int, course: Course) -> None:
        """The state is there already."""

    def advance(self, running: np.ndarray, n_steps: int) -> ClusteringInfo:
        """Trains an interval; what is worth watching has an axis of one slot."""
        self.state, info = _compiled_interval(self.key, self.recipe, self.state, self.x, n_steps)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], jax.device_get(info))

    def reset(self, slot: int, reset: Any) -> None:
        """Changes the state between two intervals."""
        self.state = _apply_reset(self.key, self.recipe, self.state, self.x, reset=reset)

    def finish(self, slot: int, course: Course) -> ClusteringState:
        """The last state."""
        return self.state
