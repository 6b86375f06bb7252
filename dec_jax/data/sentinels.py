"""Numbers that stand for a missing value, such as 999999 or −999, found by how far they lie from all others."""

from collections.abc import Sequence

import numpy as np

DISTANCE = 5.0  # of a sentinel from the other values, in their ranges
NINES = np.array([int("9" * digits) for digits in range(2, 16)], np.float64)
OTHERS = [-999.25, -32768, 9.969209968386869e36]  # of well logs, of 16 bits, of netCDF
SENTINELS = np.concatenate([NINES, -NINES, OTHERS])
SHOWN = 5


def find_sentinels(x: np.ndarray, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns a warning, one line, where the smallest or largest value of a column looks like a missing value.

    Args:
        x: (n, d) dense and finite.
        names: (d) of the columns.
    """
    if x.dtype.kind not in "iuf" or x.dtype.itemsize == 1 or not len(x):
        return ()
    found = []
    for value, columns in _candidates(x):
        for column in columns:
            values = np.asarray(x[:, column], np.float64)
            others = values[values != value]
            if len(others) and _far(value, others):
                name = repr(names[column]) if names else f"column {column}"
                found.append(f"{value:.15g} in {name} ({len(values) - len(others)} times)")
    if not found:
        return ()
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"warning: may stand for a missing value: {', '.join(found[:SHOWN])}{more}; "
        "name it in missing_values, and say in missing what becomes of it",
    )


def _candidates(x: np.ndarray) -> list[tuple[float, np.ndarray]]:
    pairs = []
    for extremes in (x.max(axis=0), x.min(axis=0)):
        extremes = np.asarray(extremes, np.float64)
        is_sentinel = np.isin(extremes, SENTINELS)
        pairs += [(value, np.flatnonzero(extremes == value)) for value in np.unique(extremes[is_sentinel])]
    return pairs


def _far(value: float, others: np.ndarray) -> bool:
    low, high = others.min(), others.max()
    gap = value - high if value > high else low - value
    return bool(gap > DISTANCE * max(high - low, abs(high) * 0.01, abs(low) * 0.01))
