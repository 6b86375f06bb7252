"""One run: baselines and a trial, in a folder that an interrupted run goes on from."""

import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.special import expit
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from dec_jax import data, metrics, n2d, networks
from dec_jax.data import UNLABELLED, Dataset
from dec_jax.data.atomic import atomic_write, remove_orphans
from dec_jax.data.scaling import COSINE_RULES
from dec_jax.identity import fingerprint, versions
from dec_jax.networks import Params
from dec_jax.runner import build, capacity, fitting, remarks, trainer
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.config import Config
from dec_jax.runner.layout import Layout
from dec_jax.runner.profiler import Profiler
from dec_jax.runner.programs import Compiled
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.split import Split, split
from dec_jax.runner.work import Outcome, Row, Workshop
from dec_jax.samples import Samples, take_rows
from dec_jax.storage import Store
from dec_jax.trained_model import TrainedModel

UNFINISHED = "unfinished"
PRETRAINED = "pretrained"  # of a run without a cache, in its folder until it ends
IDENTITY_FILE = "identity.json"
N_RECONSTRUCTIONS = 10
UMAP_DIMENSIONS = 2
BASELINE_SAMPLES, BASELINE_FEATURES = 20_000, 200  # at most, where nobody asks for k-means on the input


@dataclass
class Run:
    """A finished run.

    Attributes:
        config: resolved for the data.
        data: what was clustered.
        outcome: of the trial; its labels have those of the baselines too.
        trained: the trained model.
        q: (n, k) soft assignment.
        reconstructions: ten scaled samples and their reconstructions after pretraining, each (10, d); None where
            nothing was pretrained.
    """

    config: Config
    data: Dataset
    outcome: Outcome
    trained: TrainedModel
    q: np.ndarray
    reconstructions: tuple[np.ndarray, np.ndarray] | None


@dataclass
class Desk:
    """What a run works with.

    Attributes:
        folder: of the run.
        progress: where work is shown.
        profiler: traces a part of each phase.
        cache: networks that runs share; None for no such thing.
        inputs: k-means on the input that runs share; None for no such thing.
        data_dir: as in `data.load`.
        baselines: those of `BASELINES` that run too; None for k-means where its time would be small beside the rest.
        compiled: programs that runs on the same samples share.
    """

    folder: Path
    progress: PhaseProgress
    profiler: Profiler
    cache: Store | None = None
    inputs: Store | None = None
    data_dir: str | None = None
    baselines: tuple[str, ...] | None = None
    compiled: Compiled = field(default_factory=Compiled)


def run(config: Config, dataset: Dataset, desk: Desk) -> Run:
    """Runs the baselines, pretraining, k-means on the embedding, and the clustering phase.

    Args:
        config: from `resolving.resolve`.
        dataset: what is clustered; its labels are read for scores alone.
        desk: what it works with; work in progress lies in its folder until `forget` is called.

    Raises:
        FloatingPointError: a loss became NaN or infinite.
    """
    samples = whole(config, dataset, desk.data_dir)
    shop = workshop(samples, desk)
    found = {name: BASELINES[name](config, samples, desk) for name in _baselines(desk, dataset)}
    outcome = fitting.train_one(shop, config)
    outcome.labels = {name: labels for name, (labels, _) in found.items()} | outcome.labels
    outcome.seconds = {name: seconds for name, (_, seconds) in found.items()} | outcome.seconds
    return _finished(outcome, samples)


def _baselines(desk: Desk, dataset: Dataset) -> tuple[str, ...]:
    if desk.baselines is not None:
        return desk.baselines
    n, d = dataset.x.shape
    is_quick = n <= BASELINE_SAMPLES and d <= BASELINE_FEATURES
    return ("kmeans",) if desk.inputs is not None or is_quick else ()


