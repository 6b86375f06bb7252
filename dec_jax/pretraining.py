"""Phase 1: greedy layer-wise denoising training, then fine-tuning of the whole autoencoder (DEC paper, section 3.2).

A pretraining is a list of stages. Each stage minimises one loss with one optimiser for a number of steps; the steps of
a window run as one compiled loop on data that already lie on the device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dec_jax import autoencoder, losses
from dec_jax.autoencoder import Autoencoder, Params
from dec_jax.corruption import Corruption, dropout
from dec_jax.samples import Samples, batch_indices, map_rows, take_rows, usable_batch_size

ReconstructionLoss = Callable[[jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True)
class LayerLoss:
    """Denoising loss of one layer pair on the output h of the layers below it (equations 4 to 7).

    x̃ = Dropout(h), e = g1(W1 x̃ + b1), ẽ = Dropout(e), y = g2(W2 ẽ + b2), loss(y, h).
    """

    model: Autoencoder
    layer: int
    loss: ReconstructionLoss = losses.half_mean_squared_error
    input_dropout: float = 0.2
    dropout: float = 0.2

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


@dataclass(frozen=True)
class ReconstructionObjective:
    """Loss of the whole autoencoder; with a corruption (key, x → x̃) it is a denoising one: loss(g(f(x̃)), x).

    An augmentation (key, x → x') comes before: what it makes is a sample like any other, and is what is reconstructed
    (Guo et al., DEC-DA, ACML 2018).
    """

    model: nn.Module
    loss: ReconstructionLoss = losses.half_mean_squared_error
    corruption: Corruption | None = None
    augmentation: Corruption | None = None

    def trainable(self, params: Params) -> Params:
        """All parameters."""
        return params

    def __call__(self, params: Params, key: jax.Array, x: jax.Array) -> jax.Array:
        """Loss, a scalar, of the batch x (b, d)."""
        if self.augmentation is not None:
            key, augmentation_key = jax.random.split(key)
            x = self.augmentation(augmentation_key, x)
        noisy = x if self.corruption is None else self.corruption(key, x)
        return self.loss(autoencoder.reconstruct(self.model, params, noisy), x)


@dataclass(frozen=True)
class Stage:
    """One stage of a pretraining.

    Attributes:
        name: what progress and history call it.
        loss: (parameters, key, batch) → scalar, with `trainable` naming the parameters it moves.
        optimizer: any optax transformation.
        n_steps: number of updates.
        layer: the stage works on the output of the layers below this one; 0 is the input itself.
    """

    # What a compiled step does not depend on takes no part in equality: equal stages share one compilation.
    name: str = field(compare=False)
    loss: LayerLoss | ReconstructionObjective
    optimizer: optax.GradientTransformation
    n_steps: int = field(compare=False)
    layer: int = field(default=0, compare=False)


class PretrainingState(NamedTuple):
    """What must be carried on: with the key it determines the rest of the run.

    Attributes:
        params: of the whole network.
        opt_state: of the current stage's optimiser.
        stage: index of the current stage, an int.
        step: steps done in it, scalar int32.
    """

    params: Params
    opt_state: optax.OptState
    stage: int
    step: jax.Array


class PretrainingInfo(NamedTuple):
    """What is worth watching after a window of steps: the stage, steps done in it, and the window's mean loss."""

    stage: Stage
    step: int
    loss: float


@cache
def paper_optimizer(
    learning_rate: float = 0.1, momentum: float = 0.9, decay_every: int = 20_000, bias_factor: float = 1.0
) -> optax.GradientTransformation:
    """SGD with momentum whose learning rate is divided by 10 every `decay_every` steps, without weight decay.

    Args:
        learning_rate: at the first step.
        momentum: in [0, 1).
        decay_every: steps between two divisions.
        bias_factor: learning rate of the biases relative to the weights'; the released configuration has 2.
    """
    schedule = optax.exponential_decay(learning_rate, decay_every, 0.1, staircase=True)
    sgd = optax.sgd(schedule, momentum)
    if bias_factor == 1:
        return sgd
    return optax.chain(sgd, optax.masked(optax.scale(bias_factor), _is_bias))


def _is_bias(params: Params) -> Params:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "bias", params)


