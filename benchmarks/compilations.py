"""What JAX compiles while a block runs: how many programs, and for how long."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax

COMPILE = "/jax/core/compile/"
BACKEND_COMPILE = COMPILE + "backend_compile_duration"


@dataclass
class Compilations:
    """What was seen so far.

    Attributes:
        programs: names of the compiled programs, one entry a compilation.
        spans: (begin, end) of all tracing, lowering and compiling, seconds.
    """

    programs: list[str] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of compiled programs."""
        return len(self.programs)

    @property
    def seconds(self) -> float:
        """Length of the union of all spans: a function traced inside another one counts once."""
        total, reached = 0.0, float("-inf")
        for begin, end in sorted(self.spans):
            total += max(0.0, end - max(begin, reached))
            reached = max(reached, end)
        return total


@contextmanager
def watch() -> Iterator[Compilations]:
    """Watches JAX's own events while the block runs."""
    seen = Compilations()

    def listen(event: str, duration: float, **details: str | int) -> None:
        if event.startswith(COMPILE):
            now = time.perf_counter()
            seen.spans.append((now - duration, now))
        if event == BACKEND_COMPILE:
            seen.programs.append(str(details.get("fun_name", "?")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
