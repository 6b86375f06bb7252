"""Phase 2: encoder and centroids are refined together against a target distribution (DEC paper, section 3.1)."""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dec_jax import autoencoder
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Identity, Params
from dec_jax.corruption import Corruption
from dec_jax.kmeans import kmeans
from dec_jax.objectives import Memories, Objective, StepInputs, as_objective, dec
from dec_jax.samples import Samples, batch_indices, map_rows, take_rows, usable_batch_size
from dec_jax.validation import check_integer, check_number

Terms = dict[str, jax.Array]
# What is folded into a run's key for the draws of its steps: no permutation of its batches has this number.
_NOISE = 2**32 - 1
_AUGMENTATION = 0  # and into a step's key for its augmentation
_DEC = dec()
_ASSIGNMENT = Assignment()


class ClusteringState(NamedTuple):
    """What must be carried on: with the key it determines the rest of the run.

    Attributes:
        params: of the encoder, and of the decoder where the objective needs the reconstruction.
        centroids: (k, m).
        opt_state: of the optimiser over encoder and centroids.
        target: (n, k) target distribution P of all samples.
        labels: (n,) int32, cluster of each sample when P was computed.
        step: scalar int32, updates done.
        memories: of the objective's terms.
    """

    params: Params
    centroids: jax.Array
    opt_state: optax.OptState
    target: jax.Array
    labels: jax.Array
    step: jax.Array
    memories: Memories = ()


class ClusteringInfo(NamedTuple):
    """What is worth watching after λ updates and a refresh of P.

    Attributes:
        loss: mean objective of the updates.
        label_change: fraction of samples whose cluster changed since the refresh before, in [0, 1].
        smallest_cluster: number of samples in the smallest cluster.
        terms: mean value of each term of the objective, by name, unweighted.
        settled: whether the tolerance ends the run here; `fit` knows.
    """

    loss: jax.Array
    label_change: jax.Array
    smallest_cluster: jax.Array
    terms: dict[str, jax.Array]
    settled: bool = False


class Renewal(Protocol):
    """What may change the state of a run between two intervals, such as a reset."""

    def __call__(
        self,
        key: jax.Array,
        before: int,
        state: ClusteringState,
        x: Samples,
        *,
        model: nn.Module,
        objective: Objective,
        assignment: Assignment,
    ) -> ClusteringState:
        """The state to go on with: `state` itself where nothing is to be done.

        Args:
            key: of the run; what is random depends on it and on the step alone.
            before: steps done before the interval that has ended.
            state: after the refresh of P.
            x: (n, d) samples.
            model: the network.
            objective: what is minimised.
            assignment: kernel, α, target, and the clusters that take part.
        """

    def is_over(self, step: int) -> bool:
        """Whether the tolerance may stop a run after so many steps."""


class Fit(NamedTuple):
    """Result of `fit`: the last state, an info for each refresh, and why it stopped ("tolerance" or "max_steps")."""

    state: ClusteringState
    history: list[ClusteringInfo]
    stop_reason: str


@cache
def paper_optimizer(learning_rate: float = 0.01, momentum: float = 0.9) -> optax.GradientTransformation:
    """SGD with momentum and a constant learning rate."""
    return optax.sgd(learning_rate, momentum)


def default_update_interval(n_samples: int, batch_size: int = 256) -> int:
    """λ for n samples: 0.585 epochs, the released 160 for MNIST, and no less than the smallest released, 20."""
    return max(20, round(0.585 * n_samples / batch_size))


@partial(jax.jit, static_argnames="model")
def embed(model: nn.Module, params: Params, x: Samples) -> jax.Array:
    """Embedding (n, m) of all samples x (n, d), a chunk at a time."""
    return map_rows(partial(autoencoder.encode, model, params), x)


def freeze_encoder(model: nn.Module, params: Params, x: Samples) -> tuple[Identity, Params, jax.Array]:
    """Model, parameters and samples for "DEC without back-propagation".

    Clustering under a fixed encoder is clustering of its embedding, so that is computed once and takes the samples'
    place; only the centroids are left to move.
    """
    return Identity(), {}, embed(model, params, x)


