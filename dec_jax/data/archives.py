"""Arrays from numpy files: .npy, mapped where it is large, .npz with its parts, and scipy's sparse .npz."""

import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

from dec_jax.data.packed import check_zip, damaged
from dec_jax.validation import as_csr

SAMPLE_KEYS = ("x", "X", "data", "images", "features")
LABEL_KEYS = ("y", "Y", "labels", "label", "targets", "target")
MAPPED_BYTES = 2**28
PARTS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
SAMPLE_WORDS = ("x", "data", "images", "image", "samples", "features")
LABEL_WORDS = ("y", "label", "labels", "target", "targets")

Array = np.ndarray | scipy.sparse.csr_array


class Archive(NamedTuple):
    """Samples of a numpy file.

    Attributes:
        x: as they were stored.
        y: labels as they were stored, or None.
        notes: what was taken, one line each.
    """

    x: Array
    y: np.ndarray | None
    notes: tuple[str, ...]


def read_archive(path: Path, part: str = "all", mapped: bool | None = None) -> Archive:
    """Returns the samples of a .npy or .npz, and its labels where it holds some.

    An .npz may hold one array; x, X or data and perhaps y or labels; x_train, y_train, x_test and y_test, also with
    other words for them, which become one data set; or a matrix of scipy's save_npz. Arrays of Python objects are
    never loaded, and do not matter where others can be used.

    Args:
        path: a file that exists.
        part: "all", "train" or "test", of an archive with such parts.
        mapped: whether a .npy is mapped and not read; None for where it is large.

    Raises:
        TypeError: what is needed holds Python objects.
        ValueError: it is damaged, does not say which array holds the samples, or does not have the part.
    """
    arrays = read_arrays(path, mapped)
    pieces = _pieces(arrays)
    if pieces and ("train" in pieces or not any(key in arrays for key in SAMPLE_KEYS)):
        return _joined(path, arrays, pieces, part)
    if part != "all":
        raise ValueError(f"part={part} needs an archive with x_train and x_test, {path} holds {_names(arrays)}")
    key = pick(path, arrays, SAMPLE_KEYS)
    label_key = next((name for name in LABEL_KEYS if name in arrays and name != key), None)
    return Archive(_numbers(path, key, arrays), label_key and _numbers(path, label_key, arrays), ())


def read_arrays(path: Path, mapped: bool | None = None) -> dict[str, Array | None]:
    """Returns the arrays of an .npz by name, None for one of Python objects; that of a .npy has the name ""."""
    if mapped is None:
        mapped = path.suffix.lower() == ".npy" and path.stat().st_size > MAPPED_BYTES
    with open(path, "rb") as file:
        try:
            if mapped:
                return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
            if zipfile.is_zipfile(file):
                check_zip(path, file)
            file.seek(0)
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"": _sound(content)}
            if {"format", "shape"} <= set(content):
                return {"": _read_sparse(path)}
            return {key: _member(content, key) for key in content}
        except Exception as error:  # what numpy, scipy and zipfile raise for damaged bytes is not one family
            if _is_of_objects(error):
                return {"": None}
            raise damaged(path, error) from error


def _member(content: Mapping[str, np.ndarray], key: str) -> np.ndarray | None:
    try:
        return _sound(content[key])
    except ValueError as error:
        if _is_of_objects(error):
            return None
        raise


def _is_of_objects(error: Exception) -> bool:
    """Whether numpy refuses an array because it is of Python objects, by reading it or by mapping it."""
    return any(words in str(error) for words in ("Object arrays", "Python objects"))


def _sound(array: np.ndarray) -> np.ndarray:
    """Returns the array once its text is known to be text, which numpy does not check.

    Raises:
        ValueError: it holds characters that do not exist.
    """
    for name in array.dtype.names or ():
        _sound(array[name])
    if array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1).view(np.uint32)
        if codes.max(initial=0) > sys.maxunicode:
            raise ValueError("its text holds characters that do not exist")
    return array


def _read_sparse(path: Path) -> scipy.sparse.csr_array:
    matrix = as_csr(scipy.sparse.load_npz(path))
    matrix.sum_duplicates()
    return matrix


