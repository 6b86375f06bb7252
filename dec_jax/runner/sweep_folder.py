"""What a sweep keeps on disk: who it is, the rows of its finished trials, and its work in progress."""

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from dec_jax.digests import read_checked, write_with_digest
from dec_jax.folder_lock import lock
from dec_jax.row_log import RowLog, read_rows
from dec_jax.runner import table
from dec_jax.runner.webpage import KEPT_FILE, PAGE_FILE
from dec_jax.storage import Store

IDENTITY_FILE = "sweep.json"
ROWS_FOLDER = "rows"
UNFINISHED = "unfinished"
PICTURES_FOLDER = "pictures"
MADE = (
    ROWS_FOLDER,
    UNFINISHED,
    *table.FILES,
    PICTURES_FOLDER,
    PAGE_FILE,
    KEPT_FILE,
)  # what a sweep leaves besides its identity and its lock
FOREIGN = ("result.json", *MADE)  # what the folder of something else must not hold: a run's, or what would be replaced

Row = dict[str, Any]


class SweepFolder:
    """The folder of one sweep, held as long as the `with` block or the process lasts, however that ends.

    Rows are kept in a `RowLog`, of which each process has its own.

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
        with ExitStack() as opened:
            opened.enter_context(lock(self.out, shared=self._process is not None, set_up=self._claim))
            if _read_identity(self.out) != self._identity:
                raise ValueError(f"{self.out} is in use by another sweep")
            if self._process is not None:
                opened.enter_context(lock(self.out, name=f".{self._process}.lock"))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def unfinished(self) -> Store:
        """Where this process keeps its work in progress."""
        return Store(self.out / UNFINISHED / str(self._process or 0))

    def rows(self) -> dict[str, Row]:
        """The rows of all finished trials by their ids, those of other processes and of earlier times included.

        A damaged line counts as absent, with a warning.
        """
        return read_rows(sorted((self.out / ROWS_FOLDER).glob("*.jsonl")))

    def save_row(self, trial: str, row: Mapping[str, Any]) -> None:
        """Keeps the row of a finished trial, in place of an earlier one of the same id; see `RowLog.append`.

        Args:
            trial: the trial's id.
            row: of the trial.

        Raises:
            OSError: it could not be written; the rows before it are as they were.
        """
        RowLog(self.out / ROWS_FOLDER / f"{self._process or 0}.jsonl").append(trial, row)

    def finish(self) -> None:
        """Forgets work in progress: all trials have their rows. Of several processes the last one calls it."""
        shutil.rmtree(self.out / UNFINISHED, ignore_errors=True)

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
        with write_with_digest(self.out / IDENTITY_FILE, "w") as file:
            json.dump(self._identity, file, indent=1)


def _check_usable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, {out} is a file")
    foreign = [name for name in FOREIGN if (out / name).exists()]
    if foreign and not (out / IDENTITY_FILE).exists():
        raise ValueError(f"out {out} holds something else than a sweep ({', '.join(foreign)}); choose another folder")


def _read_identity(out: Path) -> dict[str, Any] | None:
    """What `_claim` wrote; None where there is none, or a damaged one."""
    try:
        found = json.loads(read_checked(out / IDENTITY_FILE))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return f"other {', '.join(names)}"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
