"""Accuracy over the seeds, a cell of a table each; what has been computed once is not computed again."""

import hashlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import scipy.sparse

from dec_jax import metrics
from experiments import baselines
from experiments.paper.context import Context, Unavailable
from experiments.paper.table import Cell
from experiments.progress import PhaseProgress
from experiments.sweeping.capacity import memory_limit

Representation = Callable[[int], Any]  # (n, d) samples by the seed of the network that they come from, if from any


def of_trials(context: Context, name: str, phase: str, published: float | None = None, **changes: Any) -> Cell:
    """ACC of a phase of the trials: "kmeans", "autoencoder_kmeans" or "final".

    Args:
        context: data, seeds.
        name: of the data set.
        phase: a key of the result.
        published: to stand beside it.
        **changes: of the settings.
    """
    runs = [context.run(context.settings(name, seed, **changes)) for seed in context.seeds]
    return Cell(tuple(100 * run.result[phase]["acc"] for run in runs), published)


def of_baseline(
    context: Context, method: str, x: Representation, y: np.ndarray, n_clusters: int, published: float | None = None
) -> Cell:
    """ACC of one of `baselines.METHODS` that have no parameter to sweep."""

    def score(seed: int) -> float:
        samples = x(seed)
        _check_memory(method, samples, n_clusters)
        if method == "gaussian_mixture" and scipy.sparse.issparse(samples):
            samples = samples.toarray()
        labels = getattr(baselines, method)(samples, n_clusters, seed=seed)
        return metrics.accuracy(y, labels)

    try:
        return Cell(
            tuple(
                100 * _kept(context, method, _fingerprint(x(seed)), n_clusters, seed, partial(score, seed))
                for seed in context.seeds
            ),
            published,
        )
    except Unavailable as error:
        return Cell((), published, str(error))


def of_sweep(
    context: Context, method: str, x: Representation, y: np.ndarray, n_clusters: int, published: float | None = None
) -> tuple[Cell, Cell]:
    """ACC of SEC or LDMGI: the best of the nine values by ACC, as the paper shows it, and the one that needs no labels.

    Returns:
        The best, and the one with the highest modularity.
    """
    try:
        found = [nine_values(context, method, x, y, n_clusters, seed) for seed in context.seeds]
    except Unavailable as error:
        return Cell((), published, str(error)), Cell((), None, str(error))
    best = tuple(100 * max(sweep["acc"]) for sweep in found)
    return Cell(best, published), Cell(tuple(100 * sweep["acc"][sweep["chosen"]] for sweep in found))


def nine_values(
    context: Context, method: str, x: Representation, y: np.ndarray, n_clusters: int, seed: int
) -> dict[str, Any]:
    """ACC and NMI for each value of the parameter of SEC or LDMGI, and the index that modularity chooses.

    Each value is kept as soon as it is known.

    Raises:
        Unavailable: the memory is too small.
    """
    samples = x(seed)
    fingerprint = _fingerprint(samples)

    @cache
    def solver() -> Callable[[float], tuple[np.ndarray, float]]:
        _check_memory(method, samples, n_clusters)
        return baselines.solver(method, samples, n_clusters, seed=seed)

    def score(value: float) -> dict[str, float]:
        labels, modularity = solver()(value)
        return metrics.scores(y, labels) | {"modularity": modularity}

    values, found = baselines.values_of(method), []
    with PhaseProgress() as progress:
        progress.start(f"{method}, seed {seed}", len(values))
        for value in values:
            row = _kept(context, f"{method} {value:g}", fingerprint, n_clusters, seed, partial(score, value))
            found.append(row)
            progress.advance(len(found), value=value, **row)
        progress.finish()
    columns = {name: [row[name] for row in found] for name in ("acc", "nmi", "modularity")}
    return columns | {"values": list(values), "chosen": int(np.argmax(columns["modularity"]))}


def _kept(context: Context, method: str, fingerprint: str, n_clusters: int, seed: int, score: Callable[[], Any]) -> Any:
    return context.remember(f"{method} of {fingerprint}, k {n_clusters}, seed {seed}", score)


def _fingerprint(x: Any) -> str:
    parts = (x.data, x.indices, x.indptr) if scipy.sparse.issparse(x) else (x,)
    digest = hashlib.sha256(f"{x.shape} {x.dtype}".encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _check_memory(method: str, x: Any, n_clusters: int) -> None:
    needed = baselines.memory_needed(method, *x.shape, n_clusters=n_clusters)
    limit = memory_limit(None)
    if needed > limit:
        raise Unavailable(
            f"{method} on {x.shape[0]:,} × {x.shape[1]:,} needs about {needed / 1e9:.1f} GB of memory, "
            f"and may use {limit / 1e9:.1f} GB here"
        )
