"""Partitions of the samples that clustering starts from; what is found of one is kept until its trial ends."""

import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from dec_jax import graph, mixture, n2d, starts
from dec_jax.data import apply_scaling
from dec_jax.neighbors import Neighbors, nearest
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.split import Split
from dec_jax.runner.work import Clock, Trial

Part = Callable[[dict[str, Any]], dict[str, Any]]


class Found(NamedTuple):
    """A partition, and what it took.

    Attributes:
        labels: clusters (n,) int32.
        seconds: in all.
        losses: of the partitions that were tried, of which this one has the lowest; one where there was no choice.
        is_mixture: whether its clusters are the components of a mixture of Gaussians.
    """

    labels: np.ndarray
    seconds: float
    losses: tuple[float, ...] = (0.0,)
    is_mixture: bool = False


def of_graph(
    trial: Trial,
    split: Split,
    loss_from: Callable[[np.ndarray], float],
    checkpoint: Checkpoint,
    progress: PhaseProgress,
) -> Found:
    """The partition of the samples: of the graph of their neighbours, or a mixture of Gaussians where they are one.

    Args:
        trial: whose partition it is.
        split: the samples.
        loss_from: the objective a while after the start from a partition; of several the one with the lowest counts.
        checkpoint: of this work.
        progress: where it is shown.
    """
    n_candidates = trial.config.start.candidates

    def part(_: dict[str, Any]) -> dict[str, Any]:
        labels, is_mixture = _parted(trial, split)
        return {"labels": labels, "is_mixture": np.asarray(is_mixture)}

    def loss_of(candidate: int, found: dict[str, Any]) -> dict[str, Any]:
        if not candidate < len(found["labels"]) > 1:  # there is no choice
            return {}
        return {"losses": np.append(found.get("losses", ()), loss_from(found["labels"][candidate]))}

    progress.start("partition of the graph", 1 + n_candidates)
    found, seconds = _in_parts([part, *(partial(loss_of, i) for i in range(n_candidates))], checkpoint, progress)
    losses = found.get("losses", np.zeros(1))
    best = found["labels"][starts.lowest(losses)]
    return Found(best.astype(np.int32), seconds, tuple(losses.tolist()), bool(found["is_mixture"]))


def _parted(trial: Trial, split: Split) -> tuple[np.ndarray, bool]:
    """Partitions (s, n) of the samples, and whether they are a mixture of Gaussians."""
    one, k, seed = trial.config.start, trial.config.clustering.n_clusters, trial.config.seed
    n, rule = split.train.x.shape[0], trial.config.data.scaling
    if k == n:
        return np.arange(k)[None], False  # every sample is a cluster
    if one.neighbors >= n or k == 1:  # all are neighbours of all, or in one cluster: the graph tells nothing apart
        return _by_kmeans(trial, split)[None], False
    near = split.neighbors(rule, one.neighbors, one.features)
    if one.kind == "spectral":
        return _spectral(trial, split, near)[None], False
    found = _of_neighbors(trial, split, near)
    if one.kind == "leiden":
        return found, False
    of_mixture = mixture.partition(np.asarray(split.scaled(rule)[0]), k, found[0], seed=seed)
    return (found, False) if of_mixture is None else (of_mixture[None], True)


def _spectral(trial: Trial, split: Split, near: Neighbors) -> np.ndarray:
    """Clusters (n,) of the spectral partition; of distinct rows where most have copies, which hide other neighbours."""
    one, k, seed = trial.config.start, trial.config.clustering.n_clusters, trial.config.seed
    if not (near.distances[:, 1] == 0).mean() > 0.5:
        return graph.spectral_partition(near, k, seed=seed)
    seen, metric = split.compared(trial.config.data.scaling, one.features)
    rows, copy_of = distinct_rows(seen)
    if len(rows) <= max(k, one.neighbors):
        return _by_kmeans(trial, split)
    near = nearest(seen[rows], one.neighbors, metric=metric)
    return graph.spectral_partition(near, k, seed=seed)[copy_of]


def distinct_rows(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """The first of equal rows of x (n, d), dense or sparse, and for each row which of these it equals."""
    if scipy.sparse.issparse(x):
        bounds = list(pairwise(x.indptr))
        keys = [x.indices[low:high].tobytes() + x.data[low:high].tobytes() for low, high in bounds]
    else:
        keys = [row.tobytes() for row in np.ascontiguousarray(x)]
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    copy_of = np.array([place[key] for key in keys])
    return np.unique(copy_of, return_index=True)[1], copy_of


def _of_neighbors(trial: Trial, split: Split, near: Neighbors) -> np.ndarray:
    """Partitions (s, n) of the graph of the neighbours, or of what k-means sees where that says little.

    Parts without an edge between them are joined by where they lie, not by their sizes, where there are more than k.
    """
    one, k, seed = trial.config.start, trial.config.clustering.n_clusters, trial.config.seed
    if graph.says_little(near):
        return _by_kmeans(trial, split)[None]
    parts = graph.parts(near)
    if parts.max() < k or scipy.sparse.issparse(split.train.x):
        return graph.partitions(near, k, seed=seed, most=one.candidates)
    seen, _ = split.compared(trial.config.data.scaling, one.features)
    sizes = np.bincount(parts)
    sums = np.zeros((len(sizes), seen.shape[1]))
    np.add.at(sums, parts, seen)
    kmeans = KMeans(k, n_init=one.kmeans_restarts, random_state=seed)
    return kmeans.fit_predict(sums / sizes[:, None], sample_weight=sizes)[parts][None]


def _by_kmeans(trial: Trial, split: Split) -> np.ndarray:
    """Clusters (n,) of k-means on the scaled samples."""
    config = trial.config
    x = apply_scaling(split.scaling(config.data.scaling), split.train.x)
    found = KMeans(config.clustering.n_clusters, n_init=config.start.kmeans_restarts, random_state=config.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct samples than clusters
        return found.fit_predict(x)


def of_embedding(trial: Trial, z: np.ndarray, checkpoint: Checkpoint, progress: PhaseProgress) -> Found:
    """The partition that N2D finds in the embedding z (n, m)."""
    k, seed = trial.config.clustering.n_clusters, trial.config.seed

    def near(found: dict[str, Any]) -> n2d.Neighbors:
        return n2d.Neighbors(found["indices"], found["distances"])

    parts: list[Part] = [
        lambda _: n2d.neighbors(z)._asdict(),
        lambda found: {"laid_out": n2d.layout(z, k, near(found), seed=seed)},
        lambda found: {"labels": n2d.mixture(found["laid_out"], near(found), k, seed=seed)},
    ]
    progress.start("N2D on the embedding", len(parts))
    found, seconds = _in_parts(parts, checkpoint, progress)
    return Found(np.asarray(found["labels"], np.int32), seconds)


def _in_parts(parts: list[Part], checkpoint: Checkpoint, progress: PhaseProgress) -> tuple[dict[str, Any], float]:
    """Does the parts that are not kept; each takes what the ones before it found. Returns all that, and the seconds."""
    found, saved = checkpoint.load() or ({}, {"done": 0, "seconds": 0.0})
    clock = Clock(saved["seconds"])
    for done in range(saved["done"], len(parts)):
        found |= parts[done](found)
        checkpoint.save(found, {"done": done + 1, "seconds": clock.seconds})
        progress.advance(done + 1)
    progress.finish()
    return found, clock.seconds
