"""The number of clusters that a sweep suggests, by criteria that need no labels."""

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dec_jax.validation import check_choice

if TYPE_CHECKING:
    import pandas as pd

N_CLUSTERS = "clustering.n_clusters"
Curve = dict[int, float]  # a criterion's mean by the number of clusters, ascending


class Suggestion(NamedTuple):
    """What one criterion says.

    Attributes:
        n_clusters: the suggested number; None where the criterion has too little to go by.
        criterion: its name.
        curve: its mean by the number of clusters, where it is known.
    """

    n_clusters: int | None
    criterion: str
    curve: Curve


def suggest_n_clusters(frame: "pd.DataFrame", criterion: str) -> Suggestion:
    """The number of clusters that a criterion suggests.

    Other settings that vary are averaged over; a slice of the table gives the suggestion for that slice.

    Args:
        frame: the sweep's table, one line per trial, with the columns `clustering.n_clusters`, `seed` and the
            criterion. Trials
            without a finite value, such as failed ones, are left out.
        criterion: "silhouette" suggests where it is highest. "generalisability" suggests the number before its
            sharpest drop, as Xie et al. 2016 read their figure 6; none where it falls nowhere.

    Raises:
        ValueError: the criterion is another one, or the table lacks a column.
    """
    choose = CRITERIA[check_choice("criterion", criterion, CRITERIA)]
    means = over_seeds(frame, N_CLUSTERS, criterion)["mean"]
    curve = {int(k): float(value) for k, value in means.items()}
    return Suggestion(choose(curve), criterion, curve)


def suggestions(frame: "pd.DataFrame", swept: Collection[str]) -> list[tuple[str, int]]:
    """Criteria and the number of clusters that each suggests; none where that was not swept.

    Args:
        frame: as in `suggest_n_clusters`, with the column `error`; trials that have one are left out.
        swept: names of the settings that vary.
    """
    if N_CLUSTERS not in swept:
        return []
    good = frame[frame["error"].isna()]
    found = [suggest_n_clusters(good, criterion) for criterion in CRITERIA]
    return [(one.criterion, one.n_clusters) for one in found if one.n_clusters is not None]


def over_seeds(frame: "pd.DataFrame", setting: str, column: str) -> "pd.DataFrame":
    """Mean and standard deviation over seeds of a column, by the values of a setting.

    A seed's value is its mean over all other settings, so that the deviation is that between seeds alone.

    Args:
        frame: the sweep's table, one line per trial; rows without a finite value in `column` are left out.
        setting: column of the values to tell apart.
        column: column of numbers to average.

    Returns:
        One row per value, ascending, with the columns `mean` and `std` (NaN where there is one seed).

    Raises:
        ValueError: the table lacks a column.
    """
    check_columns(frame, (setting, "seed", column))
    known = frame[np.isfinite(frame[column].astype(float))]
    by_seed = known.astype({column: float}).groupby([setting, "seed"])[column].mean()
    return by_seed.groupby(level=setting).agg(["mean", "std"])


def check_columns(frame: "pd.DataFrame", names: tuple[str, ...]) -> None:
    """Checks that a table has the columns.

    Raises:
        ValueError: it lacks some; the message names them.
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"frame must have the columns {', '.join(missing)}, got {', '.join(frame.columns)}")


def _highest(curve: Curve) -> int | None:
    return max(curve, key=curve.__getitem__, default=None)


def _before_sharpest_drop(curve: Curve) -> int | None:
    numbers = list(curve)
    drops = {k: curve[k] - curve[after] for k, after in pairwise(numbers)}
    sharpest = _highest(drops)
    return sharpest if sharpest is not None and drops[sharpest] > 0 else None


CRITERIA: Mapping[str, Callable[[Curve], int | None]] = {
    "generalisability": _before_sharpest_drop,
    "silhouette": _highest,
}
