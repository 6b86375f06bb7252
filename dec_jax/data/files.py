"""A user's own samples, from a file of any kind, before anything is decided about them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse

from dec_jax.data.archives import read_archive
from dec_jax.data.h5ad import read_h5ad
from dec_jax.data.image_folder import read_image_folder
from dec_jax.data.options import TableOptions
from dec_jax.data.tables import BINARY_SUFFIXES, PACKED_SUFFIXES, TEXT_SUFFIXES, kind_of_file, read_table

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_SUFFIXES = (".npy", ".npz", ".h5ad", *TEXT_SUFFIXES, *BINARY_SUFFIXES)


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        x: an array of any shape, a CSR array, or a table with names as strings.
        labels: as they were stored, or None.
        ids: (n,) what names the samples, or None.
        id_name: what the ids are called, or None.
        feature_names: (d), or None; a table has its own.
        notes: what was taken for what, one line each.
        image_shape: of one sample, where the file says it; None leaves it to the shape of `x`.
    """

    x: "np.ndarray | scipy.sparse.csr_array | pd.DataFrame"
    labels: Any = None
    ids: np.ndarray | None = None
    id_name: str | None = None
    feature_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None


def read_samples(path: str | os.PathLike[str], options: TableOptions | None = None) -> Content:
    """Returns what a file of samples holds; its shape and values are for the caller to check.

    Accepted are .npy and .npz (see `archives`), .h5ad, text tables (see `tables`), Parquet, Feather and Excel, and
    folders of images.

    Args:
        path: the file.
        options: `part` and `label_column` are read here.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: what the kind of file needs is missing.
        TypeError: it holds Python objects.
        ValueError: its kind is unknown, it is damaged, or it does not say what the samples are.
    """
    options = options or TableOptions()
    path = Path(path).expanduser()
    kind = kind_of_file(path)
    if path.is_dir() and kind not in SAMPLE_SUFFIXES:
        images = read_image_folder(path, options.label_column)
        return Content(images.x, images.labels, images.ids, notes=images.notes, image_shape=images.x.shape[1:])
    if kind not in SAMPLE_SUFFIXES:
        accepted = f"{', '.join(SAMPLE_SUFFIXES)}, and text files packed as {', '.join(PACKED_SUFFIXES)}"
        raise ValueError(f"unknown kind of data file {str(path)!r} (accepted: {accepted}, and folders of images)")
    if not path.is_file():
        raise FileNotFoundError(f"data file {str(path)!r} does not exist")
    if kind in (".npy", ".npz"):
        archive = read_archive(path, options.part)
        return Content(archive.x, archive.y, notes=archive.notes)
    if kind == ".h5ad":
        found = read_h5ad(path, options.label_column)
        return Content(found.x, found.labels, found.ids, feature_names=found.feature_names)
    table = read_table(path)
    return without_index(table.frame)._replace(notes=table.notes)


def without_index(frame: "pd.DataFrame", *, distinct: bool = True) -> Content:
    """Returns a frame as content: an index that is more than the numbers of its rows gives the ids.

    Args:
        frame: with names as strings.
        distinct: whether an index that repeats a value gives none.
    """
    index = frame.index
    counts = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1 and index.name is None
    frame = frame.reset_index(drop=True)
    if counts or (distinct and not index.is_unique):
        return Content(frame)
    return Content(frame, ids=index.to_numpy(), id_name=None if index.name is None else str(index.name))
