"""Time a sample and peak memory over sizes: python -m benchmarks.scaling; see --help."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from benchmarks import command, scaling_picture
from benchmarks.command import Record
from benchmarks.scaling_point import Point
from dec_jax.validation import check_integer

ROOT = Path(__file__).parents[1]
SWEEPS = {
    "n": (10_000, 30_000, 100_000, 300_000, 685_000),
    "k": (2, 10, 30, 100, 300, 1_000),
    "m": (2, 8, 32, 128, 256),
    "b": (64, 256, 1_024, 4_096, 8_192),
}
QUICK_SWEEPS = {"n": (2_000, 10_000), "k": (2, 100), "m": (2, 64), "b": (64, 1_024)}
WINDOW = 2**15  # samples that the steps of one timing see, 128 batches of 256
QUICK_WINDOW = 2**13
WIDTHS = (784, 2_000)
QUICK_WIDTHS = (784,)
# The phases that a size touches; d only tells where n is swept.
PHASES = {
    "n": ("pretraining", "clustering", "refresh", "k-means"),
    "k": ("clustering", "refresh", "k-means"),
    "m": ("pretraining", "clustering", "refresh", "k-means"),
    "b": ("pretraining", "clustering"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = command.parser("scaling", "Time a sample and peak memory of each phase over n, k, m and the batch size.")
    cli.add_argument("--quick", action="store_true", help="a few small sizes only")
    cli.add_argument("--repeats", type=int, default=3, metavar="R", help="timings of each point (default: 3)")
    cli.add_argument("--picture", type=Path, metavar="FILE", help="also draw the figures, a PNG")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return command.main(parser(), run, words)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints, writes and draws; a point that cannot be measured is left out with a word why.

    Raises:
        TypeError, ValueError, OSError, ImportError: bad input.
    """
    check_integer("repeats", arguments.repeats, 1)
    command.check_writable(arguments.picture)
    options = {
        "device": arguments.device,
        "repeats": arguments.repeats,
        "window": QUICK_WINDOW if arguments.quick else WINDOW,
    }
    sweeps = {}
    for size in SWEEPS:
        found = (measure(point, options) for point in points(size, quick=arguments.quick))
        sweeps[size] = [record for record in found if record]
        print_table(size, sweeps[size])
    # Written before it is drawn: a missing matplotlib costs the picture alone.
    command.write(arguments.out, [record for records in sweeps.values() for record in records])
    if arguments.picture:
        scaling_picture.draw(arguments.picture, sweeps)
    return 0


def points(size: str, *, quick: bool) -> Iterator[Point]:
    """The points along one size."""
    for phase in PHASES[size]:
        widths = (QUICK_WIDTHS if quick else WIDTHS) if size == "n" and phase != "k-means" else (Point.d,)
        for d in widths:
            for value in (QUICK_SWEEPS if quick else SWEEPS)[size]:
                yield replace(Point(phase, d=d), **{size: value})


def measure(point: Point, options: Record) -> Record | None:
    """The record of one point from a process of its own; None, and a line on standard error, where it failed."""
    words = (sys.executable, "-m", "benchmarks.scaling_point", json.dumps(asdict(point)), json.dumps(options))
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    killed = "it was killed, for want of memory most likely"
    reason = killed if done.returncode < 0 else done.stderr.strip().splitlines()[-1].removeprefix("error: ")
    sizes = ", ".join(f"{name}={getattr(point, name):,}" for name in "ndkmb")
    command.complain(f"{point.phase} at {sizes} was left out: {reason}")
    return None


def print_table(size: str, records: Sequence[Record]) -> None:
    """Prints one sweep, and for n how flat the time a sample stays."""
    screen = command.console()
    table = Table("phase", title=f"{scaling_picture.SIZES[size]}, {command.describe_device()}")
    for name in (*Point.__dataclass_fields__, "µs a sample", "GFLOP/s", "peak MiB", "samples MiB"):
        if name != "phase":
            table.add_column(name, justify="right")
    for record in records:
        sizes = (f"{record[name]:,}" for name in "ndkmb")
        peak = record["peak_device_bytes"] or record["peak_host_bytes"]
        memory = (f"{n_bytes / 2**20:,.0f}" for n_bytes in (peak, record["data_bytes"]))
        times = (command.si(1e6 * record["seconds_per_sample"]), command.si(record["gflops"]))
        table.add_row(record["phase"], *sizes, *times, *memory)
    screen.print(table)
    if size == "n":
        screen.print(f"time a sample, slowest above fastest: {flatness(records)}")


def flatness(records: Sequence[Record]) -> str:
    """By how much the time a sample varies with n, for each phase and width."""
    series: dict[str, list[float]] = {}
    for record in records:
        series.setdefault(f"{record['phase']} d={record['d']:,}", []).append(record["seconds_per_sample"])
    return ", ".join(f"{name} {max(times) / min(times) - 1:.0%}" for name, times in series.items())


if __name__ == "__main__":
    sys.exit(main())
