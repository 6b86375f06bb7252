"""Folders that hold arrays and what belongs to them: written whole or not at all, checked before they are used."""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.data.scaling import Scaling
from dec_jax.losses import KERNELS
from dec_jax.trained_model import TrainedModel

FORMAT = 1
MODELS = {model.__name__: model for model in (Autoencoder, ConvolutionalAutoencoder)}
METADATA_FILE = "metadata.json"
ARRAYS_FOLDER = "arrays"
ARRAYS_FILE = "arrays.npz"


def save_tree(folder: str | os.PathLike[str], tree: Any, metadata: dict[str, Any]) -> None:
    """Writes a pytree of arrays (with orbax) and JSON metadata to a folder, which takes the place of a previous one.

    Raises:
        OSError: the folder cannot be written; a previous one stays as it was.
    """
    folder = Path(folder).absolute()
    arrays = _named_leaves(tree)
    text = json.dumps({"format": FORMAT, "digest": _digest(arrays, metadata), "metadata": metadata}, indent=1)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.mkdir()
        (temporary / METADATA_FILE).write_text(text)
        _write_arrays(temporary, arrays)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_tree(folder: str | os.PathLike[str], template: Any = None) -> tuple[Any, dict[str, Any]]:
    """Reads what `save_tree` wrote.

    Args:
        folder: the folder.
        template: a pytree of the same structure; without it the leaves come back as nested dicts.

    Returns:
        The pytree with numpy arrays as leaves, and the metadata.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no such folder, of another version, damaged, or does not fit the template.
    """
    folder = Path(folder).absolute()
    metadata = read_metadata(folder)
    arrays = _read_arrays(folder)
    if _digest(arrays, metadata["metadata"]) != metadata["digest"]:
        raise ValueError(f"{folder} is damaged: its content does not match its digest")
    if template is None:
        return _nested(arrays), metadata["metadata"]
    names = list(_named_leaves(template))
    if sorted(names) != sorted(arrays):
        raise ValueError(f"{folder} holds other arrays than expected: {sorted(set(names) ^ set(arrays))}")
    leaves = [arrays[name] for name in names]
    return jax.tree.unflatten(jax.tree.structure(template), leaves), metadata["metadata"]


def read_metadata(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata file of a folder: format, digest and metadata.

    Raises:
        FileNotFoundError, ValueError: as in `load_tree`.
    """
    path = Path(folder) / METADATA_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no model or checkpoint in {folder}: {METADATA_FILE} is missing")
    try:
        content = json.loads(path.read_text())
        found = content["format"], content["digest"], content["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if found[0] != FORMAT:
        raise ValueError(f"{path} has format {found[0]}, this version reads format {FORMAT}")
    return content


def save_model(folder: str | os.PathLike[str], trained: TrainedModel) -> None:
    """Writes a trained model to a folder: configuration, parameters, centroids, scaling and versions.

    Raises:
        TypeError: the network is none of `MODELS`, or the kernel none of `losses.KERNELS`: these are the ones that
            `load_model` can make again.
        OSError: the folder cannot be written; a previous one stays as it was.
    """
    kind = type(trained.model).__name__
    if kind not in MODELS:
        raise TypeError(f"model must be one of {', '.join(MODELS)} to be saved, got {kind}")
    kernel = next((name for name, kernel in KERNELS.items() if kernel is trained.assignment.kernel.func), None)
    if kernel is None:
        raise TypeError(f"kernel must be one of {', '.join(KERNELS)} to be saved, got {trained.assignment.kernel.func}")
    names = [field.name for field in fields(trained.model) if field.name not in ("parent", "name")]
    metadata = {
        "kind": "model",
        "network": kind,
        "model": {name: getattr(trained.model, name) for name in names},
        "scaling": trained.scaling.to_json(),
        "alpha": float(trained.assignment.alpha),
        "kernel": kernel,
        "versions": {name: version(name) for name in ("dec_jax", "jax", "flax", "optax", "numpy")},
    }
    save_tree(folder, {"params": trained.params, "centroids": trained.centroids}, metadata)


def load_model(folder: str | os.PathLike[str]) -> TrainedModel:
    """Reads what `save_model` wrote.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder is damaged, of another version, or holds something else than a model.
    """
    arrays, metadata = load_tree(folder)
    if metadata.get("kind") != "model":
        raise ValueError(f"{folder} holds no model but a checkpoint of an unfinished run")
    arrays = jax.tree.map(jax.numpy.asarray, arrays)
    return TrainedModel(
        model=MODELS[metadata.get("network", "Autoencoder")](**metadata["model"]),
        params=arrays["params"],
        centroids=arrays["centroids"],
        scaling=Scaling.from_json(metadata["scaling"]),
        assignment=Assignment(metadata["alpha"], kernel=KERNELS[metadata.get("kernel", "students_t")]),
    )


def _named_leaves(tree: Any) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def _nested(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = array
    return tree


def _digest(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
    """The reader and writer of arrays; what fails is said by the error that is raised, not by its log as well."""
    import orbax.checkpoint as ocp
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    # Of many processes each one has folders of its own, and waits for no other.
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"process_{process}"
    )
    try:
        with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    finally:
        logging.set_verbosity(verbosity)


def _write_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    # In a program of many processes orbax writes what they share, and refuses the arrays of one of them.
    if jax.process_count() > 1:
        np.savez(folder / ARRAYS_FILE, **arrays)
        return
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(folder / ARRAYS_FOLDER, arrays)
    except ValueError as error:
        if "os_error_code" not in str(error):
            raise
        # What the operating system said, such as "No space left on device", stands at the end.
        raise OSError(f"{folder} cannot be written: {str(error).rsplit(': ', 1)[-1]}") from error


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    try:
        if (folder / ARRAYS_FILE).exists():
            with np.load(folder / ARRAYS_FILE, allow_pickle=False) as arrays:
                return dict(arrays)
        with _checkpointer() as checkpointer:
            return dict(checkpointer.restore(folder / ARRAYS_FOLDER))
    except Exception as error:  # the reader has no error type of its own for damaged files
        raise ValueError(f"{folder} is damaged: its arrays cannot be read ({type(error).__name__})") from error


def _replace(new: Path, folder: Path) -> None:
    """Puts the folder `new` where `folder` is; should the process die in between, one of them is whole."""
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)
