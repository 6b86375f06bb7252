"""From a name, a file or what is in memory to a data set that can be clustered."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse

from dec_jax.data.dataset import Dataset
from dec_jax.data.encoding import encode, fit_encoding, ids_of
from dec_jax.data.extras import need
from dec_jax.data.files import SAMPLE_SUFFIXES, Content, read_samples, without_index
from dec_jax.data.labels import Labels, as_labels, read_labels
from dec_jax.data.named import NAMES, load_named
from dec_jax.data.options import TableOptions
from dec_jax.data.sentinels import find_sentinels
from dec_jax.data.shapes import flatten
from dec_jax.data.tables import kind_of_file, with_text_names
from dec_jax.validation import as_csr, check_choice, check_samples

if TYPE_CHECKING:
    import pandas as pd


def load(
    name_or_path: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    options: TableOptions | None = None,
) -> Dataset:
    """Returns a data set that can be clustered: finite, two-dimensional and not constant.

    Args:
        name_or_path: one of NAMES, or a file of the user's own: .npy, .npz, .h5ad, .csv and other text tables,
            .parquet, .feather or .xlsx; or a folder of images, whose subfolders are labels where
            `options.label_column` is "folder".
        labels: a file with one label per sample, instead of the data's own labels.
        data_dir: folder of what TFDS has prepared; by default TFDS_DATA_DIR, else ~/tensorflow_datasets. For reuters
            and reuters10k scikit-learn's data folder; by default SCIKIT_LEARN_DATA, else ~/scikit_learn_data.
        options: how a file becomes samples: columns, missing values, the shape of an image.

    Raises:
        TypeError: an argument is not a name or a path, or a file does not hold real numbers.
        FileNotFoundError: there is no such file, or a named data set is not prepared and TensorFlow missing.
        ImportError: the data need a package that is not installed.
        OSError: a file cannot be read, or a named data set could not be downloaded.
        ValueError: the name is unknown, a file is damaged, or its content cannot be clustered.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"data must be a name or a path, got {type(name_or_path).__name__}")
    if name_or_path in NAMES:
        if options not in (None, TableOptions()):
            raise ValueError(f"options of tables need a file of your own, got the data set {name_or_path!r}")
        dataset = load_named(name_or_path, data_dir)
        n = dataset.x.shape[0]
        return dataset if labels is None else _labelled(dataset, read_labels(labels, n), str(labels), n)
    options = options or TableOptions()
    path = _path(name_or_path)
    content = read_samples(path, options)
    if kind_of_file(path) == ".h5ad" or path.expanduser().is_dir():
        options = replace(options, label_column=None)  # it was read
    if labels is None:
        return _dataset(path.name, content, content.labels, options, str(path))
    return _dataset(path.name, content, Path(labels), options, str(path))


def from_frame(x: Any, labels: Any = None, *, options: TableOptions | None = None, name: str = "data") -> Dataset:
    """Returns a data set of what is in memory.

    Args:
        x: a pandas or polars frame; an array or a list of rows; images or series (n, …); or a scipy sparse matrix. A
            frame's index that is more than the numbers of its rows gives the ids.
        labels: (n,), (n, 1) or one-hot (n, k), for scoring only: see `as_labels`.
        options: how a frame becomes samples: columns, missing values, the shape of an image.
        name: of the data set.

    Raises:
        ImportError: the data need a package that is not installed.
        TypeError: the samples are not real numbers.
        ValueError: they cannot be clustered, a column can be used in no way, or the labels do not fit.
    """
    return _dataset(name, _in_memory(x, name), labels, options or TableOptions(), name)


def to_table(x: Any, name: str = "data") -> "pd.DataFrame":
    """Returns a frame, an array (n, d) or a list of rows as a pandas frame with names as strings.

    Raises:
        ImportError: pandas is missing.
        ValueError: two columns have one name, or `x` is not a table.
    """
    pd = need("pandas", "tables", "a table")
    if not isinstance(x, pd.DataFrame):
        x = x.to_pandas() if hasattr(x, "to_pandas") else pd.DataFrame(x)
    return with_text_names(x, name)


def _path(name_or_path: str | os.PathLike[str]) -> Path:
    path = Path(name_or_path)
    if kind_of_file(path) not in SAMPLE_SUFFIXES and not path.expanduser().exists():
        try:
            check_choice("data set", str(path), NAMES)
        except ValueError as error:
            raise ValueError(f"{error}; a {', '.join(SAMPLE_SUFFIXES)} file is accepted too") from None
    return path


