"""The pretrainings of trials: each one once, those of one program side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import jax
import numpy as np

from dec_jax import finite, padding, pretraining, units
from dec_jax.finite import FirstBad
from dec_jax.identity import environment, identity
from dec_jax.networks import Params
from dec_jax.pretraining import PretrainingInfo, PretrainingState
from dec_jax.runner import interruption
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.config import Config, rate_of
from dec_jax.runner.pretraining_slots import PretrainingSlots
from dec_jax.runner.programs import Sizes, template_of
from dec_jax.runner.work import (
    Clock,
    Row,
    Trial,
    Workshop,
    fitting_slots,
    groups,
    pretrained,
    pretraining_key,
)

RATE = rate_of("pretraining")
SLOWER, LONGEST_WARMUP = 4, 1000  # of a pretraining that is begun anew
STEPS_PER_WINDOW = 1000  # of all pretrainings side by side: how often the host sees them


def missing_pretrainings(shop: Workshop, trials: Iterable[Trial]) -> dict[str, Config]:
    """The pretrainings that the trials need and the store does not hold, by their keys."""
    needed = {pretraining_key(shop, trial.config): trial.config for trial in trials}
    return {key: config for key, config in needed.items() if pretrained(shop, config) is None}


def pretraining_groups(jobs: Mapping[str, Config], sizes: Sizes) -> list[tuple[Config, list[tuple[str, Config]]]]:
    """The pretrainings (key, configuration) by the template of their program."""
    return groups(jobs.items(), lambda job: template_of(job[1], "pretraining", sizes))


def run_pretrainings(shop: Workshop, trials: Sequence[Trial], sizes: Sizes) -> dict[str, str]:
    """Fills the store; returns what went wrong by the keys of the pretrainings that became NaN.

    A network of which a layer has died or is saturated is pretrained once more, with other initial values and a lower
    rate that grows from 0.
    """
    failed: dict[str, str] = {}
    for template, jobs in pretraining_groups(missing_pretrainings(shop, trials), sizes):
        of_jobs = partial(_program, shop, template, sizes)
        n_slots = fitting_slots(shop, sizes.pretrainings[template], partial(of_jobs, jobs))
        for first in range(0, len(jobs), n_slots):
            group = jobs[first : first + n_slots]
            failed |= _pretrain_twice(shop, group, partial(of_jobs, n_slots=n_slots))
    return failed


def _pretrain_twice(
    shop: Workshop, group: list[tuple[str, Config]], of_jobs: Callable[[list[tuple[str, Config]]], PretrainingSlots]
) -> dict[str, str]:
    """Pretrains a group, and those once more whose units stopped to answer; returns what went wrong by key."""
    first = Attempt(shop, of_jobs(group), group, {})
    failed, ill = first.run()
    if ill:
        again = [(key, mended(config)) for key, config in group if key in ill]
        failed |= Attempt(shop, of_jobs(again), again, ill).run()[0]
    first.checkpoint.remove()
    return failed


def mended(config: Config) -> Config:
    """The pretraining with other initial values, and a lower rate that grows from 0."""
    one = config.pretraining
    seed = int(np.random.SeedSequence([config.seed, 1]).generate_state(1)[0])
    warmup = max(one.warmup, min(LONGEST_WARMUP, max(one.layer_wise_steps, one.fine_tuning_steps) // 10))
    return config.with_values({"seed": seed, "pretraining.warmup": warmup, RATE: config.flat()[RATE] / SLOWER})


def _program(
    shop: Workshop, template: Config, sizes: Sizes, jobs: list[tuple[str, Config]], n_slots: int
) -> PretrainingSlots:
    """The program of the jobs; slots that are left over have the last one."""
    configs = [config for _, config in [*jobs, *[jobs[-1]] * n_slots][:n_slots]]
    return PretrainingSlots(configs, split=shop.split, compiled=shop.compiled, template=template, sizes=sizes)


class Attempt:
    """Pretrainings side by side.

    Args:
        shop: what they are trained with.
        program: of as many slots as there are jobs, or more.
        jobs: keys and configurations.
        before: what happened in the attempt before, by key; nothing in the first one.
    """

    def __init__(
        self, shop: Workshop, program: PretrainingSlots, jobs: Sequence[tuple[str, Config]], before: dict[str, str]
    ) -> None:
        self.shop, self.program, self.jobs, self.before = shop, program, jobs, before
        keys = [key for key, _ in jobs]
        name = identity(keys=keys, slots=program.n_slots, again=bool(before))[:12]
        self.checkpoint = Checkpoint(shop.unfinished, f"pretraining-{name}")
        self.state, saved = _resume_pretraining(program, self.checkpoint)
        self.clock = Clock(saved["seconds"])
        self.history: list[list[Row]] = saved["history"]
        self.failed: dict[str, str] = saved["failed"]
        self.ill: dict[str, str] = saved["ill"]
        self.windows: int = saved["windows"]

    def run(self) -> tuple[dict[str, str], dict[str, str]]:
        """Fills the store; returns what went wrong, and the layers that stopped to answer, by key.

        The second attempt is kept whatever its layers do.
        """
        shop, program, lengths = self.shop, self.program, [stage.n_steps for stage in self.program.stages]
        if not lengths:
            self._keep_all(jax.device_get(program.fresh()))
            return {}, {}
        self.done = np.cumsum([0, *lengths])
        one = len(self.jobs) == 1
        what = program.stages[0].name if one and len(lengths) == 1 else "pretraining"
        name = what if one else f"pretraining {len(self.jobs)} networks"
        first = int(self.done[min(self.state.stage, len(lengths) - 1)]) + self.state.step
        shop.progress.start(f"{name} anew" if self.before else name, sum(lengths), first)
        state = self.state
        try:
            self._stop_if_in_vain()
            with interruption.until_saved():
                state = pretraining.run(program, state, _window(shop, program), self._on_window)
            self._look_at_units(state)
        except _InVainError:
            state = None
        shop.profiler.stop()
        shop.progress.finish(f"loss {self.history[0][-1]['loss']:.4g}" if one and self.history[0] else "")
        self._keep_all(None if state is None else jax.device_get(state.params))
        if self.before or not self.ill:
            self.checkpoint.remove()
        return self.failed, {} if self.before else self.ill

    def _on_window(self, state: PretrainingState, info: PretrainingInfo) -> None:
        self.shop.profiler.window_ended(info.stage)
        for row, loss in zip(self.history, info.loss, strict=True):
            row.append({"phase": info.stage, "step": info.step, "loss": float(loss)})
        self.clock.note(info.stage, info.step)
        losses = info.loss[: len(self.jobs)]
        self.shop.progress.advance(int(self.done[state.stage]) + info.step, loss=float(np.mean(losses)))
        for slot, (key, _) in enumerate(self.jobs):
            bad = FirstBad(info.bad.step[slot], info.bad.what[slot])
            if bad.step != finite.NEVER:
                self.failed.setdefault(key, pretraining.failure(info.stage, bad))
        self.windows += 1
        if self.windows & (self.windows - 1) == 0:  # the first windows, and then ever fewer
            self._look_at_units(state)
        is_new = self._is_in_vain()
        if is_new or self.checkpoint.is_due():
            self._save(state)
        self._stop_if_in_vain()

    def _look_at_units(self, state: PretrainingState) -> None:
        for (key, _), found in zip(self.jobs, self.program.units(state.params), strict=False):
            text = units.describe(self.program.model, found)
            if text and key not in self.failed:
                self.ill.setdefault(key, text)

    def _is_in_vain(self) -> bool:
        """Whether no slot has a network that will be kept."""
        lost = self.failed.keys() | (() if self.before else self.ill.keys())
        return len(lost) == len(self.jobs)

    def _stop_if_in_vain(self) -> None:
        if self._is_in_vain():
            raise _InVainError

    def _save(self, state: PretrainingState) -> None:
        where = {"stage": state.stage, "step": state.step, "seconds": self.clock.seconds, "history": self.history}
        where |= {"failed": self.failed, "ill": self.ill, "windows": self.windows}
        self.checkpoint.save((state.params, state.opt_state), where)

    def _keep_all(self, params: Params | None) -> None:
        """Puts the networks of the slots into the store that will do."""
        for slot, (key, config) in enumerate(self.jobs):
            if params is None or key in self.failed or (key in self.ill and not self.before):
                continue
            own = jax.tree.map(lambda leaf, slot=slot: leaf[slot], params)
            own = padding.trim(self.shop.split.network(config), own)
            metadata = {"history": self.history[slot], "seconds": self.clock.seconds / len(self.jobs)}
            metadata |= {"rate": self.clock.rate(), "remarks": self._remarks(key)}
            metadata |= {"run": self.shop.name, "environment": environment()}
            self.shop.pretrained.put(key, own, metadata, required=False)

    def _remarks(self, key: str) -> list[str]:
        if key not in self.before:
            return []
        begun = f"in pretraining {self.before[key]}; begun anew with other initial values and a quarter of the rate"
        if key not in self.ill:
            return [f"{begun}, it went well"]
        return [f"{begun}, it went the same way: lower {RATE}, or try another network.activation"]


class _InVainError(Exception):
    """Nothing that is being trained will be kept."""


def _window(shop: Workshop, program: PretrainingSlots) -> int:
    if program.n_slots == 1:
        return pretraining.default_window(program.x.shape[0], program.template.pretraining.batch_size)
    return max(20, STEPS_PER_WINDOW // program.n_slots)


def _resume_pretraining(program: PretrainingSlots, checkpoint: Checkpoint) -> tuple[PretrainingState, Row]:
    """Where a pretraining goes on, and what was saved with it."""
    saved = checkpoint.metadata()
    if saved is not None and (found := checkpoint.load(program.shapes(saved["stage"]))) is not None:
        params, opt_state = jax.device_put(found[0], program.sharding)
        return PretrainingState(params, opt_state, saved["stage"], saved["step"]), saved
    fresh = {"seconds": 0.0, "history": [[] for _ in range(program.n_slots)], "failed": {}, "ill": {}, "windows": 0}
    return pretraining.init(program, None), fresh
