"""One trial: settings and data in; a trained model with its assignments, history and figures out."""

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from scipy.special import expit
from sklearn.cluster import KMeans

from dec_jax import autoencoder, clustering, data, metrics, n2d, partition, pretraining
from dec_jax.autoencoder import Autoencoder, Params
from dec_jax.clustering import ClusteringInfo, ClusteringState
from dec_jax.data import Dataset, Scaling
from dec_jax.pretraining import PretrainingInfo, PretrainingState, Stage
from dec_jax.samples import Samples, take_rows, to_device
from dec_jax.trained_model import TrainedModel
from experiments import plan
from experiments.journal import Journal
from experiments.profiler import Profiler
from experiments.progress import PhaseProgress
from experiments.settings import Settings
from experiments.sweeping.pretraining_cache import PretrainingCache, key_of

Row = dict[str, Any]
N_RECONSTRUCTIONS = 10


class Keys(NamedTuple):
    """The PRNG keys of a trial, one for each thing that is random."""

    params: jax.Array
    pretraining: jax.Array
    kmeans: jax.Array
    clustering: jax.Array


@dataclass
class Trial:
    """A trial and what it has found out so far; `run` fills it in, phase by phase.

    Attributes:
        settings: from `plan.resolve`.
        data: what is clustered; its labels are read for scores alone.
        scaling: of the samples.
        samples: (n, d) scaled samples on the host.
        journal: where work in progress is kept.
        progress: where it is shown.
        profiler: traces a part of each phase.
        cache: pretrained parameters that trials share; None for no such thing.
        unlabelled: (u, d) scaled samples that are pretrained on too, and not clustered; None for no such thing.
        reconstructions: ten samples and their reconstructions after pretraining, each (10, d).
        trained: the trained model.
        z: (n, m) embedding.
        q: (n, k) soft assignment.
        labels: clusters (n,) int32 by method: "kmeans", "autoencoder_kmeans", "n2d" where clustering starts from
            it, and "final", the largest q.
        history: rows with phase, step, loss and, in clustering, label change and scores.
        seconds: by phase.
        steps: updates of the clustering phase.
        stop_reason: why clustering stopped.
    """

    settings: Settings
    data: Dataset
    scaling: Scaling
    samples: np.ndarray | scipy.sparse.csr_array
    journal: Journal
    progress: PhaseProgress
    profiler: Profiler = field(default_factory=Profiler)
    cache: PretrainingCache | None = None
    unlabelled: np.ndarray | None = None
    reconstructions: tuple[np.ndarray, np.ndarray] = field(init=False)
    trained: TrainedModel = field(init=False)
    z: np.ndarray = field(init=False)
    q: np.ndarray = field(init=False)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    stop_reason: str = ""


def load_unlabelled(
    settings: Settings, scaling: Scaling, data_dir: str | os.PathLike[str] | None = None
) -> np.ndarray | None:
    """The scaled samples that these settings pretrain on besides those that are clustered, (u, d) float32; or None.

    Raises:
        FileNotFoundError, ImportError, OSError, ValueError: as `dec_jax.data.load_unlabelled`.
    """
    return data.apply_scaling(scaling, data.load_unlabelled(settings.data, data_dir)) if settings.unlabelled else None


