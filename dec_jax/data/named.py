"""The data sets that are loaded by name."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

from dec_jax.data import reuters, stl10_hog
from dec_jax.data.dataset import Dataset
from dec_jax.data.prepared import load_pictures
from dec_jax.validation import check_choice


class Source(NamedTuple):
    """Where TensorFlow Datasets has a data set: its name there, and the splits in their order."""

    builder: str
    splits: tuple[str, ...]


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "mnist": Source("mnist", ("train", "test")),
        "mnist-test": Source("mnist", ("test",)),
        "fashion_mnist": Source("fashion_mnist", ("train", "test")),
    }
)
NAMES = ("digits", *SOURCES, stl10_hog.NAME, *reuters.NAMES)
UNLABELLED_NAMES = (stl10_hog.NAME,)


def load_named(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Returns the data set of that name.

    Its samples are pixels as uint8 (digits: 0–16, the others: 0–255), the features of `stl10_hog` as float32, or
    the sparse TF-IDF of `reuters` as float32.

    Args:
        name: one of NAMES.
        data_dir: folder of what TFDS has prepared; by default TFDS_DATA_DIR, else ~/tensorflow_datasets. For the
            names of reuters, scikit-learn's; by default SCIKIT_LEARN_DATA, else ~/scikit_learn_data.

    Raises:
        FileNotFoundError: it is not prepared there, and TensorFlow is not installed.
        ImportError: the name is stl10-hog, and scikit-image is not installed.
        OSError: downloading or preparing it failed.
        ValueError: the name is unknown, or the files are damaged.
    """
    check_choice("data set", name, NAMES)
    if name == "digits":
        return _digits()
    if name == stl10_hog.NAME:
        return stl10_hog.load_labelled(data_dir)
    if name in reuters.NAMES:
        return reuters.load_reuters(name, data_dir)
    pictures = load_pictures(*SOURCES[name], data_dir)
    return Dataset(name, pictures.x, pictures.y, pictures.shape, pictures.class_names)


def load_unlabelled(name: str, data_dir: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Returns the samples that come with a data set without labels, for pretraining and never for clustering.

    Args:
        name: one of UNLABELLED_NAMES.
        data_dir: as for `load_named`.

    Returns:
        (n, d) float32, with the features of `load_named(name)`; for stl10-hog (100,000, 1428), which is 571 MB.

    Raises:
        FileNotFoundError, ImportError, OSError, ValueError: as for `load_named`.
    """
    check_choice("data set with unlabelled samples", name, UNLABELLED_NAMES)
    return stl10_hog.load_unlabelled(data_dir)


def _digits() -> Dataset:
    digits = load_digits()
    names = tuple(str(name) for name in digits.target_names)
    return Dataset("digits", digits.data.astype(np.uint8), digits.target.astype(np.int64), (8, 8), names)
