"""Writing a file whole or not at all, and removing what killed writers have left."""

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dec_jax.file_lock import try_lock

ORPHAN = re.compile(r"\.(.+\.)?[0-9a-f]{32}\.(tmp|old|new)")
SECONDS_OF_A_DAY = 86_400.0  # no file is being written for as long as that


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a file that takes the place of `path` when the block ends well.

    What is written goes to a temporary file in the same folder, so that a reader sees the previous file or
    the new one, never a part, even after a power failure. Where the block or the disk fails, the previous file
    stays as it was.

    Args:
        path: the file to write; its folder exists.
        mode: "wb", or "w" for UTF-8 text with the line ends as they are written.

    Yields:
        The open file.

    Raises:
        ValueError: `mode` is another one.
        OSError: the folder cannot be written, or the disk is full.
    """
    if mode not in ("wb", "w"):
        raise ValueError(f"mode must be 'wb' or 'w', got {mode!r}")
    path = Path(path)
    with naming_file(path):
        temporary, file = _open_temporary(path.parent, mode)
    try:
        with naming_file(path), file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # which does not rename open files
                file.close()
            os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Lets an error of the file system that does not say which file it is about name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def _open_temporary(folder: Path, mode: str) -> tuple[Path, IO[Any]]:
    """A new file that `remove_orphans` leaves alone as long as it is open."""
    text = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    while True:
        # The name is unique, so that two processes that write the same file do not share their temporary one.
        path = folder / f".{uuid.uuid4().hex}.tmp"
        file = open(path, mode.replace("w", "x"), **text)  # noqa: SIM115 - the caller closes it
        if try_lock(file) is not False and os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # it was taken for an orphan before it was locked


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can do that."""
    with contextlib.suppress(OSError):  # neither Windows nor every network folder can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_orphans(folder: str | os.PathLike[str], *, alone: bool = False) -> None:
    """Removes the temporary files of killed writers from a folder; what cannot be removed stays.

    Args:
        folder: the folder; its subfolders are not searched. It need not exist.
        alone: whether nobody else writes to the folder. Where others may, only files are removed whose writer has
            certainly ended.
    """
    with contextlib.suppress(OSError):
        for path in Path(folder).iterdir():
            if ORPHAN.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    _remove_orphan(path, alone)


def _remove_orphan(path: Path, alone: bool) -> None:
    """A lock says whether the writer has ended; only where there are none its age does, as clocks jump."""
    if path.is_dir() and not path.is_symlink():
        if alone or _is_old(path):
            shutil.rmtree(path)
        return
    with open(path, "ab") as file:
        taken = try_lock(file)
        if alone or taken or (taken is None and _is_old(path)):
            path.unlink()


def _is_old(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > SECONDS_OF_A_DAY