def keys_of(seed: int) -> Keys:
    """The keys of the trials of a seed."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def run(trial: Trial) -> Trial:
    """Runs k-means on the input, pretraining, k-means on the embedding, and the clustering phase.

    Raises:
        FloatingPointError: a loss became NaN or infinite.
    """
    settings = trial.settings
    keys = keys_of(settings.seed)
    model = plan.network(settings, trial.data.x.shape[1])
    _input_kmeans(trial)
    x = to_device(trial.samples)
    if not scipy.sparse.issparse(trial.samples):
        trial.samples = np.asarray(x)  # where the device is the host, that is no second copy of them
    params = pretrain(trial, model, keys, x)
    trial.reconstructions = _reconstruct(settings, model, params, x)
    _report_dead_units(*trial.reconstructions)
    state = _cluster(trial, model, params, keys, x)
    trained = TrainedModel(model, params | state.params, state.centroids, trial.scaling, plan.assignment(settings))
    trial.trained = trained
    encoder = autoencoder.encoder_params(trained.params)
    trial.z = np.asarray(clustering.embed(model, encoder, x))
    q = clustering.soft_assignments(model, encoder, state.centroids, x, trained.assignment)
    trial.q = np.asarray(q)
    trial.labels["final"] = trial.q.argmax(axis=1).astype(np.int32)
    _report_empty_clusters(trial)
    return trial


def _report_dead_units(samples: np.ndarray, reconstructions: np.ndarray) -> None:
    if np.ptp(samples, axis=0).any() and not np.ptp(reconstructions, axis=0).any():
        warnings.warn(
            "the autoencoder reconstructs all samples alike: in one of its layers every unit has died. "
            "Another seed or a lower learning_rate may train it",
            stacklevel=2,
        )


def _report_empty_clusters(trial: Trial) -> None:
    n_empty = trial.settings.n_clusters - len(np.unique(trial.labels["final"]))
    if n_empty:
        warnings.warn(
            f"{n_empty} of {trial.settings.n_clusters} clusters are empty: size_balance=1, resets or reseed_empty=true "
            "may keep them alive",
            stacklevel=2,
        )


@contextmanager
def _timed(trial: Trial, phase: str, before: float = 0.0) -> Iterator[Callable[[], float]]:
    """Notes the seconds of a phase, those before an interruption included; yields a function that tells them."""
    began = time.perf_counter()

    def seconds() -> float:
        return before + time.perf_counter() - began

    yield seconds
    trial.seconds[phase] = seconds()


def _input_kmeans(trial: Trial) -> None:
    """k-means on the scaled input, the best of several restarts: what the paper compares with first."""
    settings, journal = trial.settings, trial.journal
    best, saved = journal.load("kmeans") or ({"inertia": np.inf}, {"done": 0, "seconds": 0.0})
    trial.progress.start("k-means on the input", settings.kmeans_restarts, saved["done"])
    with _timed(trial, "kmeans", saved["seconds"]) as seconds:
        for done in range(saved["done"] + 1, settings.kmeans_restarts + 1):
            seed = np.random.SeedSequence([settings.seed, done]).generate_state(1)[0]
            found = KMeans(settings.n_clusters, n_init=1, random_state=int(seed)).fit(trial.samples)
            if found.inertia_ < best["inertia"]:
                best = {"inertia": np.float64(found.inertia_), "labels": found.labels_}
            if journal.is_due() or done == settings.kmeans_restarts:
                journal.save("kmeans", best, {"done": done, "seconds": seconds()})
            trial.progress.advance(done, inertia=float(best["inertia"]))
    trial.labels["kmeans"] = np.asarray(best["labels"], np.int32)
    trial.progress.finish()


def pretrain(trial: Trial, model: Autoencoder, keys: Keys, x: Samples) -> Params:
    """Parameters of the trained autoencoder: the cache's where it has them, with the history of their training."""
    if trial.cache is None:
        return _pretrain(trial, model, keys, x)
    key = key_of(trial.settings, fingerprint(trial.data))
    params = trial.cache.load(key, autoencoder.init(keys.params, model, x.shape[1]))
    if params is None:
        params = _pretrain(trial, model, keys, x)
        metadata = {"history": trial.history, "seconds": trial.seconds["pretraining"]}
        trial.cache.save(key, params, metadata)
        return params
    metadata = trial.cache.metadata(key)
    trial.history += metadata.get("history", [])
    trial.seconds["pretraining"] = metadata.get("seconds", 0.0)
    return jax.tree.map(jnp.asarray, params)


