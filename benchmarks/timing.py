"""Wall time of work on the device: after warm-up, with the result waited for, the median of repeats."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from benchmarks import compilations
from benchmarks.phases import Phase


@dataclass(frozen=True)
class Measurement:
    """What a phase took.

    Attributes:
        name: of the phase.
        samples: seconds per step, one value for each repeat.
        flops_per_step: counted from the shapes.
        compile_seconds: spent tracing, lowering and compiling.
        compilations: programs compiled, warm-up and repeats together.
    """

    name: str
    samples: list[float]
    flops_per_step: float
    compile_seconds: float
    compilations: int

    @property
    def seconds_per_step(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    def record(self, matrix_product_rate: float) -> dict[str, Any]:
        """The measurement as JSON, in GFLOP/s and as a fraction of the device's own rate (FLOP/s)."""
        rate = self.flops_per_step / self.seconds_per_step
        return {
            "name": self.name,
            "seconds_per_step": self.seconds_per_step,
            "seconds_per_step_range": [min(self.samples), max(self.samples)],
            "flops_per_step": self.flops_per_step,
            "gflops": rate / 1e9,
            "fraction": rate / matrix_product_rate,
            "compile_seconds": self.compile_seconds,
            "compilations": self.compilations,
        }


def seconds(work: Callable[[], Any]) -> float:
    """Seconds until the result of `work` is there."""
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def seconds_per_step(phase: Phase) -> float:
    """Seconds per step in one run of the phase."""
    return seconds(phase.run) / phase.n_steps


def measure(phase: Phase, repeats: int) -> Measurement:
    """Runs the phase once to compile and warm up, then `repeats` times."""
    with compilations.watch() as compiled:
        result = jax.block_until_ready(phase.run())
        samples = [seconds_per_step(phase) for _ in range(repeats)]
    flops = phase.flops_per_step(result)
    return Measurement(phase.name, samples, flops, compiled.seconds, compiled.count)
