"""A file of samples, a block of rows at a time: what is larger than memory is never whole in it."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dec_jax.data.archives import read_archive
from dec_jax.data.extras import need
from dec_jax.data.files import Content, read_samples, without_index
from dec_jax.data.packed import damaged
from dec_jax.data.tables import TEXT_SUFFIXES, check_arrow, kind_of_file, with_text_names
from dec_jax.data.text_blocks import read_text_blocks


class Blocks(NamedTuple):
    """Samples in their order, some at a time.

    Attributes:
        parts: contents of at least one row, all of one kind.
        notes: what was taken for what, one line each.
    """

    parts: Iterator[Content]
    notes: tuple[str, ...] = ()


def read_blocks(path: Path, rows: int, words: Collection[str] = ()) -> Blocks:
    """Returns the samples of a file in blocks.

    Text tables are parsed, Parquet read and .npy mapped a block at a time; other kinds are read whole first.

    Args:
        path: a file that `files.read_samples` reads.
        rows: of a block, the last one may have fewer.
        words: columns of a text table that stay as they are written, such as 01 and TRUE.

    Raises:
        FileNotFoundError, ImportError, TypeError, ValueError: as `files.read_samples`.
    """
    kind = kind_of_file(path)
    if path.is_file() and kind in TEXT_SUFFIXES:
        need("pandas", "tables", f"a {kind} file")
        text = read_text_blocks(path, rows, words)
        return Blocks(map(Content, text.frames), text.notes)
    if path.is_file() and kind == ".parquet":
        return Blocks(_parquet(path, rows))
    if path.is_file() and kind == ".npy":
        return Blocks(_slices(Content(read_archive(path, mapped=True).x), rows))
    content = read_samples(path)
    return Blocks(_slices(content, rows), content.notes)


def _slices(content: Content, rows: int) -> Iterator[Content]:
    n = content.x.shape[0]
    take: Callable[[slice], Any] = content.x.iloc.__getitem__ if hasattr(content.x, "iloc") else content.x.__getitem__
    for start in range(0, n, rows):
        block = slice(start, min(start + rows, n))
        ids = None if content.ids is None else content.ids[block]
        yield content._replace(x=take(block), ids=ids)


def _parquet(path: Path, rows: int) -> Iterator[Content]:
    parquet = need("pyarrow.parquet", "tables", "a .parquet file")
    with open(path, "rb") as file:
        try:
            opened = parquet.ParquetFile(file)
            batches, span, start = opened.iter_batches(batch_size=rows), _span(opened.schema_arrow), 0
        except Exception as error:  # pyarrow has no error of its own for damaged files
            raise damaged(path, error) from error
        while True:
            try:
                batch = next(batches, None)
                frame = batch and check_arrow(batch).to_pandas(integer_object_nulls=True)
            except Exception as error:  # as above
                raise damaged(path, error) from error
            if batch is None:
                return
            if span is not None:
                frame.index = span[start : start + len(frame)]
            start += len(frame)
            yield without_index(with_text_names(frame, str(path)), distinct=False)


def _span(schema: Any) -> Any:
    """The index of a frame that only counts, which the file says once for all rows; None where it has another one."""
    import pandas as pd

    index = next(iter((schema.pandas_metadata or {}).get("index_columns", ())), None)
    if not isinstance(index, dict):
        return None
    return pd.RangeIndex(index["start"], index["stop"], index["step"], name=index["name"])
