"""Pretrained parameters by what they depend on: what one trial has trained serves every other trial and sweep."""

import hashlib
import json
import os
import shutil
import uuid
import warnings
from pathlib import Path
from typing import Any

import jax

from dec_jax.autoencoder import Params
from dec_jax.checkpoints import load_tree, read_metadata, save_tree
from dec_jax.data.cache import cache_folder
from experiments.settings import Settings

FORMAT = 1  # another one for every change of the code that changes what pretraining yields

# Every setting on which pretraining depends, and no other.
PRETRAINING_FIELDS = (
    "seed",
    "scaling",
    "hidden",
    "bottleneck",
    "activation",
    "embedding_activation",
    "reconstruction_activation",
    "weight_init",
    "loss",
    "batch_size",
    "unlabelled",
    "layer_wise_steps",
    "dropout",
    "input_dropout",
    "fine_tuning_steps",
    "noise",
    "optimizer",
    "learning_rate",
    "learning_rate_schedule",
    "decay_every",
    "momentum",
    "bias_factor",
    "network",
    "augment_rotation",
    "augment_shift",
    "augment_scale",
    "augment_shear",
    "augment_flip",
    "augment_crop",
    "augment_noise",
    "augment_dropout",
)


def key_of(settings: Settings, fingerprint: str) -> str:
    """SHA-256 of everything that pretrained parameters depend on.

    Args:
        settings: from `plan.resolve`; the fields that are not in `PRETRAINING_FIELDS` are left out.
        fingerprint: of the samples before scaling, from `trial.fingerprint`.
    """
    values = {name: getattr(settings, name) for name in PRETRAINING_FIELDS}
    # Another kind of device adds up in another order: results are the same to the last bit on one kind only.
    made_by = {"format": FORMAT, "jax": jax.__version__, "device": jax.devices()[0].device_kind}
    text = json.dumps({"settings": values, "samples": fingerprint, **made_by}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class PretrainingCache:
    """Pretrained parameters in a folder, one entry a key; an entry is never changed once it is there.

    Args:
        folder: where entries are kept; None for "pretraining" in the cache folder of the data sets.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = cache_folder() / "pretraining" if folder is None else folder.expanduser()
        self._is_writable = True
        self._kept: dict[str, Params] = {}  # what could not be written

    def load(self, key: str, template: Params) -> Params | None:
        """The parameters, numpy arrays in the template's structure, or None where there are none.

        A damaged entry is removed with a warning, and counts as none.
        """
        if key in self._kept:
            return self._kept[key]
        entry = self._folder / key
        if not os.path.lexists(entry):
            return None
        try:
            return load_tree(entry, template)[0]
        except (ValueError, OSError) as error:
            warnings.warn(f"pretraining anew, a cache entry is damaged: {error}", stacklevel=2)
            _remove(entry)
            return None

    def save(self, key: str, params: Params, metadata: dict[str, Any]) -> None:
        """Keeps the parameters, unless another process has done so; where it cannot, in memory, and it warns once.

        Args:
            key: from `key_of`.
            params: a pytree of arrays.
            metadata: what a reader of the folder wants to know, as JSON has it.
        """
        entry = self._folder / key
        # A folder cannot be renamed to one that holds something: of two writers of one entry the first one wins, and
        # a reader never sees it change.
        new = entry.with_name(f".{key}.{uuid.uuid4().hex}.new")
        try:
            save_tree(new, params, metadata)
            new.rename(entry)
        except OSError as error:
            if not entry.is_dir():
                self._kept[key] = params
                self._warn(error)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def metadata(self, key: str) -> dict[str, Any]:
        """What was saved with an entry; nothing where there is none."""
        try:
            return read_metadata(self._folder / key)["metadata"]
        except (ValueError, OSError):
            return {}

    def _warn(self, error: OSError) -> None:
        if self._is_writable:
            warnings.warn(f"going on without a cache: {self._folder} cannot be written ({error})", stacklevel=3)
        self._is_writable = False


def _remove(entry: Path) -> None:
    """Removes the entry as a whole, so that nobody finds a half of it; where it cannot be, it stays."""
    old = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}.old")
    try:
        entry.rename(old)
    except OSError:
        return
    shutil.rmtree(old, ignore_errors=True)
