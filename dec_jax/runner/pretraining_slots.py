"""The compiled programs of pretraining, for one trial and for many side by side."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
import optax

from dec_jax import padding, pretraining, units
from dec_jax.finite import FirstBad
from dec_jax.networks import Params
from dec_jax.pretraining import PretrainingState
from dec_jax.runner import build
from dec_jax.runner.config import Config
from dec_jax.runner.programs import QUICKEST, Numbers, Slots, in_turn, keys_of, over_slots, stack
from dec_jax.samples import Samples, take_rows


class PretrainingSlots(Slots):
    """Pretraining in slots; a `pretraining.Program`.

    Args:
        configs: of the trials, one for each slot.
        **what: as in `Slots`.
    """

    phase = "pretraining"

    def __init__(self, configs: Sequence[Config], **what: Any) -> None:
        super().__init__(n_slots=len(configs), **what)
        self.numbers = stack([self.numbers_of(config) for config in configs])
        self.stages = build.stages(self.template, self.model, self.shape)
        self._inputs: tuple[int, Any] = (0, None)

    @cached_property
    def x(self) -> Samples:
        """(n, d) samples."""
        return self.split.pretrained_on(self.template)

    def begin(self, stage: int, params: Params | None) -> tuple[Params, optax.OptState]:
        """Parameters and optimisers' states of all slots; fresh parameters in the first stage."""
        begin = self._begin_program(stage, params)
        return begin(self.numbers) if stage == 0 else begin(self.numbers, params)

    def advance(self, state: PretrainingState, n_steps: int) -> tuple[Params, optax.OptState, np.ndarray, FirstBad]:
        """Trains a window of all slots; losses and what was not finite first are of (n_slots,)."""
        inputs = self._input(state.stage, state.params)
        program = self._window_program(state.stage, state.params, state.opt_state, inputs)
        step = np.int32(state.step)
        params, opt_state, *watched = program(
            self.numbers, state.params, state.opt_state, step, inputs, np.int32(n_steps)
        )
        return params, opt_state, *jax.device_get(watched)

    def units(self, params: Params) -> np.ndarray:
        """What has become of the layers of all slots, (n_slots, number of layers); see `dec_jax.units`."""
        program = self._program("units", self._units, self._laid(params), self.x)
        return np.asarray(program(params, self.x))

    def _units(self, params: Params, x: Samples) -> jax.Array:
        def one(params: Params, x: Samples) -> jax.Array:
            rows = np.linspace(0, x.shape[0] - 1, min(units.SAMPLES, x.shape[0])).astype(np.int32)
            return units.states(self.model, params, take_rows(x, rows))

        return over_slots(one, self.n_slots, (0, None))(params, x)

    def compile(self) -> dict[Any, Callable[..., Any]]:
        """Compiles all programs; returns them by their keys."""
        params = None
        if not self.stages:
            self._fresh_program()
        for stage in range(len(self.stages)):
            params, opt_state = self.shapes(stage, params)
            self._begin_program(stage, params)
            inputs = jax.eval_shape(partial(self._input_of, stage), params, self.x) if self._layer(stage) else self.x
            self._window_program(stage, params, opt_state, inputs)
        return self.used

    def shapes(self, stage: int, params: Any = None) -> tuple[Any, Any]:
        """Shapes of the parameters and of the optimisers' states before a stage."""
        if stage == 0:
            return jax.eval_shape(self._begin_all(0), self.numbers)
        return jax.eval_shape(self._begin_all(stage), self.numbers, params or self.shapes(0)[0])

    def _layer(self, stage: int) -> int:
        return self.stages[stage].layer

    def _begin_all(self, stage: int) -> Callable[..., Any]:
        if stage == 0:
            return in_turn(partial(self._begin, 0), self.n_slots, (0,))
        return over_slots(partial(self._begin, stage), self.n_slots, (0, 0))

    def _begin(self, stage: int, numbers: Numbers, params: Params | None = None) -> tuple[Params, optax.OptState]:
        params = self._fresh(numbers) if params is None else params
        one = self._stage(stage, numbers)
        return params, one.optimizer.init(one.loss.trainable(params))

    def _fresh(self, numbers: Numbers) -> Params:
        key = keys_of(numbers["seed"]).params
        return padding.padded_init(key, self.models, numbers["size"], self.n_features)

    def fresh(self) -> Params:
        """Fresh parameters of all slots, for a pretraining without stages."""
        return self._fresh_program()(self.numbers)

    def _fresh_program(self) -> Any:
        fresh = in_turn(self._fresh, self.n_slots, (0,))
        return self._program("fresh", lambda numbers: self._constrain(fresh(numbers)), self.numbers, options=QUICKEST)

    def _stage(self, stage: int, numbers: Numbers) -> pretraining.Stage:
        return build.stages(self._config(numbers), self.model, self.shape)[stage]

    def _begin_program(self, stage: int, params: Any) -> Any:
        begin = self._begin_all(stage)
        arguments = (self.numbers,) if stage == 0 else (self.numbers, self._laid(params))
        return self._program(
            ("begin", stage), lambda *given: self._constrain(begin(*given)), *arguments, options=QUICKEST
        )

    def _window_program(self, stage: int, params: Any, opt_state: Any, inputs: Any) -> Any:
        def one(numbers: Numbers, params: Params, opt_state: Any, step: Any, x: Any, n_steps: Any) -> Any:
            key = jax.random.fold_in(keys_of(numbers["seed"]).pretraining, stage)
            before = (params, opt_state, step)
            size = self.template.pretraining.batch_size
            return pretraining.train_window(key, self._stage(stage, numbers), before, x, n_steps, size)

        window = over_slots(one, self.n_slots, (0, 0, 0, None, 0 if self._layer(stage) else None, None))
        arguments = (self.numbers, self._laid(params), self._laid(opt_state), np.int32(0), inputs, np.int32(1))
        return self._program(
            ("window", stage), lambda *given: self._constrain(window(*given)), *arguments, donate=(1, 2)
        )

    def _input(self, stage: int, params: Params) -> Any:
        """What a stage works on: the samples, or the outputs (n_slots, n, width) of the layers below, computed once."""
        if self._layer(stage) == 0:
            return self.x
        if self._inputs[0] != self._layer(stage):
            self._inputs = (0, None)  # two of them are never held at once
            program = self._program(("input", stage), partial(self._input_of, stage), self._laid(params), self.x)
            self._inputs = (self._layer(stage), program(params, self.x))
        return self._inputs[1]

    def _input_of(self, stage: int, params: Params, x: Samples) -> jax.Array:
        layer = self._layer(stage)

        def below(params: Params, x: Samples) -> jax.Array:
            return pretraining.layer_input(self.model, params, x, layer)

        return self._constrain(over_slots(below, self.n_slots, (0, None))(params, x))