def init(
    key: jax.Array,
    model: nn.Module,
    params: Params,
    x: Samples,
    n_clusters: int,
    *,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | Callable[[StepInputs], jax.Array] | None = None,
    assignment: Assignment = _ASSIGNMENT,
    n_restarts: int = 20,
) -> ClusteringState:
    """State before the first update: centroids from k-means on the embedding, P and labels from them.

    Args:
        key: PRNG key of k-means.
        model: a Flax module with `encode`.
        params: its parameters; those of a decoder are dropped where the objective does not need it.
        x: (n, d) samples on the device.
        n_clusters: k, between 2 and n.
        optimizer: over {"params", "centroids"}; default `paper_optimizer()`.
        objective: what will be minimised; default `objectives.dec()`.
        assignment: kernel, α and target.
        n_restarts: of k-means.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
    """
    check_integer("n_clusters", n_clusters, 2, x.shape[0], why="the number of samples")
    z = embed(model, autoencoder.encoder_params(params), x)
    centroids = kmeans(key, z, n_clusters, n_restarts=n_restarts).centroids
    return start(model, params, centroids, x, optimizer=optimizer, objective=objective, assignment=assignment)


def start(
    model: nn.Module,
    params: Params,
    centroids: jax.Array,
    x: Samples,
    *,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | Callable[[StepInputs], jax.Array] | None = None,
    assignment: Assignment = _ASSIGNMENT,
) -> ClusteringState:
    """State before the first update from given centroids (k, m)."""
    objective = as_objective(objective or _DEC)
    if not objective.needs("reconstruction"):
        params = autoencoder.encoder_params(params)
    return _start(params, centroids, x, objective, assignment, model=model, optimizer=optimizer or paper_optimizer())


@partial(jax.jit, static_argnames=("model", "optimizer"))
def _start(
    params: Params,
    centroids: jax.Array,
    x: Samples,
    objective: Objective,
    assignment: Assignment,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
) -> ClusteringState:
    # Updates donate their state's memory, and the caller goes on using the arrays that came in.
    params, centroids = jax.tree.map(jnp.copy, (params, centroids))
    opt_state = optimizer.init({"params": params, "centroids": centroids})
    target, labels = refresh(model, params, centroids, x, assignment)
    return ClusteringState(params, centroids, opt_state, target, labels, jnp.int32(0), objective.init(centroids))


@partial(jax.jit, static_argnames="model")
def soft_assignments(
    model: nn.Module, params: Params, centroids: jax.Array, x: Samples, assignment: Assignment = _ASSIGNMENT
) -> jax.Array:
    """Soft assignment q (n, k) of all samples x (n, d), a chunk at a time."""
    return jnp.exp(_log_q(model, params, centroids, x, assignment))


def _log_q(model: nn.Module, params: Params, centroids: jax.Array, x: Samples, assignment: Assignment) -> jax.Array:
    def chunk(rows: jax.Array) -> jax.Array:
        return assignment.log_q(autoencoder.encode(model, params, rows), centroids)

    return map_rows(chunk, x)


@partial(jax.jit, static_argnames="model")
def refresh(
    model: nn.Module,
    params: Params,
    centroids: jax.Array,
    x: Samples,
    assignment: Assignment = _ASSIGNMENT,
) -> tuple[jax.Array, jax.Array]:
    """Target distribution P (n, k) and labels (n,) int32 of all samples x (n, d), a chunk at a time."""
    log_q = _log_q(model, params, centroids, x, assignment)
    return assignment.p(log_q), jnp.argmax(log_q, axis=1).astype(jnp.int32)


