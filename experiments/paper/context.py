"""What the targets share: data, settings, finished trials, and results that are kept as soon as they are known."""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.sparse
from rich.console import Console

from dec_jax import data
from dec_jax.autoencoder import Autoencoder, Params
from dec_jax.data import Dataset
from dec_jax.data.atomic import atomic_write
from dec_jax.samples import Samples, to_device
from dec_jax.validation import check_choice
from experiments import plan, report, trial
from experiments.journal import Journal
from experiments.presets import N_CLUSTERS, PRESETS
from experiments.progress import PhaseProgress
from experiments.settings import Settings
from experiments.sweeping.pretraining_cache import PretrainingCache, key_of
from experiments.trial import Trial

SCALES = {"full": "paper", "fast": "fast", "laptop": "fast"}  # and the preset that each one begins with
LAPTOP_SAMPLES = 5000
LAPTOP = {"fine_tuning_steps": 1500, "max_steps": 1500}  # what it changes from its preset
# λ of the authors' released configuration; other data have the project's own rule.
RELEASED_INTERVALS = {"mnist": 160, "stl10-hog": 40, "reuters": 20, "reuters10k": 20}


class Unavailable(Exception):  # noqa: N818 - it is no mistake of anybody's
    """Data or memory that cannot be had; the message says how a user gets it."""


