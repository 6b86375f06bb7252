"""Phase 1: greedy layer-wise denoising training, then fine-tuning of the whole autoencoder (DEC paper, section 3.2).

A pretraining is a list of stages. Each stage minimises one loss with one optimiser for a number of steps; the steps of
a window run as one compiled loop on data that already lie on the device.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dec_jax import autoencoder, finite, losses, networks
from dec_jax.autoencoder import Autoencoder
from dec_jax.corruption import Corruption, as_pytree, dropout
from dec_jax.finite import FirstBad
from dec_jax.networks import Params
from dec_jax.optimizers import Optimizer, as_optimizer, sgd
from dec_jax.samples import Samples, SparseRows, batch_rows, map_rows, take_rows, usable_batch_size
from dec_jax.validation import check_integer

WATCHED = ("the loss", "the gradient", "the parameters")
ReconstructionLoss = Callable[[jax.Array, jax.Array], jax.Array]


@struct.dataclass
class LayerLoss:
    """Denoising loss of one layer pair on the output h of the layers below it (equations 4 to 7).

    x̃ = Dropout(h), e = g1(W1 x̃ + b1), ẽ = Dropout(e), y = g2(W2 ẽ + b2), loss(y, h).
    """

    model: Autoencoder = struct.field(pytree_node=False)
    layer: int = struct.field(pytree_node=False)
    loss: ReconstructionLoss = struct.field(pytree_node=False, default=losses.half_mean_squared_error)
    input_dropout: float = struct.field(pytree_node=False, default=0.2)
    dropout: float = struct.field(pytree_node=False, default=0.2)

    def trainable(self, params: Params) -> Params:
        """The layer pair's own parameters."""
        return autoencoder.layer_pair(params, self.layer)

    def __call__(self, params: Params, key: jax.Array, h: jax.Array) -> jax.Array:
        """Loss, a scalar, of the batch h (b, dims[layer])."""
        input_key, hidden_key = jax.random.split(key)
        apply = partial(self.model.apply, {"params": params}, layer=self.layer)
        hidden = apply(dropout(input_key, h, self.input_dropout), method="encode_layer")
        if self.layer == self.model.n_layers - 1:
            # Drawn coordinate by coordinate: those of a wider embedding begin with those of a narrower one.
            noisy = dropout(hidden_key, hidden.T, self.dropout).T
        else:
            noisy = dropout(hidden_key, hidden, self.dropout)
        return self.loss(apply(noisy, method="decode_layer"), h)


@struct.dataclass
class ReconstructionObjective:
    """Loss of the whole autoencoder; with a corruption (key, x → x̃) it is a denoising one: loss(g(f(x̃)), x).

    An augmentation (key, x → x') comes before: what it makes is a sample like any other, and is what is reconstructed
    (Guo et al., DEC-DA, ACML 2018).
    """

    model: Any = struct.field(pytree_node=False)
    loss: ReconstructionLoss = struct.field(pytree_node=False, default=losses.half_mean_squared_error)
    corruption: Corruption | None = None
    augmentation: Corruption | None = None

    def __post_init__(self) -> None:
        for name in ("corruption", "augmentation"):
            object.__setattr__(self, name, as_pytree(getattr(self, name)))

    def trainable(self, params: Params) -> Params:
        """All parameters."""
        return networks.split(params)[0]

    def __call__(self, params: Params, key: jax.Array, x: jax.Array) -> tuple[jax.Array, Params]:
        """Loss, a scalar, of the batch x (b, d), and the parameters that change without an optimiser."""
        augmentation_key, corruption_key, network_key = jax.random.split(key, 3)
        if self.augmentation is not None:
            x = self.augmentation(augmentation_key, x)
        noisy = x if self.corruption is None else self.corruption(corruption_key, x)
        reconstruction, changed = networks.reconstruct_in_training(network_key, self.model, params, noisy)
        return self.loss(reconstruction, x), changed


