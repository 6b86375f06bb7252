"""SHA-256 digests of the plain files of a folder, which notice what has rotted before it is used."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dec_jax.data.atomic import atomic_write
from dec_jax.row_log import RowLog

DIGESTS_FILE = "digests.jsonl"


@contextlib.contextmanager
def write_with_digest(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a file as `atomic_write` does, and notes the digest of what is written beside it.

    The digest is on the disk before the file is in its place, and that of the file before stays: whenever the process
    or the power ends, the file that is there has its digest.
    """
    path = Path(path)
    with atomic_write(path, mode) as file:
        yield file
        file.flush()
        with open(file.name, "rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        RowLog(path.parent / DIGESTS_FILE).append(_entry(digest, path), {})


def read_checked(path: str | os.PathLike[str]) -> bytes:
    """Returns the content of a file that `write_with_digest` wrote; one of which no digest was noted is taken as it is.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    path = Path(path)
    content = path.read_bytes()
    noted = [entry for entry in RowLog(path.parent / DIGESTS_FILE).rows() if entry.partition("  ")[2] == path.name]
    if noted and _entry(hashlib.sha256(content).hexdigest(), path) not in noted:
        raise ValueError(f"{path} is damaged, or was changed: it has none of its digests in {DIGESTS_FILE}")
    return content


def _entry(digest: str, path: Path) -> str:
    """A digest and a name, as sha256sum writes them."""
    return f"{digest}  {path.name}"
