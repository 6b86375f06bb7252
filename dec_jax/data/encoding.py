"""The decisions about a table's columns as one value: printed, saved, and applied to new tables."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dec_jax.data.columns import (
    ACTIONS,
    IDS,
    KEPT,
    KINDS,
    LABEL_NAMES,
    LABELS,
    LEFT_OUT,
    ONE_HOT,
    Column,
    as_numbers,
    as_words,
    decide,
    holds_booleans,
)
from dec_jax.data.dialects import PLAIN
from dec_jax.data.options import MISSING_RULES, TableOptions
from dec_jax.validation import check_choice

if TYPE_CHECKING:
    import pandas as pd

SHOWN_COLUMNS = 30
MAX_UNKNOWN = 1000  # new categories of a column that are kept to be named


class Encoded(NamedTuple):
    """A table as samples.

    Attributes:
        x: (n, d) float64, without NaN.
        ids: (n,) what names the samples, or None where no column does.
        labels: (n,) values of the label column as they are, or None.
        rows: (n,) int64, the rows of the table that the samples are, where some were left out; None where none was.
        notes: what must be said, one line each.
    """

    x: np.ndarray
    ids: np.ndarray | None
    labels: np.ndarray | None
    rows: np.ndarray | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Encoding:
    """How the columns of a table become features.

    Attributes:
        columns: of the table, in its order.
        missing: what becomes of missing values: None (refused), "median", "drop" or "indicator".
        missing_values: numbers that stand for a missing value.
    """

    columns: tuple[Column, ...]
    missing: str | None = None
    missing_values: tuple[float, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the d features, each a column's own, "column=category" or "column is missing"."""
        return tuple(name for column in self.columns for name in self._names_of(column))

    def _names_of(self, column: Column) -> list[str]:
        names = [column.name] if column.action == KEPT else []
        names += [f"{column.name}={value}" for value in column.values]
        return names + ([f"{column.name} is missing"] if self.has_indicator(column) else [])

    def has_indicator(self, column: Column) -> bool:
        """Whether a feature says where the column's values are missing."""
        return self.missing == "indicator" and column.n_missing > 0 and column.action in (KEPT, ONE_HOT)

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as strings, numbers and lists, exact when written as JSON."""
        return {
            "columns": [asdict(column) | {"values": list(column.values)} for column in self.columns],
            "missing": self.missing,
            "missing_values": list(self.missing_values),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Encoding":
        """Returns the encoding that `to_json` was called on.

        Raises:
            ValueError: a field is missing or holds something else.
        """
        try:
            columns = tuple(_column_from_json(column) for column in fields["columns"])
            if fields["missing"] is not None:
                check_choice("missing", fields["missing"], MISSING_RULES)
            return cls(columns, fields["missing"], tuple(float(value) for value in fields["missing_values"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a saved table encoding: {error}") from error

    def __str__(self) -> str:
        """One line per column: name, kind, missing values, and what becomes of it."""
        rows = [("column", "kind", "missing", "becomes")]
        for column in self.columns:
            becomes = f"one-hot ({', '.join(column.values)})" if column.values else column.action
            rows.append((column.name or "(no name)", column.kind, str(column.n_missing), becomes))
        if len(rows) > SHOWN_COLUMNS + 1:
            rest = len(rows) - SHOWN_COLUMNS - 1
            rows = [*rows[: SHOWN_COLUMNS + 1], (f"… and {rest} more", "", "", "")]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join("  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows)


def _column_from_json(fields: Mapping[str, Any]) -> Column:
    column = Column(**{**fields, "values": tuple(map(str, fields["values"]))})
    check_choice("kind", column.kind, KINDS)
    check_choice("action", column.action, ACTIONS)
    if not isinstance(column.name, str) or not isinstance(column.n_missing, int):
        raise ValueError(f"name and n_missing must be text and an integer, got {column.name!r}, {column.n_missing!r}")
    if not isinstance(column.fill, float | int | None):
        raise ValueError(f"fill must be a number, got {column.fill!r}")
    return column


def fit_encoding(frame: "pd.DataFrame", options: TableOptions | None = None) -> tuple[Encoding, tuple[str, ...]]:
    """Returns the decisions about the columns of a table, and what must be said about them, one line each.

    Args:
        frame: a table with names as strings.
        options: by default all columns that can be used, and no missing values.

    Raises:
        ValueError: a column can be used in no way, or values are missing and `options.missing` does not say what
            becomes of them; the message names the columns, the counts and the way out.
    """
    options = options or TableOptions()
    encoding = Encoding(decide(frame, options), options.missing, options.missing_values)
    if not encoding.feature_names:
        raise ValueError("columns must hold at least one feature, got none: " + _listing(encoding.columns))
    if encoding.missing is None:
        _refuse_missing({c.name: c.n_missing for c in encoding.columns if c.action in (KEPT, ONE_HOT)})
    return encoding, tuple(_notes(encoding, options))


def _refuse_missing(counts: Mapping[str, int]) -> None:
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return
    listed = ", ".join(f"{name!r} ({count})" for name, count in list(counts.items())[:10])
    more = f" and {len(counts) - 10} columns more" if len(counts) > 10 else ""
    raise ValueError(
        f"values are missing in the columns {listed}{more}: say what becomes of them "
        f"(missing: {', '.join(MISSING_RULES)}), fill them before, or leave the columns out (drop)"
    )


def _listing(columns: tuple[Column, ...]) -> str:
    return ", ".join(f"{column.name!r} ({column.kind}, {column.action})" for column in columns[:10])


def _notes(encoding: Encoding, options: TableOptions) -> list[str]:
    notes = []
    named = (*options.drop, options.id_column, options.label_column)
    for column in encoding.columns:
        if column.kind in ("id", "index") and column.name not in named and not options.columns:
            why = "is an index" if column.kind == "index" else "looks like the id of a sample"
            notes.append(f"{column.shown} {why}: left out (name it in columns to use it)")
        elif column.action == LEFT_OUT and column.name not in named and not options.columns:
            notes.append(f"{column.shown} holds one value at most: left out")
        elif column.action == ONE_HOT:
            notes.append(f"{column.shown} holds {len(column.values)} categories: one-hot")
        if column.action in (KEPT, ONE_HOT) and column.name.lower() in LABEL_NAMES and column.name not in named:
            notes.append(f"{column.shown} is used as a feature: if it holds the classes, name it as label_column")
    filled = [f"{c.name!r} ({c.n_missing})" for c in encoding.columns if c.action in (KEPT, ONE_HOT) and c.n_missing]
    if filled:
        notes.append(f"missing values ({encoding.missing}): {', '.join(filled[:10])}{' …' if len(filled) > 10 else ''}")
    return notes


@dataclass
class Tally:
    """What was seen in a table that comes in parts, for what can only be said of all of it.

    Attributes:
        n_rows: of all parts.
        n_dropped: rows with missing values that were left out.
        n_filled: missing values that were filled in, by columns that had none before.
        known: columns of categories in which one was known.
        unknown: categories that are new, by column.
        new_columns: columns that the encoding does not know.
    """

    n_rows: int = 0
    n_dropped: int = 0
    n_filled: dict[str, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    unknown: dict[str, set[str]] = field(default_factory=dict)
    new_columns: dict[str, None] = field(default_factory=dict)

    def notes(self, encoding: Encoding) -> tuple[str, ...]:
        """What must be said, one line each.

        Raises:
            ValueError: a column holds new categories and none that is known.
        """
        notes = []
        for column in encoding.columns:
            if unknown := sorted(self.unknown.get(column.name, ())):
                if column.name not in self.known:
                    raise ValueError(
                        f"column {column.name!r} must hold categories as before ({_few(column.values)}), "
                        f"got {_few(unknown)}"
                    )
                notes.append(f"{column.shown} holds new categories, which are in none of its features: {_few(unknown)}")
            if count := self.n_filled.get(column.name):
                notes.append(f"{column.shown} had no missing value before: {count} are filled in")
        if self.n_dropped:
            notes.append(f"{self.n_dropped} of {self.n_rows} rows with missing values are left out")
        if self.new_columns:
            notes.append(f"columns that the model does not know are not used: {_few(self.new_columns)}")
        return tuple(notes)


def encode(encoding: Encoding, frame: "pd.DataFrame") -> Encoded:
    """Returns a table as samples, by decisions that were made about it or about an earlier one.

    Args:
        encoding: what `fit_encoding` returned.
        frame: a table with names as strings, the columns in any order. The columns of ids and labels may be absent;
            columns that the encoding does not know are not used, which a note says.

    Raises:
        ValueError: a column is missing, holds something else than before, infinite values, or missing values that
            `encoding.missing` does not settle; the message names it.
    """
    tally = Tally()
    encoded = encode_part(encoding, frame, tally)
    return encoded._replace(notes=tally.notes(encoding))


def encode_part(encoding: Encoding, frame: "pd.DataFrame", tally: Tally) -> Encoded:
    """Returns some rows of a table as samples, the same ones as `encode` of all rows.

    Args:
        encoding: what `fit_encoding` returned.
        frame: the rows, as for `encode`.
        tally: of the rows before; these are added. Its notes are for the caller to ask for, after the last part.

    Raises:
        ValueError: as `encode`, but for what only all rows can say.
    """
    used = [column for column in encoding.columns if column.action in (KEPT, ONE_HOT)]
    present = set(frame.columns)
    if absent := [column.name for column in used if column.name not in present]:
        raise ValueError(f"the table must have the column {', '.join(map(repr, absent))}, got {_few(frame.columns)}")
    parts, missing = [], []
    for column in used:
        values, is_missing = _values(column, frame[column.name], encoding, tally)
        parts.append(values)
        missing.append(is_missing)
    rows = None
    if encoding.missing is None:
        _refuse_missing({c.name: int(gaps.sum()) for c, gaps in zip(used, missing, strict=True)})
    elif encoding.missing == "drop" and (gaps := np.any(missing, axis=0)).any():
        rows = np.flatnonzero(~gaps)
        tally.n_dropped += int(gaps.sum())
    tally.n_rows += len(frame)
    known = {column.name for column in encoding.columns}
    tally.new_columns |= dict.fromkeys(name for name in frame.columns if name not in known)
    x = np.concatenate(parts, axis=1) if parts else np.empty((len(frame), 0))
    ids, labels = ids_of(encoding, frame), _column_of(encoding, frame, LABELS)
    if rows is not None:
        ids = np.arange(len(frame)) if ids is None else ids
        x, ids, labels = x[rows], ids[rows], None if labels is None else labels[rows]
    return Encoded(x, ids, labels, rows, ())


def _few(names: Any) -> str:
    names = list(map(repr, names))
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def id_name(encoding: Encoding, frame: "pd.DataFrame") -> str | None:
    """Returns the name of the column that names the samples of a table; None where no column does."""
    return _name_of(encoding, frame, IDS)


def ids_of(encoding: Encoding, frame: "pd.DataFrame") -> np.ndarray | None:
    """Returns what names the rows (n,) of a table, those that are left out included; None where no column does."""
    return _column_of(encoding, frame, IDS)


def _column_of(encoding: Encoding, frame: "pd.DataFrame", action: str) -> np.ndarray | None:
    name = _name_of(encoding, frame, action)
    return None if name is None else frame[name].to_numpy()


def _name_of(encoding: Encoding, frame: "pd.DataFrame", action: str) -> str | None:
    """The column of ids, or labels; one that the user named comes before one that was found."""
    found = [column for column in encoding.columns if column.action == action and column.name in frame.columns]
    found.sort(key=lambda column: column.kind == "index")
    return found[0].name if found else None


def _values(column: Column, series: "pd.Series", encoding: Encoding, tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features (n, features) of a column, filled in, and where its values are missing (n,)."""
    if column.action == ONE_HOT:
        features, gaps = _one_hot(column, series, tally)
    else:
        features, gaps = _numbers(column, series, encoding.missing_values)
    if gaps.any() and column.fill is not None:
        if column.action == ONE_HOT:
            features[gaps, int(column.fill)] = 1
        else:
            features[gaps] = column.fill
    if encoding.has_indicator(column):
        features = np.column_stack([features, gaps])
    elif encoding.missing == "indicator" and gaps.any():
        tally.n_filled[column.name] = tally.n_filled.get(column.name, 0) + int(gaps.sum())
    return features, gaps


