"""Traces of a run that Perfetto or XProf opens."""

from pathlib import Path

import jax


class Profiler:
    """Traces the second window of each phase: the first one compiles, and all others do what the second one does.

    Args:
        folder: where traces go, one folder a phase; None for no traces.

    Raises:
        ValueError: the folder is a file.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ValueError(f"profile must be a folder, {folder} is a file")
        self._folder = folder
        self._windows: dict[str, int] = {}
        self._is_tracing = False

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def window_ended(self, phase: str) -> None:
        """Starts the trace of a phase after its first window, and ends it after its second one."""
        if self._folder is None:
            return
        self.stop()
        self._windows[phase] = self._windows.get(phase, 0) + 1
        if self._windows[phase] == 1:
            jax.profiler.start_trace(self._folder / phase.replace(" ", "-"), create_perfetto_trace=True)
            self._is_tracing = True

    def stop(self) -> None:
        """Writes the trace that has begun, if one has."""
        if self._is_tracing:
            jax.profiler.stop_trace()
            self._is_tracing = False
