"""What the targets share: data, configurations, finished trials, and results kept as soon as they are known."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import scipy.sparse
from rich.console import Console

from dec_jax import data, metrics
from dec_jax.data import UNLABELLED, Dataset
from dec_jax.digests import read_checked
from dec_jax.identity import fingerprint, git_commit, identity, versions
from dec_jax.networks import Params
from dec_jax.runner import panels, report, runs
from dec_jax.runner.config import Config
from dec_jax.runner.presets import N_CLUSTERS, config_of
from dec_jax.runner.profiler import Profiler
from dec_jax.runner.programs import Compiled
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.resolving import resolve
from dec_jax.runner.runs import Desk
from dec_jax.runner.work import trial_id
from dec_jax.samples import Samples
from dec_jax.storage import Store
from dec_jax.validation import check_choice

SCORES = tuple(panels.SCORES)
SCALES = {"full": "paper", "fast": "fast", "laptop": "fast"}  # and the preset that each one begins with
LAPTOP_SAMPLES = 5000
LAPTOP = {"pretraining.fine_tuning_steps": 1500, "clustering.max_steps": 1500}  # what it changes from its preset
# λ of the authors' released configuration; other data have the project's own rule.
RELEASED_INTERVALS = {"mnist": 160, "stl10-hog": 40, "reuters": 20, "reuters10k": 20}


class Unavailable(Exception):  # noqa: N818 - nobody made a mistake
    """Data or memory that cannot be had; the message says how a user gets it."""


@dataclass(frozen=True)
class Run:
    """A finished trial, read back from its folder.

    Attributes:
        folder: where it lies.
        result: the content of `result.json`, with the scores that the labels of today give.
        q: (n, k) soft assignment.
        z: (n, m) embedding.
        labels: (n,) int32 clusters, the largest q.
        history: the rows of `history.csv` without scores, all values as text.
    """

    folder: Path
    result: dict[str, Any]
    q: np.ndarray
    z: np.ndarray
    labels: np.ndarray
    history: list[dict[str, str]]


@dataclass(frozen=True)
class Context:
    """What a target works with.

    Attributes:
        out: folder of the tables and pictures; work that others can use again lies in `work` there.
        scale: one of SCALES.
        seeds: of the trials.
        names: the data sets asked for; none for each target's own.
        data_dir: as in `data.load`.
        labels: file of classes for scoring, for the data that are a file of the user's own.
        n_clusters: k for these data.
        console: where tables are shown.
        commits: of the code that has computed what was used since they were last cleared.
    """

    out: Path
    scale: str = "laptop"
    seeds: tuple[int, ...] = (0, 1, 2)
    names: tuple[str, ...] = ()
    data_dir: str | None = None
    labels: str | None = None
    n_clusters: int | None = None
    console: Console = field(default_factory=lambda: Console(markup=False, highlight=False))
    commits: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    _loaded: dict[str, Dataset] = field(default_factory=dict, init=False, repr=False, compare=False)
    _compiled: dict[Any, Compiled] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, SCALES)
        if not self.seeds:
            raise ValueError("seeds must hold at least one seed, got none")

    @property
    def work(self) -> Path:
        """Where finished work is kept."""
        return self.out / "work"

    def load(self, name: str, *, whole: bool = False) -> Dataset:
        """A data set with classes; at laptop scale a random part of it, unless the whole is asked for.

        Raises:
            Unavailable: it is not here, and what would bring it is missing.
            ValueError: the name is unknown, or the data have no classes, without which there is nothing to compare.
        """
        if name not in self._loaded:
            self._loaded[name] = self._read(name)
        dataset = self._loaded[name]
        n = dataset.x.shape[0]
        if whole or self.scale != "laptop" or n <= LAPTOP_SAMPLES:
            return dataset
        rows = np.sort(np.random.default_rng(0).choice(n, LAPTOP_SAMPLES, replace=False))
        return replace(dataset, x=dataset.x[rows], y=dataset.y[rows])

    def _read(self, name: str) -> Dataset:
        try:
            dataset = data.load(name, self._labels(name), data_dir=self.data_dir)
        except (OSError, ImportError) as error:
            raise Unavailable(f"{name}: {error}") from error
        if dataset.y is None:
            raise ValueError(f"data {name} must have classes for scoring, got none (--labels FILE)")
        if n_without := int((dataset.y == UNLABELLED).sum()):
            raise ValueError(f"data {name} must have a class for every sample, got {n_without} without")
        return dataset

    def _labels(self, name: str) -> str | None:
        return None if name in data.NAMES else self.labels

    def each(self, names: Sequence[str], make: Callable[["Context", str], None]) -> None:
        """Makes something of each data set asked for; one that cannot be had does not stop the others.

        Args:
            names: of the data sets where none is asked for.
            make: called with the context and a name.

        Raises:
            Unavailable: after all others, for those that could not be had.
        """
        missing = []
        for name in self.names or names:
            try:
                make(self, name)
            except Unavailable as error:
                missing.append(str(error))
        if missing:
            raise Unavailable("; ".join(missing))

    def scaled(self, name: str) -> np.ndarray | scipy.sparse.csr_array:
        """The samples as networks and baselines see them, (n, d) float32."""
        x = self.load(name).x
        return data.apply_scaling(data.fit_scaling(self.config(name).data.scaling, x), x)

    def config(
        self,
        name: str,
        seed: int = 0,
        changes: Mapping[str, Any] = MappingProxyType({}),
        dataset: Dataset | None = None,
    ) -> Config:
        """The configuration of the scale for a data set, with everything filled in that depends on the data.

        Args:
            name: of the data set.
            seed: of the trial.
            changes: settings that are not the scale's, by full name.
            dataset: what is clustered; None for what `load` returns.

        Raises:
            TypeError, ValueError: a change does not fit, or nobody has said how many clusters a file has.
        """
        values = {"data.name": name, "data.labels": self._labels(name), "seed": seed}
        values["clustering.n_clusters"] = N_CLUSTERS.get(name, self.n_clusters)
        if self.scale == "laptop":
            values |= LAPTOP
        if self.scale == "full":
            values["clustering.update_interval"] = RELEASED_INTERVALS.get(name)
            values["data.unlabelled"] = name in data.UNLABELLED_NAMES
        config = config_of(SCALES[self.scale]).with_values(values | changes)
        return resolve(config, self.load(name) if dataset is None else dataset)

    def run(self, config: Config, dataset: Dataset | None = None) -> Run:
        """The finished trial of a configuration; trained where that has not been done, going on where it stopped.

        Args:
            config: from `config`.
            dataset: what is clustered; None for the data set that the configuration names.
        """
        dataset = self.load(config.data.name) if dataset is None else dataset
        samples = fingerprint(dataset.x)
        folder = self._folder(config, samples)
        if not (folder / report.RESULT_FILE).exists():
            with PhaseProgress() as progress:
                finished = runs.run(config, dataset, self._desk(config, dataset, samples, progress))
            report.write(folder, finished, report.summarize(finished), draw=False)
            runs.forget(folder)
        run = _read_run(folder, dataset)
        self.commits.add(str(run.result["git_commit"]))
        return run

    def pretrained(self, config: Config, dataset: Dataset | None = None) -> tuple[Any, Params, Samples]:
        """The network that a trial of a configuration begins its clustering with, its parameters, and the samples.

        The samples are scaled and lie on the device, (n, d) float32.
        """
        dataset = self.load(config.data.name) if dataset is None else dataset
        with PhaseProgress() as progress:
            return runs.pretrain(config, dataset, self._desk(config, dataset, fingerprint(dataset.x), progress))

    @property
    def pretrainings(self) -> Store:
        """Pretrained networks, which all trials share."""
        return Store(self.work / "pretraining")

    def _folder(self, config: Config, samples: str) -> Path:
        return self.work / "trials" / trial_id(config, samples)

    def _desk(self, config: Config, dataset: Dataset, samples: str, progress: PhaseProgress) -> Desk:
        # Trials that differ in their networks alone have k-means on the input in common.
        names = ("seed", "data.scaling", "clustering.n_clusters", "start.kmeans_restarts")
        parts = {name: config.flat()[name] for name in names}
        kmeans = identity(**parts, samples=samples, versions=versions())
        return Desk(
            self._folder(config, samples),
            progress,
            Profiler(),
            cache=self.pretrainings,
            inputs=Store(self.work / "kmeans" / kmeans),
            data_dir=self.data_dir,
            compiled=self._compiled.setdefault((samples, dataset.image_shape), Compiled()),
        )

    def remember(
        self, compute: Callable[[], tuple[np.ndarray, dict[str, Any]]], **parts: Any
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """What `compute` returns: computed once, and read from a file after that.

        Args:
            compute: called where it is not known yet; returns assignments (n,) int and whatever else belongs to them,
                as JSON has it. Scores do not: they depend on labels, which are not a part of the name.
            **parts: everything that it depends on, but for the versions of the packages; see `identity`.
        """
        store, name = Store(self.work / "cells"), identity(**parts, versions=versions())
        found = store.get(name)
        if found is None:
            labels, more = compute()
            store.put(name, labels, {"value": more, "parts": parts, "git_commit": git_commit()})
            found = store.get(name)
        labels, noted = found
        self.commits.add(str(noted["git_commit"]))
        return labels, noted["value"]

    def provenance(self) -> str:
        """One line: what the scale means, which seeds, which code has computed the figures, which machine."""
        scale = f"Scale {self.scale}: all samples, preset {SCALES[self.scale]}"
        if self.scale == "laptop":
            changes = ", ".join(f"{name}={value}" for name, value in LAPTOP.items())
            scale = f"Scale laptop: at most {LAPTOP_SAMPLES:,} samples drawn at random, preset fast with {changes}"
        seeds = ", ".join(map(str, self.seeds))
        device = jax.devices()[0].device_kind
        commits = ", ".join(sorted(self.commits)) or git_commit()
        return f"{scale}; seeds {seeds}; commit {commits}; {device}, jax {jax.__version__}"


def _read_run(folder: Path, dataset: Dataset) -> Run:
    with np.load(io.BytesIO(read_checked(folder / report.ASSIGNMENTS_FILE))) as file:
        arrays = dict(file)
    rows = csv.DictReader(io.StringIO(read_checked(folder / report.HISTORY_FILE).decode(), newline=""))
    history = [{name: row[name] for name in row if name not in SCORES} for row in rows]
    result = json.loads(read_checked(folder / report.RESULT_FILE))
    q, z, final = (arrays.pop(name) for name in ("q", "z", "labels"))
    for method, labels in {"final": final, **arrays}.items():
        result[method.removeprefix(report.LABELS_OF)] |= metrics.scores(dataset.y, labels)
    return Run(folder, result, q, z, final, history)
