"""Progress of a run's phases: a bar with ETA and current figures in a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class PhaseProgress:
    """Shows on stderr how far each phase is; used as a context manager around all of them.

    Args:
        silent: shows nothing.
    """

    def __init__(self, *, silent: bool = False) -> None:
        console = Console(stderr=True)
        self._lines = not console.is_terminal and not silent
        self._bar = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=silent or self._lines,
        )
        self._task: TaskID | None = None
        self._phase, self._total, self._first, self._done = "", 0, 0, 0
        self._began = self._printed = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Begins a phase of `total` steps at most, `done` of which lie behind."""
        self._phase, self._total, self._first, self._done = phase, total, done, done
        self._began = self._printed = time.monotonic()
        self._task = self._bar.add_task(phase, total=total, completed=done, figures="")
        self._print(f"{phase}: {done:,}/{total:,}")

    def advance(self, done: int, **figures: float) -> None:
        """Shows that `done` steps are behind, with the figures that are known."""
        self._done = done
        text = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
        self._bar.update(self._task, completed=done, figures=text)
        now = time.monotonic()
        if now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            self._print(f"{self._phase}: {done:,}/{self._total:,}  ETA {self._remaining(now)}  {text}")

    def finish(self, text: str = "") -> None:
        """Ends the phase, wherever it stopped."""
        self._bar.update(self._task, total=self._done, completed=self._done)
        seconds = time.monotonic() - self._began
        self._print(f"{self._phase}: done in {seconds:.1f} s{text and f', {text}'}")

    def _remaining(self, now: float) -> str:
        seconds = (now - self._began) * (self._total - self._done) / max(self._done - self._first, 1)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def _print(self, text: str) -> None:
        if self._lines:
            print(text, file=sys.stderr, flush=True)
