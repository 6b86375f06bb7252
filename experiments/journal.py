"""Work in progress, kept in a folder at intervals, so that a run that died goes on where it was."""

import json
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

from dec_jax.checkpoints import load_tree, save_tree
from dec_jax.data.atomic import atomic_write

SECONDS_BETWEEN_SAVES = 30.0
IDENTITY_FILE = "identity.json"


class Journal:
    """Named entries, each a pytree of arrays with JSON metadata, of one unfinished run.

    Args:
        folder: where entries are kept; None keeps nothing.
        identity: what makes two runs the same one; a run only goes on from entries of its own.
        overwrite: whether entries of another run may be thrown away.

    Raises:
        ValueError: the folder holds entries of another run, and `overwrite` is not set.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path | None, identity: dict[str, Any], *, overwrite: bool = False) -> None:
        self._folder = folder
        self._saved_at = time.monotonic()
        if folder is None:
            return
        text = json.dumps(identity, sort_keys=True)
        if _belongs_to_another(folder, json.loads(text), overwrite):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / IDENTITY_FILE, "w") as file:
            file.write(text)

    def load(self, name: str, template: Any = None) -> tuple[Any, dict[str, Any]] | None:
        """The entry's tree and metadata, or None where there is none; one that is damaged counts as none."""
        if self._folder is None or not (self._folder / name).exists():
            return None
        try:
            return load_tree(self._folder / name, template)
        except (ValueError, FileNotFoundError) as error:
            warnings.warn(f"this part of the run starts anew: {error}", stacklevel=2)
            return None

    def is_due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return self._folder is not None and time.monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES

    def save(self, name: str, tree: Any, metadata: dict[str, Any]) -> None:
        """Writes an entry, which takes the place of the one before."""
        if self._folder is not None:
            save_tree(self._folder / name, tree, metadata)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Forgets the run: it has been finished."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _belongs_to_another(folder: Path, identity: dict[str, Any], overwrite: bool) -> bool:
    """Whether the folder holds what is to be thrown away: entries of another run, or of one that nobody knows.

    Raises:
        ValueError: it does, and `overwrite` is not set.
    """
    try:
        found = json.loads((folder / IDENTITY_FILE).read_text())
    except FileNotFoundError:
        return folder.exists()  # removing it was cut short
    except ValueError:
        found = None
    if found == identity:
        return False
    if not overwrite:
        difference = _difference(found, identity) if isinstance(found, dict) else f"its {IDENTITY_FILE} is damaged"
        raise ValueError(
            f"{folder.parent} holds an unfinished run with other settings ({difference}); "
            "repeat its command to finish it, or add --overwrite to throw it away"
        )
    return True


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    shown = [f"{name} {found.get(name)} instead of {wanted.get(name)}" for name in names[:3]]
    return ", ".join(shown + ["…"] * (len(names) > 3))
