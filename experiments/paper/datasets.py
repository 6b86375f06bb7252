"""Table 1: the data sets, and whether they are scaled as the recipe wants it, ‖x‖²/d ≈ 1."""

import numpy as np
import scipy.sparse

from dec_jax.data import Dataset, apply_scaling, default_rule, fit_scaling
from experiments.paper import published, table
from experiments.paper.context import Context, Unavailable

NAMES = ("mnist", "stl10-hog", "reuters10k", "reuters")
COLUMNS = ("samples", "features", "classes", "largest class", "‖x‖²/d")


def run(context: Context) -> None:
    """Writes the table; it is of the whole data sets, at any scale."""
    rows: dict[str, tuple[table.Cell | str, ...]] = {}
    for name in context.names or NAMES:
        try:
            rows[name] = _row(name, context.load(name, whole=True))
        except Unavailable as error:
            rows[name] = (*_beside(published.DATASETS.get(name), [table.UNKNOWN] * 4), table.Cell(note=str(error)))
    caption = "Whole data sets at any scale; ‖x‖²/d is the mean over the samples after scaling."
    table.write(context, "datasets", table.Table("Data sets", COLUMNS, rows, caption))


def _row(name: str, dataset: Dataset) -> tuple[str, ...]:
    n, d = dataset.x.shape
    sizes = np.bincount(np.unique(dataset.y, return_inverse=True)[1])
    ours = [f"{n:,}", f"{d:,}", f"{len(sizes)}", f"{100 * sizes.max() / n:.0f} %"]
    return (*_beside(published.DATASETS.get(name), ours), f"{_mean_square(dataset):.2f}")


def _beside(size: published.Size | None, ours: list[str]) -> list[str]:
    if size is None:
        return ours
    theirs = [f"{size.n_samples:,}", f"{size.n_features:,}", f"{size.n_classes}", f"{size.largest_class:.0f} %"]
    return [f"{our} (published {their})" for our, their in zip(ours, theirs, strict=True)]


def _mean_square(dataset: Dataset) -> float:
    x = apply_scaling(fit_scaling(default_rule(dataset).rule, dataset.x), dataset.x)
    values = x.data if scipy.sparse.issparse(x) else x
    return float(np.sum(np.square(values), dtype=np.float64) / np.prod(x.shape))