def _pretrain(trial: Trial, model: Autoencoder, keys: Keys, x: Samples) -> Params:
    if trial.unlabelled is not None:
        x = jnp.concatenate([x, trial.unlabelled])
    stages = plan.stages(trial.settings, model)
    params = autoencoder.init(keys.params, model, x.shape[1])
    state, saved = _resume_pretraining(trial.journal, stages, params)
    trial.history += saved["history"]

    def begin(stage: int, done: int) -> None:
        if stage < len(stages) and done == stages[stage].n_steps:
            stage, done = stage + 1, 0
        if stage < len(stages):
            trial.progress.start(stages[stage].name, stages[stage].n_steps, done)

    def on_window(state: PretrainingState, info: PretrainingInfo) -> None:
        trial.profiler.window_ended(info.stage.name)
        trial.history.append({"phase": info.stage.name, "step": info.step, "loss": info.loss})
        trial.progress.advance(info.step, loss=info.loss)
        if trial.journal.is_due():
            save(state)
        if info.step == info.stage.n_steps:
            trial.profiler.stop()
            trial.progress.finish(f"loss {info.loss:.4g}")
            begin(state.stage, info.step)

    def save(state: PretrainingState) -> None:
        metadata = {"stage": state.stage, "history": trial.history, "seconds": seconds()}
        trial.journal.save("pretraining", state._replace(stage=()), metadata)

    with _timed(trial, "pretraining", saved["seconds"]) as seconds:
        begin(state.stage, int(state.step))
        finished = state.stage == len(stages)
        batch_size = trial.settings.batch_size
        params, _ = pretraining.pretrain(keys.pretraining, stages, state, x, batch_size=batch_size, on_window=on_window)
        if not finished:
            save(pretraining.init(stages, params, len(stages)))
    return params


def _resume_pretraining(journal: Journal, stages: list[Stage], params: Params) -> tuple[PretrainingState, Row]:
    """Where pretraining goes on, and the history and seconds up to there."""
    found = journal.load("pretraining")
    if found is not None:
        # The optimiser's state has another structure in each stage.
        template = pretraining.init(stages, params, found[1]["stage"])._replace(stage=())
        found = journal.load("pretraining", template)
    if found is None:
        return pretraining.init(stages, params), {"history": [], "seconds": 0.0}
    state, saved = found
    return jax.tree.map(jnp.asarray, state)._replace(stage=saved["stage"]), saved


def _reconstruct(settings: Settings, model: Autoencoder, params: Params, x: Samples) -> tuple[np.ndarray, np.ndarray]:
    n = x.shape[0]
    rows = np.linspace(0, n - 1, min(N_RECONSTRUCTIONS, n)).astype(np.int32)
    samples, reconstruction = map(np.asarray, _reconstruct_rows(model, params, x, rows))
    return samples, expit(reconstruction) if settings.loss == "bce_logits" else reconstruction


