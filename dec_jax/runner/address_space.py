"""The limit of a process's address space (ulimit -v, RLIMIT_AS), in which XLA ends the process without a word."""

import re
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

STATUS = Path("/proc/self/status")
NEEDED = 4 * 2**30  # bytes: compilers, threads and their stacks ask for much more than they use


def check_address_space() -> None:
    """Checks that what is left of the address space is enough to begin with.

    Raises:
        ValueError: it is limited to less.
    """
    left = address_space_left()
    if left is not None and left < NEEDED:
        raise ValueError(
            f"the address space must have {NEEDED / 2**30:.0f} GB left, got {left / 2**30:.1f} GB: too little memory; "
            "raise the limit (ulimit -v), or limit memory by a control group"
        )


def address_space_left(status: Path = STATUS) -> int | None:
    """Bytes that this process may still ask for; None where there is no limit.

    Args:
        status: the file in which the system says how much it has asked for.
    """
    if resource is None:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = int(re.search(r"VmSize:\s*(\d+) kB", status.read_text())[1]) * 2**10
    except (OSError, TypeError):
        used = 0
    return max(0, limit - used)
