"""Labelled pictures that TensorFlow Datasets has prepared, or features of them, read without TensorFlow."""

import contextlib
import hashlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from dec_jax.data.cache import Arrays, cached
from dec_jax.data.extras import need
from dec_jax.data.packed import first_line
from dec_jax.data.progress import in_batches

BATCH = 1000  # pictures decoded between two updates of the progress bar


class Features(NamedTuple):
    """What is kept of each picture in place of its pixels.

    Attributes:
        name: a part of the cache file's name: what is computed in another way has another name.
        size: number of features.
        dtype: what they are kept in.
        compute: one picture (height, width, channels) uint8 to (size,).
    """

    name: str
    size: int
    dtype: type
    compute: Callable[[np.ndarray], np.ndarray]


class Pictures(NamedTuple):
    """Decoded pictures of one or more splits.

    Attributes:
        x: (n, pixels) uint8, or (n, size) features in their dtype.
        y: (n,) int64.
        shape: (height, width) of one picture.
        class_names: of the labels 0, 1, …
    """

    x: np.ndarray
    y: np.ndarray
    shape: tuple[int, ...]
    class_names: tuple[str, ...]


def load_pictures(
    name: str,
    splits: tuple[str, ...],
    data_dir: str | os.PathLike[str] | None = None,
    features: Features | None = None,
) -> Pictures:
    """Returns the pictures of the splits one after the other, decoded once and cached from then on.

    Where features are asked for, pictures are read as a stream: no more than BATCH of them are held at a time.

    Args:
        name: the name TensorFlow Datasets has for them.
        splits: names of the splits.
        data_dir: folder of the prepared data sets; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.
        features: what is kept of a picture; its pixels by default.

    Raises:
        FileNotFoundError: they are not prepared there, and TensorFlow, which could do it, is not installed.
        OSError: downloading or preparing them failed.
        ValueError: the prepared files are damaged, or not in the array_record format.
    """
    tfds = need("tensorflow_datasets", "datasets", f"the data set {name}")

    # TFDS looks at the variable only once, when it is imported.
    folder = os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    with _reading(name, folder):
        builder = tfds.builder(name, data_dir=folder)
        prepared = builder.is_prepared()
    if not prepared:
        _prepare(builder, folder)
    parts = [_load_split(builder, split, features) for split in splits]
    info = builder.info.features
    return Pictures(
        x=np.concatenate([part["x"] for part in parts]),
        y=np.concatenate([part["y"] for part in parts]),
        shape=info["image"].shape[:2],
        class_names=tuple(info["label"].names),
    )


@contextlib.contextmanager
def _reading(name: str, folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps back the notes of TFDS on decoders and folders, and makes one error of all that it may raise."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:  # TFDS and array_record have no family of errors for damaged files
        raise ValueError(
            f"the prepared files of {name} in {folder} cannot be read: they are damaged, or not in the "
            f"array_record format ({first_line(error)}); delete them there and prepare them again"
        ) from error
    finally:
        logger.setLevel(level)


def _prepare(builder: Any, folder: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise FileNotFoundError(
            f"{builder.name} is not prepared in {folder}: point TFDS_DATA_DIR at a folder that holds it in "
            'the array_record format, or have it prepared there: pip install "dec_jax[tensorflow]"'
        )
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # the network, the disk or TFDS itself: each has its own errors
        raise OSError(
            f"{builder.name} could not be downloaded and prepared in {folder}: {first_line(error)}"
        ) from error


def _load_split(builder: Any, split: str, features: Features | None) -> Arrays:
    with _reading(builder.name, builder.data_path):
        source = builder.as_data_source(split)
        identity = _digest(builder.info.splits[split].filepaths)

    def decode() -> Arrays:
        with _reading(builder.name, builder.data_path):
            return _decode(source, features or _pixels(source), f"{builder.name} {split}: decoding")

    name = f"{builder.name}-{builder.version}-{split}"
    return cached(f"{name}-{features.name}" if features else name, identity, decode)


def _digest(paths: list[os.PathLike[str]]) -> str:
    """Identifies files by their content: neither their folder nor their dates say what is in them."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _pixels(source: Any) -> Features:
    return Features("pixels", int(np.prod(source.dataset_info.features["image"].shape)), np.uint8, np.ravel)


def _decode(source: Any, features: Features, description: str) -> Arrays:
    x, y = np.empty((len(source), features.size), features.dtype), np.empty(len(source), np.int64)
    for batch in in_batches(len(source), BATCH, description):
        for i, example in zip(batch, source.__getitems__(batch), strict=True):
            x[i], y[i] = features.compute(example["image"]), example["label"]
    return {"x": x, "y": y}
