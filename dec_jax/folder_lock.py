"""The lock of a folder: who holds it is alone with it, or shares it with processes that know of each other."""

import contextlib
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from dec_jax.data.atomic import naming_file, remove_orphans
from dec_jax.file_lock import try_lock

LOCK_FILE = ".lock"  # only a process that has it locked holds the folder: a killed one leaves nothing but its name
SECONDS_TO_WAIT = 10.0  # until the first of several processes has set the folder up


@contextlib.contextmanager
def lock(
    folder: str | os.PathLike[str],
    *,
    name: str = LOCK_FILE,
    shared: bool = False,
    set_up: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Holds a folder for as long as the block or the process lasts, however that ends.

    What killed writers have left in the folder is removed before the block begins.

    Args:
        folder: the folder; made where it is missing.
        name: of the file that is locked; another one stands for a part of the folder's work.
        shared: whether other processes that share it may hold it at the same time.
        set_up: called before the block by a process that is alone with the folder: by the first of those that share
            it, while the others wait. A later one may call it again.

    Raises:
        ValueError: another process holds the folder; the message names it.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    file, alone = _open(path)
    with contextlib.ExitStack() as held:
        try:
            if alone is None:
                held.enter_context(_without_file_locks(folder / f"{name}-holder", shared))
            elif not alone and not shared:
                raise _in_use(folder, file)
            if alone is not False:
                with naming_file(path):
                    file.truncate(0)
                    file.write(_this_process())
                    file.flush()
                remove_orphans(folder, alone=name == LOCK_FILE and (bool(alone) or not shared))
                if set_up is not None:
                    set_up()
            if shared and alone is not None:
                file = _share(path, file)
            yield
        finally:
            _give_up(path, file)


def _open(path: Path, *, shared: bool = False) -> tuple[IO[str], bool | None]:
    """The open lock file, and what `try_lock` says of it."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - the caller closes it
        taken = try_lock(file, shared=shared)
        if _is_at(path, file):
            return file, taken
        file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether the open file is still there, or its last holder has removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _share(path: Path, file: IO[str]) -> IO[str]:
    """The lock file, locked together with others; who has it alone is waited for."""
    give_up_at = time.monotonic() + SECONDS_TO_WAIT
    taken = try_lock(file, shared=True) and _is_at(path, file)
    while not taken:
        with file:
            if time.monotonic() > give_up_at:
                raise _in_use(path.parent, file)
        time.sleep(0.05)
        file, taken = _open(path, shared=True)
    return file


def _give_up(path: Path, file: IO[str]) -> None:
    """Closes the lock file; the last holder removes it."""
    if file.closed:  # while it was waited for
        return
    with contextlib.suppress(OSError), file:
        if try_lock(file) is not False and _is_at(path, file):
            path.unlink()


@contextlib.contextmanager
def _without_file_locks(path: Path, shared: bool) -> Iterator[None]:
    """Holds a folder by a file that is made only once; those that share the folder are not kept apart from others."""
    if shared:
        warnings.warn(f"{path.parent} has no locks: make sure that nobody else uses it", stacklevel=5)
        yield
        return
    if path.exists() and _has_ended(path.read_text(encoding="utf-8")):
        path.unlink(missing_ok=True)
    # Windows removes the file when its process ends, however it ends.
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_TEMPORARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileExistsError as error:
        with open(path, encoding="utf-8") as file:
            raise ValueError(f"{_in_use(path.parent, file)}; if it has ended, remove {path}") from error
    try:
        os.write(descriptor, _this_process().encode())
        yield
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _this_process() -> str:
    return f"process {os.getpid()} on host {socket.gethostname()}"


def _has_ended(holder: str) -> bool:
    """Whether the process that `_this_process` named is certainly over."""
    words = holder.split()
    if os.name == "nt" or len(words) != 5 or words[-1] != socket.gethostname() or not words[1].isdigit():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _in_use(folder: Path, file: IO[str]) -> ValueError:
    file.seek(0)
    return ValueError(f"{folder} is in use by {file.read() or 'another process'}")
