"""Writing a file whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a file that takes the place of `path` when the block ends well.

    What is written goes to a temporary file in the same folder, so that a reader sees the previous file or
    the new one, never a part. Where the block or the disk fails, the previous file stays as it was.

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
    # The name is unique, so that two processes that write the same file do not share their temporary one.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    text = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
