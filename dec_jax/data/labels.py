"""Labels for scoring, as people have them: numbers, names, booleans, one-hot, in files of any kind, with gaps."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dec_jax.data.archives import LABEL_KEYS, pick, read_arrays
from dec_jax.data.columns import LABEL_NAMES, as_text, id_columns
from dec_jax.data.dialects import PLAIN, decode, is_missing
from dec_jax.data.tables import BINARY_SUFFIXES, TEXT_SUFFIXES, kind_of_file, read_table

UNLABELLED = -1
_NONE = np.iinfo(np.int64).min  # a missing label, while −1 may still be a class
LABEL_SUFFIXES = (".npy", ".npz", *TEXT_SUFFIXES, *BINARY_SUFFIXES)


class Labels(NamedTuple):
    """Labels of the samples.

    Attributes:
        y: (n,) int64 classes, UNLABELLED (−1) where a sample has none; None where no sample has one.
        class_names: of the classes 0, 1, …; None where the labels were numbers.
        notes: what must be said, one line each.
    """

    y: np.ndarray | None
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


def as_labels(values: Any, name: str = "labels") -> Labels:
    """Returns labels of any kind as integers.

    Whole numbers stay as they are, a column (n, 1) is flattened, one-hot rows (n, k) become their place; booleans
    and names become the integers of their sorted order, and are the names of the classes. NaN, None, NA, empty names
    and rows without a one are samples without a label, and so is the number −1, unless −1 and 1 are the only labels.

    Args:
        values: (n,), (n, 1) or (n, k): a numpy array, a pandas or polars column, or a list.
        name: what they are called in messages.

    Raises:
        TypeError: the labels are numbers that are not whole, or neither numbers nor text.
        ValueError: their shape is another one.
    """
    y, notes = _one_dimensional(_to_array(values), name)
    if y.dtype.kind in "OUSb":
        y, class_names = _from_objects(y, name)
    else:
        y, class_names = _from_numbers(y, name), None
    if class_names is None and set(np.unique(y[y != _NONE])) == {-1, 1}:
        y, class_names = np.where(y == _NONE, _NONE, (y + 1) // 2), ("-1", "1")
    n_missing, n_minus = int((y == _NONE).sum()), int((y == UNLABELLED).sum())
    if n_missing or n_minus:
        what = " and ".join([f"{n_missing} missing"] * bool(n_missing) + [f"{n_minus} of -1"] * bool(n_minus))
        notes.append(
            f"{name}: {n_missing + n_minus} of {len(y)} samples are unlabelled ({what}), left out of the scores"
        )
    y = np.where(y == _NONE, UNLABELLED, y)
    return Labels(None if len(y) and (y == UNLABELLED).all() else y, class_names, tuple(notes))


def _to_array(values: Any) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray):
        values = np.where(np.ma.getmaskarray(values), None, values.data.astype(object))
    if hasattr(values, "to_numpy"):  # a pandas or polars column or frame
        values = values.to_numpy()
    elif hasattr(values, "categories"):
        values = np.asarray(values, object)
    return values if isinstance(values, np.ndarray) else _listed(values)


def _listed(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return np.asarray(values, object) if array.dtype.kind in "US" else array  # None and NaN among words


def _one_dimensional(y: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0], []
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "buif" and _is_one_hot(y):
        place = np.where(y.any(axis=1), y.argmax(axis=1), _NONE)
        return place, [f"{name}: one-hot rows of {y.shape[1]} classes"]
    if y.ndim != 1:
        raise ValueError(
            f"{name} must hold one label per sample, or one-hot rows of zeros and ones, got shape {y.shape}"
        )
    return y, []


def _is_one_hot(y: np.ndarray) -> bool:
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) <= 1).all())


def _from_numbers(y: np.ndarray, name: str) -> np.ndarray:
    if y.dtype.kind in "iu":
        return y.astype(np.int64)
    if y.dtype.kind != "f":
        raise TypeError(f"{name} must be integers or names, got dtype {y.dtype}")
    missing = np.isnan(y)
    known = y[~missing]
    if ((np.abs(known) >= 2**53) | (known != np.round(known))).any():
        example = known[(np.abs(known) >= 2**53) | (known != np.round(known))][0]
        raise TypeError(f"{name} must be integers or names, got dtype {y.dtype} with {example}")
    return np.where(missing, _NONE, np.where(missing, 0, y).astype(np.int64))


def _from_objects(y: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Returns integers, and names where the values are words or booleans."""
    words = [_word(value) for value in y]
    known = [word for word in words if word is not None]
    if all(map(PLAIN.matches, known)) and known:
        return _from_numbers(np.array([np.nan if word is None else float(word) for word in words]), name), None
    names = sorted(set(known))
    place = {word: i for i, word in enumerate(names)} | {None: _NONE}
    return np.array([place[word] for word in words], np.int64), tuple(names)


