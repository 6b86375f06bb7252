"""Memory: what this process needed at its peak, and what the machine has."""

import os
import resource
import sys

from benchmarks.command import device

RUNTIME = 500 * 2**20  # Python, JAX, compiled programs, and parameters with their gradients and momenta


def peak_host_bytes() -> int:
    """Largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes() -> int | None:
    """Most bytes that were in use on the device; None where it does not tell, as a CPU."""
    statistics = device().memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def check_fits(what: str, n_bytes: int) -> None:
    """Refuses what would not fit beside the runtime.

    Raises:
        MemoryError: the device has less memory than `n_bytes` and what the runtime needs.
    """
    statistics = device().memory_stats() or {}
    available = statistics.get("bytes_limit") or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = n_bytes + RUNTIME
    if needed > available:
        raise MemoryError(f"{what} needs about {needed / 1e9:.1f} GB of memory, there are {available / 1e9:.1f} GB")
