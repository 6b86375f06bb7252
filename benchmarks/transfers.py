"""Copies between host and device while a block runs, as JAX's own transfer guard logs them.

The guard writes one line for each copy. It states no shape for a host value, number or array, that goes straight into a
compiled function: such a copy is counted, its bytes are not. A CPU shares the host's memory: reading a result there is
no copy, and the guard logs none.
"""

import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import numpy as np

LINE = re.compile(r"(host-to-device|device-to-host) transfer:(.*)")
TYPED_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")  # as in aval=ShapedArray(float32[256,784])
SHAPE_AND_TYPE = re.compile(r"shape=\(([\d, ]*)\), dtype=(\w+)")


@dataclass
class Transfers:
    """Copies in each direction, bytes where the log states them, and how many have no size there."""

    host_to_device_copies: int = 0
    host_to_device_bytes: int = 0
    device_to_host_copies: int = 0
    device_to_host_bytes: int = 0
    copies_without_size: int = 0


@contextmanager
def watch() -> Iterator[Transfers]:
    """Counts the copies; what the block writes to standard error appears when it ends."""
    seen = Transfers()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        terminal = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            with jax.transfer_guard("log_explicit"):
                yield seen
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            log.seek(0)
            for line in log:
                if not _count(seen, line):
                    sys.stderr.write(line)


def _count(seen: Transfers, line: str) -> bool:
    """Adds a line of the log; tells whether it was one."""
    found = LINE.search(line)
    if not found:
        return False
    direction = found[1].replace("-", "_")
    n_bytes = _bytes(found[2])
    setattr(seen, f"{direction}_copies", getattr(seen, f"{direction}_copies") + 1)
    setattr(seen, f"{direction}_bytes", getattr(seen, f"{direction}_bytes") + (n_bytes or 0))
    seen.copies_without_size += n_bytes is None
    return True


def _bytes(description: str) -> int | None:
    if found := TYPED_SHAPE.search(description):
        dtype, shape = found.groups()
    elif found := SHAPE_AND_TYPE.search(description):
        shape, dtype = found.groups()
    else:
        return None
    return math.prod(int(size) for size in shape.replace(" ", "").split(",") if size) * np.dtype(dtype).itemsize
