"""Runs a grid of trials as one sweep: python -m experiments.sweep --data NAME|FILE …; see --help."""

import argparse
import os
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dec_jax import data
from dec_jax.data import Dataset
from experiments import plan
from experiments.progress import PhaseProgress
from experiments.run import naming, say
from experiments.settings import HELP
from experiments.sweeping import capacity, engine, estimate, grid, pictures, table
from experiments.sweeping.engine import Engine, Row, SweepTrial
from experiments.sweeping.folder import PICTURES_FOLDER, SweepFolder, trial_id
from experiments.sweeping.grid import Grid
from experiments.sweeping.layout import make_layout
from experiments.sweeping.pretraining_cache import PretrainingCache
from experiments.sweeping.samples import split


def parser() -> argparse.ArgumentParser:
    """The command line."""
    settings = "\n".join(f"  {name:<26}{text}" for name, text in HELP.items())
    cli = argparse.ArgumentParser(
        prog="python -m experiments.sweep",
        description="Runs every combination of the settings given as one sweep, and writes a table and pictures.",
        epilog=f"keys of --set:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    grid.add_arguments(cli)
    cli.add_argument("--out", type=Path, metavar="DIR", help="default: runs/sweep-DATA")
    cli.add_argument("--held-out", type=float, default=0.1, metavar="F", help="fraction not trained on (default: 0.1)")
    cli.add_argument("--cache", type=Path, metavar="DIR", help="folder of pretrained networks, shared by all sweeps")
    cli.add_argument("--memory", metavar="SIZE", help="what a device may use, like 8GB (default: most of what it has)")
    cli.add_argument("--data-shards", type=int, default=1, metavar="N", help="devices that share one trial's samples")
    cli.add_argument("--data-dir", metavar="DIR", help="folder of data prepared by TFDS (default: TFDS_DATA_DIR)")
    cli.add_argument("--dry-run", action="store_true", help="only say what would be done")
    cli.add_argument("--report", type=Path, metavar="DIR", help="draw the pictures of a finished sweep again")
    cli.add_argument("--overwrite", action="store_true", help="throw away another sweep in the folder")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 2 for bad input, 130 when it was interrupted."""
    arguments = parser().parse_args(words)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            if arguments.report:
                report(arguments.report)
            else:
                run(arguments)
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on from the last saved moment", file=sys.stderr)
            return 130
        except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
            say("error", error)
            return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Says what will be done, runs what is left of it, and writes the table and the pictures.

    Raises:
        TypeError, ValueError, OSError: bad input, found before any training.
        ImportError: an extra is missing.
    """
    chosen = grid.read(arguments)
    limit = capacity.memory_limit(arguments.memory)
    dataset = data.load(chosen.fixed["data"], chosen.fixed.get("labels"), data_dir=arguments.data_dir)
    samples = split(dataset, arguments.held_out, make_layout(arguments.data_shards))
    trials = resolve(chosen, samples.train, samples.fingerprint)
    cache = PretrainingCache(arguments.cache)
    out = (arguments.out or default_out(chosen)).expanduser()
    with PhaseProgress() as progress:
        shared = Engine(samples, cache, lambda *_: None, limit, progress)
        _say_plan(chosen, shared, trials)
        if arguments.dry_run:
            return
        table.check_installed()
        identity = chosen.identity() | {"samples": samples.fingerprint, "held_out": arguments.held_out}
        with naming(out), SweepFolder(out, identity, overwrite=arguments.overwrite) as folder:
            shared.journal = folder.journal
            _run_missing(shared, trials, folder)
            rows = folder.rows()
            _write(out, [rows[trial.id] for trial in trials])
            folder.finish()
    _show(out, chosen.swept)


def resolve(chosen: Grid, train: Dataset, fingerprint: str) -> list[SweepTrial]:
    """The trials of a grid with everything filled in that depends on the data.

    Raises:
        TypeError, ValueError: a setting does not fit the data.
    """
    settings = [plan.resolve(each, train) for each in chosen.trials()]
    return [SweepTrial(i, trial_id(each, fingerprint), each) for i, each in enumerate(settings)]


def default_out(chosen: Grid) -> Path:
    """The folder of a sweep that names none."""
    return Path("runs") / f"sweep-{Path(chosen.fixed['data']).stem}"


def _run_missing(shared: Engine, trials: list[SweepTrial], folder: SweepFolder) -> None:
    done = folder.rows()
    left = [trial for trial in trials if trial.id not in done]
    began = time.perf_counter()
    for row in engine.run(shared, left, engine.sizes_of(trials)):
        folder.save_row(row["id"], row)
    minutes = (time.perf_counter() - began) / 60
    if left:
        print(
            f"{len(left)} trials in {minutes:.1f} minutes, {len(left) / minutes:.1f} trials a minute, "
            f"{shared.compiled.count} compiled programs",
            file=sys.stderr,
        )


def _say_plan(chosen: Grid, shared: Engine, trials: list[SweepTrial]) -> None:
    for line in [*grid.describe(chosen), *estimate.describe(shared, trials)]:
        print(line, file=sys.stderr)


def _write(out: Path, rows: list[Row]) -> None:
    table.write(table.to_frame(rows), out)


def _show(out: Path, swept: Sequence[str]) -> None:
    frame = table.read(out)
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
    table.print_summary(frame, swept, console)
    folder = out / PICTURES_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    drawn = pictures.draw(frame, swept, folder)
    console.print(f"{len(drawn)} pictures and {', '.join(table.FILES)} are in {out}", soft_wrap=True)


def report(out: Path) -> None:
    """Prints the table and draws the pictures of a finished sweep again.

    Raises:
        FileNotFoundError, ValueError: the folder holds no whole results.
    """
    frame = table.read(out)
    _show(out, table.swept(frame))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
