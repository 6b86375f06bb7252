"""What commands leave to which nothing happens, and how it is compared."""

import os
from pathlib import Path
from typing import NamedTuple

from runner.tiny_run import command

from dec_jax.runner import table

FROM = int(os.environ.get("DEC_JAX_FAULTS_FROM", "0"))  # the seed of the first moment
RUN = {"pretraining.layer_wise_steps": 0, "pretraining.fine_tuning_steps": 300, "clustering.max_steps": 200}
SWEEP = "hidden=8 weight_init=glorot batch_size=32 layer_wise_steps=0 fine_tuning_steps=40 kmeans_restarts=2"
SWEEP += " pretraining.learning_rate=0.05 clustering.learning_rate=0.03 update_interval=10 max_steps=40 tolerance=0"


class Whole(NamedTuple):
    """A command to which nothing has happened.

    Attributes:
        words: of it, but for its folders.
        folder: where it wrote: a run to "out", a sweep to "cache", too.
        advances: how often it has said that it went on.
    """

    words: list
    folder: Path
    advances: int


def words_of_run(files):
    return command(files / "x.npy", "--labels", files / "y.npy", settings=RUN)


def words_of_sweep(files):
    words = ["--data", files / "x.npy", "--labels", files / "y.npy", "--n-clusters", "3,5", "--bottleneck", "2:3"]
    return [*words, "--seeds", "2", "--preset", "paper", "--set", *SWEEP.split()]


def run_to(folder):
    return ["--out", folder / "out"]


def sweep_to(folder):
    return ["--out", folder / "out", "--cache", folder / "cache"]


def of_two(folder):
    """The same, of two processes that share a sweep, but for their numbers."""
    return [*sweep_to(folder), "--n-processes", 2, "--process-id"]


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def lines(out):
    """The table of a sweep, without what takes time."""
    return table.read(out).drop(columns=list(table.TIME_COLUMNS)).to_csv()