def _numbers(column: Column, series: "pd.Series", missing_values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    numbers = as_numbers(series, missing_values)
    if numbers is None:
        odd = next((word for word in as_words(series) if word is not None and not PLAIN.matches(word)), "")
        raise ValueError(f"column {column.name!r} must hold numbers, as before ({column.kind}), got such as {odd!r}")
    if column.kind == "number" and holds_booleans(series):
        raise ValueError(f"column {column.name!r} must hold numbers, as before, got true and false")
    if column.kind == "boolean" and (odd := numbers[~np.isnan(numbers) & (numbers != 0) & (numbers != 1)]).size:
        raise ValueError(f"column {column.name!r} must hold 0 and 1, or true and false, as before, got {odd[0]:g}")
    if np.isinf(numbers).any():
        raise ValueError(f"column {column.name!r} must be finite, got {int(np.isinf(numbers).sum())} infinite values")
    return numbers[:, None].copy(), np.isnan(numbers)


def _one_hot(column: Column, series: "pd.Series", tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    words = as_words(series)
    place = {value: i for i, value in enumerate(column.values)}
    distinct = set(words) - {None}
    if distinct & set(place):
        tally.known.add(column.name)
    if unknown := distinct - set(place):
        seen = tally.unknown.setdefault(column.name, set())
        seen.update(sorted(unknown)[: MAX_UNKNOWN - len(seen)])
    gaps = np.array([word is None for word in words], bool)
    codes = np.array([place.get(word, -1) for word in words], np.int64)
    features = np.zeros((len(words), len(column.values)))
    features[np.flatnonzero(codes >= 0), codes[codes >= 0]] = 1
    return features, gaps
