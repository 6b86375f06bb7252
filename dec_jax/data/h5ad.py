"""AnnData files (.h5ad): the matrix X with the names of its rows and columns, and one column of obs as labels."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from dec_jax.data.extras import need
from dec_jax.data.packed import LIMIT, check_unpacked, damaged
from dec_jax.validation import as_csr, check_choice

PROBE = Path(__file__).with_name("h5ad_probe.py")
TIMES = 10  # the size of a file: the memory that its text may take, beside LIMIT
SECONDS = 5  # of a processor, and one more for each MB


class Annotated(NamedTuple):
    """What an .h5ad file holds.

    Attributes:
        x: (n, d), an array or a CSR array.
        ids: (n,) names of the rows, or None.
        feature_names: (d) names of the columns, or None.
        labels: (n,) values of the column of obs that was asked for, or None.
    """

    x: np.ndarray | scipy.sparse.csr_array
    ids: np.ndarray | None
    feature_names: tuple[str, ...] | None
    labels: np.ndarray | None


def read_h5ad(path: Path, label_column: str | None = None) -> Annotated:
    """Returns the matrix X of an .h5ad file and what belongs to it.

    Args:
        path: a file that exists, in the format of anndata 0.7 or newer.
        label_column: a column of obs.

    Raises:
        ImportError: h5py is missing.
        ValueError: it is damaged, holds no X, or no such column.
    """
    h5py = need("h5py", "anndata", "an .h5ad file")
    _check_text(path)
    try:
        with h5py.File(path, "r") as file:
            if "X" not in file:
                raise ValueError(f"{path} must hold the matrix X, got {', '.join(file) or 'nothing'}")
            obs, var = (_member(file, name, path) if name in file else {} for name in ("obs", "var"))
            labels = None
            if label_column is not None:
                check_choice("column in label_column", label_column, [key for key in obs if key != "_index"])
                labels = _column(obs, label_column, path)
            names = _index(var, path)
            return Annotated(
                _matrix(_member(file, "X", path), path),
                _index(obs, path),
                None if names is None else tuple(names.tolist()),
                labels,
            )
    except (OSError, KeyError, TypeError, IndexError, RuntimeError) as error:
        raise damaged(path, error) from error


def _check_text(path: Path) -> None:
    """Lets a process with limits read the text of a file first, in which damage makes HDF5 hang or fill the memory.

    Raises:
        ValueError: it cannot.
    """
    size = path.stat().st_size
    limits = LIMIT + TIMES * size, SECONDS + size // 2**20
    found_here = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-P", str(PROBE), str(path), *map(str, limits)]
    done = subprocess.run(words, env=found_here, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"reading its text ended with status {done.returncode}"]
        raise damaged(path, said[0])


def _member(group: Any, name: str, path: Path) -> Any:
    """A part of a group, once it is known to lie in the file, and to be no larger than a file of its size can hold.

    Raises:
        ValueError: it is a link, lies in another file, or is too large.
    """
    message = f"{path} holds {name!r}, a link or a part of another file: it is not read"
    link = group.get(name, getlink=True)
    if link is None:
        raise damaged(path, f"it lacks {name!r} in {group.name}")
    if type(link).__name__ != "HardLink":
        raise ValueError(message)
    node = group[name]
    is_array = not isinstance(node, Mapping) and hasattr(node, "shape")
    if is_array and (node.external or node.is_virtual):
        raise ValueError(message)
    if is_array:
        check_unpacked(path, (node.size or 0) * node.dtype.itemsize)
    return node


def _matrix(node: Any, path: Path) -> np.ndarray | scipy.sparse.csr_array:
    if not isinstance(node, Mapping) and hasattr(node, "shape"):
        return node[()]
    kind = {"csr_matrix": scipy.sparse.csr_array, "csc_matrix": scipy.sparse.csc_array}[node.attrs["encoding-type"]]
    parts = tuple(_member(node, name, path)[()] for name in ("data", "indices", "indptr"))
    try:
        matrix = as_csr(kind(parts, tuple(map(int, node.attrs["shape"]))), "X")
    except ValueError as error:
        raise damaged(path, error) from error
    matrix.sum_duplicates()
    return matrix


def _index(group: Any, path: Path) -> np.ndarray | None:
    name = getattr(group, "attrs", {}).get("_index", "_index")
    return _column(group, name, path) if name in group else None


def _column(group: Any, name: str, path: Path) -> np.ndarray:
    node = _member(group, name, path)
    if isinstance(node, Mapping) and "values" in node:  # of a nullable type
        values, is_missing = (_member(node, part, path)[()] for part in ("values", "mask"))
        return np.where(is_missing, None, _text(values).astype(object))
    if isinstance(node, Mapping):  # a category: codes, of which −1 is a missing value
        categories = np.append(_text(_member(node, "categories", path)[()]).astype(object), None)
        return categories[_member(node, "codes", path)[()]]
    return _text(node[()])


def _text(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "OS":
        return values
    return np.array([value.decode() if isinstance(value, bytes) else value for value in values], object)
