"""The scaling rule that fits a data set, and why."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from dec_jax.data.columns import ONE_HOT
from dec_jax.data.dataset import Dataset
from dec_jax.data.named import NAMES
from dec_jax.data.scaling import Samples, centre_and_spread, fit_scaling

PIXEL_DATA = ("mnist", "mnist-test", "fashion_mnist")
SCALED_DATA = ("stl10-hog",)  # the recipe's scaling is a part of the features
SAMPLE_ROWS = 10_000  # at most, evenly spread: what does not need all of them is found by these
MANY = 16  # features from which a shared range or zeros say what they are
OWNED = 3.0  # times that a standard deviation exceeds the spread of the middle: outliers own it


class Suggestion(NamedTuple):
    """A rule for `fit_scaling`.

    Attributes:
        rule: one of RULES.
        reason: why, in a few words: what the data are.
    """

    rule: str
    reason: str


def default_rule(data: Dataset | Samples) -> Suggestion:
    """Returns the rule that the data suggest. Named data sets have a rule of their own, by the published recipes.

    - sparse rows: "tfidf"
    - images: "pixels" for integers of 0 to 255, else "rms"; so are at least 16 columns that share such a range
    - rows of norm 1: "unit-rows"
    - counts, integers from 0 with many zeros and a few large values: "log1p"
    - else each column has a unit of its own: "robust" where outliers own the scale of one, else "standardize"

    Args:
        data: a data set, or samples (n, d).
    """
    dataset = data if isinstance(data, Dataset) else Dataset("", data)
    if dataset.name in NAMES:
        return _of_named(dataset)
    if scipy.sparse.issparse(dataset.x):
        return Suggestion("tfidf", "rows are sparse")
    whole = np.asarray(dataset.x)
    x = whole[:: -(-len(whole) // SAMPLE_ROWS)]
    found = _of_images(x, whole.min(axis=0), whole.max(axis=0), dataset.image_shape) or _of_rows(x)
    if found and not (found.rule == "log1p" and _is_mixed(dataset)):
        return found
    if owned := _owned_by_outliers(x, dataset):
        return Suggestion("robust", f"outliers own the scale of {owned}")
    return Suggestion("standardize", "each feature has a unit of its own")


def _of_named(dataset: Dataset) -> Suggestion:
    if dataset.name in PIXEL_DATA:
        return Suggestion("pixels", "pixels of 0 to 255")
    if dataset.name in SCALED_DATA:
        return Suggestion("none", "the features are scaled")
    return Suggestion("tfidf", "rows are sparse") if scipy.sparse.issparse(dataset.x) else Suggestion("rms", "pixels")


def _whole_numbers(x: np.ndarray) -> bool:
    return x.dtype.kind in "iu" or (x.dtype.kind == "f" and bool((x == np.round(x)).all()))


def _of_images(
    x: np.ndarray, lowest: np.ndarray, highest: np.ndarray, image_shape: tuple[int, ...] | None
) -> Suggestion | None:
    """For some rows (s, d), and the lowest and highest value (d,) of each column of all rows."""
    low, high = float(lowest.min()), float(highest.max())
    if not image_shape and not (x.shape[1] >= MANY and _whole_numbers(x) and _share_range(lowest, highest)):
        return None
    what = "images" if image_shape else f"{x.shape[1]} features that share one range"
    if _whole_numbers(x) and low >= 0 and 16 < high <= 255:
        return Suggestion("pixels", f"{what}, integers of 0 to 255")
    if abs(float(x.mean(dtype=np.float64))) > 3 * float(x.std(dtype=np.float64)):
        return Suggestion("standardize", f"{what}, far from 0")
    return Suggestion("rms", f"{what}, {low:g} to {high:g}")


def _share_range(lowest: np.ndarray, highest: np.ndarray) -> bool:
    """Whether most features that vary reach to more than half of the largest value, and all lie in [0, 255]."""
    if lowest.min() != 0 or not 2 <= highest.max() <= 255:
        return False
    return bool((highest[lowest < highest] > highest.max() / 2).mean() > 0.6)


def _of_rows(x: np.ndarray) -> Suggestion | None:
    if x.shape[1] < 3 or x.dtype.kind == "b":
        return None
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(x.astype(np.float64), axis=1)
    if (np.abs(norms - 1) < 1e-3).all() and np.count_nonzero(x) > 2 * len(x):
        return Suggestion("unit-rows", "all rows have norm 1")
    if x.shape[1] < MANY or not _whole_numbers(x) or x.min() < 0:
        return None
    above = x[x > 0]
    if len(above) < 0.7 * x.size and x.max() >= 10 * np.median(above):
        return Suggestion("log1p", f"counts: whole numbers, {1 - len(above) / x.size:.0%} of them 0")
    return None


def _is_mixed(dataset: Dataset) -> bool:
    """Whether some columns of a table are categories or say yes or no: then rows are not counts of one kind."""
    columns = () if dataset.encoding is None else dataset.encoding.columns
    return any(column.action == ONE_HOT or column.kind == "boolean" for column in columns)


def _owned_by_outliers(x: np.ndarray, dataset: Dataset) -> str:
    """Names the columns whose standard deviation comes from a few values, or returns nothing."""
    if x.dtype.kind == "b":
        return ""
    whole = np.asarray(dataset.x)
    _, spread = centre_and_spread(x)
    scale = fit_scaling("standardize", whole).scale
    owned = np.flatnonzero((spread > 0) & (scale * spread < 1 / OWNED))
    names: Any = dataset.feature_names or [f"column {i}" for i in range(whole.shape[1])]
    return ", ".join(names[i] for i in owned[:3]) + (f" and {len(owned) - 3} more" if len(owned) > 3 else "")