def _word(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    word = str(value).strip()
    return None if is_missing(word) or word == "NaT" else word


def read_labels(path: str | os.PathLike[str], n_samples: int | None = None, ids: np.ndarray | None = None) -> Labels:
    """Returns the labels of a file.

    Accepted are a .npy; an .npz of one array, or with y or labels; a text file with one label a line, with a header
    or without; and a table of which one column, beside ids, holds the labels.

    Args:
        path: the file.
        n_samples: how many labels there should be: of a text file with one line more, the first is the header.
        ids: (n_samples,) what names the samples, None for 0, 1, …; labels of a table with these ids are put in that
            order.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: it holds Python objects, or labels that are not integers or names.
        ValueError: its kind is unknown, it is damaged, it does not say which values are the labels, or it names some of
            the samples but not all.
    """
    path = Path(path).expanduser()
    kind = kind_of_file(path)
    if kind not in LABEL_SUFFIXES:
        raise ValueError(f"unknown kind of labels file {str(path)!r} (accepted: {', '.join(LABEL_SUFFIXES)})")
    if not path.is_file():
        raise FileNotFoundError(f"labels file {str(path)!r} does not exist")
    if kind in (".npy", ".npz"):
        return as_labels(_array(path), str(path))
    notes: tuple[str, ...] = ()
    if kind in TEXT_SUFFIXES and (rows := _single_column(path)) is not None:
        values, notes = _without_header(rows, n_samples, path.name)
    else:
        values, notes = _column_of_table(path, range(n_samples or 0) if ids is None else ids)
    labels = as_labels(values, str(path))
    return labels._replace(notes=(*notes, *labels.notes))


def _array(path: Path) -> np.ndarray:
    arrays = read_arrays(path)
    array = arrays[pick(path, arrays, LABEL_KEYS)]
    if array is None:
        raise TypeError(
            f"{path} must hold numbers or text, got Python objects (dtype object): they are not loaded, as this can "
            "run code; save the labels with y.astype(str)"
        )
    return array


def _single_column(path: Path) -> list[str] | None:
    """Returns the lines of a file with one label a line, or None where it is a table."""
    with open(path, "rb") as file:
        text, _ = decode(file.read(), path)
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    words = [line.split() for line in lines if line.strip()]
    if len(words) > 1 and all(len(pair) == 2 for pair in words) and len({first for first, _ in words}) == len(words):
        return None  # ids and labels
    for separator in (",", ";", "\t", "|"):
        try:
            widths = {len(row) for row in csv.reader(lines, delimiter=separator) if row}
        except csv.Error:
            continue
        if len(widths) == 1 and widths != {1}:
            return None
    return [_unquoted(line) for line in lines]


def _unquoted(line: str) -> str:
    line = line.strip()
    if len(line) > 1 and line[0] == line[-1] == '"':
        return line[1:-1].replace('""', '"')
    return line


def _without_header(fields: list[str], n_samples: int | None, name: str) -> tuple[list[str], tuple[str, ...]]:
    if len(fields) > 1 and fields[0].lower() in LABEL_NAMES and fields[0] not in fields[1:]:
        return fields[1:], (f"{name}: the first line is the header ({fields[0]})",)
    if n_samples is not None:
        while len(fields) > n_samples and not fields[-1]:
            fields = fields[:-1]
    words_above_numbers = (
        len(fields) > 1
        and not PLAIN.matches(fields[0])
        and not is_missing(fields[0])
        and all(PLAIN.matches(field) or is_missing(field) for field in fields[1:])
        and any(map(PLAIN.matches, fields[1:]))
    )
    one_too_many = n_samples is not None and len(fields) == n_samples + 1
    if words_above_numbers or (one_too_many and (fields[0] == "0" or not PLAIN.matches(fields[0]))):
        return fields[1:], (f"{name}: the first line is the header ({fields[0] or 'empty'})",)
    return fields, ()


def _column_of_table(path: Path, ids: Sequence[Any] | np.ndarray) -> tuple[Any, tuple[str, ...]]:
    table = read_table(path)
    frame = table.frame
    chosen = [name for name in frame.columns if name.lower() in LABEL_NAMES]
    found = [name for name in id_columns(frame) if name not in chosen]
    if len(chosen) == 1 and not isinstance(ids, range):  # whatever they look like, if they name the samples
        found += [name for name in frame.columns if name not in (*chosen, *found) and _names_some(frame[name], ids)]
    if len(chosen) != 1:
        chosen = [name for name in frame.columns if name not in found]
    one_hot = frame[chosen].to_numpy()
    if len(chosen) > 1 and one_hot.dtype.kind in "buif" and _is_one_hot(one_hot):
        return one_hot, table.notes
    if len(chosen) != 1:
        raise ValueError(
            f"{path} must hold one label a line, or one column of labels beside ids, "
            f"got the columns {', '.join(map(repr, frame.columns))}"
        )
    series = frame[chosen[0]]
    notes = [*table.notes, f"{path.name}: the labels are the column {chosen[0]!r}"]
    for name in found:
        order = _order(ids, frame[name].to_numpy(), f"{path.name}, column {name!r},")
        if order is None:
            continue
        if len(order) < len(series) or (order != np.arange(len(order))).any():
            notes.append(f"{path.name}: labels are put in the order of the samples by the column {name!r}")
        return series.to_numpy()[order], tuple(notes)
    if found and not (isinstance(ids, range) and any(_rises(frame[name]) for name in found)):
        notes.append(f"{path.name}: its ids are not those of the samples: labels are taken in the order of the file")
    return series, tuple(notes)


def _order(ids: Sequence[Any] | np.ndarray, found: Sequence[Any], where: str) -> np.ndarray | None:
    """Returns which row of the labels belongs to each sample, by their ids; None where these name something else.

    Raises:
        ValueError: they name some of the samples but not all, and the samples have ids of their own.
    """
    place = {as_text(value): i for i, value in enumerate(found)}
    order = np.array([place.get(as_text(value), -1) for value in ids], np.int64)
    if (order < 0).all() or (isinstance(ids, range) and (len(place) != len(found) or (order < 0).any())):
        return None
    if len(place) != len(found):
        raise ValueError(f"{where} must name every sample once, got one of them twice")
    if (order >= 0).all():
        return order
    unknown = str(ids[np.flatnonzero(order < 0)[0]])
    raise ValueError(
        f"{where} must name every sample, got none for {unknown!r} and {int((order < 0).sum()) - 1} others; "
        "without that column labels are taken in the order of the file"
    )


def _names_some(column: Any, ids: Sequence[Any] | np.ndarray) -> bool:
    return not set(map(as_text, column)).isdisjoint(map(as_text, ids))


def _rises(column: Any) -> bool:
    """Whether ids are in their order, as those of rows in the order of the samples are."""
    return bool(column.is_monotonic_increasing)
