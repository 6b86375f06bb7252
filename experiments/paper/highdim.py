"""The talk's opening: why k-means fails in high dimensions, and what an autoencoder does about it.

Ten clusters in ten features, and more and more features that say nothing. The data are made here, so that the command's
data sets play no part.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import make_blobs

from dec_jax.data import Dataset
from dec_jax.runner.drawing import tidy
from dec_jax.runner.presets import JOINT
from experiments.paper import figure, table
from experiments.paper.context import Context
from experiments.paper.table import Cell

DIMENSIONS = (10, 30, 100, 300, 1000, 3000)
N_SAMPLES = {"laptop": 2000, "fast": 10_000, "full": 10_000}
N_CLUSTERS = N_RELEVANT = 10
SPREAD = 2.5  # of the centres' coordinates, from −2.5 to 2.5; clusters and irrelevant features have deviation 1
CHANGES = JOINT | {
    "network.hidden": (128, 128),
    "pretraining.fine_tuning_steps": 1000,
    "clustering.max_steps": 500,
}
N_QUERIES = 200
LABELS = ("k-means", "AE + k-means", "DEC")


class Row(NamedTuple):
    """What is seen at one number of features, a value per seed.

    Attributes:
        acc: per cent, by method.
        seconds: of k-means with its restarts.
        contrast: see `contrast`.
    """

    acc: dict[str, list[float]]
    seconds: list[float]
    contrast: list[float]


def run(context: Context) -> None:
    """Writes a table and a picture."""
    rows = {d: _row(context, d) for d in DIMENSIONS}
    cells = {
        f"d = {d:,}": (
            *(Cell(tuple(row.acc[label])) for label in LABELS),
            f"{np.mean(row.seconds):.2f}",
            _mean(row.contrast),
        )
        for d, row in rows.items()
    }
    caption = (
        f"{N_SAMPLES[context.scale]:,} samples of {N_CLUSTERS} Gaussian clusters in {N_RELEVANT} features; all others "
        "are noise of the same variance as a cluster. ACC in per cent, mean ± standard deviation over the seeds; "
        "seconds are those of k-means with all restarts; contrast is (farthest − nearest)/nearest distance."
    )
    columns = (*LABELS, "seconds", "contrast")
    table.write(context, "highdim-values", table.Table("Irrelevant features", columns, cells, caption))
    _draw(context, rows, caption)


def made_data(n: int, d: int, seed: int) -> Dataset:
    """Ten clusters in the first ten of d features; the others are standard normal.

    Args:
        n: samples.
        d: features, at least 10.
        seed: of everything.
    """
    x, y = make_blobs(n, N_RELEVANT, centers=N_CLUSTERS, center_box=(-SPREAD, SPREAD), random_state=seed)
    noise = np.random.default_rng(seed).normal(size=(n, d - N_RELEVANT))
    return Dataset(f"made-{d}", np.hstack([x, noise]).astype(np.float32), y.astype(np.int64))


def contrast(x: np.ndarray) -> float:
    """How much farther the farthest sample is than the nearest, relative to the nearest (Beyer et al. 1999).

    Args:
        x: (n, d); the first 200 samples ask, all others answer.

    Returns:
        Mean of (d_max − d_min)/d_min, at least 0; it falls towards 0 where distances concentrate.
    """
    distances = cdist(x[:N_QUERIES], x)
    distances[np.arange(len(distances)), np.arange(len(distances))] = np.nan
    nearest, farthest = np.nanmin(distances, axis=1), np.nanmax(distances, axis=1)
    return float(np.mean((farthest - nearest) / nearest))


def _row(context: Context, d: int) -> Row:
    acc: dict[str, list[float]] = {label: [] for label in LABELS}
    seconds, contrasts = [], []
    for seed in context.seeds:
        dataset = made_data(N_SAMPLES[context.scale], d, seed)
        changes = CHANGES | {"clustering.n_clusters": N_CLUSTERS}
        result = context.run(context.config(dataset.name, seed, changes, dataset), dataset).result
        for label, phase in zip(LABELS, ("kmeans", "autoencoder_kmeans", "final"), strict=True):
            acc[label].append(100 * result[phase]["acc"])
        seconds.append(result["seconds"]["kmeans"])
        contrasts.append(contrast(dataset.x))
    return Row(acc, seconds, contrasts)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.2f}"


def _draw(context: Context, rows: dict[int, Row], caption: str) -> None:
    picture = figure.new(11, 3.4)
    accuracy, seconds, contrasts = picture.subplots(1, 3)
    for label in LABELS:
        values = [row.acc[label] for row in rows.values()]
        deviations = [np.std(each, ddof=1) if len(each) > 1 else 0.0 for each in values]
        accuracy.errorbar(
            list(rows), np.mean(values, axis=1), deviations, marker="o", markersize=3, capsize=2, label=label
        )
    accuracy.legend(frameon=False, fontsize=8)
    seconds.plot(list(rows), [np.mean(row.seconds) for row in rows.values()], marker="o", markersize=3)
    contrasts.plot(list(rows), [np.mean(row.contrast) for row in rows.values()], marker="o", markersize=3)
    contrasts.set_yscale("log")
    seconds.set_yscale("log")
    titles = ("ACC, per cent", "seconds of k-means", "contrast of distances")
    for ax, title in zip((accuracy, seconds, contrasts), titles, strict=True):
        ax.set(xscale="log", xlabel="features, 10 of which matter")
        tidy(ax, title)
    figure.write(context, "highdim", picture, caption)
