"""Arrays that are slow to make, kept in files that are checked before use."""

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dec_jax.data.atomic import atomic_write

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """Returns the folder of the cache files: DEC_JAX_CACHE, else dec_jax in the user's cache folder."""
    if folder := os.environ.get("DEC_JAX_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dec_jax"


def cached(name: str, identity: str, build: Callable[[], Arrays]) -> Arrays:
    """Returns the arrays of `build()`, from their cache file where there is a sound one.

    A damaged or stale file is rebuilt, a folder that cannot be written is done without: both with a warning.

    Args:
        name: what the arrays are; a part of the file's name.
        identity: hexadecimal digest of what they are made from; another source has another file.
        build: makes the arrays: names to arrays of any shape, with a plain dtype.

    Returns:
        The arrays by name, equal to the last bit whether they were built or read.
    """
    path = cache_folder() / f"{name}-{identity[:16]}.npz"
    try:
        if os.path.lexists(path):
            return _read(path, identity)
    except Exception as error:  # what numpy and zipfile raise for damaged bytes is not one family
        warnings.warn(f"the cache file {path} is damaged or stale ({error}): rebuilding it", stacklevel=2)
    arrays = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez(file, **arrays, sha256=_digest(identity, arrays))
    except OSError as error:
        warnings.warn(f"going on without a cache: {path} cannot be written ({error})", stacklevel=2)
    return arrays


def _read(path: Path, identity: str) -> Arrays:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    if arrays.pop("sha256").item() != _digest(identity, arrays):
        raise ValueError("its content does not match its checksum")
    return arrays


def _digest(identity: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(identity.encode())
    for key, array in sorted(arrays.items()):
        digest.update(f"|{key}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
