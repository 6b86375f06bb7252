"""Data: named data sets, a user's own files, and the rules that scale their features."""

import os
from dataclasses import replace
from pathlib import Path

from dec_jax.data.dataset import Dataset
from dec_jax.data.files import SAMPLE_SUFFIXES, read_labels, read_samples
from dec_jax.data.named import NAMES, UNLABELLED_NAMES, load_named, load_unlabelled
from dec_jax.data.scaling import RULES, Scaling, apply_scaling, default_rule, fit_scaling
from dec_jax.validation import check_choice, check_labels, check_samples

__all__ = [
    "NAMES",
    "RULES",
    "UNLABELLED_NAMES",
    "Dataset",
    "Scaling",
    "apply_scaling",
    "default_rule",
    "fit_scaling",
    "load",
    "load_unlabelled",
]


def load(
    name_or_path: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Returns a data set that can be clustered: finite, two-dimensional and not constant.

    Args:
        name_or_path: one of NAMES, or a .npy, .npz or .csv file of the user's own.
        labels: a .npy, .npz, .csv or .txt file, one label per sample, instead of the data's own labels.
        data_dir: folder of what TFDS has prepared; by default TFDS_DATA_DIR, else ~/tensorflow_datasets. For reuters
            and reuters10k scikit-learn's data folder; by default SCIKIT_LEARN_DATA, else ~/scikit_learn_data.

    Raises:
        TypeError: an argument is no name or path, or a file holds no real numbers.
        FileNotFoundError: there is no such file, or a named data set is not prepared and TensorFlow missing.
        ImportError: a named data set needs a package that is not installed.
        OSError: a file cannot be read, or a named data set could not be downloaded.
        ValueError: the name is unknown, a file is damaged, or its content cannot be clustered.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"data must be a name or a path, got {type(name_or_path).__name__}")
    dataset = load_named(name_or_path, data_dir) if name_or_path in NAMES else _load_file(name_or_path)
    if labels is None:
        return dataset
    y, class_names = read_labels(labels)
    return replace(dataset, y=check_labels(y, dataset.x.shape[0], str(labels)), class_names=class_names)


def _load_file(name_or_path: str | os.PathLike[str]) -> Dataset:
    path = Path(name_or_path)
    if path.suffix.lower() not in SAMPLE_SUFFIXES and not path.expanduser().exists():
        try:
            check_choice("data set", str(path), NAMES)
        except ValueError as error:
            raise ValueError(f"{error}; a {', '.join(SAMPLE_SUFFIXES)} file is accepted too") from None
    x, found = read_samples(path)
    check_samples(x, str(path))
    if found is None:
        return Dataset(path.name, x)
    y = check_labels(found.y, x.shape[0], f"the labels in {path}")
    return Dataset(path.name, x, y, class_names=found.class_names)