def pick(path: Path, arrays: Mapping[str, Array | None], keys: Sequence[str]) -> str:
    """Returns which array is meant: the first of `keys` that is there, or the only array that is not of objects.

    Raises:
        ValueError: there is more than one, or none.
    """
    known = [key for key in keys if key in arrays]
    usable = [key for key, array in arrays.items() if array is not None] or list(arrays)
    if known or len(usable) == 1:
        return known[0] if known else usable[0]
    raise ValueError(
        f"{path} must hold one array, or one named {' or '.join(keys)}, got the arrays {_names(arrays) or 'none'}"
    )


def _numbers(path: Path, key: str, arrays: Mapping[str, Array | None]) -> Array:
    array = arrays[key]
    if array is None:
        name = f" in {key!r}" if key else ""
        raise TypeError(
            f"{path} must hold numbers, got Python objects (dtype object){name}: "
            "they are not loaded, as this can run code; save them with a dtype, as by x.astype(float)"
        )
    return array


def _names(arrays: Mapping[str, Array | None]) -> str:
    return ", ".join(arrays)


def _pieces(arrays: Mapping[str, Array | None]) -> dict[str, dict[str, str]]:
    """Returns for each part of the archive its arrays: {"train": {"x": "x_train", "y": "y_train"}, …}."""
    pieces: dict[str, dict[str, str]] = {}
    for key in arrays:
        words = set(re.split(r"[_\-. ]", key.lower()))
        part = [PARTS[word] for word in words if word in PARTS]
        role = ["x" for word in words if word in SAMPLE_WORDS] or ["y" for word in words if word in LABEL_WORDS]
        if len(part) == 1 and role and len(words) == 2:
            pieces.setdefault(part[0], {}).setdefault(role[0], key)
    return {part: pieces[part] for part in ("train", "val", "test") if "x" in pieces.get(part, ())}


def _joined(
    path: Path, arrays: Mapping[str, Array | None], pieces: Mapping[str, Mapping[str, str]], part: str
) -> Archive:
    if part != "all" and part not in pieces:
        raise ValueError(f"part={part} is not in {path} (accepted: all, {', '.join(pieces)})")
    used = {name: piece for name, piece in pieces.items() if part in ("all", name)}
    x = [_numbers(path, piece["x"], arrays) for piece in used.values()]
    if len({array.shape[1:] for array in x}) > 1:
        shapes = ", ".join(f"{piece['x']} {arrays[piece['x']].shape}" for piece in used.values())
        raise ValueError(
            f"{path} must hold parts with samples of one shape, got {shapes}; part=train takes one of them"
        )
    labelled = all("y" in piece for piece in used.values())
    y = _joined_labels(path, arrays, list(used.values())) if labelled else None
    sizes = " and ".join(f"{piece['x']} ({len(array)})" for piece, array in zip(used.values(), x, strict=True))
    note = (
        f"{path.name}: samples are {sizes}{', with their labels' if labelled else ''} (part: all, {', '.join(pieces)})"
    )
    return Archive(np.concatenate(x), y, (note,))


def _joined_labels(path: Path, arrays: Mapping[str, Array | None], pieces: Sequence[Mapping[str, str]]) -> np.ndarray:
    """The labels of the parts, one after the other.

    Raises:
        ValueError: there are more or fewer of them than samples of their part, or parts have labels of several kinds.
    """
    y = [_numbers(path, piece["y"], arrays) for piece in pieces]
    for piece, labels in zip(pieces, y, strict=True):
        if labels.ndim == 0 or len(labels) != len(arrays[piece["x"]]):
            x_shape, y_shape = arrays[piece["x"]].shape, labels.shape
            raise ValueError(
                f"{path} must hold one label per sample, got {piece['x']} {x_shape}, {piece['y']} {y_shape}"
            )
    if len({(labels.shape[1:], labels.dtype.kind in "SUO") for labels in y}) > 1:
        kinds = ", ".join(
            f"{piece['y']} {labels.shape} {labels.dtype}" for piece, labels in zip(pieces, y, strict=True)
        )
        raise ValueError(f"{path} must hold labels of one kind in all parts, got {kinds}; part=train takes one of them")
    return np.concatenate(y)
