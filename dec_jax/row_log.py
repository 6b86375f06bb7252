"""Rows of results as checked lines of a file that is only appended to."""

import base64
import json
import os
import time
import warnings
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from dec_jax.data.atomic import naming_file, sync_folder
from dec_jax.file_lock import try_lock

Row = dict[str, Any]
INTEGERS = "$integers"  # the key of an array in a line


class RowLog:
    """Rows by their ids, in a file that processes append to.

    A row is kept once `append` has returned. One that a killed process was writing counts as never begun.

    Args:
        path: the file; made with the first row, and its folder too.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Keeps a row, in place of an earlier one of the same id.

        Args:
            name: its id.
            row: JSON values, numpy scalars, which come back as Python's, and integer arrays of any shape, which come
                back as they are. Floats are kept to the last bit.

        Raises:
            TypeError: a value is something else.
            OSError: it could not be written; the rows before it are as they were.
        """
        line = _write_line(name, row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with naming_file(self.path), open(self.path, "a+b", buffering=0) as file:
            try_lock(file, wait=True)  # until it is closed: one writer at a time
            _cut_torn_line(file)
            try:
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except BaseException:
                _cut_torn_line(file)
                raise
        if is_new:
            sync_folder(self.path.parent)

    def rows(self) -> dict[str, Row]:
        """Returns the last row of each id; see `read_rows`."""
        return read_rows([self.path])


def read_rows(paths: Iterable[str | os.PathLike[str]]) -> dict[str, Row]:
    """Returns the rows of several logs by their ids; of each id the latest, whichever log it is in.

    A damaged line counts as absent, with a warning; so does a missing file, without one.

    Args:
        paths: of the files.

    Raises:
        OSError: a file cannot be read.
    """
    lines = [line for path in paths for line in _read_log(Path(path))]
    lines.sort(key=lambda line: line[0])  # of lines with the same time the order stays
    return {name: row for _, name, row in lines}


def _read_log(path: Path) -> list[tuple[float, str, Row]]:
    try:
        whole_lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    lines: list[tuple[float, str, Row]] = []
    latest = 0.0
    for number, line in enumerate(whole_lines, start=1):
        try:
            written_at, name, row = _read_line(line)
        except (ValueError, TypeError, zlib.error):
            warnings.warn(f"{path}, line {number} is damaged: its row counts as absent", stacklevel=4)
            continue
        latest = max(latest, written_at)  # a later line stays later when the clock was set back
        lines.append((latest, name, row))
    return lines


def _cut_torn_line(file: IO[bytes]) -> None:
    """Cuts off what a process that died, or a full disk, has left of its last line."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _write_line(name: str, row: Mapping[str, Any]) -> bytes:
    content = json.dumps([time.time(), name, dict(row)], default=_to_json).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _read_line(line: bytes) -> tuple[float, str, Row]:
    """The time, id and row of a line; ValueError where it is damaged."""
    checksum, _, content = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(content):
        raise ValueError("its content does not match its checksum")
    written_at, name, row = json.loads(content, object_hook=_from_json)
    return float(written_at), name, dict(row)


def _to_json(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        small = value.astype(_smallest_dtype(value))
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(small).tobytes())).decode()
        return {INTEGERS: [value.dtype.str, value.shape, small.dtype.str, packed]}
    if isinstance(value, np.generic):
        return value.item()
    kind = f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise TypeError(f"a row must hold JSON values, numpy scalars and integer arrays, got {kind}")


def _smallest_dtype(array: np.ndarray) -> np.dtype:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    sizes = (np.iinfo(name) for name in ("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"))
    return next(size.dtype for size in sizes if size.min <= low and high <= size.max)


def _from_json(value: dict[str, Any]) -> Any:
    if value.keys() != {INTEGERS}:
        return value
    dtype, shape, small, packed = value[INTEGERS]
    content = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.dtype(small))
    return content.astype(np.dtype(dtype)).reshape(shape)
