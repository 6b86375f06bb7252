"""What trials are trained with, and what they leave; by what their work is known again."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from dec_jax import networks
from dec_jax.identity import environment, identity
from dec_jax.networks import Params
from dec_jax.runner import capacity
from dec_jax.runner.config import Config
from dec_jax.runner.profiler import Profiler
from dec_jax.runner.programs import Compiled
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.split import Split
from dec_jax.storage import Store

Row = dict[str, Any]
FORMAT = 5  # of kept work: another one for every change of the code that changes what training yields


class Trial(NamedTuple):
    """A trial: its place in the grid, its id, and its configuration, resolved for the data."""

    index: int
    id: str
    config: Config


@dataclass
class Outcome:
    """A trial and what it has found out so far.

    Attributes:
        trial: the trial.
        labels: clusters (n,) int32 by method: "autoencoder_kmeans", or "graph" where clustering starts from a partition
            of the samples; "n2d" where it starts from that; and "final", the largest q of all samples, those held out
            included; the others are of the training samples.
        history: rows with phase, step, loss and, in clustering, label change, smallest cluster and terms.
        seconds: by phase.
        rates: steps per second by phase, once its program was compiled.
        from_cache: whether its pretraining was done by another run.
        steps: updates of the clustering phase.
        stop_reason: why clustering stopped: "tolerance", "max_steps" or "failed".
        error: what went wrong, or None.
        remarks: what whoever reads the result should know of it, a line each.
        pretrained: the network's parameters before clustering.
        params: its parameters after; a decoder that clustering did not need is that of pretraining.
        centroids: (k, m).
        z: (n, m) embedding of all samples.
        log_q: (n, k) log soft assignment of all samples.
    """

    trial: Trial
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    from_cache: bool = False
    steps: int = 0
    stop_reason: str = ""
    error: str | None = None
    remarks: list[str] = field(default_factory=list)
    pretrained: Params = field(default_factory=dict, repr=False)
    params: Params = field(default_factory=dict, repr=False)
    centroids: np.ndarray | None = field(default=None, repr=False)
    z: np.ndarray | None = field(default=None, repr=False)
    log_q: np.ndarray | None = field(default=None, repr=False)


@dataclass
class Workshop:
    """What trials are trained with.

    Attributes:
        split: the samples.
        pretrained: pretrained networks, perhaps shared with other runs.
        unfinished: work in progress.
        limit: bytes that a device may use.
        progress: where work is shown.
        name: of the run, by which it knows its own pretrainings again.
        watch: (row of a trial's history, labels (n,) of the training samples) → more columns of it; only for show.
        profiler: traces a part of each phase.
        compiled: the programs.
    """

    split: Split
    pretrained: Store
    unfinished: Store
    limit: int
    progress: PhaseProgress
    name: str = ""
    watch: Callable[[Row, np.ndarray], Row] | None = None
    profiler: Profiler = field(default_factory=Profiler)
    compiled: Compiled = field(default_factory=Compiled)


def trial_id(config: Config, fingerprint: str) -> str:
    """16 hexadecimal digits that stand for all that a trial's result depends on."""
    return identity(config=config.clustering_identity(), **_made_by(fingerprint))[:16]


def pretraining_key(shop: Workshop, config: Config) -> str:
    """What trials with the same pretraining have in common."""
    return identity(config=config.pretraining_identity(), **_made_by(shop.split.fingerprint))


def _made_by(fingerprint: str) -> dict[str, Any]:
    return {"samples": fingerprint, "environment": environment(), "format": FORMAT}


def groups(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    """Items of equal keys together, in the order of the first of each."""
    found: dict[Any, list[Any]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.items())


def by_pretraining(shop: Workshop, trials: Iterable[Trial]) -> list[list[Trial]]:
    """The trials with the same pretraining together, in the order of the first of each."""
    return [group for _, group in groups(trials, lambda trial: pretraining_key(shop, trial.config))]


def pretrained(shop: Workshop, config: Config) -> tuple[Params, Row] | None:
    """The network that a configuration begins its clustering with, and what was kept with it; None before it is."""
    model = shop.split.network(config)
    shapes = jax.eval_shape(lambda: networks.init(jax.random.key(0), model, shop.split.train.x.shape[1]))
    return shop.pretrained.get(pretraining_key(shop, config), shapes)


def found_pretrained(shop: Workshop, config: Config) -> tuple[Params, Row]:
    """`pretrained`, once it has been trained.

    Raises:
        OSError: it is gone from the store.
    """
    found = pretrained(shop, config)
    if found is None:
        raise OSError(f"the pretraining {pretraining_key(shop, config)[:12]} is gone from the store")
    return found


def fitting_slots(shop: Workshop, wanted: int, make: Callable[[int], Any], **which: bool) -> int:
    """The most slots, up to `wanted`, whose programs fit into memory; one trial alone is not padded to several.

    Programs are what `make` makes of a number of slots; `which` tells its `compile` which of them will run.
    """
    step = shop.split.layout.trial_shards
    most = min(-(-wanted // step) * step, capacity.most_slots() * step)
    return capacity.fitting(shop.compiled, most, step, shop.limit, lambda n_slots: make(n_slots).compile(**which))


class Clock:
    """Seconds of a phase, those before an interruption included, and its rate once its program was compiled."""

    def __init__(self, before: float = 0.0) -> None:
        self._before, self._began = before, time.perf_counter()
        self._marks: list[tuple[Any, int, float]] = []

    @property
    def seconds(self) -> float:
        """So far."""
        return self._before + time.perf_counter() - self._began

    def note(self, stage: Any, step: int) -> None:
        """Notes that so many steps of a stage are done."""
        self._marks.append((stage, step, time.perf_counter()))

    def rate(self) -> float | None:
        """Steps per second between windows of one stage; None where it had one window."""
        pairs = [(a, b) for a, b in zip(self._marks, self._marks[1:], strict=False) if a[0] == b[0]]
        seconds = sum(b[2] - a[2] for a, b in pairs)
        return sum(b[1] - a[1] for a, b in pairs) / seconds if seconds > 0 else None