def pretrain(config: Config, dataset: Dataset, desk: Desk) -> tuple[Any, Params, Samples]:
    """Runs the pretraining alone.

    Args:
        config: from `resolving.resolve`.
        dataset: what is pretrained on.
        desk: what it works with; a network that its cache holds is not trained again.

    Returns:
        The network, a Flax module, its parameters, and the scaled samples (n, d) float32 on the device.

    Raises:
        FloatingPointError: a loss became NaN or infinite.
    """
    samples = whole(config, dataset, desk.data_dir)
    params = trainer.pretrain(workshop(samples, desk), config)
    model = build.network(config, dataset.x.shape[1], dataset.image_shape)
    x, _ = samples.scaled(config.data.scaling)
    return model, jax.tree.map(jax.numpy.asarray, params), x


def whole(config: Config, dataset: Dataset, data_dir: str | None = None) -> Split:
    """All samples of a data set, and those without labels that the configuration pretrains on."""
    unlabelled = data.load_unlabelled(config.data.name, data_dir) if config.data.unlabelled else None
    return split(dataset, 0.0, Layout(None), unlabelled)


def workshop(samples: Split, desk: Desk) -> Workshop:
    """What the trial of a run is trained with."""
    unfinished = Store(desk.folder / UNFINISHED)
    pretrained = desk.cache or Store(desk.folder / UNFINISHED / PRETRAINED)
    y = samples.whole.y

    def watch(_: Row, labels: np.ndarray) -> Row:
        return {} if y is None else metrics.scores(y, labels, unlabelled=UNLABELLED)

    limit = capacity.memory_limit(None)
    name = str(desk.folder.resolve())
    return Workshop(samples, pretrained, unfinished, limit, desk.progress, name, watch, desk.profiler, desk.compiled)


def claim(config: Config, dataset: Dataset, folder: Path, *, overwrite: bool = False) -> None:
    """Makes work in progress in a folder this run's own.

    Args:
        config: of the run.
        dataset: what is clustered; the scores in a history are those of its labels.
        folder: of the run.
        overwrite: whether the work of another run may be thrown away.

    Raises:
        ValueError: the folder holds the unfinished work of another run, and `overwrite` is not set.
    """
    labels = None if dataset.y is None else fingerprint(dataset.y)
    shape = None if dataset.image_shape is None else list(dataset.image_shape)
    made_from = {"samples": fingerprint(dataset.x), "image_shape": shape, "labels": labels, "versions": versions()}
    identity = config.clustering_identity() | made_from
    unfinished, wanted = folder / UNFINISHED, json.loads(json.dumps(identity))
    if _belongs_to_another(unfinished, wanted, overwrite):
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True, exist_ok=True)
    remove_orphans(unfinished, alone=True)
    with atomic_write(unfinished / IDENTITY_FILE, "w") as file:
        json.dump(wanted, file, sort_keys=True)