def layer_wise_stages(
    model: Autoencoder,
    *,
    n_steps: int = 50_000,
    optimizer: optax.GradientTransformation | None = None,
    loss: ReconstructionLoss = losses.half_mean_squared_error,
    dropout: float = 0.2,
    input_dropout: float | None = None,
) -> list[Stage]:
    """One stage a layer pair, as in the paper.

    Args:
        model: the autoencoder.
        n_steps: steps a layer.
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
    model: nn.Module,
    *,
    n_steps: int = 100_000,
    optimizer: optax.GradientTransformation | None = None,
    loss: ReconstructionLoss = losses.half_mean_squared_error,
    corruption: Corruption | None = None,
    augmentation: Corruption | None = None,
) -> Stage:
    """The stage that trains the whole stack together; on its own it is joint pretraining from scratch."""
    objective = ReconstructionObjective(model, loss, corruption, augmentation)
    return Stage("fine-tuning", objective, optimizer or paper_optimizer(), n_steps)


def init(stages: Sequence[Stage], params: Params, stage: int = 0) -> PretrainingState:
    """State before the first step of a stage; past the last one there is nothing left to optimise."""
    if stage == len(stages):
        return PretrainingState(params, (), stage, jnp.int32(0))
    return PretrainingState(*_begin(params, stage=stages[stage]), stage, jnp.int32(0))


@partial(jax.jit, static_argnames="stage")
def _begin(params: Params, *, stage: Stage) -> tuple[Params, optax.OptState]:
    # Updates reuse their state's memory, and the caller goes on using the arrays that came in.
    return jax.tree.map(jnp.copy, params), stage.optimizer.init(stage.loss.trainable(params))


@partial(jax.jit, static_argnames=("stage", "batch_size", "longest"), donate_argnames=("params", "opt_state"))
def run_steps(
    key: jax.Array,
    params: Params,
    opt_state: optax.OptState,
    step: jax.Array,
    x: Samples,
    n_steps: int | jax.Array,
    *,
    stage: Stage,
    batch_size: int,
    longest: int,
) -> tuple[Params, optax.OptState, jax.Array]:
    """Runs `n_steps` updates of a stage as one loop.

    Args:
        key: of the stage; step s draws its batch and its corruption from it and from s alone.
        params: of the whole network; donated.
        opt_state: of the stage's optimiser; donated.
        step: scalar int32, updates done before.
        x: (n, d) samples, the output of the layers below the stage's.
        n_steps: updates, at least 1 and at most `longest`; traced, so that a shorter window compiles nothing.
        stage: what to minimise, and how.
        batch_size: b, at most n.
        longest: the most updates that are asked for; a Python integer.

    Returns:
        The new parameters and optimiser state, and the mean loss, a scalar.
    """
    batch_key, noise_key = jax.random.split(key)
    batches = batch_indices(batch_key, step, x.shape[0], batch_size, longest)

    def update(i: jax.Array, carry: tuple[Params, optax.OptState, jax.Array]) -> tuple:
        trainable, opt_state, total = carry
        step_key = jax.random.fold_in(noise_key, step + i)
        loss, gradient = jax.value_and_grad(stage.loss)(trainable, step_key, take_rows(x, batches[i]))
        updates, opt_state = stage.optimizer.update(gradient, opt_state, trainable)
        return optax.apply_updates(trainable, updates), opt_state, total + loss

    start = (stage.loss.trainable(params), opt_state, jnp.float32(0))
    trained, opt_state, total = jax.lax.fori_loop(0, n_steps, update, start)
    return params | trained, opt_state, total / n_steps


@partial(jax.jit, static_argnames=("model", "layer"))
def layer_input(model: Autoencoder, params: Params, x: Samples, layer: int) -> jax.Array:
    """Output (n, dims[layer]) of the encoder layers below `layer` for all samples."""

    def below(rows: jax.Array) -> jax.Array:
        for i in range(layer):
            rows = model.apply({"params": params}, rows, i, method="encode_layer")
        return rows

    return map_rows(below, x)


def pretrain(
    key: jax.Array,
    stages: Sequence[Stage],
    state: PretrainingState,
    x: Samples,
    *,
    batch_size: int = 256,
    window: int | None = None,
    on_window: Callable[[PretrainingState, PretrainingInfo], None] | None = None,
) -> tuple[Params, list[PretrainingInfo]]:
    """Runs the stages from `state` to their end.

    Args:
        key: PRNG key of the whole pretraining.
        stages: from `layer_wise_stages` and `fine_tuning_stage`, or your own.
        state: from `init`, or one that `on_window` was given: the run goes on as if it had never stopped.
        x: (n, d) samples on the device.
        batch_size: b; n is taken, with a warning, where it is smaller.
        window: steps between two returns to the host; default one epoch, and 200 to 500 steps.
        on_window: called after each window with the state (valid during the call: its memory is reused after) and
            what is worth watching.

    Returns:
        The trained parameters, and an info for each window.

    Raises:
        TypeError, ValueError: the batch size is no integer, or below 1.
        FloatingPointError: the loss became NaN or infinite.
    """
    n = x.shape[0]
    batch_size = usable_batch_size(batch_size, n)
    window = window or min(max(math.ceil(n / batch_size), 200), 500)
    history = []
    while state.stage < len(stages):
        stage = stages[state.stage]
        inputs = layer_input(stage.loss.model, state.params, x, stage.layer) if stage.layer else x
        stage_key = jax.random.fold_in(key, state.stage)
        for done in range(int(state.step), stage.n_steps, window):
            n_steps = min(window, stage.n_steps - done)
            params, opt_state, loss = run_steps(
                stage_key, *state[:2], state.step, inputs, n_steps, stage=stage, batch_size=batch_size, longest=window
            )
            state = PretrainingState(params, opt_state, state.stage, state.step + n_steps)
            history.append(PretrainingInfo(stage, done + n_steps, float(loss)))
            _check_finite(history[-1])
            if on_window:
                on_window(state, history[-1])
        state = init(stages, state.params, state.stage + 1)
    return state.params, history


def _check_finite(info: PretrainingInfo) -> None:
    if not math.isfinite(info.loss):
        raise FloatingPointError(
            f"the loss of {info.stage.name} became {info.loss} within its first {info.step} steps: "
            "lower the learning rate, or scale the data so that the mean of ‖x‖²/d is about 1"
        )
