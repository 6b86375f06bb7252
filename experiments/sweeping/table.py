"""The table of a sweep's results, one row a trial, and its summary over the seeds; as pandas frames and as files.

Where pandas is missing, an ImportError says what to install.
"""

import csv
import importlib.util
import io
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from rich.console import Console
from rich.table import Table

from dec_jax.data.atomic import atomic_write
from experiments.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame

CSV_FILE = "results.csv"
PARQUET_FILE = "results.parquet"
FILES = (PARQUET_FILE, CSV_FILE)
MAX_SHOWN = 40

# Pandas' types that know missing values; a float's missing value is NaN.
DTYPES = types.MappingProxyType({int: "Int64", float: "float64", bool: "boolean", str: "string", tuple: "string"})
PARSERS = types.MappingProxyType({int: int, float: float, bool: "True".__eq__, str: str, tuple: str})
SCORES = ("acc", "nmi", "ari")
CRITERIA = ("silhouette", "confidence", "generalisability")  # what says something where there are no labels
TIME_COLUMNS = ("seconds", "pretraining_seconds")  # all that differs between two sweeps of the same grid


def _kind(annotation: Any) -> type:
    """The type of a setting's values, without None and without what a tuple holds."""
    kind = get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation
    return get_origin(kind) or kind


# The columns and their types. `clustering_loss` is the last one of the clustering phase; `loss` is a setting.
COLUMNS: Mapping[str, type] = {
    "trial": int,
    "id": str,
    **{field.name: _kind(field.type) for field in fields(Settings)},
    **dict.fromkeys(SCORES, float),
    **{f"kmeans_{name}": float for name in SCORES},
    "clustering_loss": float,
    "label_change": float,
    "silhouette": float,
    "confidence": float,
    "smallest_cluster": int,
    "empty_clusters": int,
    "loss_train": float,
    "loss_held_out": float,
    "generalisability": float,
    "steps": int,
    "stop_reason": str,
    "error": str,
    **dict.fromkeys(TIME_COLUMNS, float),
}


def check_installed() -> None:
    """Raises an ImportError that names the extra, where pandas is missing: before any long work."""
    _pandas()


def to_frame(rows: Iterable[Mapping[str, Any]]) -> "DataFrame":
    """The rows, by `trial`, with all `COLUMNS` in their order and of their types; what a row lacks is missing.

    Tuples are written as on the command line: "500,500,2000", and "none" where they are empty.

    Raises:
        ValueError: a row has another column.
        ImportError: pandas is not installed.
    """
    pandas = _pandas()
    rows = sorted(rows, key=lambda row: row["trial"])
    unknown = sorted(set().union(*rows) - COLUMNS.keys())
    if unknown:
        raise ValueError(f"a row must only have the columns of the table, got {', '.join(unknown)}")
    return pandas.DataFrame(
        {name: pandas.Series([_cell(row.get(name)) for row in rows], dtype=DTYPES[COLUMNS[name]]) for name in COLUMNS}
    )


def write(frame: "DataFrame", folder: Path) -> None:
    """Writes results.csv and, where pyarrow is installed, results.parquet; equal frames make equal files.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / PARQUET_FILE
    if importlib.util.find_spec("pyarrow"):
        content = io.BytesIO()
        frame.to_parquet(content, engine="pyarrow", index=False)
        with atomic_write(path) as file:
            file.write(content.getvalue())
    else:
        path.unlink(missing_ok=True)  # it would be of another sweep, or of fewer trials
    with atomic_write(folder / CSV_FILE, "w") as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def read(folder: Path) -> "DataFrame":
    """The frame that `write` wrote, equal in every value and type.

    Raises:
        FileNotFoundError: the folder holds no results.
        ValueError: results.csv is damaged.
        ImportError: pandas is not installed.
    """
    path = folder / CSV_FILE
    if not path.exists():
        raise FileNotFoundError(f"no results of a sweep in {folder}: {CSV_FILE} is missing")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        cells = (zip(header, line, strict=True) for line in lines)
        return to_frame({name: _parse(name, text) for name, text in row} for row in cells)
    except (ValueError, KeyError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def swept(frame: "DataFrame") -> tuple[str, ...]:
    """The settings that have more than one value in the table."""
    return tuple(field.name for field in fields(Settings) if frame[field.name].nunique(dropna=False) > 1)


def summary(frame: "DataFrame", swept: Sequence[str]) -> "DataFrame":
    """Mean and standard deviation over the seeds, for each combination of the other settings.

    Args:
        frame: from `to_frame` or `read`.
        swept: the settings that vary, from `Grid.swept`.

    Returns:
        A row for each combination, in the order of the trials: the swept settings, n (the trials that have results),
        and NAME_mean and NAME_std of every score, or where there are no labels of the criteria that need none. The
        standard deviation is the sample's, and missing where n is 1.
    """
    settings = [name for name in swept if name != "seed"]
    names = _measures(frame)
    groups = frame.groupby(settings or (lambda _: 0), sort=False, dropna=False)
    columns = {"n": (names[0], "count")}
    columns |= {f"{name}_{what}": (name, what) for name in names for what in ("mean", "std")}
    result = groups.agg(**columns)
    return result.reset_index(drop=not settings)


def print_summary(frame: "DataFrame", swept: Sequence[str], console: Console) -> None:
    """Prints the summary, the best 40 combinations by its first score, and says how many were left out."""
    names = _measures(frame)
    settings = [name for name in swept if name != "seed"]
    best = summary(frame, swept).sort_values(f"{names[0]}_mean", ascending=False, kind="stable")
    table = Table(*settings, "n", *(name.upper() if name in SCORES else name for name in names))
    for row in best.head(MAX_SHOWN).to_dict("records"):
        measures = (_plus_minus(row[f"{name}_mean"], row[f"{name}_std"]) for name in names)
        table.add_row(*(_show(row[name]) for name in settings), str(row["n"]), *measures)
    console.print(table)
    if len(best) > MAX_SHOWN:
        console.print(f"{len(best) - MAX_SHOWN:,} more combinations, none of them better, are in {CSV_FILE}")


def _measures(frame: "DataFrame") -> list[str]:
    """The scores or, where no trial has one, those of the other criteria that some trial has."""
    for group in (SCORES, CRITERIA):
        known = [name for name in group if frame[name].notna().any()]
        if known:
            return known
    return list(SCORES)


def _cell(value: Any) -> Any:
    """A value as its column has it; rows that were read from JSON have lists for tuples."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return None if value == "" else value  # a CSV file does not tell an empty text from a missing one


def _parse(name: str, text: str) -> Any:
    """A value of a file; the name of its column may be none that is known."""
    return PARSERS[COLUMNS.get(name, str)](text) if text else None


def _show(value: Any) -> str:
    if _pandas().isna(value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plus_minus(mean: float, deviation: float) -> str:
    if mean != mean:
        return "–"
    return f"{mean:.4f}" if deviation != deviation else f"{mean:.4f} ± {deviation:.4f}"


def _pandas() -> types.ModuleType:
    try:
        import pandas
    except ImportError as error:
        raise ImportError('tables of a sweep need pandas: pip install "dec_jax[sweep]"') from error
    return pandas
