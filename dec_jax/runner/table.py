"""The table of a sweep's results, one line per trial, and its summary over the seeds; as pandas frames and as files.

Where pandas is missing, an ImportError says what to install.
"""

import csv
import importlib.util
import io
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import numpy as np
from rich.console import Console
from rich.table import Table

from dec_jax import metrics
from dec_jax.data import UNLABELLED
from dec_jax.data.atomic import atomic_write
from dec_jax.data.extras import need
from dec_jax.digests import read_checked, write_with_digest
from dec_jax.identity import git_commit, versions
from dec_jax.runner import panels
from dec_jax.runner.config import FIELDS
from dec_jax.runner.criteria import criteria
from dec_jax.runner.work import Outcome, Trial

if TYPE_CHECKING:
    from pandas import DataFrame

Row = dict[str, Any]
CSV_FILE = "results.csv"
PARQUET_FILE = "results.parquet"
FILES = (PARQUET_FILE, CSV_FILE)
MAX_SHOWN = 40

# Pandas' types that know missing values; a float's missing value is NaN.
DTYPES = types.MappingProxyType({int: "Int64", float: "float64", bool: "boolean", str: "string", tuple: "string"})
PARSERS = types.MappingProxyType({int: int, float: float, bool: "True".__eq__, str: str, tuple: str})
SCORES = tuple(panels.SCORES)
METHODS = types.MappingProxyType({"": "final", "kmeans_": "autoencoder_kmeans"})  # what begins their scores' columns
CRITERIA = ("silhouette", "confidence", "generalisability")  # what says something where there are no labels
# All that differs between two sweeps of the same grid.
TIME_COLUMNS = ("seconds", "pretraining_seconds", "steps_per_second")
FIGURES: Mapping[str, type] = {  # of a trial, besides its scores
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
    "remarks": str,
    "commit": str,
    "versions": str,
}


def _kind(annotation: Any) -> type:
    """The type of a setting's values, without None and without what a tuple holds."""
    kind = get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation
    return get_origin(kind) or kind


# The columns and their types; settings have their full names. `clustering_loss` is the last of the clustering phase.
# Scores are of the training samples, those of k-means on the embedding too. Silhouette, confidence and sizes of
# clusters are of all samples.
COLUMNS: Mapping[str, type] = {
    "trial": int,
    "id": str,
    **{name: _kind(field.type) for name, field in FIELDS.items()},
    **{f"{method}{name}": float for method in METHODS for name in SCORES},
    **FIGURES,
    **dict.fromkeys(TIME_COLUMNS, float),
}


def make_row(outcome: Outcome, held_out: np.ndarray) -> Row:
    """What a sweep keeps of a trial: enough to make its line in any table, whatever labels there are.

    Args:
        outcome: of the trial.
        held_out: (n,) bool, the samples that were not trained on.

    Returns:
        `id`; `config`, all settings by full name; `labels`, those of `Outcome`; the figures of the table; `seconds` and
        `rates` by phase; `from_cache`; the commit and the versions that computed it.
    """
    row = {"id": outcome.trial.id, "config": outcome.trial.config.flat(), "labels": outcome.labels}
    last = next((one for one in reversed(outcome.history) if one["phase"] == "clustering"), {})
    row |= {"clustering_loss": last.get("loss"), "label_change": last.get("label_change")}
    if outcome.error is None:
        row |= criteria(outcome.z, outcome.log_q, outcome.labels["final"], held_out)
    row |= {"steps": outcome.steps, "stop_reason": outcome.stop_reason, "error": outcome.error}
    row |= {"remarks": "; ".join(outcome.remarks) or None}
    row |= {"seconds": outcome.seconds, "rates": outcome.rates, "from_cache": outcome.from_cache}
    return row | _computed_by()


@cache
def _computed_by() -> dict[str, str | None]:
    return {"commit": git_commit(), "versions": ", ".join(" ".join(pair) for pair in versions().items())}


def line(trial: Trial, row: Mapping[str, Any], y: np.ndarray | None, held_out: np.ndarray) -> Row:
    """The line of a trial in the table, with the scores that its clusters have by these labels.

    Args:
        trial: the trial.
        row: from `make_row`.
        y: (n,) classes of all samples, UNLABELLED where one has none; None where they are not known.
        held_out: (n,) bool, the samples that were not trained on, and are not scored.
    """
    seconds = dict(row["seconds"])
    times = {"pretraining_seconds": seconds.pop("pretraining", None)}
    times |= {"seconds": sum(seconds.values()), "steps_per_second": row["rates"].get("clustering")}
    figures = {name: row.get(name) for name in FIGURES}
    return {
        "trial": trial.index,
        "id": trial.id,
        **trial.config.flat(),
        **_scores(row, y, held_out),
        **figures,
        **times,
    }


