"""What each column of a table is, and what becomes of it."""

import decimal
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from dec_jax.data.dialects import PLAIN, is_missing
from dec_jax.data.options import TableOptions
from dec_jax.validation import check_choice

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("number", "boolean", "category", "date", "text", "constant", "id", "index")
KEPT, ONE_HOT, LEFT_OUT, IDS, LABELS = "kept", "one-hot", "left out", "ids", "labels"
ACTIONS = (KEPT, ONE_HOT, LEFT_OUT, IDS, LABELS)
MAX_CATEGORIES = 50
MAX_ODD_NUMBERS = 10  # numbers beside words that may be categories, such as 1, 2, 3+
WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "y": 1.0, "n": 0.0, "t": 1.0, "f": 0.0}
PAIRS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"})
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
DATE = re.compile(
    rf"(?:\d{{1,4}}[-/.]\d{{1,2}}[-/.]\d{{1,4}}|\d{{4}}-\d{{2}}|\d{{1,2}}[-/ .]+{MONTH}[-/ ,.]+\d{{2,4}}"
    rf"|{MONTH}[-/ ,.]+(?:\d{{1,2}}[-/ ,.]+)?\d{{2,4}})(?:[T ]+\d{{1,2}}:\d{{2}}.*)?|\d{{1,2}}:\d{{2}}(?::\d{{2}}.*)?",
    re.IGNORECASE,
)
ID_NAME = re.compile(
    r"(?:.*[\W_])?(?:id|ids|uid|uuid|guid|index|idx|key|nr|no|number|row_?names?|barcode)\W*"
    r"|.*[a-z](?:ID|Id|Nr|Number)|unnamed: ?0"
    r"|.*\b(?:customer|user|client|account|record|patient|sample)[ _]?(?:no|nr|num|number|id)\W*",
)
WITH_UNIT = re.compile(r"[^\w\s]{0,3}\s?[+-]?\d[\d.,'\s]*\s?[^\d\s]{0,4}")  # 12%, $1,200, 5 kg
LABEL_NAMES = ("label", "labels", "class", "classes", "target", "species", "ground_truth", "y")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as the table has it; "" for an index without a name.
        kind: one of KINDS.
        n_missing: missing values in the table that was decided about.
        action: one of ACTIONS: a number is kept, a category becomes one-hot, ids and labels are not features.
        values: the categories, in the order of their features.
        fill: what a missing value becomes: a number, or the place of a category in `values`; None without.
    """

    name: str
    kind: str
    n_missing: int
    action: str
    values: tuple[str, ...] = ()
    fill: float | None = None

    @property
    def shown(self) -> str:
        """The name, for messages."""
        return repr(self.name) if self.name else "the first column, which has no name,"


def decide(frame: "pd.DataFrame", options: TableOptions) -> tuple[Column, ...]:
    """Returns what each column is and what becomes of it, in the order of the table.

    Numbers and booleans are kept. A category, words of at most 50 kinds, becomes one-hot. An index without a name,
    and a column that numbers the samples or is named as an id and differs in each, is left out and gives the ids.
    Dates, free text and infinite numbers are refused unless `options.drop` names them.

    Args:
        frame: a table with names as strings.
        options: `columns`, `drop`, `id_column`, `label_column`, `missing_values` are read here.

    Raises:
        ValueError: a named column does not exist, or a column can be used in no way; the message says the way out.
    """
    names = list(frame.columns)
    for option in ("columns", "drop", "id_column", "label_column"):
        value = getattr(options, option)
        for name in (value,) if isinstance(value, str) else value or ():
            check_choice(f"column in {option}", name, names)
    columns = [_decide_one(frame[name], i, options) for i, name in enumerate(names)]
    if not any(column.action in (KEPT, ONE_HOT) for column in columns):
        # The only column that is left may count up and yet be what was measured.
        columns = [
            Column(c.name, "number", c.n_missing, KEPT, fill=_median(as_numbers(frame[c.name])))
            if c.kind == "id"
            and c.action == IDS
            and c.name != options.id_column
            and as_numbers(frame[c.name]) is not None
            else c
            for c in columns
        ]
    _refuse_what_has_no_use(columns, frame)
    return tuple(columns)


def id_columns(frame: "pd.DataFrame") -> list[str]:
    """Returns the names of the columns that are an index or look like ids."""
    return [str(name) for i, name in enumerate(frame.columns) if _kind(frame[name], i) in ("id", "index")]


def _refuse_what_has_no_use(columns: list[Column], frame: "pd.DataFrame") -> None:
    bad = [column for column in columns if column.kind in ("date", "text") and column.action == KEPT]
    if not bad:
        return
    what = ", ".join(f"{column.shown} ({_what_it_holds(column, frame[column.name])})" for column in bad)
    names = ",".join(column.name for column in bad)
    raise ValueError(
        f"columns must hold numbers, booleans or at most {MAX_CATEGORIES} categories, got {what}: "
        f"leave out what is not a feature (drop: {names})"
    )


def _what_it_holds(column: Column, series: "pd.Series") -> str:
    if column.kind == "date":
        return "dates"
    words = {word for word in as_words(series) if word is not None}
    if odd := _odd_words(words):
        return f"numbers, and words such as {odd[0]!r}"
    return f"numbers with a unit, such as {min(words)!r}" if _with_units(words) else "free text"


def _decide_one(series: "pd.Series", position: int, options: TableOptions) -> Column:
    name = str(series.name)
    if options.columns and name not in (*options.columns, options.id_column, options.label_column):
        return Column(name, _kind(series, position), int(series.isna().sum()), LEFT_OUT)
    if name in options.drop:
        return Column(name, _kind(series, position), int(series.isna().sum()), LEFT_OUT)
    if name in (options.id_column, options.label_column):
        role = IDS if name == options.id_column else LABELS
        return Column(name, "id" if role == IDS else "category", int(series.isna().sum()), role)
    kind = _kind(series, position)
    if kind in ("id", "index") and name in options.columns:
        kind = "number" if as_numbers(series) is not None else "text"
    numbers = as_numbers(series, options.missing_values) if kind in ("number", "boolean", "constant") else None
    if numbers is not None:
        n_missing = int(np.isnan(numbers).sum())
        if n_missing == len(numbers):
            return Column(name, "constant", n_missing, LEFT_OUT)
        _check_finite(name, numbers)
        return Column(name, kind, n_missing, KEPT, fill=_median(numbers))
    n_missing = int(series.isna().sum())
    if kind in ("id", "index"):
        return Column(name, kind, n_missing, LEFT_OUT if options.id_column else IDS)
    if kind == "category":
        counts = Counter(word for word in as_words(series) if word is not None)
        values = tuple(sorted(counts))
        n_missing = len(series) - counts.total()
        return Column(name, kind, n_missing, ONE_HOT, values, float(values.index(counts.most_common(1)[0][0])))
    return Column(name, kind, n_missing, LEFT_OUT if kind == "constant" else KEPT)


def _check_finite(name: str, numbers: np.ndarray) -> None:
    if np.isinf(numbers).any():
        row = int(np.flatnonzero(np.isinf(numbers))[0])
        raise ValueError(f"column {name!r} must be finite, got {numbers[row]} in row {row}")


def _median(numbers: np.ndarray | None) -> float | None:
    return None if numbers is None or np.isnan(numbers).all() else float(np.nanmedian(numbers))


def _kind(series: "pd.Series", position: int) -> str:
    """One of KINDS."""
    numbers = as_numbers(series)
    if numbers is not None:
        return _kind_of_numbers(series, numbers, position)
    if series.dtype.kind in "mM":
        return "date"
    words = as_words(series)
    present = [word for word in words if word is not None]
    distinct = set(present)
    if len(distinct) <= 1:
        return "constant"
    if not series.name and position == 0:
        return "index"
    if all(map(DATE.fullmatch, distinct)):
        return "date"
    if (_odd_words(distinct) or _with_units(distinct)) and not _named_as_id(series):
        return "text"
    if len(distinct) == len(present):
        compact = all(re.fullmatch(r"\S{1,40}", word) for word in distinct)
        if _named_as_id(series) or (compact and len(present) > 10):
            return "id"
    if any(len(word) > 200 for word in distinct):
        return "text"
    return "category" if len(distinct) <= min(MAX_CATEGORIES, max(2, len(present) / 2)) else "text"


def _odd_words(distinct: Iterable[str]) -> list[str]:
    """Returns the words among many numbers: a column of numbers with a few entries that are none."""
    odd = sorted(word for word in distinct if not PLAIN.matches(word))
    return odd if len(odd) + MAX_ODD_NUMBERS < len(set(distinct)) and 2 * len(odd) < len(set(distinct)) else []


def _with_units(distinct: Iterable[str]) -> bool:
    """Whether the words are many numbers with a sign or a unit."""
    return len(set(distinct)) > MAX_ODD_NUMBERS and all(map(WITH_UNIT.fullmatch, distinct))


def _named_as_id(series: "pd.Series") -> bool:
    name = str(series.name)
    return bool(ID_NAME.fullmatch(name) or ID_NAME.fullmatch(name.lower()))


def _kind_of_numbers(series: "pd.Series", numbers: np.ndarray, position: int) -> str:
    present = numbers[~np.isnan(numbers)]
    has_digits = series.dtype.kind in "iuf"  # others may have more than float64 tells apart
    if not len(present) or (present.min() == present.max() and (has_digits or series.nunique() == 1)):
        return "constant"
    if series.dtype.kind == "b" or (series.dtype.kind not in "iuf" and set(np.unique(present)) <= {0.0, 1.0}):
        return "boolean"
    if (present != np.round(present)).any():
        return "number"
    if len(present) < len(numbers):
        return "id" if _named_as_id(series) and len(np.unique(present)) == len(present) > MAX_ODD_NUMBERS else "number"
    if series.dtype.kind in "iu":  # as float64, neighbours above 2⁵³ would be equal
        present = series.to_numpy(f"{series.dtype.kind}8")
    earlier, later = present[:-1], present[1:]
    distinct = len(np.unique(present)) == len(present) if has_digits else series.is_unique
    if not series.name and position == 0:
        return "index" if distinct else "number"
    counts = len(present) > 2 and (np.all(later == earlier + 1) or np.all(earlier == later + 1))
    rises = np.all(later > earlier) or np.all(later < earlier)
    rises = position == 0 and len(present) > 10 and str(series.name) != "0" and rises
    return "id" if distinct and (counts or rises or _named_as_id(series)) else "number"


def as_numbers(series: "pd.Series", missing_values: tuple[float, ...] = ()) -> np.ndarray | None:
    """Returns the values as float64 with NaN where they are missing, or None where they are not all numbers."""
    import pandas as pd

    if series.dtype.kind in "buif":
        numbers = series.to_numpy(np.float64, na_value=np.nan)
    elif series.dtype.kind in "mMc" or isinstance(series.dtype, pd.CategoricalDtype):
        return None
    else:
        numbers = _parsed(series)
    if numbers is not None and missing_values:
        numbers = np.where(np.isin(numbers, missing_values), np.nan, numbers)
    return numbers


def holds_booleans(series: "pd.Series") -> bool:
    """Whether the values are true and false, or words for them."""
    if series.dtype.kind in "buif":
        return series.dtype.kind == "b"
    return _are_pair({str(value).strip().lower() for value in series.dropna()})


def _are_pair(words: set[str]) -> bool:
    """Whether words are yes and no in one way of saying it."""
    return bool(words) and any(words <= pair for pair in PAIRS)


def _parsed(series: "pd.Series") -> np.ndarray | None:
    """Numbers among values of any type: all of them, or all of them words for true and false."""
    present = [None if isinstance(value, str) and is_missing(value) else value for value in series.dropna()]
    words = {value.strip().lower() for value in present if isinstance(value, str)}
    yes_or_no = _are_pair(words)
    parsed = [_number(value, yes_or_no) for value in present]
    if None in parsed:
        return None
    numbers = np.full(len(series), np.nan)
    numbers[series.notna().to_numpy()] = parsed
    return numbers


def _number(value: Any, yes_or_no: bool) -> float | None:
    if value is None:
        return math.nan
    if isinstance(value, str) and yes_or_no:
        return WORDS[value.strip().lower()]
    if isinstance(value, str):
        return float(value) if PLAIN.matches(value) else None
    if yes_or_no and not isinstance(value, bool | np.bool_):
        return None
    return float(value) if isinstance(value, Real | decimal.Decimal | np.bool_) else None


def as_words(series: "pd.Series") -> list[str | None]:
    """Returns the values as text, whole numbers without decimals, and None where they are missing."""
    return [None if missing else _word(value) for value, missing in zip(series, series.isna(), strict=True)]


def _word(value: Any) -> str | None:
    word = as_text(value)
    return None if is_missing(word) else word


def as_text(value: Any) -> str:
    """Returns a value as text, without spaces around it; a whole number has no decimals, also where it is a float."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()
