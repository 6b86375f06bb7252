"""Runs trials: their pretrainings first, each one once, then their clusterings, in lanes side by side.

A lane that has finished its trial takes the next one, so that none waits for another. What a trial yields depends
neither on its lane nor on its neighbours.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from dec_jax import autoencoder, metrics
from dec_jax.autoencoder import Params
from experiments import plan
from experiments.journal import Journal
from experiments.progress import PhaseProgress
from experiments.settings import Settings
from experiments.sweeping import capacity, masked, programs
from experiments.sweeping.criteria import criteria
from experiments.sweeping.layout import Layout
from experiments.sweeping.pretraining_cache import PRETRAINING_FIELDS, PretrainingCache, key_of
from experiments.sweeping.programs import Compiled
from experiments.sweeping.samples import SweepSamples

Row = dict[str, Any]
STEPS_A_WINDOW = 1000  # of all pretrainings side by side: how often the host sees them
FAILED = "failed"


class SweepTrial(NamedTuple):
    """A trial of a sweep: its place in the grid, its id, and its settings, resolved for the data."""

    index: int
    id: str
    settings: Settings


class Sizes(NamedTuple):
    """What trials are padded to, and how many there are: the last bits of a result may depend on both.

    Attributes:
        n_clusters: the largest.
        bottlenecks: all of them, smallest first.
        pretrainings: how many a program has, by its template.
        clusterings: how many a program has, by its template and λ.
    """

    n_clusters: int
    bottlenecks: tuple[int, ...]
    pretrainings: Mapping[Settings, int]
    clusterings: Mapping[tuple[Settings, int], int]


def sizes_of(trials: Iterable[SweepTrial]) -> Sizes:
    """The sizes of a whole sweep."""
    settings = [trial.settings for trial in trials]
    n_clusters = max(each.n_clusters for each in settings)
    bottlenecks = tuple(sorted({each.bottleneck for each in settings}))
    distinct = {tuple(getattr(each, name) for name in PRETRAINING_FIELDS): each for each in settings}
    return Sizes(
        n_clusters,
        bottlenecks,
        Counter(programs.pretraining_template(each, bottlenecks[-1]) for each in distinct.values()),
        Counter(programs.clustering_template(each, n_clusters, bottlenecks[-1]) for each in settings),
    )


@dataclass
class Engine:
    """What trials are run with.

    Attributes:
        samples: what they are trained on.
        cache: pretrained parameters.
        journal: name, identity → where work in progress is kept.
        limit: bytes that a device may use.
        progress: where work is shown.
        most_lanes: trials side by side on one device, at most.
        compiled: the programs.
    """

    samples: SweepSamples
    cache: PretrainingCache
    journal: Callable[[str, Mapping[str, Any]], Journal]
    limit: int
    progress: PhaseProgress
    most_lanes: int = field(default_factory=capacity.most_lanes)
    compiled: Compiled = field(default_factory=Compiled)

    @property
    def layout(self) -> Layout:
        """The devices."""
        return self.samples.layout


def pretraining_key(engine: Engine, settings: Settings) -> str:
    """What trials with the same pretraining have in common."""
    return key_of(settings, engine.samples.fingerprint)


def by_pretraining(engine: Engine, trials: Iterable[SweepTrial]) -> list[list[SweepTrial]]:
    """The trials with the same pretraining together, in the order of the first of each."""
    return [group for _, group in _groups(trials, lambda trial: pretraining_key(engine, trial.settings))]


def run(engine: Engine, trials: Sequence[SweepTrial], sizes: Sizes) -> Iterator[Row]:
    """Rows of the trials, in the order in which they finish.

    Args:
        engine: what they are run with.
        trials: all of a sweep, or those that are left.
        sizes: of the whole sweep, so that a trial yields the same whichever trials are left.
    """
    failed = _pretrain(engine, trials, sizes)
    for program, group in clustering_programs(trials, sizes):
        yield from _cluster(engine, *program, group, sizes.clusterings[program], failed)


def _groups(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """Items of equal keys together, in the order of the first of each."""
    found: dict[Any, list[Any]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.items())


# ------------------------------------------------------------------------------------------------------ pretraining


def missing_pretrainings(engine: Engine, trials: Iterable[SweepTrial]) -> dict[str, Settings]:
    """The pretrainings that the trials need and the cache does not hold, by their keys."""
    needed = {pretraining_key(engine, trial.settings): trial.settings for trial in trials}
    return {key: settings for key, settings in needed.items() if _pretrained(engine, settings) is None}


def pretraining_programs(jobs: Mapping[str, Settings], sizes: Sizes) -> list[tuple[Settings, list[Any]]]:
    """The pretrainings (key, settings) by the template of their program."""
    return _groups(jobs.items(), lambda job: programs.pretraining_template(job[1], sizes.bottlenecks[-1]))


def _pretrained(engine: Engine, settings: Settings) -> Params | None:
    model = plan.network(settings, engine.samples.train.x.shape[1])
    shapes = jax.eval_shape(lambda: autoencoder.init(jax.random.key(0), model, model.dims[0]))
    return engine.cache.load(pretraining_key(engine, settings), shapes)


def _pretrain(engine: Engine, trials: Sequence[SweepTrial], sizes: Sizes) -> dict[str, str]:
    """Fills the cache; returns what went wrong by the keys of the pretrainings that became NaN."""
    missing = missing_pretrainings(engine, trials)
    failed: dict[str, str] = {}
    for template, jobs in pretraining_programs(missing, sizes):
        n_lanes = _pretraining_lanes(engine, template, sizes.bottlenecks, sizes.pretrainings[template])
        for start in range(0, len(jobs), n_lanes):
            group = jobs[start : start + n_lanes]
            _pretrain_group(engine, template, sizes.bottlenecks, group, n_lanes, failed)
    return failed


def _window(n_steps: int, n_lanes: int) -> int:
    """Steps between two returns to the host: a part of `n_steps`, so that no second program is needed for the rest."""
    most = max(20, STEPS_A_WINDOW // n_lanes)
    divisors = [size for size in range(1, min(most, n_steps) + 1) if n_steps % size == 0]
    return divisors[-1] if divisors[-1] >= most // 4 else min(most, n_steps)


def _pretraining_lanes(engine: Engine, template: Settings, sizes: tuple[int, ...], wanted: int) -> int:
    x, _ = engine.samples.scaled(template.scaling)
    stages = plan.stages(template, plan.network(template, x.shape[1]))
    step = engine.layout.trial_shards

    def build(n_lanes: int) -> dict[Any, Any]:
        trials = programs.stack([programs.pretraining_trial(template, sizes[-1:])] * n_lanes)
        made = {}
        for index, stage in enumerate(stages):
            states = programs.empty_pretrainings(template, sizes, index, trials, x.shape[1])
            n_steps = _window(stage.n_steps, n_lanes)
            key, program = programs.pretraining_program(
                engine.compiled, template, sizes, index, n_steps, trials, states, x, engine.layout.by_trial
            )
            made[key] = program
        return made

    wanted = min(-(-wanted // step) * step, engine.most_lanes * step)
    return capacity.fitting(engine.compiled, wanted, step, engine.limit, build)


def _pretrain_group(
    engine: Engine,
    template: Settings,
    sizes: tuple[int, ...],
    jobs: Sequence[tuple[str, Settings]],
    n_lanes: int,
    failed: dict[str, str],
) -> None:
    """Pretrains side by side, and puts the parameters into the cache."""
    x, _ = engine.samples.scaled(template.scaling)
    began = time.perf_counter()
    keys = [key for key, _ in jobs]
    filled = [*jobs, *[jobs[-1]] * (n_lanes - len(jobs))]
    trials = programs.stack([programs.pretraining_trial(settings, sizes) for _, settings in filled])
    journal = engine.journal("pretraining", {"keys": keys, "lanes": n_lanes})
    stages = plan.stages(template, plan.network(template, x.shape[1]))
    total = sum(stage.n_steps for stage in stages)
    states, at = _resume_pretraining(engine, journal, template, sizes, trials, x.shape[1])
    before = sum(stage.n_steps for stage in stages[: at["stage"]])
    engine.progress.start(f"pretraining {len(jobs)} networks", total, before + at["step"])
    losses = np.full(n_lanes, np.nan)
    for index in range(at["stage"], len(stages)):
        stage = stages[index]
        if index > at["stage"]:
            params = states[0]
            states = programs.empty_pretrainings(template, sizes, index, trials, x.shape[1])
            states = (params, *states[1:])
        done = at["step"] if index == at["stage"] else 0
        window = _window(stage.n_steps, n_lanes)
        while done < stage.n_steps:
            n_steps = min(window, stage.n_steps - done)
            _, program = programs.pretraining_program(
                engine.compiled, template, sizes, index, n_steps, trials, states, x, engine.layout.by_trial
            )
            states, losses = program(np.bool_(done == 0), trials, states, x)
            losses = np.asarray(losses)
            done += n_steps
            engine.progress.advance(before + done, loss=float(losses[: len(jobs)].mean()))
            if journal.is_due():
                seconds = at["seconds"] + time.perf_counter() - began
                journal.save("states", states, {"stage": index, "step": done, "seconds": seconds})
        before += stage.n_steps
    seconds = (at["seconds"] + time.perf_counter() - began) / len(jobs)
    engine.progress.finish()
    params = jax.device_get(states[0])
    for lane, (key, settings) in enumerate(jobs):
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], params)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(_trim(own, settings))):
            failed[key] = "the loss of pretraining became NaN or infinite"
            continue
        engine.cache.save(key, _trim(own, settings), {"seconds": seconds})
    journal.remove()


def _trim(params: Params, settings: Settings) -> Params:
    return masked.trim(params, len(settings.hidden) + 1, settings.bottleneck)


def _resume_pretraining(
    engine: Engine, journal: Journal, template: Settings, sizes: tuple[int, ...], trials: Any, d: int
) -> tuple[Any, Row]:
    """States, and the stage, the step and the seconds where a pretraining goes on."""
    found = journal.load("states")
    if found is not None:
        states = programs.empty_pretrainings(template, sizes, found[1]["stage"], trials, d)
        found = journal.load("states", states)
    if found is None:
        states = programs.empty_pretrainings(template, sizes, 0, trials, d)
        found = states, {"stage": 0, "step": 0, "seconds": 0.0}
    return _on_device(found[0], engine.layout), found[1]


def _on_device(states: Any, layout: Layout) -> Any:
    return jax.device_put(states, layout.by_trial)


# ------------------------------------------------------------------------------------------------------- clustering


def clustering_programs(
    trials: Iterable[SweepTrial], sizes: Sizes
) -> list[tuple[tuple[Settings, int], list[SweepTrial]]]:
    """The trials by the template and the λ of their program."""
    largest = sizes.n_clusters, sizes.bottlenecks[-1]
    return _groups(trials, lambda trial: programs.clustering_template(trial.settings, *largest))


@dataclass
class Lane:
    """A trial under way: where it stands, and what it has cost."""

    trial: SweepTrial
    kmeans: dict[str, float]
    steps: int = 0
    seconds: float = 0.0

    @property
    def left(self) -> int:
        """Steps until its next refresh of P."""
        settings = self.trial.settings
        return min(settings.update_interval, settings.max_steps - self.steps)


@dataclass
class Clustering:
    """Trials of one program in their lanes."""

    engine: Engine
    template: Settings
    longest: int
    lanes: list[Lane | None]
    states: Any
    waiting: deque[SweepTrial]

    @property
    def trials(self) -> Any:
        """The lanes' numbers; those of an empty lane count for nothing."""
        settings = [lane.trial.settings if lane else self.template for lane in self.lanes]
        return programs.stack([programs.clustering_trial(each) for each in settings])


