"""Work in progress, saved at intervals, so that a run that died goes on where it was."""

import time
from typing import Any

from dec_jax.runner import interruption
from dec_jax.storage import Store

SECONDS_BETWEEN_SAVES = 30.0


class Checkpoint:
    """The last saved moment of one piece of work.

    Args:
        store: where it is kept.
        name: of the entry.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._saved_at = time.monotonic()

    def load(self, template: Any = None) -> tuple[Any, dict[str, Any]] | None:
        """Tree and metadata; None where there are none, or damaged ones, which a warning says."""
        return self._store.get(self._name, template)

    def metadata(self) -> dict[str, Any] | None:
        """The metadata alone; None where there are none."""
        return self._store.metadata(self._name)

    def is_due(self) -> bool:
        """Whether enough time has passed since the last save, or a signal has asked the process to end."""
        is_time = interruption.is_asked() or time.monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES
        return self._store.folder is not None and is_time

    def save(self, tree: Any, metadata: dict[str, Any]) -> None:
        """Takes the place of the moment before. Where it cannot be written, a warning says so, and the work goes on.

        Raises:
            Interrupted: a signal has asked the process to end.
        """
        self._store.put(self._name, tree, metadata, required=False)
        self._saved_at = time.monotonic()
        interruption.end_if_asked()

    def remove(self) -> None:
        """Forgets it: the work is done."""
        self._store.remove(self._name)
