"""Locks on open files, which the system frees when a process ends, however it ends."""

import errno
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What a file system without locks answers, as some network folders do.
WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def try_lock(file: IO[Any], *, shared: bool = False, wait: bool = False) -> bool | None:
    """Locks a file for as long as it is open.

    Args:
        file: the open file; a lock that it has already is changed to the one that is asked for.
        shared: whether others may hold it too, as long as all of them share it.
        wait: whether to wait for whoever has it.

    Returns:
        True: it is locked. False: another process has it. None: there are no such locks here.
    """
    if fcntl is None:
        return None
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return None
        raise
    return True