def _cluster(
    engine: Engine,
    template: Settings,
    longest: int,
    trials: Sequence[SweepTrial],
    wanted: int,
    failed: Mapping[str, str],
) -> Iterator[Row]:
    """Rows of the trials of one program, as they finish, in as many of the `wanted` lanes as fit."""
    broken = [trial for trial in trials if pretraining_key(engine, trial.settings) in failed]
    for trial in broken:
        yield _failed_row(trial, failed[pretraining_key(engine, trial.settings)])
    whole = [trial for trial in trials if trial not in broken]
    if not whole:
        return
    x, held_out = engine.samples.scaled(template.scaling)
    params = _padded(engine, template, whole[0].settings)
    n_lanes = _clustering_lanes(engine, template, longest, params, wanted)
    states = _on_device(programs.empty_lanes(template, x.shape[1], n_lanes, x, params), engine.layout)
    work = Clustering(engine, template, longest, [None] * n_lanes, states, deque(whole))
    journal = engine.journal("clustering", {"program": f"{template} {longest}", "lanes": n_lanes})
    _resume_clustering(work, journal)
    engine.progress.start("trials", len(trials), len(trials) - len(work.waiting) - _running(work))
    best: dict[str, float] = {}
    done = len(broken)
    while work.waiting or _running(work):
        _fill(work)
        for row in _advance(work, held_out):
            done += 1
            _note_best(best, row)
            yield row
        left = {"running": _running(work), "waiting": len(work.waiting)}
        engine.progress.advance(len(trials) - _running(work) - len(work.waiting), **left, **best)
        if journal.is_due():
            _save(work, journal)
    engine.progress.finish(f"{len(trials)} trials")
    journal.remove()


