"""Files that are damaged, or hold more than their size says: what they unpack to is checked before it is held."""

import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

LIMIT = 200 * 2**20  # bytes that any file may unpack to
TIMES = 100  # and how many times its own size: more is not data, but a bomb


def damaged(path: Path, reason: object) -> ValueError:
    """Returns the error that says that a file cannot be read, and why: by an error, or in a few words."""
    words = " ".join(str(reason).split()) or type(reason).__name__
    return ValueError(f"{path} is damaged, or is not a {path.suffix} file: {words}")


def first_line(error: Exception) -> str:
    """Returns what an error says before it goes into causes and contents, or its type where it says nothing."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].removesuffix(" Possible root causes:")  # as TFDS ends it


def check_unpacked(path: Path, n_bytes: int, packed: int | None = None) -> None:
    """Checks that a file unpacks to what data of its size do.

    Args:
        path: the file.
        n_bytes: what it unpacks to.
        packed: its size, read from the disk by default.

    Raises:
        ValueError: it unpacks to more than LIMIT bytes and TIMES its size.
    """
    limit = LIMIT + TIMES * (path.stat().st_size if packed is None else packed)
    if n_bytes > limit:
        raise ValueError(f"{path} unpacks to more than {limit:,} bytes: too large for a file of its size")


def check_zip(path: Path, file: BinaryIO) -> None:
    """Checks the members of a zip file, none of which has been unpacked: their sizes and their names.

    Raises:
        ValueError: they are too large, or one of them is a link or has a path out of the archive.
        zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    check_unpacked(path, sum(member.file_size for member in members))
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(f"{path} holds {member.filename!r}, a link or a path out of the archive: it is not read")
    file.seek(0)