@dataclass(frozen=True)
class Run:
    """A finished trial, read back from its folder.

    Attributes:
        folder: where it lies.
        result: the content of `result.json`.
        q: (n, k) soft assignment.
        z: (n, m) embedding.
        labels: (n,) int32 clusters, the largest q.
        history: the rows of `history.csv`, all values as text.
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
    """

    out: Path
    scale: str = "laptop"
    seeds: tuple[int, ...] = (0, 1, 2)
    names: tuple[str, ...] = ()
    data_dir: str | None = None
    labels: str | None = None
    n_clusters: int | None = None
    console: Console = field(default_factory=lambda: Console(markup=False, highlight=False))
    _loaded: dict[str, Dataset] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, SCALES)
        if not self.seeds:
            raise ValueError("seeds must hold at least one seed, got none")

    @property
    def work(self) -> Path:
        """Where finished work is kept."""
        return self.out / "work"

    @property
    def changes(self) -> dict[str, Any]:
        """What the scale changes from its preset, for all data sets alike."""
        return LAPTOP if self.scale == "laptop" else {}

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
        return data.apply_scaling(data.fit_scaling(self.settings(name).scaling, x), x)

    def settings(self, name: str, seed: int = 0, dataset: Dataset | None = None, **changes: Any) -> Settings:
        """The settings of the scale for a data set, with everything filled in that depends on the data.

        Args:
            name: of the data set.
            seed: of the trial.
            dataset: what is clustered; None for what `load` returns.
            **changes: settings that are not the scale's.

        Raises:
            ValueError: a change does not fit, or nobody has said how many clusters the user's own file has.
        """
        values = PRESETS[SCALES[self.scale]] | self.changes
        if self.scale == "full":
            interval = RELEASED_INTERVALS.get(name)
            values |= {"update_interval": interval, "unlabelled": name in data.UNLABELLED_NAMES}
        values |= {"n_clusters": N_CLUSTERS.get(name, self.n_clusters)} | changes
        named = {"data": name, "labels": self._labels(name), "preset": SCALES[self.scale], "seed": seed}
        return plan.resolve(Settings(**named, **values), self.load(name) if dataset is None else dataset)

    def run(self, settings: Settings, dataset: Dataset | None = None) -> Run:
        """The finished trial of these settings; trained where that has not been done, going on where it stopped.

        Args:
            settings: from `settings`.
            dataset: what is clustered; None for the data set that the settings name.
        """
        dataset = self.load(settings.data) if dataset is None else dataset
        settings = plan.resolve(settings, dataset)
        identity = vars(settings) | {"samples": trial.fingerprint(dataset)}
        folder = self.folder_of(settings, dataset)
        if not (folder / report.RESULT_FILE).exists():
            journal = Journal(folder / "unfinished", identity)
            shared = self._shared_kmeans(settings, identity["samples"])
            if (known := shared.load("kmeans")) is not None:
                journal.save("kmeans", *known)
            with PhaseProgress() as progress:
                finished = trial.run(self._trial(settings, dataset, journal, progress))
            if known is None:
                shared.save("kmeans", *journal.load("kmeans"))
            report.write(folder, finished, report.summarize(finished), draw=False)
            journal.remove()
        return _read_run(folder)

    def pretrained(self, settings: Settings, dataset: Dataset | None = None) -> tuple[Autoencoder, Params, Samples]:
        """The network that a trial of these settings begins its clustering with, its parameters, and the samples.

        The samples are scaled and lie on the device, (n, d) float32.
        """
        dataset = self.load(settings.data) if dataset is None else dataset
        settings = plan.resolve(settings, dataset)
        model = plan.network(settings, dataset.x.shape[1])
        key = key_of(settings, trial.fingerprint(dataset))
        journal = Journal(self.work / "unfinished" / key, {"pretraining": key})
        with PhaseProgress() as progress:
            begun = self._trial(settings, dataset, journal, progress)
            x = to_device(begun.samples)
            params = trial.pretrain(begun, model, trial.keys_of(settings.seed), x)
        journal.remove()
        return model, params, x

    def folder_of(self, settings: Settings, dataset: Dataset) -> Path:
        """Where the trial of these settings, which `settings` returned for the data set, is kept."""
        identity = vars(settings) | {"samples": trial.fingerprint(dataset)}
        return self.work / "trials" / digest(identity)

    def _shared_kmeans(self, settings: Settings, samples: str) -> Journal:
        """Where k-means on the input is kept: trials that differ in their networks alone have it in common."""
        names = ("seed", "scaling", "n_clusters", "kmeans_restarts")
        identity = {name: getattr(settings, name) for name in names} | {"samples": samples}
        return Journal(self.work / "kmeans" / digest(identity), identity)

    def _trial(self, settings: Settings, dataset: Dataset, journal: Journal, progress: PhaseProgress) -> Trial:
        scaling = data.fit_scaling(settings.scaling, dataset.x)
        samples = data.apply_scaling(scaling, dataset.x)
        cache = PretrainingCache(self.work / "pretraining")
        unlabelled = trial.load_unlabelled(settings, scaling, self.data_dir)
        return Trial(settings, dataset, scaling, samples, journal, progress, cache=cache, unlabelled=unlabelled)

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        """What `compute` returns, as JSON has it: computed once, and read from a file after that.

        Args:
            key: names everything that the value depends on.
            compute: called where the value is not known yet.
        """
        path = self.work / "cells" / f"{digest(key)}.json"
        if path.exists():
            return json.loads(path.read_text())["value"]
        value = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as file:
            json.dump({"key": key, "value": value}, file)
        return value

    def provenance(self) -> str:
        """One line: what the scale means, which seeds, which code, which machine."""
        scale = f"Scale {self.scale}: all samples, preset {SCALES[self.scale]}"
        if self.scale == "laptop":
            changes = ", ".join(f"{name}={value}" for name, value in LAPTOP.items())
            scale = f"Scale laptop: at most {LAPTOP_SAMPLES:,} samples drawn at random, preset fast with {changes}"
        seeds = ", ".join(map(str, self.seeds))
        device = jax.devices()[0].device_kind
        return f"{scale}; seeds {seeds}; commit {report.git_commit()}; {device}, jax {jax.__version__}"


def digest(value: Any) -> str:
    """SHA-256 of what JSON can hold, by which work is found again."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read_run(folder: Path) -> Run:
    with np.load(folder / "assignments.npz") as file:
        arrays = dict(file)
    with open(folder / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    return Run(folder, json.loads((folder / report.RESULT_FILE).read_text()), history=history, **arrays)
