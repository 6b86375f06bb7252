"""The pretrainings of trials: each one once, those of one program side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import jax
import numpy as np

from dec_jax import padding, pretraining
from dec_jax.identity import environment, identity
from dec_jax.networks import Params
from dec_jax.pretraining import PretrainingInfo, PretrainingState
from dec_jax.runner import build, interruption
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.config import Config
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

STEPS_PER_WINDOW = 1000  # of all pretrainings side by side: how often the host sees them


def missing_pretrainings(shop: Workshop, trials: Iterable[Trial]) -> dict[str, Config]:
    """The pretrainings that the trials need and the store does not hold, by their keys."""
    needed = {pretraining_key(shop, trial.config): trial.config for trial in trials}
    return {key: config for key, config in needed.items() if pretrained(shop, config) is None}


def pretraining_groups(jobs: Mapping[str, Config], sizes: Sizes) -> list[tuple[Config, list[tuple[str, Config]]]]:
    """The pretrainings (key, configuration) by the template of their program."""
    return groups(jobs.items(), lambda job: template_of(job[1], "pretraining", sizes))


def run_pretrainings(shop: Workshop, trials: Sequence[Trial], sizes: Sizes) -> dict[str, str]:
    """Fills the store; returns what went wrong by the keys of the pretrainings that became NaN."""
    failed: dict[str, str] = {}
    for template, jobs in pretraining_groups(missing_pretrainings(shop, trials), sizes):
        of_width = partial(_of_width, shop, template, sizes, jobs)
        n_slots = fitting_slots(shop, sizes.pretrainings[template], of_width)
        for first in range(0, len(jobs), n_slots):
            group = jobs[first : first + n_slots]
            filled = [*group, *[group[-1]] * (n_slots - len(group))]
            failed |= _pretrain_group(shop, of_width(n_slots, filled), group)
    return failed


def _of_width(
    shop: Workshop,
    template: Config,
    sizes: Sizes,
    jobs: list[tuple[str, Config]],
    n_slots: int,
    filled: list[tuple[str, Config]] | None = None,
) -> PretrainingSlots:
    """Slots for `filled`, or for any of the jobs."""
    what = {"split": shop.split, "compiled": shop.compiled, "template": template, "sizes": sizes}
    return PretrainingSlots([config for _, config in filled or (jobs * n_slots)[:n_slots]], **what)


def _pretrain_group(shop: Workshop, program: PretrainingSlots, jobs: Sequence[tuple[str, Config]]) -> dict[str, str]:
    """Pretrains side by side, and puts the networks into the store; returns what went wrong by key."""
    keys = [key for key, _ in jobs]
    checkpoint = Checkpoint(shop.unfinished, f"pretraining-{identity(keys=keys, slots=program.n_slots)[:12]}")
    state, saved = _resume_pretraining(program, checkpoint)
    clock = Clock(saved["seconds"])
    history: list[list[Row]] = saved["history"]
    lengths = [stage.n_steps for stage in program.stages]
    before = np.cumsum([0, *lengths])
    if not program.stages:
        return _keep_all(shop, program, jobs, history, clock, jax.device_get(program.fresh()))
    what = program.stages[0].name if len(jobs) == 1 and len(lengths) == 1 else "pretraining"
    name = what if len(jobs) == 1 else f"pretraining {len(jobs)} networks"
    shop.progress.start(name, sum(lengths), int(before[min(state.stage, len(lengths) - 1)]) + state.step)

    def on_window(state: PretrainingState, info: PretrainingInfo) -> None:
        shop.profiler.window_ended(info.stage)
        for row, loss in zip(history, info.loss, strict=True):
            row.append({"phase": info.stage, "step": info.step, "loss": float(loss)})
        clock.note(info.stage, info.step)
        losses = info.loss[: len(jobs)]
        shop.progress.advance(int(before[state.stage]) + info.step, loss=float(np.mean(losses)))
        if not np.isfinite(losses).any():
            raise _AllFailedError
        if checkpoint.is_due():
            where = {"stage": state.stage, "step": state.step, "seconds": clock.seconds, "history": history}
            checkpoint.save((state.params, state.opt_state), where)

    try:
        with interruption.until_saved():
            state = pretraining.run(program, state, _window(shop, program), on_window)
    except _AllFailedError:
        state = None
    shop.profiler.stop()
    shop.progress.finish(f"loss {history[0][-1]['loss']:.4g}" if len(jobs) == 1 and history[0] else "")
    params = None if state is None else jax.device_get(state.params)
    failed = _keep_all(shop, program, jobs, history, clock, params)
    checkpoint.remove()
    return failed


def _keep_all(
    shop: Workshop,
    program: PretrainingSlots,
    jobs: Sequence[tuple[str, Config]],
    history: list[list[Row]],
    clock: "Clock",
    params: Params | None,
) -> dict[str, str]:
    """Puts the networks of all slots into the store; returns what went wrong by key."""
    failed = {}
    for slot, (key, config) in enumerate(jobs):
        metadata = {"history": history[slot], "seconds": clock.seconds / len(jobs), "rate": clock.rate()}
        if params is None or not _keep(shop, program, (key, config), slot, params, metadata):
            failed[key] = _not_finite(history[slot])
    return failed


class _AllFailedError(Exception):
    """No trial's loss is finite."""


def _keep(
    shop: Workshop, program: PretrainingSlots, job: tuple[str, Config], slot: int, params: Params, metadata: Row
) -> bool:
    """Puts the network of a slot into the store; returns whether it was finite."""
    key, config = job
    own = jax.tree.map(lambda leaf: leaf[slot], params)
    model = build.network(config, program.n_features, program.shape)
    own = padding.trim(model, own) if padding.can_pad(model) else own
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(own)):
        return False
    shop.pretrained.put(key, own, metadata | {"run": shop.name, "environment": environment()}, required=False)
    return True


def _not_finite(history: Sequence[Row]) -> str:
    row = next((row for row in history if not math.isfinite(row["loss"])), history[-1])
    return (
        f"the loss of {row['phase']} became {row['loss']} within its first {row['step']} steps: "
        "lower the learning rate, or scale the data so that the mean of ‖x‖²/d is about 1"
    )


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
    fresh = {"seconds": 0.0, "history": [[] for _ in range(program.n_slots)]}
    return pretraining.init(program, None), fresh