@partial(jax.jit, static_argnames="model")
def _reconstruct_rows(model: Autoencoder, params: Params, x: Samples, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    samples = take_rows(x, rows)
    return samples, autoencoder.reconstruct(model, params, samples)


def _cluster(trial: Trial, model: Autoencoder, params: Params, keys: Keys, x: Samples) -> ClusteringState:
    """The state at the end of the clustering phase."""
    settings, journal = trial.settings, trial.journal
    if not settings.train_encoder:
        model, params, x = clustering.freeze_encoder(model, params, x)
    augmentation = plan.clustering_augmentation(settings, trial.data.x.shape[1])
    shared = {
        "optimizer": plan.clustering_optimizer(settings),
        "objective": plan.objective(settings),
        "assignment": plan.assignment(settings),
    }
    trial.progress.start("k-means on embedding", 1)
    with _timed(trial, "autoencoder_kmeans"):
        state = clustering.init(
            keys.kmeans,
            model,
            params,
            x,
            settings.n_clusters,
            n_restarts=settings.kmeans_restarts,
            **shared,
        )
        trial.labels["autoencoder_kmeans"] = np.array(state.labels)
    trial.progress.advance(1)
    trial.progress.finish()
    if settings.start == "n2d":
        how = shared | {"augmentation": augmentation, "batch_size": settings.batch_size}
        state = _start_from_n2d(trial, model, params, keys, x, how)

    state, saved = journal.load("clustering", state) or (state, {"history": [], "seconds": 0.0, "settled": False})
    rows: list[Row] = saved["history"]
    trial.progress.start("clustering", settings.max_steps, int(state.step))

    def on_refresh(state: ClusteringState, info: ClusteringInfo) -> None:
        trial.profiler.window_ended("clustering")
        rows.append(_clustering_row(state, info, trial.data.y))
        trial.progress.advance(rows[-1]["step"], loss=info.loss, label_change=info.label_change)
        if journal.is_due():
            journal.save("clustering", state, {"history": rows, "seconds": seconds(), "settled": info.settled})

    with _timed(trial, "clustering", saved["seconds"]) as seconds:
        # A run that died between its last refresh and its result has nothing left to do.
        finished = saved["settled"]
        fit = clustering.fit(
            keys.clustering,
            model,
            jax.tree.map(jnp.asarray, state),
            x,
            **shared,
            augmentation=augmentation,
            batch_size=settings.batch_size,
            update_interval=settings.update_interval,
            tolerance=settings.tolerance,
            max_steps=int(state.step) if finished else settings.max_steps,
            renewals=plan.renewals(settings, x.shape[0]),
            on_refresh=on_refresh,
        )
    trial.profiler.stop()
    trial.history += rows
    trial.steps = int(fit.state.step)
    trial.stop_reason = "tolerance" if finished else fit.stop_reason
    trial.progress.finish(f"{trial.steps:,} steps, stopped by {trial.stop_reason}")
    return fit.state


def _start_from_n2d(
    trial: Trial, model: Autoencoder, params: Params, keys: Keys, x: Samples, how: dict[str, Any]
) -> ClusteringState:
    """The state before clustering, once the network has learnt the partition that N2D finds in its embedding."""
    k, seed = trial.settings.n_clusters, trial.settings.seed
    found, saved = trial.journal.load("n2d") or ({}, {"done": 0, "seconds": 0.0})
    trial.progress.start("N2D on the embedding", 4, saved["done"])
    with _timed(trial, "n2d", saved["seconds"]) as seconds:
        z = np.asarray(clustering.embed(model, autoencoder.encoder_params(params), x))

        def near() -> n2d.Neighbors:
            return n2d.Neighbors(found["indices"], found["distances"])

        parts = (
            lambda: n2d.neighbors(z)._asdict(),
            lambda: {"laid_out": n2d.layout(z, k, near(), seed=seed)},
            lambda: {"labels": n2d.mixture(found["laid_out"], near(), k, seed=seed)},
        )
        for done in range(saved["done"], len(parts)):
            found |= parts[done]()
            trial.journal.save("n2d", found, {"done": done + 1, "seconds": seconds()})
            trial.progress.advance(done + 1)
        key = jax.random.fold_in(keys.kmeans, 1)  # k-means on the embedding had the key itself
        options = how | {"n_steps": trial.settings.start_steps}
        state = partition.start(key, model, params, found["labels"], x, k, **options)
    trial.progress.advance(4)
    trial.progress.finish()
    trial.labels["n2d"] = found["labels"]
    return state


def _clustering_row(state: ClusteringState, info: ClusteringInfo, y: np.ndarray | None) -> Row:
    row: Row = {"phase": "clustering", "step": int(state.step), **info._asdict()}
    row["smallest_cluster"] = int(row.pop("smallest_cluster"))
    del row["settled"]
    row |= {f"term_{name}": value for name, value in row.pop("terms").items()}
    return row if y is None else row | metrics.scores(y, np.asarray(state.labels))


def fingerprint(data: Dataset) -> str:
    """SHA-256 of the samples, by which an unfinished run knows its data again."""
    x = data.x
    parts = (x.data, x.indices, x.indptr) if scipy.sparse.issparse(x) else (x,)
    digest = hashlib.sha256(f"{x.shape} {x.dtype}".encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