def _scores(row: Mapping[str, Any], y: np.ndarray | None, held_out: np.ndarray) -> dict[str, float]:
    found: dict[str, float] = {}
    y = None if y is None else y[~held_out]
    for prefix, method in METHODS.items():
        labels = row["labels"].get(method)
        if labels is not None and y is not None and (y != UNLABELLED).any():
            labels = labels[~held_out] if method == "final" else labels
            scores = metrics.scores(y, labels, unlabelled=UNLABELLED)
            found |= {f"{prefix}{name}": value for name, value in scores.items()}
    return found


def check_installed() -> None:
    """Raises an ImportError that names the extra, where pandas is missing: before any long work."""
    _pandas()


def to_frame(rows: Iterable[Mapping[str, Any]]) -> "DataFrame":
    """The lines by `trial`, with all `COLUMNS` in their order and of their types; what a line lacks is missing.

    Tuples are written as on the command line: "500,500,2000", and "none" where they are empty.

    Args:
        rows: from `line`.

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
    with write_with_digest(folder / CSV_FILE, "w") as file:
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
    content = read_checked(path)
    try:
        header, *lines = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        cells = (zip(header, line, strict=True) for line in lines)
        return to_frame({name: _parse(name, text) for name, text in row} for row in cells)
    except (ValueError, KeyError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def swept(frame: "DataFrame") -> tuple[str, ...]:
    """The settings that have more than one value in the table; not an embedding that has an output for each cluster."""
    follows = "network.bottleneck" if frame["network.bottleneck"].equals(frame["clustering.n_clusters"]) else None
    return tuple(name for name in FIELDS if name != follows and frame[name].nunique(dropna=False) > 1)


def summary(frame: "DataFrame", swept: Sequence[str]) -> "DataFrame":
    """Mean and standard deviation over the seeds, for each combination of the other settings.

    Args:
        frame: from `to_frame` or `read`.
        swept: the settings that vary, from `swept`.

    Returns:
        A row for each combination, in the order of the trials: the swept settings, n (the trials that have results),
        and NAME_mean and NAME_std of every score, or where there are no labels of the criteria that need none. The
        standard deviation is the sample's, and missing where n is 1.
    """
    settings = [name for name in swept if name != "seed"]
    names = measures(frame)
    groups = frame.groupby(settings or (lambda _: 0), sort=False, dropna=False)
    columns = {"n": (names[0], "count")}
    columns |= {f"{name}_{what}": (name, what) for name in names for what in ("mean", "std")}
    result = groups.agg(**columns)
    return result.reset_index(drop=not settings)


def print_summary(frame: "DataFrame", swept: Sequence[str], console: Console) -> None:
    """Prints the summary, the best 40 combinations by its first score, and says how many were left out."""
    settings, rows = [name for name in swept if name != "seed"], best_rows(frame, swept)
    table = Table(*settings, "n", *(name.upper() if name in SCORES else name for name in measures(frame)))
    for row in rows[:MAX_SHOWN]:
        table.add_row(*row)
    console.print(table)
    if len(rows) > MAX_SHOWN:
        console.print(f"{len(rows) - MAX_SHOWN:,} more combinations, none of them better, are in {CSV_FILE}")


def best_rows(frame: "DataFrame", swept: Sequence[str]) -> list[tuple[str, ...]]:
    """The cells of the summary for people, the best combination by the first measure first.

    They are the swept settings but the seed, the number of trials, and mean ± standard deviation of each measure.
    """
    names, settings = measures(frame), [name for name in swept if name != "seed"]
    best = summary(frame, swept).sort_values(f"{names[0]}_mean", ascending=False, kind="stable")
    return [
        (
            *(shown(row[name]) for name in settings),
            str(row["n"]),
            *(plus_minus(row[f"{name}_mean"], row[f"{name}_std"]) for name in names),
        )
        for row in best.to_dict("records")
    ]


def measures(frame: "DataFrame") -> list[str]:
    """The scores or, where no trial has one, those of the other criteria that some trial has."""
    for group in (SCORES, CRITERIA):
        known = [name for name in group if frame[name].notna().any()]
        if known:
            return known
    return list(SCORES)


def _cell(value: Any) -> Any:
    """A value as its column has it: tuples are text, and pairs in them NAME=VALUE."""
    if isinstance(value, tuple | list):
        parts = ("=".join(map(str, part)) if isinstance(part, tuple | list) else str(part) for part in value)
        return ",".join(parts) or "none"
    return None if value == "" else value  # a CSV file does not tell an empty text from a missing one


def _parse(name: str, text: str) -> Any:
    """A value of a file, whose column may be an unknown one."""
    return PARSERS[COLUMNS.get(name, str)](text) if text else None


def shown(value: Any) -> str:
    """A value of a setting as a table for people has it."""
    if _pandas().isna(value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def plus_minus(mean: float, deviation: float) -> str:
    """A mean and, where it is known, its deviation; "–" where neither is."""
    if mean != mean:
        return "–"
    return f"{mean:.4f}" if deviation != deviation else f"{mean:.4f} ± {deviation:.4f}"


def _pandas() -> types.ModuleType:
    return need("pandas", "sweep", "the table of a sweep")