def forget(folder: Path) -> None:
    """Forgets work in progress: the result has been written."""
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def _belongs_to_another(folder: Path, wanted: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether the folder holds what is to be thrown away: work of another run, or of one that nobody knows.

    Raises:
        ValueError: it does, and `overwrite` is not set.
    """
    try:
        found = json.loads((folder / IDENTITY_FILE).read_text())
    except FileNotFoundError:
        return folder.exists()  # removing it was cut short
    except ValueError:
        found = None
    if found == wanted:
        return False
    if not overwrite:
        difference = _difference(found, wanted) if isinstance(found, dict) else f"its {IDENTITY_FILE} is damaged"
        raise ValueError(
            f"{folder.parent} holds an unfinished run with other settings ({difference}); "
            "repeat its command to finish it, or add --overwrite to throw it away"
        )
    return True


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    found, wanted = _by_name(found), _by_name(wanted)
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    shown = [f"{name} {found.get(name)} instead of {wanted.get(name)}" for name in names[:3]]
    return ", ".join(shown + ["…"] * (len(names) > 3))


def _by_name(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Its parts one by one: a mapping of an identity is told by what differs in it."""
    flat: dict[str, Any] = {}
    for name, value in identity.items():
        parts = value if isinstance(value, Mapping) else None
        flat |= {name: value} if parts is None else {f"{name.removesuffix('s')} of {key}": parts[key] for key in parts}
    return flat


def _input_kmeans(config: Config, samples: Split, desk: Desk) -> tuple[np.ndarray, float]:
    """Clusters (n,) int32 and seconds of k-means on the scaled input, the best of several restarts."""
    n_restarts = config.start.kmeans_restarts
    x = data.apply_scaling(samples.scaling(config.data.scaling), samples.train.x)
    store = Store(desk.folder / UNFINISHED) if desk.inputs is None else desk.inputs
    checkpoint = Checkpoint(store, "kmeans")
    best, saved = checkpoint.load() or ({"inertia": np.float64(np.inf)}, {"done": 0, "seconds": 0.0})
    desk.progress.start("k-means on the input", n_restarts, saved["done"])
    began = time.perf_counter() - saved["seconds"]
    for done in range(saved["done"] + 1, n_restarts + 1):
        seed = np.random.SeedSequence([config.seed, done]).generate_state(1)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct samples than clusters, said once
            found = KMeans(config.clustering.n_clusters, n_init=1, random_state=int(seed)).fit(x)
        if found.inertia_ < best["inertia"]:
            best = {"inertia": np.float64(found.inertia_), "labels": found.labels_}
        if checkpoint.is_due() or done == n_restarts:
            checkpoint.save(best, {"done": done, "seconds": time.perf_counter() - began})
        desk.progress.advance(done, inertia=float(best["inertia"]))
    desk.progress.finish()
    return np.asarray(best["labels"], np.int32), time.perf_counter() - began


def _input_umap(config: Config, samples: Split, desk: Desk) -> tuple[np.ndarray, float]:
    """Clusters (n,) int32 and seconds of k-means on what UMAP makes of the scaled input, in two dimensions."""
    checkpoint = Checkpoint(Store(desk.folder / UNFINISHED), "umap")
    found, saved = checkpoint.load() or ({}, {})
    if found:
        return np.asarray(found["labels"], np.int32), saved["seconds"]
    desk.progress.start("UMAP of the input", 1)
    began, rule = time.perf_counter(), config.data.scaling
    x = data.apply_scaling(samples.scaling(rule), samples.train.x)
    near = n2d.neighbors(x, metric="cosine" if rule in COSINE_RULES else "euclidean")
    laid_out = n2d.layout(x, UMAP_DIMENSIONS, near, seed=config.seed)
    k, n_restarts = config.clustering.n_clusters, config.start.kmeans_restarts
    labels = KMeans(k, n_init=n_restarts, random_state=config.seed).fit_predict(laid_out)
    seconds = time.perf_counter() - began
    checkpoint.save({"labels": labels}, {"seconds": seconds})
    desk.progress.advance(1)
    desk.progress.finish()
    return labels.astype(np.int32), seconds


BASELINES: Mapping[str, Callable[[Config, Split, Desk], tuple[np.ndarray, float]]] = {
    "kmeans": _input_kmeans,
    "umap": _input_umap,
}


def _finished(outcome: Outcome, samples: Split) -> Run:
    config, dataset = outcome.trial.config, samples.whole
    model = fitting.trained(outcome, dataset, samples.scaling(config.data.scaling))
    pretrained = config.pretraining.layer_wise_steps + config.pretraining.fine_tuning_steps > 0
    reconstructions = _reconstructions(config, model.model, outcome, samples) if pretrained else None
    if "kmeans" in outcome.labels:
        found, scaling = (outcome.labels["final"], outcome.labels["kmeans"]), samples.scaling(config.data.scaling)
        outcome.remarks += remarks.on_baseline(*found, dataset.x, scaling, config.seed)
    return Run(config, dataset, outcome, model, np.exp(outcome.log_q), reconstructions)


def _reconstructions(config: Config, model: Any, outcome: Outcome, samples: Split) -> tuple[np.ndarray, np.ndarray]:
    x, _ = samples.scaled(config.data.scaling)
    rows = np.linspace(0, x.shape[0] - 1, min(N_RECONSTRUCTIONS, x.shape[0])).astype(np.int32)
    taken = take_rows(x, rows)
    made = np.asarray(networks.reconstruct(model, outcome.pretrained, taken))
    return np.asarray(taken), expit(made) if config.pretraining.loss == "bce_logits" else made
