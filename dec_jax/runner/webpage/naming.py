"""What samples, classes and features are called in a page."""

import numpy as np

from dec_jax.data import UNLABELLED, Dataset
from dec_jax.runner.webpage.text import short


def ids(data: Dataset, rows: np.ndarray) -> list[str] | None:
    """Returns what names some samples; None where only their rows do."""
    return None if data.ids is None else [short(name) for name in np.asarray(data.ids)[rows]]


def classes(data: Dataset, rows: np.ndarray) -> list[str | None] | None:
    """Returns the classes of some samples, None for one without a label; None where there are no labels."""
    if data.y is None:
        return None
    return [None if y == UNLABELLED else class_name(data, y) for y in data.y[rows].tolist()]


def class_name(data: Dataset, y: int) -> str:
    """Returns what a class is called."""
    return short(y if data.class_names is None else data.class_names[y])


def features(data: Dataset, columns: np.ndarray) -> list[str]:
    """Returns what some features are called."""
    names = data.feature_names
    return [short(f"feature {j}" if names is None else names[j]) for j in columns.tolist()]
