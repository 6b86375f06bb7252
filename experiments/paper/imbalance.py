"""Table 4: clusters of different sizes. Class 0 is kept with rate r_min, the last class whole, others in between."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dec_jax.data import Dataset
from dec_jax.validation import check_number
from experiments.paper import published, table
from experiments.paper.context import Context
from experiments.paper.table import Cell

NAMES = ("mnist",)
RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
PHASES = {"k-means": "kmeans", "AE + k-means": "autoencoder_kmeans", "DEC": "final"}


def run(context: Context) -> None:
    """Writes a table for each data set."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    runs = {rate: [_run(context, name, rate, seed) for seed in context.seeds] for rate in RATES}
    rows = {}
    for method, phase in PHASES.items():
        theirs = published.IMBALANCE[method] if name == "mnist" else {}
        values = {rate: tuple(100 * result[phase]["acc"] for result in runs[rate]) for rate in RATES}
        rows[method] = tuple(Cell(values[rate], theirs.get(rate)) for rate in RATES)
    caption = (
        "ACC in per cent, mean ± standard deviation over the seeds. Class 0 is kept with rate r_min, the last class "
        "with rate 1, the others linearly between; each seed draws its own samples."
    )
    columns = tuple(f"r_min {rate}" for rate in RATES)
    stem = f"imbalance-{Path(name).stem}"
    table.write(context, stem, table.Table(f"Imbalanced {name}", columns, rows, caption))


def _run(context: Context, name: str, rate: float, seed: int) -> dict[str, Any]:
    dataset = thin_out(context.load(name), rate, seed)
    return context.run(context.config(name, seed, dataset=dataset), dataset).result


def thin_out(dataset: Dataset, rate: float, seed: int) -> Dataset:
    """A data set whose classes differ in size.

    Args:
        dataset: with classes, which here make the data set that is clustered, and no more.
        rate: with which a sample of the first class is kept, in (0, 1]; the last class is kept whole.
        seed: of the draw.

    Returns:
        The kept samples in their order.

    Raises:
        TypeError, ValueError: the rate is not a number in its range.
    """
    check_number("rate", rate, 0, 1, exclusive=True)
    _, rank = np.unique(dataset.y, return_inverse=True)
    rates = rate + (1 - rate) * rank / max(rank.max(), 1)
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(rank)) < rates)
    return replace(dataset, x=dataset.x[kept], y=dataset.y[kept])
