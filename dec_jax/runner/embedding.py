"""dec-jax embed: the embedding of each row of a file, by a trained model."""

import argparse
import io
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import IO, Any

import numpy as np

from dec_jax import trained_model
from dec_jax.data.atomic import atomic_write
from dec_jax.data.extras import need
from dec_jax.runner import new_samples
from dec_jax.runner.command_line import CommandParser
from dec_jax.runner.failures import reported

SUFFIXES = (".npy", ".parquet")


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        prog="dec-jax embed",
        usage="dec-jax embed MODEL FILE [--out embedding.npy]",
        description=(
            "Writes the embedding of each row of a file by a trained model: as .npy, or as .parquet with the ids of "
            "the file and the columns z0, z1, … A file that is larger than memory is read in blocks: CSV, TSV, "
            "Parquet and .npy."
        ),
    )
    new_samples.add_arguments(cli, "embedding.npy")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    arguments = parser().parse_args(words)
    return reported(lambda: embed(arguments))


def embed(arguments: argparse.Namespace) -> None:
    """Writes the embedding (n, m) float32 of each row, a block at a time.

    Raises:
        ImportError: a .parquet file is asked for and pyarrow is missing.
        TypeError, ValueError, OSError: the model or the file cannot be read, or they do not fit; nothing is written.
    """
    new_samples.check_out(arguments.out, arguments.file, SUFFIXES)
    write = _write_npy
    if arguments.out.suffix.lower() == ".parquet":
        need("pyarrow.parquet", "tables", "a .parquet file")
        write = _write_parquet
    model = new_samples.load(arguments.model)
    parts = new_samples.through(arguments.file, model, partial(trained_model.embed, model))
    with atomic_write(arguments.out) as file:
        n_rows = write(file, parts)
        new_samples.check_any(n_rows, arguments.file)
    print(f"{n_rows:,} rows are in {arguments.out}")


def _write_npy(file: IO[bytes], parts: Iterable[new_samples.Part]) -> int:
    """Writes the rows behind a header that is written again, with the same length, once their number is known."""
    n_rows, header = 0, b""
    for part in parts:
        if not n_rows:
            header = _npy_header(0, part.values)
            file.write(header)
        file.write(np.ascontiguousarray(part.values).data)
        n_rows += len(part.values)
    if n_rows:
        file.seek(0)
        file.write(_npy_header(n_rows, part.values).ljust(len(header)))
    return n_rows


def _npy_header(n_rows: int, values: np.ndarray) -> bytes:
    file = io.BytesIO()
    shape = (n_rows, *values.shape[1:])
    description = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)  # which leaves room for a larger number of rows
    return file.getvalue()


def _write_parquet(file: IO[bytes], parts: Iterable[new_samples.Part]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    parts = iter(parts)
    first = next(parts, None)
    if first is None:
        return 0
    names = [f"z{i}" for i in range(first.values.shape[1])]
    id_name = "id" if first.id_name in names else first.id_name
    schema = pa.schema([(id_name, _id_type(first.ids)), *((name, pa.float32()) for name in names)])
    n_rows = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for part in chain([first], parts):
            ids = part.ids.tolist()
            if schema.field(0).type == pa.string():
                ids = [None if name is None or name != name else str(name) for name in ids]
            columns = [pa.array(ids, schema.field(0).type, from_pandas=True), *np.ascontiguousarray(part.values.T)]
            writer.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], schema=schema))
            n_rows += len(part.values)
    return n_rows


def _id_type(ids: np.ndarray) -> Any:
    """Numbers stay numbers, all other ids become text."""
    import pyarrow as pa

    if ids.dtype.kind in "iuf":
        return pa.from_numpy_dtype(ids.dtype)
    present = [name for name in ids.tolist() if name is not None]
    return pa.int64() if present and all(type(name) is int for name in present) else pa.string()