@struct.dataclass
class Stage:
    """One stage of a pretraining.

    Attributes:
        name: what progress and history call it.
        loss: (parameters, key, batch) → scalar, or (scalar, parameters that change without an optimiser), a pytree with
            `trainable`, which names the parameters it moves.
        optimizer: an `Optimizer`, or any of optax's.
        n_steps: number of updates, at least 0.
        layer: the stage works on the output of the layers below this one; 0 is the input itself.

    Raises:
        TypeError, ValueError: `n_steps` is not an integer, or below 0, or `optimizer` is not an optimiser.
    """

    name: str = struct.field(pytree_node=False)
    loss: LayerLoss | ReconstructionObjective
    optimizer: Optimizer | optax.GradientTransformation
    n_steps: int = struct.field(pytree_node=False)
    layer: int = struct.field(pytree_node=False, default=0)

    def __post_init__(self) -> None:
        check_integer("n_steps", self.n_steps, 0)
        object.__setattr__(self, "optimizer", as_optimizer(self.optimizer))

    @property
    def program(self) -> "Stage":
        """The stage without what no compiled step depends on."""
        return self.replace(name="", n_steps=0, layer=0)


class PretrainingState(NamedTuple):
    """What must be carried on: with the key it determines the rest of the run.

    Attributes:
        params: of the whole network.
        opt_state: of the current stage's optimiser.
        stage: index of the current stage, an int.
        step: steps done in it, an int.
    """

    params: Params
    opt_state: optax.OptState
    stage: int
    step: int


class PretrainingInfo(NamedTuple):
    """What is worth watching after a window of steps.

    Attributes:
        stage: its name.
        step: steps done in it.
        n_steps: of the stage.
        loss: mean of the window; (n_slots,) where trials are trained side by side.
        bad: what was not finite first in it, among `WATCHED`; (n_slots,) likewise.
    """

    stage: str
    step: int
    n_steps: int
    loss: Any
    bad: FirstBad


def paper_optimizer(**changes: Any) -> Optimizer:
    """SGD at 0.1 with momentum 0.9, divided by 10 every 20,000 steps; `changes` are attributes of `Optimizer`."""
    return sgd(0.1, schedule="step").replace(**changes)


def layer_wise_stages(
    model: Autoencoder,
    *,
    n_steps: int = 50_000,
    optimizer: Optimizer | optax.GradientTransformation | None = None,
    loss: ReconstructionLoss = losses.half_mean_squared_error,
    dropout: float = 0.2,
    input_dropout: float | None = None,
) -> list[Stage]:
    """One stage for each layer pair, as in the paper.

    Args:
        model: the autoencoder.
        n_steps: steps of each stage, at least 0.
        optimizer: default `paper_optimizer()`.
        loss: reconstruction loss.
        dropout: rate on each layer's input and output, in [0, 1).
        input_dropout: rate on the raw input of the first layer; default `dropout` (paper), 0 in the release.
    """
    first = dropout if input_dropout is None else input_dropout
    rates = [first] + [dropout] * (model.n_layers - 1)
    return [
        Stage(
            name=f"layer {layer + 1}",
            loss=LayerLoss(model, layer, loss, rate, dropout),
            optimizer=optimizer or paper_optimizer(),
            n_steps=n_steps,
            layer=layer,
        )
        for layer, rate in enumerate(rates)
    ]


def fine_tuning_stage(
    model: Any,
    *,
    n_steps: int = 100_000,
    optimizer: Optimizer | optax.GradientTransformation | None = None,
    loss: ReconstructionLoss = losses.half_mean_squared_error,
    corruption: Corruption | None = None,
    augmentation: Corruption | None = None,
) -> Stage:
    """The stage that trains the whole stack together; on its own it is joint pretraining from scratch."""
    objective = ReconstructionObjective(model, loss, corruption, augmentation)
    return Stage("fine-tuning", objective, optimizer or paper_optimizer(), n_steps)


class Program(Protocol):
    """What computes the steps of a pretraining, for one trial or for many side by side."""

    stages: Sequence[Stage]

    def begin(self, stage: int, params: Params) -> tuple[Params, optax.OptState]:
        """Parameters of its own, and the optimiser's state, before the first step of a stage."""

    def advance(self, state: PretrainingState, n_steps: int) -> tuple[Params, optax.OptState, Any, FirstBad]:
        """Parameters and optimiser's state after `n_steps` steps, the mean loss, and what was not finite first."""


def init(program: Program, params: Params, stage: int = 0) -> PretrainingState:
    """State before the first step of a stage; past the last one there is nothing left to optimise."""
    if stage == len(program.stages):
        return PretrainingState(params, (), stage, 0)
    return PretrainingState(*program.begin(stage, params), stage, 0)