def _in_memory(x: Any, name: str) -> Content:
    if scipy.sparse.issparse(x):
        return Content(as_csr(x))
    if isinstance(x, np.ma.MaskedArray):
        x = x.astype(np.float64).filled(np.nan)
    return without_index(to_table(x, name)) if hasattr(x, "columns") else Content(np.asarray(x))


def _dataset(name: str, content: Content, labels: Any, options: TableOptions, shown: str) -> Dataset:
    x = content.x
    table = not isinstance(x, np.ndarray) and not scipy.sparse.issparse(x)
    if not table and _needs_table(x, options):
        x, table = to_table(x, shown), True
        if content.feature_names:
            x = x.set_axis(list(content.feature_names), axis=1)
    if table:
        found = _from_table(name, x, content, options, shown)
    else:
        found = _Found(_from_array(name, x, content, options, shown), x.shape[0], content.ids)
    labels = found.labels if labels is None else labels
    if labels is None:
        return found.dataset
    shown = str(labels) if isinstance(labels, Path) else f"the labels in {shown}"
    read = read_labels(labels, found.n, found.ids) if isinstance(labels, Path) else as_labels(labels, shown)
    return _labelled(found.dataset, read, shown, found.n, found.rows)


def _labelled(dataset: Dataset, labels: Labels, shown: str, n: int, rows: np.ndarray | None = None) -> Dataset:
    """The data set with labels of all n samples, of which it may hold some rows."""
    y = labels.y
    if y is not None and len(y) != n:
        raise ValueError(f"{shown} must hold one label per sample, shape ({n},), got shape {y.shape}")
    y = y if y is None or rows is None else y[rows]
    return replace(dataset, y=y, class_names=labels.class_names, notes=(*dataset.notes, *labels.notes))


def _needs_table(x: Any, options: TableOptions) -> bool:
    """Whether an array is read as a table: for its names, for what is said about columns, or for missing values."""
    if scipy.sparse.issparse(x):
        if options.about_columns:
            raise ValueError(
                "options about columns and missing values need a table or a dense array, got a sparse matrix"
            )
        return False
    if x.dtype.names or (x.dtype.kind == "O" and x.ndim == 2):
        return True
    if x.ndim != 2 or 0 in x.shape:
        return False
    if options.about_columns:
        return True
    with np.errstate(all="ignore"):
        return x.dtype.kind == "f" and bool(np.isnan(x.sum(dtype=np.float64))) and bool(np.isnan(x).any())


def _from_array(name: str, x: Any, content: Content, options: TableOptions, shown: str) -> Dataset:
    notes = content.notes
    image_shape = options.image_shape or content.image_shape
    if isinstance(x, np.ndarray):
        x, image_shape, said = flatten(x, image_shape)
        notes = (*notes, *said)
    x = check_samples(x, shown)
    if scipy.sparse.issparse(x):
        flatten(np.empty((1, x.shape[1]), np.int8), image_shape)  # whether the shape fits
    else:
        notes = (*notes, *find_sentinels(x, content.feature_names))
    return Dataset(name, x, image_shape=image_shape, feature_names=content.feature_names, ids=content.ids, notes=notes)


class _Found(NamedTuple):
    """A data set before its labels are known.

    Attributes:
        dataset: the samples.
        n: rows, those that are left out included.
        ids: (n,) of all rows, or None.
        rows: the ones that are samples; None for all.
        labels: (n,) values of the column of labels, or None.
    """

    dataset: Dataset
    n: int
    ids: np.ndarray | None
    rows: np.ndarray | None = None
    labels: Any = None


def _from_table(name: str, frame: "pd.DataFrame", content: Content, options: TableOptions, shown: str) -> _Found:
    """Returns the samples of a table, and its column of labels."""
    if not len(frame) or not frame.shape[1]:
        raise ValueError(f"{shown} must hold at least one sample and one feature, got shape {frame.shape}")
    try:
        encoding, notes = fit_encoding(frame, options)
        encoded = encode(encoding, frame)
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from error
    x = check_samples(encoded.x, shown)
    ids = encoded.ids
    if ids is None and content.ids is not None:
        ids = content.ids if encoded.rows is None else content.ids[encoded.rows]
    names = encoding.feature_names
    notes = (*content.notes, *notes, *encoded.notes, *find_sentinels(x, names))
    image_shape = flatten(x, options.image_shape).image_shape
    dataset = Dataset(
        name,
        x,
        image_shape=image_shape,
        feature_names=names,
        ids=ids,
        encoding=encoding,
        notes=tuple(dict.fromkeys(notes)),
    )
    labels = frame[options.label_column] if options.label_column else None
    every = ids_of(encoding, frame)
    return _Found(dataset, len(frame), content.ids if every is None else every, encoded.rows, labels)
