"""What a sweep keeps on disk: who it is, the rows of its finished trials, and its work in progress."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
import warnings
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from dec_jax.data.atomic import atomic_write
from experiments.journal import Journal
from experiments.settings import Settings
from experiments.sweeping import table

LOCK_FILE = "lock"
IDENTITY_FILE = "sweep.json"
ROWS_FOLDER = "rows"
UNFINISHED = "unfinished"
PICTURES_FOLDER = "pictures"
MADE = (ROWS_FOLDER, UNFINISHED, *table.FILES, PICTURES_FOLDER)  # what a sweep leaves besides its identity and its lock
FOREIGN = ("result.json", *MADE)  # what a folder that is no sweep's must not hold: a run's, or what would be replaced
SECONDS_TO_WAIT = 10.0  # until another process of the same sweep has set the folder up

Row = dict[str, Any]


class SweepFolder:
    """The folder of one sweep, held as long as the `with` block or the process lasts, however that ends.

    Rows are lines of a log that is only appended to. A row is kept once `save_row` has returned; one that a killed
    process was writing counts as never begun. Each process has a log of its own.

    Args:
        out: the folder; made where it is missing.
        identity: what makes two sweeps the same one, as JSON has it: the grid, and "samples", the data's fingerprint.
        overwrite: whether another sweep's results may be thrown away; a sweep always goes on from its own.
        process: None where one process does the whole sweep, else its number among those that share the folder.

    Raises:
        ValueError: on entering: `out` is a file, is in use, or holds another sweep or something else.
        OSError: on entering: the folder cannot be written.
    """

    def __init__(
        self, out: Path, identity: Mapping[str, Any], *, overwrite: bool = False, process: int | None = None
    ) -> None:
        self.out = out
        self._identity = json.loads(json.dumps(identity))
        self._overwrite = overwrite
        self._process = process

    def __enter__(self) -> Self:
        _check_usable(self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            lock = opened.enter_context(open(self.out / LOCK_FILE, "a+"))
            self._hold(lock)
            path = self.out / ROWS_FOLDER / f"{self._process or 0}.jsonl"
            path.parent.mkdir(exist_ok=True)
            self._log = opened.enter_context(open(path, "a+b", buffering=0))
            if not _try_lock(self._log, fcntl.LOCK_EX):
                raise self._in_use(lock)
            _cut_torn_line(self._log)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def rows(self) -> dict[str, Row]:
        """The rows of all finished trials by their ids, those of other processes and of earlier times included.

        A damaged line counts as absent, with a warning.
        """
        lines = []
        for path in sorted((self.out / ROWS_FOLDER).glob("*.jsonl")):
            whole_lines = path.read_bytes().split(b"\n")[:-1]
            for number, line in enumerate(whole_lines, start=1):
                try:
                    lines.append(_read_line(line))
                except ValueError:
                    warnings.warn(f"{path}, line {number} is damaged: its trial is done again", stacklevel=2)
        lines.sort(key=lambda line: line[0])  # the latest of a trial counts, whichever process wrote it
        return {trial: row for _, trial, row in lines}

    def save_row(self, trial: str, row: Mapping[str, Any]) -> None:
        """Keeps the row of a finished trial, in place of an earlier one of the same id.

        Args:
            trial: from `trial_id`.
            row: JSON values, or numpy scalars, which come back as Python's; floats are kept to the last bit.

        Raises:
            OSError: it could not be written; the rows before it are as they were.
        """
        line = _write_line(trial, row)
        try:
            while line:
                line = line[self._log.write(line) :]
            os.fsync(self._log.fileno())
        except BaseException:
            _cut_torn_line(self._log)
            raise

    def journal(self, name: str, identity: Mapping[str, Any]) -> Journal:
        """The journal of one part of the sweep; entries of the same name but another identity are thrown away."""
        # They are this sweep's own, of trials that were put together in another way: nobody misses them.
        own = name if self._process is None else f"{self._process}-{name}"
        return Journal(self.out / UNFINISHED / own, dict(identity), overwrite=True)

    def finish(self) -> None:
        """Forgets work in progress: all trials have their rows. Of several processes the last one calls it."""
        shutil.rmtree(self.out / UNFINISHED, ignore_errors=True)

    def _hold(self, lock: IO[str]) -> None:
        """Locks the folder and makes it this sweep's: alone, or after that together with its other processes."""
        if _try_lock(lock, fcntl.LOCK_EX):
            _name_holder(lock)
            self._claim()
        elif self._process is None:
            raise self._in_use(lock)
        if self._process is None:
            return
        give_up_at = time.monotonic() + SECONDS_TO_WAIT
        while not _try_lock(lock, fcntl.LOCK_SH):
            if time.monotonic() > give_up_at:
                raise self._in_use(lock)
            time.sleep(0.05)
        if _read_identity(self.out) != self._identity:
            raise self._in_use(lock)

    def _claim(self) -> None:
        """Writes the identity, after what another sweep has left was thrown away."""
        found = _read_identity(self.out)
        if found == self._identity:
            return
        if (self.out / IDENTITY_FILE).exists() and not self._overwrite:
            what = f"{IDENTITY_FILE} is damaged" if found is None else _difference(found, self._identity)
            raise ValueError(
                f"out {self.out} holds another sweep ({what}); "
                "choose another folder, or add --overwrite to throw it away"
            )
        for name in MADE:  # before the identity is replaced: what is left is never taken for this sweep's
            _remove(self.out / name)
        with atomic_write(self.out / IDENTITY_FILE, "w") as file:
            json.dump(self._identity, file, indent=1)

    def _in_use(self, lock: IO[str]) -> ValueError:
        lock.seek(0)
        holder = lock.read()
        return ValueError(f"out {self.out} is in use by another sweep{holder and f' ({holder})'}")


def trial_id(settings: Settings, samples_fingerprint: str) -> str:
    """16 hexadecimal digits that stand for the settings, resolved by `plan.resolve`, and the samples."""
    text = json.dumps({**vars(settings), "samples": samples_fingerprint}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_usable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, {out} is a file")
    foreign = [name for name in FOREIGN if (out / name).exists()]
    if foreign and not (out / IDENTITY_FILE).exists():
        raise ValueError(f"out {out} holds something else than a sweep ({', '.join(foreign)}); choose another folder")


def _read_identity(out: Path) -> dict[str, Any] | None:
    """What `_claim` wrote; None where there is none, or a damaged one."""
    try:
        found = json.loads((out / IDENTITY_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return f"other {', '.join('data' if name == 'samples' else name for name in names)}"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _try_lock(file: IO[Any], kind: int) -> bool:
    """Locks the file for as long as it is open, unless another process has; the system frees it of a dead one's."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _name_holder(lock: IO[str]) -> None:
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on host {socket.gethostname()}")
    lock.flush()


def _cut_torn_line(log: IO[bytes]) -> None:
    """Cuts off what a process that died, or a full disk, left of its last line."""
    log.seek(0)
    log.truncate(log.read().rfind(b"\n") + 1)


def _write_line(trial: str, row: Mapping[str, Any]) -> bytes:
    content = json.dumps([time.time(), trial, dict(row)], default=lambda scalar: scalar.item()).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _read_line(line: bytes) -> tuple[float, str, Row]:
    """The time, id and row of a line; ValueError where it is damaged."""
    checksum, _, content = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(content):
        raise ValueError("its content does not match its checksum")
    written_at, trial, row = json.loads(content)
    return written_at, trial, row
