"""A new file through a trained model, a block of rows at a time."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from dec_jax.checkpoints import load_model
from dec_jax.data import to_table
from dec_jax.data.blocks import read_blocks
from dec_jax.data.columns import IDS, ONE_HOT
from dec_jax.data.encoding import Tally, encode_part, fit_encoding, id_name
from dec_jax.data.files import Content
from dec_jax.data.shapes import flatten
from dec_jax.runner.failures import say
from dec_jax.trained_model import TrainedModel

ROWS = 65_536  # of a block
VALUES = 2**23  # of a block with many features


class Part(NamedTuple):
    """Some rows of a file, and what the model makes of them.

    Attributes:
        ids: (n,) the file's own, or the numbers of its rows.
        id_name: what the file calls its ids; "id" where it does not say.
        values: (n, …).
    """

    ids: np.ndarray
    id_name: str
    values: np.ndarray


def add_arguments(cli: argparse.ArgumentParser, out: str) -> None:
    """Adds the model, the file and where the result goes."""
    cli.add_argument("model", type=Path, metavar="MODEL", help="folder of a model, or of the run that has it")
    cli.add_argument("file", type=Path, metavar="FILE", help="samples as they were trained on: a table or an array")
    cli.add_argument("--out", type=Path, default=Path(out), metavar="FILE", help=f"default: {out}")


def check_out(out: Path, file: Path, suffixes: tuple[str, ...]) -> None:
    """Refuses a result that cannot be written, or that would replace the samples.

    Raises:
        ValueError: the kind of file is another one, there is no such folder, or `out` is `file`.
    """
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"out must be a file {' or '.join(suffixes)}, got {out}")
    if not out.parent.is_dir():
        raise ValueError(f"out must be in a folder that exists, got {out}")
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"out must be another file than the samples, got {out}")


def load(folder: Path) -> TrainedModel:
    """Returns the model of a folder, or of the run in it; errors as of `load_model`."""
    return load_model(folder / "model" if (folder / "model").is_dir() else folder)


def check_any(n_rows: int, file: Path) -> None:
    """Refuses a file of which no row is left."""
    if not n_rows:
        raise ValueError(f"{file} must hold at least one sample, got none without missing values")


def through(path: Path, model: TrainedModel, function: Callable[[Any], np.ndarray]) -> Iterator[Part]:
    """Yields what a function of raw samples makes of a file, block by block, and says what there is to say.

    A model of a table applies what was decided about its columns. A model of arrays takes a table of numbers, whose
    ids are found in the first block. Rows with missing values that the model leaves out are left out.

    Args:
        path: of the samples.
        model: what they are for.
        function: (n, d) → (n, …), for which a row does not depend on the others.

    Raises:
        TypeError, ValueError, OSError: the file cannot be read, or does not fit the model; what is wrong with one
            block stops the iteration there.
    """
    known = () if model.encoding is None else model.encoding.columns
    words = [column.name for column in known if column.action in (IDS, ONE_HOT)]
    blocks = read_blocks(path.expanduser(), rows_of_a_block(model), words)
    for note in blocks.notes:
        say("note", note)
    encoding, tally, start = model.encoding, Tally(), 0
    for content in blocks.parts:
        with _naming_rows(path, start):
            if encoding is None and _is_table(content.x):
                encoding, notes = fit_encoding(to_table(content.x, "FILE"))
                for note in notes:
                    say("note", note)
            if encoding is None:
                part = _of_array(content, start, function)
            else:
                part = _of_table(content, start, encoding, tally, function)
        if part is not None:
            yield part
        start += content.x.shape[0]
    if encoding is not None:
        with _naming_rows(path, 0):
            notes = tally.notes(encoding)
        for note in notes:
            say("note", note)


def rows_of_a_block(model: TrainedModel) -> int:
    """Returns how many rows are read at a time: as many as are small beside what the model needs for them."""
    return max(1, min(ROWS, VALUES // getattr(model.model, "dims", (1,))[0]))


def _is_table(x: Any) -> bool:
    return not scipy.sparse.issparse(x) and (hasattr(x, "columns") or bool(x.dtype.names) or x.dtype.kind == "O")


def _of_array(content: Content, start: int, function: Callable[[Any], np.ndarray]) -> Part:
    x = content.x if scipy.sparse.issparse(content.x) else flatten(content.x, content.image_shape).x
    return Part(*_ids(content, start, np.arange(x.shape[0])), function(x))


def _of_table(
    content: Content, start: int, encoding: Any, tally: Tally, function: Callable[[Any], np.ndarray]
) -> Part | None:
    """None where no row is left."""
    frame = to_table(content.x, "FILE")
    encoded = encode_part(encoding, frame, tally)
    if not len(encoded.x):
        return None
    name = id_name(encoding, frame)
    rows = np.arange(len(frame)) if encoded.rows is None else encoded.rows
    ids = _ids(content, start, rows) if name is None else (encoded.ids, name or "id")
    return Part(*ids, function(encoded.x))


def _ids(content: Content, start: int, rows: np.ndarray) -> tuple[np.ndarray, str]:
    if content.ids is None:
        return start + rows, "id"
    return content.ids[rows], content.id_name or "id"


@contextlib.contextmanager
def _naming_rows(path: Path, start: int) -> Iterator[None]:
    """Lets an error say in which file it is, and from which row on where it is not the first block."""
    try:
        yield
    except (TypeError, ValueError) as error:
        where = f"{path}, from row {start} on" if start else str(path)
        raise type(error)(f"{where}: {error}") from error
