"""How many trials lie side by side: as many as the memory holds, by what the compiled program says it needs."""

import os
import re
from collections.abc import Callable
from typing import Any

import jax

from experiments.sweeping.programs import Compiled, memory_of

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Side by side pays where a device has many times more units than one trial fills; a processor's cores are few.
LANES_ON_CPU = 4
LANES_ELSEWHERE = 64


def memory_limit(text: str | None) -> int:
    """Bytes that one device may use: what `text` says ("800M", "8GB"), else most of what the device has.

    Raises:
        ValueError: the text is no size.
    """
    if text is None:
        return _memory_of_device()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise ValueError(f"memory must be a size like 800M or 8GB, got {text!r}")
    return int(float(match[1]) * UNITS[match[2].upper()])


def _memory_of_device() -> int:
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(0.9 * statistics["bytes_limit"])
    # The processor's devices share the machine's memory with everything else.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // jax.local_device_count()


def most_lanes() -> int:
    """Lanes a device that are of use."""
    return LANES_ON_CPU if jax.default_backend() == "cpu" else LANES_ELSEWHERE


def fitting(compiled: Compiled, wanted: int, step: int, limit: int, build: Callable[[int], dict[Any, Any]]) -> int:
    """The most lanes, `wanted` or a part of them, none of whose programs needs more than `limit` bytes on a device.

    Args:
        compiled: where programs that do not fit are dropped from.
        wanted: lanes at most.
        step: lanes come in multiples of this, the number of devices they are laid over.
        limit: bytes.
        build: lanes → compiled programs by their keys.

    Raises:
        ValueError: even `step` lanes do not fit.
    """
    lanes = max(step, wanted // step * step)
    while True:
        built = build(lanes)
        needed = max(map(memory_of, built.values()))
        if needed <= limit:
            return lanes
        compiled.forget(built)
        if lanes == step:
            raise ValueError(
                f"memory must hold at least one trial, which needs {needed / 2**20:.0f} MB, got {limit / 2**20:.0f} MB"
            )
        lanes = max(step, lanes // 2 // step * step)
