"""The data sets that are loaded by name."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

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
NAMES = ("digits", *SOURCES)


def load_named(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Returns the data set of that name, its pixels as uint8 (digits: 0–16, the others: 0–255).

    Args:
        name: one of NAMES.
        data_dir: folder of what TFDS has prepared; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        FileNotFoundError: it is not prepared there, and TensorFlow is not installed.
        OSError: downloading or preparing it failed.
        ValueError: the name is unknown, or the prepared files are damaged.
    """
    check_choice("data set", name, NAMES)
    if name == "digits":
        return _digits()
    pictures = load_pictures(*SOURCES[name], data_dir)
    return Dataset(name, pictures.x, pictures.y, pictures.shape, pictures.class_names)


def _digits() -> Dataset:
    digits = load_digits()
    names = tuple(str(name) for name in digits.target_names)
    return Dataset("digits", digits.data.astype(np.uint8), digits.target.astype(np.int64), (8, 8), names)
