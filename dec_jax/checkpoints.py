"""Folders that hold a trained model: written whole or not at all, checked before they are used."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.convolutional import ConvolutionalAutoencoder, ConvolutionalEncoder
from dec_jax.data import Encoding, Scaling
from dec_jax.data.extras import need
from dec_jax.identity import versions
from dec_jax.losses import KERNELS
from dec_jax.storage import SUFFIX, Arrays, Store, assemble, read_tree
from dec_jax.trained_model import TrainedModel

MODELS = {model.__name__: model for model in (Autoencoder, ConvolutionalAutoencoder, ConvolutionalEncoder)}
ENTRY = "model"
# What version 0.1 wrote.
OLD_METADATA, OLD_ARRAYS, OLD_FORMAT = "metadata.json", "arrays", 1


def save_model(folder: str | os.PathLike[str], trained: TrainedModel) -> None:
    """Writes a trained model to a folder: configuration, parameters, centroids, scaling and versions.

    Raises:
        TypeError: the network is none of `MODELS`, or the kernel none of `losses.KERNELS`: these are the ones that
            `load_model` can make again.
        OSError: the folder cannot be written; a previous model stays as it was.
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
        "encoding": trained.encoding and trained.encoding.to_json(),
        "versions": versions(),
    }
    Store(folder).put(ENTRY, {"params": trained.params, "centroids": trained.centroids}, metadata)


def load_model(folder: str | os.PathLike[str]) -> TrainedModel:
    """Reads what `save_model` wrote, in this version or in 0.1.

    Nothing that the folder says is imported or executed.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder is damaged, of another version, or holds something else than a model.
        OSError: it cannot be read.
    """
    folder = Path(folder)
    if (folder / (ENTRY + SUFFIX)).exists():
        arrays, metadata = read_tree(folder / (ENTRY + SUFFIX))
    elif (folder / OLD_METADATA).exists():
        arrays, metadata = _read_old(folder.absolute())
    else:
        raise FileNotFoundError(f"no model in {folder}: {ENTRY}{SUFFIX} is missing")
    if not isinstance(metadata, dict) or metadata.get("kind") != "model":
        raise ValueError(f"{folder} does not hold a model but something else")
    try:
        arrays = jax.tree.map(jax.numpy.asarray, arrays)
        return TrainedModel(
            model=MODELS[metadata.get("network", "Autoencoder")](**metadata["model"]),
            params=arrays["params"],
            centroids=arrays["centroids"],
            scaling=Scaling.from_json(metadata["scaling"]),
            assignment=Assignment(metadata["alpha"], kernel=KERNELS[metadata.get("kernel", "students_t")]),
            encoding=Encoding.from_json(encoding) if (encoding := metadata.get("encoding")) else None,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder} does not hold a model that this version knows: {error!r}") from error


def _read_old(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The tree and metadata of a folder of version 0.1; ValueError where it is damaged."""
    path = folder / OLD_METADATA
    try:
        content = json.loads(path.read_bytes())
        found, digest, metadata = content["format"], content["digest"], content["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if found != OLD_FORMAT:
        raise ValueError(f"{path} has format {found}, this version reads format {OLD_FORMAT}")
    arrays = _read_old_arrays(folder)
    if _old_digest(arrays, metadata) != digest:
        raise ValueError(f"{folder} is damaged: its content does not match its digest")
    return assemble(arrays), metadata


def _old_digest(arrays: Arrays, metadata: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read_old_arrays(folder: Path) -> Arrays:
    try:
        if (folder / OLD_ARRAYS).with_suffix(SUFFIX).exists():  # written by one of several processes
            with np.load((folder / OLD_ARRAYS).with_suffix(SUFFIX), allow_pickle=False) as arrays:
                return dict(arrays)
        with _quiet_checkpointer() as checkpointer:
            return dict(checkpointer.restore(folder / OLD_ARRAYS))
    except Exception as error:  # the reader has no error type of its own for damaged files
        raise ValueError(f"{folder} is damaged: its arrays cannot be read ({type(error).__name__})") from error


@contextlib.contextmanager
def _quiet_checkpointer() -> Iterator[Any]:
    """Reads arrays of version 0.1; what fails is said by the error that is raised, not by its log as well."""
    ocp = need("orbax.checkpoint", "orbax", "a model of version 0.1")
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