def update(
    state: ClusteringState,
    x: jax.Array,
    p: jax.Array,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective = _DEC,
    assignment: Assignment = _ASSIGNMENT,
    key: jax.Array | None = None,
    augmentation: Corruption | None = None,
) -> tuple[ClusteringState, jax.Array, Terms]:
    """One update of encoder and centroids.

    Args:
        state: the state before.
        x: (b, d) batch.
        p: (b, k) the batch's rows of the target distribution.
        model: a Flax module with `encode`, and `decode` where the objective needs the reconstruction.
        optimizer: over {"params", "centroids"}.
        objective: what to minimise.
        assignment: kernel, α and target, and the clusters that take part.
        key: PRNG key of the step, for augmentation and for objectives that draw.
        augmentation: (key, x → x̃) of what the network sees; p stays that of the clean samples.

    Returns:
        The state after, with target and labels as before; the objective's value, and those of its terms by name, all
        scalars.
    """
    seen = x if augmentation is None else augmentation(jax.random.fold_in(key, _AUGMENTATION), x)

    def loss(trainable: dict[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
        z = autoencoder.encode(model, trainable["params"], seen)
        log_q = assignment.log_q(z, trainable["centroids"])
        decoded = None
        if objective.needs("reconstruction"):
            decoded = autoencoder.decode(model, trainable["params"], z)
        inputs = StepInputs(x, seen, z, trainable["centroids"], log_q, p, decoded, state.step, key)
        value, terms = objective(inputs, state.memories)
        return value, (terms, inputs)

    trainable = {"params": state.params, "centroids": state.centroids}
    (value, (terms, inputs)), gradient = jax.value_and_grad(loss, has_aux=True)(trainable)
    updates, opt_state = optimizer.update(gradient, state.opt_state, trainable)
    moved = optax.apply_updates(trainable, updates)
    memories, moved["centroids"] = objective.update(state.memories, inputs._replace(centroids=moved["centroids"]))
    after = state._replace(**moved, opt_state=opt_state, step=state.step + 1, memories=memories)
    return after, value, terms


def updates(
    key: jax.Array,
    state: ClusteringState,
    x: Samples,
    n_steps: int | jax.Array,
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: Objective = _DEC,
    assignment: Assignment = _ASSIGNMENT,
    augmentation: Corruption | None = None,
    batch_size: int = 256,
    longest: int = 160,
) -> tuple[ClusteringState, jax.Array, Terms]:
    """`n_steps` updates under one target distribution as one loop: pure, and not compiled.

    Args:
        key: of the run; step s draws its batch from it and from s alone.
        state: the state before.
        x: (n, d) samples.
        n_steps: at least 1, at most `longest`; traced.
        model: a Flax module with `encode`, and `decode` where the objective needs the reconstruction.
        optimizer: over {"params", "centroids"}.
        objective: what to minimise.
        assignment: kernel, α and target, and the clusters that take part.
        augmentation: (key, x → x̃) of what the network sees.
        batch_size: b, at most n.
        longest: the most updates that are asked for; a Python integer.

    Returns:
        The state after, with target and labels as before; the mean of the objective, and of its terms by name, all
        scalars.
    """
    target, labels = state.target, state.labels
    step = partial(
        update,
        model=model,
        optimizer=optimizer,
        objective=objective,
        assignment=assignment,
        augmentation=augmentation,
    )
    batches = batch_indices(key, state.step, x.shape[0], batch_size, longest)
    noise_key = jax.random.fold_in(key, _NOISE)

    def body(i: jax.Array, carry: tuple[ClusteringState, Any]) -> tuple[ClusteringState, Any]:
        state, total = carry
        key = jax.random.fold_in(noise_key, state.step)
        state, *values = step(state, take_rows(x, batches[i]), target[batches[i]], key=key)
        return state, jax.tree.map(jnp.add, total, values)

    # Target and labels stay out of the loop, which would carry a copy of them along.
    start = (state._replace(target=(), labels=()), [jnp.float32(0), dict.fromkeys(objective.names, jnp.float32(0))])
    state, total = jax.lax.fori_loop(0, n_steps, body, start)
    loss, terms = jax.tree.map(lambda value: value / n_steps, total)
    return state._replace(target=target, labels=labels), loss, terms


def interval(
    key: jax.Array,
    state: ClusteringState,
    x: Samples,
    n_steps: int | jax.Array,
    *,
    model: nn.Module,
    assignment: Assignment = _ASSIGNMENT,
    **how: Any,
) -> tuple[ClusteringState, ClusteringInfo]:
    """`updates`, with the same arguments, then the refresh of P from all (clean) data: pure, and not compiled."""
    state, loss, terms = updates(key, state, x, n_steps, model=model, assignment=assignment, **how)
    target, labels = refresh(model, state.params, state.centroids, x, assignment)
    sizes = jnp.bincount(labels, length=len(state.centroids))
    if assignment.active is not None:
        sizes = jnp.where(assignment.active, sizes, x.shape[0])
    info = ClusteringInfo(loss, jnp.mean(labels != state.labels), sizes.min(), terms)
    return state._replace(target=target, labels=labels), info


advance = partial(
    jax.jit,
    static_argnames=("model", "optimizer", "augmentation", "batch_size", "longest"),
    donate_argnames="state",
)(interval)
"""`interval`, compiled; the state is donated."""


def fit(
    key: jax.Array,
    model: nn.Module,
    state: ClusteringState,
    x: Samples,
    *,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | Callable[[StepInputs], jax.Array] | None = None,
    assignment: Assignment = _ASSIGNMENT,
    augmentation: Corruption | None = None,
    batch_size: int = 256,
    update_interval: int | None = None,
    tolerance: float = 1e-3,
    max_steps: int = 20_000,
    renewals: Sequence[Renewal] = (),
    on_refresh: Callable[[ClusteringState, ClusteringInfo], None] | None = None,
) -> Fit:
    """Updates until fewer than `tolerance` of the samples change their cluster between two refreshes of P.

    Args:
        key: PRNG key of the batches.
        model: a Flax module with `encode`.
        state: from `init` or `start`, or one that `on_refresh` was given: the run goes on as if it had never stopped.
            Its memory is reused: it is no longer valid afterwards.
        x: (n, d) samples on the device.
        optimizer: the one that `state` was made with; default `paper_optimizer()`.
        objective: what to minimise: an `Objective`, or a plain function of `StepInputs`; default `objectives.dec()`.
        assignment: kernel, α and target.
        augmentation: hashable (key, x → x̃), such as `augmentation.Affine`: updates see augmented samples, P comes
            from clean ones (Guo et al., DEC-DA, ACML 2018).
        batch_size: b; n is taken, with a warning, where it is smaller.
        update_interval: λ, updates between two refreshes; default `default_update_interval(n, batch_size)`.
        tolerance: fraction of the samples in [0, 1]; 0 never stops early.
        max_steps: the run's last step at the latest.
        renewals: what may change the state after a refresh, such as those of `dec_jax.resets`.
        on_refresh: called after each refresh with the state (valid during the call) and what is worth watching.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
        FloatingPointError: the loss became NaN or infinite.
    """
    check_number("tolerance", tolerance, 0, 1)
    check_integer("max_steps", max_steps, 0)
    batch_size = usable_batch_size(batch_size, x.shape[0])
    if update_interval is None:
        update_interval = default_update_interval(x.shape[0], batch_size)
    check_integer("update_interval", update_interval, 1)
    shared = {"objective": as_objective(objective or _DEC), "assignment": assignment}
    if len(state.memories) != len(shared["objective"].terms):
        raise ValueError("objective must be the one that the state was made with: they have another number of terms")
    step = partial(
        advance,
        model=model,
        optimizer=optimizer or paper_optimizer(),
        **shared,
        augmentation=augmentation,
        batch_size=batch_size,
        longest=update_interval,
    )
    history: list[ClusteringInfo] = []
    for done in range(int(state.step), max_steps, update_interval):
        state, info = step(key, state, x, min(update_interval, max_steps - done))
        info = jax.tree.map(float, info)
        _check_finite(info, done)
        settled = info.label_change < tolerance
        # A run does not end on what nothing was trained of.
        for renewal in renewals if int(state.step) < max_steps else ():
            renewed = renewal(key, done, state, x, model=model, **shared)
            settled = settled and renewed is state and renewal.is_over(int(state.step))
            state = renewed
        history.append(info._replace(settled=settled))
        if on_refresh:
            on_refresh(state, history[-1])
        if settled:
            return Fit(state, history, "tolerance")
    return Fit(state, history, "max_steps")


def _check_finite(info: ClusteringInfo, step: int) -> None:
    if not math.isfinite(info.loss):
        broken = [name for name, value in info.terms.items() if not math.isfinite(value)]
        raise FloatingPointError(
            f"the clustering loss became {info.loss} after step {step} ({', '.join(broken) or 'its sum'}): "
            "lower the learning rate, or scale the data so that the mean of ‖x‖²/d is about 1"
        )