def _running(work: Clustering) -> int:
    return sum(lane is not None for lane in work.lanes)


def _note_best(best: dict[str, float], row: Row) -> None:
    """Keeps the best score so far, where there are labels, else the best silhouette: to be looked at, not used."""
    name = "acc" if row.get("acc") is not None else "silhouette"
    value = row.get(name)
    if value is not None and not math.isnan(value):
        best[f"best_{name}"] = max(best.get(f"best_{name}", -math.inf), value)


def _clustering_lanes(engine: Engine, template: Settings, longest: int, params: Params, wanted: int) -> int:
    x, held_out = engine.samples.scaled(template.scaling)
    step, by_trial = engine.layout.trial_shards, engine.layout.by_trial
    trial = programs.clustering_trial(template)

    def build(n_lanes: int) -> dict[Any, Any]:
        trials = programs.stack([trial] * n_lanes)
        states = programs.empty_lanes(template, x.shape[1], n_lanes, x, params)
        return dict(
            [
                programs.enter_program(engine.compiled, template, trial, states, params, x, by_trial),
                programs.advance_program(engine.compiled, template, longest, trials, states, x, by_trial),
                programs.leave_program(engine.compiled, template, trial, states, x, held_out, by_trial),
            ]
        )

    wanted = min(-(-wanted // step) * step, engine.most_lanes * step)
    return capacity.fitting(engine.compiled, wanted, step, engine.limit, build)


def _padded(engine: Engine, template: Settings, settings: Settings) -> Params:
    """The pretrained parameters of a trial (numpy), padded to the program's bottleneck."""
    params = _pretrained(engine, settings)
    if params is None:
        raise OSError(f"the pretraining {pretraining_key(engine, settings)[:12]} is gone from the cache")
    return masked.pad(plan.network(settings, engine.samples.train.x.shape[1]), params, template.bottleneck)


def _fill(work: Clustering) -> None:
    """Gives every empty lane a waiting trial."""
    engine, template = work.engine, work.template
    x, _ = engine.samples.scaled(template.scaling)
    y = engine.samples.train.y
    for place, lane in enumerate(work.lanes):
        if lane is not None or not work.waiting:
            continue
        began = time.perf_counter()
        trial = work.waiting.popleft()
        params = _padded(engine, template, trial.settings)
        numbers = programs.clustering_trial(trial.settings)
        _, enter = programs.enter_program(
            engine.compiled, template, numbers, work.states, params, x, engine.layout.by_trial
        )
        work.states, labels = enter(work.states, np.int32(place), numbers, params, x)
        scores = {} if y is None else metrics.scores(y, np.asarray(labels))
        kmeans = {f"kmeans_{name}": value for name, value in scores.items()}
        work.lanes[place] = Lane(trial, kmeans, seconds=time.perf_counter() - began)


def _advance(work: Clustering, held_out: Any) -> Iterator[Row]:
    """An interval of every lane; rows of the trials that have finished, whose lanes are empty then."""
    x, _ = work.engine.samples.scaled(work.template.scaling)
    running = [(place, lane) for place, lane in enumerate(work.lanes) if lane]
    # All lanes have the same λ; only a trial's last interval may be shorter.
    for n_steps, group in _groups(running, lambda pair: pair[1].left):
        began = time.perf_counter()
        goes_on = np.zeros(len(work.lanes), bool)
        goes_on[[place for place, _ in group]] = True
        trials = work.trials
        _, program = programs.advance_program(
            work.engine.compiled, work.template, work.longest, trials, work.states, x, work.engine.layout.by_trial
        )
        work.states, infos = program(work.states, trials, goes_on, np.int32(n_steps), x)
        infos = jax.device_get(infos)
        seconds = (time.perf_counter() - began) / len(group)
        for place, lane in group:
            lane.steps += n_steps
            lane.seconds += seconds
            info = jax.tree.map(lambda leaf, place=place: leaf[place].item(), infos)
            reason = _stop_reason(lane, info)
            if reason:
                yield _finish(work, place, lane, info, reason, x, held_out)
                work.lanes[place] = None


def _stop_reason(lane: Lane, info: Any) -> str | None:
    if not math.isfinite(info.loss):
        return FAILED
    if info.label_change < lane.trial.settings.tolerance:
        return "tolerance"
    return "max_steps" if lane.steps >= lane.trial.settings.max_steps else None


def _finish(work: Clustering, place: int, lane: Lane, info: Any, reason: str, x: Any, held_out: Any) -> Row:
    """The row of a trial that has come to its end."""
    if reason == FAILED:
        return _failed_row(lane.trial, f"the clustering loss became {info.loss} within {lane.steps} steps", lane)
    began = time.perf_counter()
    engine, settings = work.engine, lane.trial.settings
    numbers = programs.clustering_trial(settings)
    _, leave = programs.leave_program(
        engine.compiled, work.template, numbers, work.states, x, held_out, engine.layout.by_trial
    )
    trained, unseen = jax.device_get(leave(work.states, np.int32(place), numbers, x, held_out))
    z, log_q = (engine.samples.joined(part, None if unseen is None else unseen[i]) for i, part in enumerate(trained))
    z, log_q = z[:, : settings.bottleneck], log_q[:, : settings.n_clusters]
    if not np.isfinite(z).all() or np.isnan(log_q).any():  # a loss is that of the steps before the last update
        return _failed_row(lane.trial, f"the embedding became NaN or infinite within {lane.steps} steps", lane)
    labels = log_q.argmax(axis=1)
    scores = {} if engine.samples.y is None else metrics.scores(engine.samples.y, labels)
    found = criteria(z, log_q, labels, engine.samples.held_out)
    seconds = lane.seconds + time.perf_counter() - began
    pretraining = engine.cache.metadata(pretraining_key(engine, settings))
    figures = {"clustering_loss": info.loss, "label_change": info.label_change, "steps": lane.steps}
    times = {"seconds": seconds, "pretraining_seconds": pretraining.get("seconds")}
    return _row(lane.trial) | scores | lane.kmeans | figures | found | {"stop_reason": reason} | times


def _failed_row(trial: SweepTrial, error: str, lane: Lane | None = None) -> Row:
    figures = {"steps": lane.steps, "seconds": lane.seconds, **lane.kmeans} if lane else {"steps": 0}
    return _row(trial) | figures | {"stop_reason": FAILED, "error": error}


def _row(trial: SweepTrial) -> Row:
    return {"trial": trial.index, "id": trial.id, **vars(trial.settings)}


def _save(work: Clustering, journal: Journal) -> None:
    lanes = [
        lane and {"id": lane.trial.id, "kmeans": lane.kmeans, "steps": lane.steps, "seconds": lane.seconds}
        for lane in work.lanes
    ]
    journal.save("states", work.states, {"lanes": lanes})


def _resume_clustering(work: Clustering, journal: Journal) -> None:
    """Puts trials that were under way back into their lanes; those that have finished since stay out."""
    found = journal.load("states", work.states)
    if found is None:
        return
    states, saved = found
    waiting = {trial.id: trial for trial in work.waiting}
    work.states = _on_device(states, work.engine.layout)
    for place, lane in enumerate(saved["lanes"]):
        if lane and lane["id"] in waiting:
            trial = waiting.pop(lane["id"])
            work.lanes[place] = Lane(trial, lane["kmeans"], lane["steps"], lane["seconds"])
            work.waiting.remove(trial)
