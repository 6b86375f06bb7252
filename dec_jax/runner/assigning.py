"""dec-jax assign: the cluster of each row of a file, by a trained model."""

import argparse
import csv
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from dec_jax import trained_model
from dec_jax.data.atomic import atomic_write
from dec_jax.runner import new_samples
from dec_jax.runner.command_line import CommandParser
from dec_jax.runner.failures import reported

COLUMNS = ("label", "confidence", "second_best")


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        prog="dec-jax assign",
        usage="dec-jax assign MODEL FILE [--out labels.csv]",
        description=(
            "Writes the cluster of each row of a file by a trained model, its confidence, and the second-best "
            "cluster. The ids of the file are kept under their name. A file that is larger than memory is read in "
            "blocks: CSV, TSV, Parquet and .npy."
        ),
    )
    new_samples.add_arguments(cli, "labels.csv")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    arguments = parser().parse_args(words)
    return reported(lambda: assign(arguments))


def assign(arguments: argparse.Namespace) -> None:
    """Writes the id of each row, its label, its confidence (0 to 1), and the second-best cluster, as CSV.

    Raises:
        TypeError, ValueError, OSError: the model or the file cannot be read, or they do not fit; nothing is written.
    """
    new_samples.check_out(arguments.out, arguments.file, (".csv",))
    model = new_samples.load(arguments.model)
    n_rows = 0
    with atomic_write(arguments.out, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        for part in new_samples.through(arguments.file, model, partial(trained_model.soft_assign, model)):
            if not n_rows:
                writer.writerow(["id" if part.id_name in COLUMNS else part.id_name, *COLUMNS])
            writer.writerows(_rows(part))
            n_rows += len(part.values)
        new_samples.check_any(n_rows, arguments.file)
    print(f"{n_rows:,} rows are in {arguments.out}")


def _rows(part: new_samples.Part) -> Any:
    q = part.values
    order = np.argsort(-q, axis=1, kind="stable")
    best, second = order[:, 0], order[:, min(1, q.shape[1] - 1)]
    confidences = (f"{confidence:.6g}" for confidence in np.take_along_axis(q, best[:, None], axis=1)[:, 0])
    names = ("" if name is None or name != name else name for name in part.ids.tolist())
    return zip(names, best.tolist(), confidences, second.tolist(), strict=True)
