"""How many trials lie side by side: as many as the memory holds, by what the compiled program says it needs."""

import contextlib
import ctypes
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from dec_jax.runner.address_space import address_space_left
from dec_jax.runner.programs import Compiled, memory_of

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Side by side pays where a device has many times more units than one trial fills; a processor's cores are few.
SLOTS_ON_CPU = 4
SLOTS_ELSEWHERE = 64
FOR_THE_REST = 2**30  # bytes of address space that are not a program's: of threads, their stacks, and libraries
CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def memory_limit(text: str | None) -> int:
    """Bytes that one device may use: what `text` says ("800M", "8GB"), else most of what the device has.

    Raises:
        ValueError: the text is not a size.
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
    return min(_physical_memory(), container_limit() or math.inf) // 2 // jax.local_device_count()


def _physical_memory() -> int:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.physical


class _MemoryStatus(ctypes.Structure):
    """What Windows says of its memory (MEMORYSTATUSEX); of its numbers, the bytes that the machine has are read."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("physical", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    )


def container_limit(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int | None:
    """Bytes that the container of this process, or any group that it belongs to, may use; None without a limit.

    Args:
        cgroup: where the system shows its control groups, of version 1 or 2.
        membership: the file that says to which of them this process belongs.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return None
    found = []
    for _, controllers, path in lines:
        if controllers == "":
            found += _limits(cgroup, path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(cgroup / "memory", path, "memory.limit_in_bytes")
    return min(found, default=None)


def _limits(root: Path, path: str, name: str) -> Iterator[int]:
    """The limits of a group and of those around it; inside a container its own group is the root."""
    group = root / path.strip().lstrip("/")
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError, ValueError):  # "max" stands for none
            yield int((folder / name).read_text())
        if folder == root:
            return


def most_slots() -> int:
    """Slots of a device that are of use."""
    return SLOTS_ON_CPU if jax.default_backend() == "cpu" else SLOTS_ELSEWHERE


def fitting(compiled: Compiled, wanted: int, step: int, limit: int, build: Callable[[int], dict[Any, Any]]) -> int:
    """The most slots, `wanted` or a part of them, none of whose programs needs more than `limit` bytes on a device.

    Args:
        compiled: where programs that do not fit are dropped from.
        wanted: slots at most.
        step: slots come in multiples of this, the number of devices they are laid over.
        limit: bytes; where the process's address space has less left, that counts.
        build: slots → compiled programs by their keys.

    Raises:
        ValueError: even `step` slots do not fit.
    """
    slots = max(step, wanted // step * step)
    while True:
        built = build(slots)
        needed, limit = max(map(memory_of, built.values())), _with_address_space(limit)
        if needed <= limit:
            return slots
        compiled.forget(built)
        if slots == step:
            raise ValueError(
                f"memory must hold at least one trial, which needs {needed / 2**20:.0f} MB, got {limit / 2**20:.0f} MB"
            )
        slots = max(step, slots // 2 // step * step)


def _with_address_space(limit: int) -> int:
    """The limit, or what is left of the address space where that is less: XLA ends a process that gets no more."""
    left = address_space_left() if jax.default_backend() == "cpu" else None
    return limit if left is None else min(limit, max(0, left - FOR_THE_REST) // jax.local_device_count())
