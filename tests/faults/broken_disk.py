"""A disk that breaks: system calls of writing that fail, tear or are the last ones of a process or of the power."""

import builtins
import errno
import io
import os
from pathlib import Path
from typing import NamedTuple
from unittest import mock

WRITING = ("open", "write", "fsync", "replace", "rename", "mkdir", "truncate", "unlink")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)


class Dies(BaseException):
    """The process has been killed: nothing that it does from now on happens."""


class Fault(NamedTuple):
    """What goes wrong: `kind` is "error", "torn" (half is written, then an error), "short", "killed" or "power"."""

    kind: str
    error: int = 0

    def __str__(self):
        return f"{self.kind} {errno.errorcode.get(self.error, '')}".strip()


class Call(NamedTuple):
    name: str
    path: Path


def faults_of(call):
    """All that can go wrong in a call."""
    errors = [*ERRORS, *{"open": [errno.EMFILE], "replace": [errno.EXDEV], "rename": [errno.EXDEV]}.get(call.name, [])]
    found = [Fault("error", error) for error in errors] + [Fault("killed"), Fault("power")]
    if call.name == "write":
        found += [Fault("torn", errno.ENOSPC), Fault("torn", errno.EIO), Fault("short"), Fault("killed torn")]
    return found


class BrokenDisk:
    """Everything below a folder, whose calls of writing are recorded, and of which one fails.

    Args:
        folder: what is below it can break.
        at: the number of the call that fails; None for none of them.
        fault: what happens there.
    """

    def __init__(self, folder, at=None, fault=None):
        self.folder, self.at, self.fault = Path(folder).absolute(), at, fault
        self.calls, self.dead, self.files = [], False, {}
        self.unsynced = {}  # path → bytes of it that are certainly on the disk
        self.unsynced_names = []  # (path, content before), in their order

    def __enter__(self):
        real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "rename", "mkdir", "unlink")}
        self._real, self._patches = real, [mock.patch.object(os, name, getattr(self, f"_{name}")) for name in real]
        self._patches += [mock.patch.object(module, "open", self._open_file) for module in (builtins, io)]
        self._real_open_file = builtins.open
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_):
        for patch in reversed(self._patches):
            patch.stop()
        if self.dead and self.fault.kind == "power":
            self._lose()

    def step(self, name, path):
        """Notes a call; returns the fault where it is the one that goes wrong in part.

        Raises:
            OSError, Dies: it goes wrong as a whole.
        """
        if self.dead:
            raise Dies
        self.calls.append(Call(name, Path(path)))
        if len(self.calls) - 1 != self.at:
            return None
        if self.fault.kind in ("killed", "power"):
            self.dead = True
            raise Dies
        if self.fault.kind == "error":
            named = () if name in ("write", "fsync", "truncate") else (str(path),)  # as the system's own errors
            raise OSError(self.fault.error, os.strerror(self.fault.error), *named)
        return self.fault

    def has(self, path):
        return isinstance(path, str | os.PathLike) and self.folder in Path(path).absolute().parents

    def _lose(self):
        """What was not waited for is not there after the power has come back."""
        for path, size in self.unsynced.items():
            if path.exists():
                with io.FileIO(path, "r+") as file:
                    rest = file.seek(0, os.SEEK_END) - size
                    file.seek(size)
                    file.write(bytes(rest))
        for path, before in reversed(self.unsynced_names):
            if before is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(before)

    # what takes the place of the system's calls

    def _open_file(self, path, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
        if not self.has(path) or not set(mode) & set("wxa+"):
            return self._real_open_file(path, mode, buffering, encoding, errors, newline, **more)
        self.step("open", path)
        raw = _File(self, path, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def _open(self, path, flags, *more, **options):
        if self.has(path) and flags & (os.O_WRONLY | os.O_RDWR):
            self.step("open", path)
        descriptor = self._real["open"](path, flags, *more, **options)
        self.files[descriptor] = Path(path)
        return descriptor

    def _fsync(self, descriptor):
        path = self.files.get(descriptor)
        if path is not None and (path == self.folder or self.has(path)):
            self.step("fsync", path)
            self.unsynced.pop(path, None)
            self.unsynced_names = [entry for entry in self.unsynced_names if entry[0].parent != path]
        self._real["fsync"](descriptor)

    def _move(self, name, source, target):
        if self.has(target):
            self.step(name, target)
            source, target = Path(source), Path(target)
            if source.is_file():
                before = target.read_bytes() if target.exists() else None
                self.unsynced_names.append((target, before))
                if source in self.unsynced:
                    self.unsynced[target] = self.unsynced.pop(source)
        self._real[name](source, target)

    def _replace(self, source, target, **_):
        self._move("replace", source, target)

    def _rename(self, source, target, **_):
        self._move("rename", source, target)

    def _mkdir(self, path, *more, **options):
        if self.has(path) and not os.path.isdir(path):
            self.step("mkdir", path)
        self._real["mkdir"](path, *more, **options)

    def _unlink(self, path, *more, **options):
        if self.has(path):
            if self.dead:
                raise Dies
            if os.path.lexists(path):
                self.step("unlink", path)
        self._real["unlink"](path, *more, **options)


class _File(io.FileIO):
    """A file of a broken disk."""

    def __init__(self, disk, path, mode):
        super().__init__(path, mode)
        self._disk, self._path = disk, Path(path)
        disk.files[self.fileno()] = self._path
        if "w" in mode:
            disk.unsynced[self._path] = 0

    def write(self, content):
        fault = self._disk.step("write", self._path)
        content = memoryview(content).cast("B")
        size = os.fstat(self.fileno()).st_size
        self._disk.unsynced.setdefault(self._path, size)
        if fault is None:
            return super().write(content)
        written = super().write(content[: max(1, len(content) // 2)])
        if fault.kind == "short":
            return written
        if fault.kind == "killed torn":
            self._disk.dead = True
            raise Dies
        raise OSError(fault.error, os.strerror(fault.error))

    def truncate(self, size=None):
        self._disk.step("truncate", self._path)
        return super().truncate(size)
