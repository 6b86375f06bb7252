"""Runs a grid of trials as one sweep: python -m experiments.sweep --data NAME|FILE …; see --help."""

import argparse
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from rich.console import Console

from dec_jax import data
from dec_jax.data import Dataset
from dec_jax.validation import check_choice, check_integer
from experiments import plan
from experiments.progress import PhaseProgress
from experiments.run import naming, say
from experiments.settings import HELP
from experiments.sweeping import capacity, engine, estimate, grid, hosts, masked, pictures, ray_engine, table
from experiments.sweeping.engine import Engine, Row, Sizes, SweepTrial
from experiments.sweeping.folder import PICTURES_FOLDER, SweepFolder, trial_id
from experiments.sweeping.grid import Grid
from experiments.sweeping.layout import Layout, make_layout
from experiments.sweeping.pretraining_cache import PretrainingCache
from experiments.sweeping.samples import split

ENGINES = ("local", "ray")


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
    cli.add_argument("--data-dir", metavar="DIR", help="folder of TFDS, or of scikit-learn for reuters")
    cli.add_argument("--engine", default="local", metavar="NAME", help=f"{', '.join(ENGINES)} (default: local)")
    cli.add_argument("--ray-address", metavar="HOST:PORT", help="of a Ray cluster (default: RAY_ADDRESS, or a new one)")
    hosts.add_arguments(cli)
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
    place = hosts.read(arguments)
    check_choice("engine", arguments.engine, ENGINES)
    if arguments.engine == "ray" and place is not None:
        raise ValueError("engine ray has processes of its own: leave out --coordinator, --n-processes and --process-id")
    if arguments.engine != "ray" and arguments.ray_address is not None:
        raise ValueError(f"ray_address needs engine ray, got {arguments.engine}")
    with hosts.joined(None if arguments.dry_run else place) as team, PhaseProgress() as progress:
        shared, trials = _prepare(arguments, chosen, progress)
        if team.leads:
            _say_plan(chosen, shared, trials)
        if not arguments.dry_run:
            _sweep(arguments, chosen, shared, trials, team)


def _prepare(arguments: argparse.Namespace, chosen: Grid, progress: PhaseProgress) -> tuple[Engine, list[SweepTrial]]:
    """What trials are run with, but for the journal, and the trials."""
    if arguments.engine == "ray":  # the devices are the workers', which may be this machine's
        jax.config.update("jax_platforms", "cpu")
        layout = Layout(None, check_integer("data_shards", arguments.data_shards, 1))
    else:
        layout = make_layout(arguments.data_shards)
    limit = capacity.memory_limit(arguments.memory)
    dataset = data.load(chosen.fixed["data"], chosen.fixed.get("labels"), data_dir=arguments.data_dir)
    samples = split(dataset, arguments.held_out, layout)
    shared = Engine(samples, PretrainingCache(arguments.cache), lambda *_: None, limit, progress)
    return shared, resolve(chosen, samples.train, samples.fingerprint)


def _sweep(
    arguments: argparse.Namespace, chosen: Grid, shared: Engine, trials: list[SweepTrial], team: hosts.Team
) -> None:
    """Runs this process's share of what is left, and lets the one that leads write the table and the pictures."""
    table.check_installed()
    out = (arguments.out or default_out(chosen)).expanduser()
    fingerprint = shared.samples.fingerprint
    identity = chosen.identity() | {"samples": fingerprint, "held_out": arguments.held_out}
    batches = engine.by_pretraining(shared, trials)
    with naming(out), SweepFolder(out, identity, overwrite=arguments.overwrite, process=team.number) as folder:
        shared.journal = folder.journal
        done = folder.rows()
        left = [trial for trial in team.share(batches) if trial.id not in done]
        if left:
            _run_missing(_rows(arguments, shared, left, engine.sizes_of(trials)), len(left), shared, folder)
        if not team.leads:
            return
        rows = team.wait(folder, batches, shared.progress)
        _write(out, [rows[trial.id] for trial in trials])
        folder.finish()
    report(out)


def resolve(chosen: Grid, train: Dataset, fingerprint: str) -> list[SweepTrial]:
    """The trials of a grid with everything filled in that depends on the data.

    Raises:
        TypeError, ValueError: a setting does not fit the data.
    """
    for each in chosen.trials():
        masked.check_maskable(each)
    settings = [plan.resolve(each, train) for each in chosen.trials()]
    return [SweepTrial(i, trial_id(each, fingerprint), each) for i, each in enumerate(settings)]


def default_out(chosen: Grid) -> Path:
    """The folder of a sweep that names none."""
    return Path("runs") / f"sweep-{Path(chosen.fixed['data']).stem}"


def _rows(arguments: argparse.Namespace, shared: Engine, left: list[SweepTrial], sizes: Sizes) -> Iterator[Row]:
    """Rows of the trials that are left, as they finish, from the engine that was chosen."""
    if arguments.engine == "local":
        yield from engine.run(shared, left, sizes)
        return
    cache = arguments.cache and arguments.cache.expanduser().absolute()
    options = ray_engine.Options(cache, arguments.memory, arguments.data_shards)
    batches = engine.by_pretraining(shared, left)
    with ray_engine.connected(arguments.ray_address):
        yield from ray_engine.run(shared.samples, batches, sizes, options, shared.progress)


def _run_missing(rows: Iterator[Row], n_left: int, shared: Engine, folder: SweepFolder) -> None:
    began = time.perf_counter()
    for row in rows:
        folder.save_row(row["id"], row)
    minutes = (time.perf_counter() - began) / 60
    compiled = f", {shared.compiled.count} compiled programs" if shared.compiled.count else ""
    print(
        f"{n_left} trials in {minutes:.1f} minutes, {n_left / minutes:.1f} trials a minute{compiled}", file=sys.stderr
    )


def _say_plan(chosen: Grid, shared: Engine, trials: list[SweepTrial]) -> None:
    for line in [*grid.describe(chosen), *estimate.describe(shared, trials)]:
        print(line, file=sys.stderr)


def _write(out: Path, rows: list[Row]) -> None:
    table.write(table.to_frame(rows), out)


def report(out: Path) -> None:
    """Prints the table and draws the pictures of a finished sweep.

    Raises:
        FileNotFoundError, ValueError: the folder holds no whole results.
    """
    frame = table.read(out)
    swept = table.swept(frame)
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
    table.print_summary(frame, swept, console)
    folder = out / PICTURES_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    drawn = pictures.draw(frame, swept, folder)
    console.print(f"{len(drawn)} pictures and {', '.join(table.FILES)} are in {out}", soft_wrap=True)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
