"""A user's own samples and labels: .npy, .npz, .csv, and .txt for labels."""

import csv
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

SAMPLE_SUFFIXES = (".npy", ".npz", ".csv")
LABEL_SUFFIXES = (".npy", ".npz", ".csv", ".txt")
SAMPLE_KEYS = ("x", "X", "data")
LABEL_KEYS = ("y", "labels")


class Labels(NamedTuple):
    """Labels as they were read.

    Attributes:
        y: (n,) numbers; names have become the integers of their sorted order.
        class_names: the names; None where the labels were numbers.
    """

    y: np.ndarray
    class_names: tuple[str, ...] | None


def read_samples(
    path: str | os.PathLike[str],
) -> tuple[np.ndarray | scipy.sparse.csr_array, Labels | None]:
    """Returns the samples of a file, and its labels where it is an .npz that holds some.

    Accepted are a .npy; an .npz with one array, or with x, X or data and perhaps y or labels; an .npz of
    scipy's save_npz; and a .csv of numbers, with a header line or without. Pickled objects are never loaded.

    Args:
        path: the file.

    Returns:
        The array as it was stored, or a CSR array; its shape and values are for the caller to check.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: it holds Python objects.
        ValueError: its kind is unknown, it is damaged, or it does not say which array holds the samples.
    """
    path = _existing(path, "data", SAMPLE_SUFFIXES)
    if path.suffix.lower() == ".csv":
        return _read_csv(path), None
    arrays = _read_numpy(path)
    key = _pick(path, arrays, SAMPLE_KEYS)
    label_key = next((name for name in LABEL_KEYS if name in arrays and name != key), None)
    return arrays[key], label_key and _as_labels(arrays[label_key])


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Returns the labels of a .npy, an .npz (one array, or y or labels), or a .csv or .txt with one a line.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: it holds Python objects.
        ValueError: its kind is unknown, it is damaged, or it does not say which array holds the labels.
    """
    path = _existing(path, "labels", LABEL_SUFFIXES)
    if path.suffix.lower() in (".csv", ".txt"):
        return _as_labels(_read_lines(path))
    arrays = _read_numpy(path)
    return _as_labels(arrays[_pick(path, arrays, LABEL_KEYS)])


def _existing(path: str | os.PathLike[str], what: str, suffixes: Sequence[str]) -> Path:
    path = Path(path).expanduser()
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"unknown kind of {what} file {str(path)!r} (accepted: {', '.join(suffixes)})")
    if not path.is_file():
        raise FileNotFoundError(f"{what} file {str(path)!r} does not exist")
    return path


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged, or no {path.suffix} file: {str(error) or type(error).__name__}")


def _read_numpy(path: Path) -> dict[str, np.ndarray | scipy.sparse.csr_array]:
    """Returns the arrays of an .npz by name; the array of a .npy and a sparse matrix have the name ""."""
    with open(path, "rb") as file:
        try:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"": content}
            if {"format", "shape"} <= set(content):
                return {"": _read_sparse(path)}
            return {key: content[key] for key in content}
        except Exception as error:  # what numpy, scipy and zipfile raise for damaged bytes is not one family
            if "Object arrays" in str(error):
                raise TypeError(f"{path} must hold numbers, got Python objects (dtype object)") from error
            raise _damaged(path, error) from error


def _read_sparse(path: Path) -> scipy.sparse.csr_array:
    matrix = scipy.sparse.csr_array(scipy.sparse.load_npz(path))
    matrix.check_format(full_check=True)  # an index out of range would read foreign memory
    matrix.sum_duplicates()
    return matrix


def _pick(path: Path, arrays: dict[str, np.ndarray], keys: Sequence[str]) -> str:
    known = [key for key in keys if key in arrays]
    if known or len(arrays) == 1:
        return known[0] if known else next(iter(arrays))
    raise ValueError(
        f"{path} must hold one array, or one named {' or '.join(keys)}, got the arrays {', '.join(arrays) or 'none'}"
    )


def _read_csv(path: Path) -> np.ndarray:
    try:
        with open(path, encoding="utf-8-sig") as file:
            header = not any(map(_is_number, file.readline().split(",")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no lines is said by whoever checks the shape
            return np.loadtxt(
                path,
                delimiter=",",
                comments=None,
                quotechar='"',
                encoding="utf-8-sig",
                ndmin=2,
                skiprows=int(header),
            )
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error
    except ValueError as error:
        problem = _first_problem(path, header) or error
        raise ValueError(f"{path} must hold comma-separated numbers, as many a line: {problem}") from error


def _first_problem(path: Path, header: bool) -> str | None:
    """Says where numpy stopped, as it counts neither the header nor empty lines, and an editor does."""
    width = 0
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if number <= header or not line.strip():
                continue
            fields = line.strip().split(",")
            width = width or len(fields)
            if len(fields) != width:
                return f"line {number} holds {len(fields)}, the lines above hold {width}"
            if bad := [field for field in fields if not _is_number(field)]:
                return f"line {number} holds {bad[0]!r}"
    return None


def _is_number(field: str) -> bool:
    try:
        float(field.strip().strip('"'))
    except ValueError:
        return False
    return True


def _read_lines(path: Path) -> np.ndarray:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").rstrip().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, error) from error
    for number, row in enumerate(rows, start=1):
        if len(row) != 1 or not row[0].strip():
            raise ValueError(f"{path} must hold one label a line, line {number} holds {','.join(row)!r}")
    fields = [row[0].strip() for row in rows]
    if len(fields) > 1 and not _is_number(fields[0]) and all(map(_is_number, fields[1:])):
        del fields[0]  # a header
    return np.array([float(field) for field in fields] if all(map(_is_number, fields)) else fields)


def _as_labels(y: np.ndarray) -> Labels:
    if y.dtype.kind not in "US":
        return Labels(y, None)
    names, indices = np.unique(y.astype(str), return_inverse=True)
    return Labels(indices.reshape(y.shape), tuple(names.tolist()))
