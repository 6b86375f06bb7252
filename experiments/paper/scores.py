"""Accuracy over the seeds, one cell of a table each; what has been computed once is not computed again."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import scipy.sparse

from dec_jax import metrics
from dec_jax.identity import fingerprint
from dec_jax.runner.capacity import memory_limit
from dec_jax.runner.progress import PhaseProgress
from experiments import baselines, spectral
from experiments.paper.context import Context, Unavailable
from experiments.paper.table import Cell

NONE: Mapping[str, Any] = MappingProxyType({})
Representation = Callable[[int], Any]  # (n, d) samples by the seed of the network that they come from, if from any


def of_trials(
    context: Context, name: str, phase: str, published: float | None = None, changes: Mapping[str, Any] = NONE
) -> Cell:
    """ACC of a phase of the trials: "kmeans", "autoencoder_kmeans" or "final".

    Args:
        context: data, seeds.
        name: of the data set.
        phase: a key of the result.
        published: to stand beside it.
        changes: settings that are not the scale's, by full name.
    """
    runs = [context.run(context.config(name, seed, changes)) for seed in context.seeds]
    return Cell(tuple(100 * run.result[phase]["acc"] for run in runs), published)


def of_baseline(
    context: Context, method: str, x: Representation, y: np.ndarray, n_clusters: int, published: float | None = None
) -> Cell:
    """ACC of a method of `baselines` or `spectral` that has no parameter to sweep."""

    def assign(seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        samples = x(seed)
        _check_memory(method, samples, n_clusters)
        if method == "gaussian_mixture" and scipy.sparse.issparse(samples):
            samples = samples.toarray()
        return getattr(_module_of(method), method)(samples, n_clusters, seed=seed), {}

    def accuracy(seed: int) -> float:
        parts = {"method": method, "samples": fingerprint(x(seed)), "n_clusters": n_clusters, "seed": seed}
        labels, _ = context.remember(partial(assign, seed), **parts)
        return metrics.accuracy(y, labels)

    try:
        return Cell(tuple(100 * accuracy(seed) for seed in context.seeds), published)
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
    parts = {"method": method, "samples": fingerprint(samples), "n_clusters": n_clusters, "seed": seed}

    @cache
    def solver() -> Callable[[float], tuple[np.ndarray, float]]:
        _check_memory(method, samples, n_clusters)
        return spectral.solver(method, samples, n_clusters, seed=seed)

    def assign(value: float) -> tuple[np.ndarray, dict[str, Any]]:
        labels, modularity = solver()(value)
        return labels, {"modularity": modularity}

    values, found = spectral.values_of(method), []
    with PhaseProgress() as progress:
        progress.start(f"{method}, seed {seed}", len(values))
        for value in values:
            labels, modularity = context.remember(partial(assign, value), value=value, **parts)
            row = metrics.scores(y, labels) | modularity
            found.append(row)
            progress.advance(len(found), value=value, **row)
        progress.finish()
    columns = {name: [row[name] for row in found] for name in ("acc", "nmi", "modularity")}
    return columns | {"values": list(values), "chosen": int(np.argmax(columns["modularity"]))}


def _module_of(method: str) -> ModuleType:
    return spectral if method in spectral.METHODS else baselines


def _check_memory(method: str, x: Any, n_clusters: int) -> None:
    needed = _module_of(method).memory_needed(method, *x.shape, n_clusters=n_clusters)
    limit = memory_limit(None)
    if needed > limit:
        raise Unavailable(
            f"{method} on {x.shape[0]:,} × {x.shape[1]:,} needs about {needed / 1e9:.1f} GB of memory, "
            f"and may use {limit / 1e9:.1f} GB here"
        )