def run(
    program: Program,
    state: PretrainingState,
    window: int,
    on_window: Callable[[PretrainingState, PretrainingInfo], None] | None = None,
) -> PretrainingState:
    """Runs the stages from `state` to their end: the one loop of pretraining, for one trial and for many.

    Args:
        program: what computes.
        state: from `init`, or one that `on_window` was given: the run goes on as if it had never stopped.
        window: steps between two returns to the host, at least 1.
        on_window: called after each window with the state (valid during the call: its memory is reused after) and
            what is worth watching.
    """
    while state.stage < len(program.stages):
        stage = program.stages[state.stage]
        while state.step < stage.n_steps:
            n_steps = min(window, stage.n_steps - state.step)
            params, opt_state, loss, bad = program.advance(state, n_steps)
            state = PretrainingState(params, opt_state, state.stage, state.step + n_steps)
            if on_window:
                on_window(state, PretrainingInfo(stage.name, state.step, stage.n_steps, loss, bad))
        state = init(program, state.params, state.stage + 1)
    return state


def train_window(
    key: jax.Array,
    stage: Stage,
    state: tuple[Params, optax.OptState, jax.Array],
    x: Samples,
    n_steps: int | jax.Array,
    batch_size: int,
) -> tuple[Params, optax.OptState, jax.Array, FirstBad]:
    """`n_steps` updates of a stage as one loop: pure, and not compiled.

    Args:
        key: of the stage; step s draws its batch and its corruption from it and from s alone.
        stage: what to minimise, and how.
        state: parameters of the whole network, state of the optimiser, and updates done before, a scalar int32.
        x: (n, d) samples, the output of the layers below the stage's.
        n_steps: at least 1; traced, so that another number compiles nothing.
        batch_size: b, at most n.

    Returns:
        The new parameters and optimiser state; the mean loss, a scalar; what was not finite first, among `WATCHED`.
    """
    params, opt_state, first = state
    batch_key, noise_key = jax.random.split(key)

    def loss(trainable: Params, params: Params, key: jax.Array, batch: jax.Array) -> tuple[jax.Array, Params]:
        value = stage.loss(params | trainable, key, batch)
        return value if isinstance(value, tuple) else (value, {})

    def update(i: int, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        params, opt_state, total, bad = carry
        trainable = stage.loss.trainable(params)
        batch = take_rows(x, batch_rows(batch_key, first + i, x.shape[0], batch_size))
        step_key = jax.random.fold_in(noise_key, first + i)
        (value, changed), gradient = jax.value_and_grad(loss, has_aux=True)(trainable, params, step_key, batch)
        updates, opt_state = stage.optimizer.update(gradient, opt_state, trainable)
        params = params | optax.apply_updates(trainable, updates) | changed
        checks = [finite.is_finite(value), *map(finite.vectors_are_finite, (gradient, params))]
        return params, opt_state, total + value, finite.note(bad, first + i + 1, checks)

    before = (params, opt_state, jnp.float32(0), _noted_between_steps(finite.nothing_bad(), first, params))
    params, opt_state, total, bad = jax.lax.fori_loop(0, n_steps, update, before)
    return params, opt_state, total / n_steps, _noted_between_steps(bad, first + n_steps, params)


def _noted_between_steps(bad: FirstBad, step: jax.Array, params: Params) -> FirstBad:
    """What was bad, or else whether the parameters are not finite."""
    of_a_step = jnp.bool_(True)
    return finite.note(bad, step, [of_a_step, of_a_step, finite.is_finite(params)])


_compiled_window = jax.jit(train_window, static_argnames="batch_size", donate_argnames="state")


@jax.jit
def _begin(stage: Stage, params: Params) -> tuple[Params, optax.OptState]:
    # Training donates its state's memory, and the caller goes on using the arrays that came in.
    return jax.tree.map(jnp.copy, params), stage.optimizer.init(stage.loss.trainable(params))


@partial(jax.jit, static_argnames=("model", "layer"))
def layer_input(model: Autoencoder, params: Params, x: Samples, layer: int) -> jax.Array:
    """Output (n, dims[layer]) of the encoder layers below `layer` for all samples."""

    def below(rows: jax.Array) -> jax.Array:
        for i in range(layer):
            rows = model.apply({"params": params}, rows, i, method="encode_layer")
        return rows

    return map_rows(below, x, networks.rows_per_chunk(model, params, x.shape[1]))


class _OneTrial:
    """The steps of one pretraining."""

    def __init__(self, key: jax.Array, stages: Sequence[Stage], x: Samples, batch_size: int) -> None:
        self.key, self.stages, self.x, self.batch_size = key, stages, x, batch_size
        self._inputs: tuple[int, Samples] = (0, x)

    def begin(self, stage: int, params: Params) -> tuple[Params, optax.OptState]:
        """Copies of the parameters, and a fresh state of the stage's optimiser."""
        return _begin(self.stages[stage].program, params)

    def advance(self, state: PretrainingState, n_steps: int) -> tuple[Params, optax.OptState, float, FirstBad]:
        """Trains a window."""
        stage = self.stages[state.stage]
        if self._inputs[0] != stage.layer:
            inputs = layer_input(stage.loss.model, state.params, self.x, stage.layer) if stage.layer else self.x
            self._inputs = (stage.layer, inputs)
        key = jax.random.fold_in(self.key, state.stage)
        before = (state.params, state.opt_state, jnp.int32(state.step))
        params, opt_state, loss, bad = _compiled_window(
            key, stage.program, before, self._inputs[1], n_steps, batch_size=self.batch_size
        )
        return params, opt_state, float(loss), jax.tree.map(int, bad)


def pretrain(
    key: jax.Array,
    stages: Sequence[Stage],
    params: Params | PretrainingState,
    x: Samples,
    *,
    batch_size: int = 256,
    window: int | None = None,
    on_window: Callable[[PretrainingState, PretrainingInfo], None] | None = None,
) -> tuple[Params, list[PretrainingInfo]]:
    """Trains an autoencoder.

    Args:
        key: PRNG key of the whole pretraining.
        stages: from `layer_wise_stages` and `fine_tuning_stage`, or your own.
        params: fresh parameters, or a state that `on_window` was given: the run goes on as if it had never stopped.
        x: (n, d) samples on the device.
        batch_size: b; n is taken, with a warning, where it is smaller.
        window: steps between two returns to the host; default one epoch, and 200 to 500 steps.
        on_window: as in `run`.

    Returns:
        The trained parameters, and an info for each window.

    Raises:
        TypeError, ValueError: the batch size or the window is not an integer, or below 1.
        ValueError: the reconstruction's activation does not reach the samples.
        FloatingPointError: something became NaN or infinite.
    """
    batch_size = usable_batch_size(batch_size, x.shape[0])
    for stage in stages:
        _check_range(stage, x)
    window = default_window(x.shape[0], batch_size) if window is None else check_integer("window", window, 1)
    program = _OneTrial(key, stages, x, batch_size)
    state = params if isinstance(params, PretrainingState) else init(program, params)
    history: list[PretrainingInfo] = []

    def note(state: PretrainingState, info: PretrainingInfo) -> None:
        history.append(info)
        check_finite(info)
        if on_window:
            on_window(state, info)

    return run(program, state, window, note).params, history


def _check_range(stage: Stage, x: Samples) -> None:
    """Checks that the reconstruction's activation reaches the samples.

    Raises:
        ValueError: it does not.
    """
    activation = getattr(getattr(stage.loss, "model", None), "reconstruction_activation", "linear")
    if activation not in autoencoder.RANGES or activation == "linear" or stage.layer:
        return
    values = x.values if isinstance(x, SparseRows) else x
    low, high = (float(value) for value in (values.min(), values.max()))
    if not autoencoder.is_reached(activation, low, high):
        least, most = autoencoder.RANGES[activation]
        raise ValueError(
            f"x must lie between {least:g} and {most:g}, which is what reconstruction_activation={activation!r} "
            f"reaches, got {low:.4g} to {high:.4g}"
        )


def default_window(n_samples: int, batch_size: int) -> int:
    """Steps between two returns to the host: one epoch, and 200 to 500."""
    return min(max(math.ceil(n_samples / batch_size), 200), 500)


def check_finite(info: PretrainingInfo) -> None:
    """Checks the window of one trial.

    Raises:
        FloatingPointError: something became NaN or infinite.
    """
    if info.bad.step != finite.NEVER:
        raise FloatingPointError(failure(info.stage, info.bad))


def failure(stage: str, bad: FirstBad) -> str:
    """One line that says what became NaN or infinite first, in which step of a stage, and what to try."""
    return finite.failure(f"pretraining ({stage})", int(bad.step), WATCHED[int(bad.what)])
