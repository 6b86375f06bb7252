"""dec-jax sweep: runs a grid of trials as one sweep."""

import argparse
import contextlib
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
from rich.console import Console

from dec_jax import data
from dec_jax.data.cache import cache_folder
from dec_jax.identity import fingerprint, identity
from dec_jax.runner import capacity, estimate, grid, ray_workers, sweep_pictures, table, table_arguments
from dec_jax.runner.command_line import CommandParser
from dec_jax.runner.config import Config, describe
from dec_jax.runner.failures import naming, reported, say
from dec_jax.runner.grid import Grid
from dec_jax.runner.layout import Layout, make_layout
from dec_jax.runner.programs import sizes_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.resolving import resolve
from dec_jax.runner.split import split
from dec_jax.runner.suggestion import suggestions
from dec_jax.runner.sweep_folder import PICTURES_FOLDER, Row, SweepFolder
from dec_jax.runner.trainer import train
from dec_jax.runner.webpage import PAGE_FILE, kept, page
from dec_jax.runner.work import Trial, Workshop, by_pretraining, trial_id
from dec_jax.storage import Store
from dec_jax.validation import check_choice, check_integer

if TYPE_CHECKING:
    from pandas import DataFrame

ENGINES = ("local", "ray")
# The options of --help; the others stand in --help-all.
SHOWN = (
    *("--data", "--labels", "--n-clusters", "--bottleneck", "--seeds", "--preset", "--config", "--set"),
    *("--out", "--engine", "--dry-run", "--overwrite"),
)
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_OF_SILENCE = 600.0  # of the other processes, after which the first one says for what it waits


class Place(NamedTuple):
    """Which of the processes that share a sweep this one is."""

    number: int
    n_processes: int


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        prog="dec-jax sweep",
        usage="dec-jax sweep [--data NAME|FILE --n-clusters K,…] [OPTION …]",
        shown=SHOWN,
        more=f"keys of --set:\n{describe()}\n",
        description="Runs every combination of the settings given as one sweep, and writes a table and pictures.",
    )
    grid.add_arguments(cli)
    table_arguments.add_arguments(cli)
    cli.add_argument("--out", type=Path, metavar="DIR", help="default: runs/sweep-DATA")
    cli.add_argument("--held-out", type=float, default=0.1, metavar="F", help="fraction not trained on (default: 0.1)")
    cli.add_argument("--cache", type=Path, metavar="DIR", help="folder of pretrained networks, shared by all sweeps")
    cli.add_argument("--memory", metavar="SIZE", help="a device may use, like 8GB (default: most of it)")
    cli.add_argument("--data-shards", type=int, default=1, metavar="N", help="devices that share one trial's samples")
    cli.add_argument("--data-dir", metavar="DIR", help="folder of TFDS, or of scikit-learn for reuters")
    cli.add_argument("--engine", default="local", metavar="NAME", help=f"{', '.join(ENGINES)} (default: local)")
    cli.add_argument("--ray-address", metavar="HOST:PORT", help="of a Ray cluster (default: RAY_ADDRESS, or a new one)")
    cli.add_argument("--n-processes", type=int, metavar="N", help="processes, on any hosts, that share the sweep")
    cli.add_argument("--process-id", type=int, metavar="I", help="which of them this one is, 0 to N − 1")
    cli.add_argument("--dry-run", action="store_true", help="only say what would be done")
    cli.add_argument("--report", type=Path, metavar="DIR", help="draw the pictures of a finished sweep again")
    cli.add_argument("--no-report", action="store_false", dest="page", help="leave report.html out")
    cli.add_argument("--overwrite", action="store_true", help="throw away another sweep in the folder")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `failures.reported`."""
    words = sys.argv[1:] if words is None else words
    arguments = parser().parse_args(words)
    command = f"dec-jax sweep {shlex.join(words)}"
    again = arguments.report
    if again:
        return reported(lambda: report(again, with_page=arguments.page))
    return reported(lambda: run(arguments, command), saves=True)


def run(arguments: argparse.Namespace, command: str) -> None:
    """Says what will be done, runs what is left of it, and writes the table, the pictures and the page.

    The page names the command.

    Raises:
        TypeError, ValueError, OSError: bad input, found before any training.
        ImportError: an extra is missing.
    """
    chosen = grid.read(arguments)
    place = _place(arguments)
    with PhaseProgress() as progress:
        shop, trials = _prepare(arguments, chosen, progress)
        if place.number == 0:
            sizes = sizes_of([trial.config for trial in trials])
            for text in [*grid.describe(chosen), *estimate.describe(shop, trials, sizes)]:
                print(text, file=sys.stderr)
        if not arguments.dry_run:
            _sweep(arguments, chosen, (shop, trials), command)


def _place(arguments: argparse.Namespace) -> Place:
    """This process's place, once the options that say who does the work fit together."""
    check_choice("engine", arguments.engine, ENGINES)
    given = (arguments.n_processes, arguments.process_id)
    if arguments.engine == "ray" and given != (None, None):
        raise ValueError("engine ray has processes of its own: leave out --n-processes and --process-id")
    if arguments.engine != "ray" and arguments.ray_address is not None:
        raise ValueError(f"ray_address needs engine ray, got {arguments.engine}")
    if given == (None, None):
        return Place(0, 1)
    if None in given:
        raise ValueError("n_processes and process_id must be given together")
    n_processes = check_integer("n_processes", arguments.n_processes, 1)
    return Place(
        check_integer("process_id", arguments.process_id, 0, n_processes - 1, why="the last of n_processes"),
        n_processes,
    )


def _prepare(arguments: argparse.Namespace, chosen: Grid, progress: PhaseProgress) -> tuple[Workshop, list[Trial]]:
    """What trials are trained with, but for where unfinished work is kept, and the trials."""
    if arguments.engine == "ray":  # the devices are the workers', which may be this machine's
        jax.config.update("jax_platforms", "cpu")
        layout = Layout(None, check_integer("data_shards", arguments.data_shards, 1))
    else:
        layout = make_layout(arguments.data_shards)
    limit = capacity.memory_limit(arguments.memory)
    name = chosen.fixed["data.name"]
    options = table_arguments.read(arguments)
    dataset = data.load(name, chosen.fixed.get("data.labels"), data_dir=arguments.data_dir, options=options)
    for note in dataset.notes:
        say("note", note)
    samples = split(dataset, arguments.held_out, layout)
    configs = [resolve(config, samples.train) for config in chosen.trials()]
    if any(config.data.unlabelled for config in configs):
        samples.unlabelled = data.load_unlabelled(name, arguments.data_dir)
    trials = [Trial(i, trial_id(config, samples.fingerprint), config) for i, config in enumerate(configs)]
    return Workshop(samples, Store(cache_of(arguments.cache)), Store(None), limit, progress), trials


def cache_of(folder: Path | None) -> Path:
    """The folder of pretrained networks."""
    return folder or cache_folder() / "pretraining"


def _sweep(arguments: argparse.Namespace, chosen: Grid, prepared: tuple[Workshop, list[Trial]], command: str) -> None:
    """Runs this process's share of what is left, and lets the first process write the table, the pictures and the page.

    Args:
        arguments: of the command line.
        chosen: the grid.
        prepared: what trials are trained with, and the trials.
        command: the one that repeats the sweep.
    """
    table.check_installed()
    shop, trials = prepared
    place, out = _place(arguments), (arguments.out or default_out(chosen)).expanduser()
    known_as = _identity(chosen, shop, arguments.held_out)
    shop.name = identity(**known_as)
    unique = list({trial.id: trial for trial in reversed(trials)}.values())[::-1]
    shares = _shares(shop, unique, place.n_processes)
    process = None if arguments.n_processes is None else place.number
    with naming(out), SweepFolder(out, known_as, overwrite=arguments.overwrite, process=process) as folder:
        shop.unfinished = folder.unfinished
        done = folder.rows()
        left = [trial for trial in shares[place.number] if trial.id not in done]
        if left:
            rows = _rows(arguments, shop, left, [trial.config for trial in unique])
            _run_missing(rows, len(left), shop, folder)
        if place.number > 0:
            return
        rows = _wait(folder, shares, shop.progress)
        split = shop.split
        lines = [table.line(trial, rows[trial.id], split.whole.y, split.held_out) for trial in trials]
        table.write(table.to_frame(lines), out)
        kept.write(out, {"command": command})
        folder.finish()
    report(out, with_page=arguments.page)


def _identity(chosen: Grid, shop: Workshop, held_out: float) -> dict:
    """What makes two sweeps the same one; labels are scored with whenever the table is made."""
    values = {name: value for name, value in chosen.identity().items() if name != "data.labels"}
    return values | {"samples": fingerprint(shop.split.whole.x), "held_out": held_out}


def default_out(chosen: Grid) -> Path:
    """The folder of a sweep that names none."""
    return Path("runs") / f"sweep-{Path(chosen.fixed['data.name']).stem}"


def _shares(shop: Workshop, trials: Sequence[Trial], n_processes: int) -> list[list[Trial]]:
    """The trials of each process, dealt alike by all of them; those of one pretraining go to one process."""
    groups = by_pretraining(shop, trials)
    return [
        sorted((trial for group in groups[number::n_processes] for trial in group), key=lambda trial: trial.index)
        for number in range(n_processes)
    ]


def _rows(arguments: argparse.Namespace, shop: Workshop, left: list[Trial], configs: list[Config]) -> Iterator[Row]:
    """Rows of the trials that are left, as they finish, from the engine that was chosen.

    Args:
        arguments: of the command line.
        shop: what they are trained with.
        left: the trials.
        configs: of the whole sweep.
    """
    if arguments.engine == "local":
        for outcome in train(shop, left, sizes_of(configs, _place(arguments).n_processes)):
            yield table.make_row(outcome, shop.split.held_out)
        return
    cache = cache_of(arguments.cache).expanduser().absolute()
    options = ray_workers.Options(cache, arguments.memory, arguments.data_shards, shop.name)
    with ray_workers.connected(arguments.ray_address):
        yield from ray_workers.run(shop.split, by_pretraining(shop, left), configs, options, shop.progress)


def _run_missing(rows: Iterator[Row], n_left: int, shop: Workshop, folder: SweepFolder) -> None:
    began = time.perf_counter()
    for row in rows:
        folder.save_row(row["id"], row)
    minutes = (time.perf_counter() - began) / 60
    compiled = f", {shop.compiled.count} compiled programs" if shop.compiled.count else ""
    print(
        f"{n_left} trials in {minutes:.1f} minutes, {n_left / minutes:.1f} trials per minute{compiled}", file=sys.stderr
    )


def _wait(folder: SweepFolder, shares: Sequence[Sequence[Trial]], progress: PhaseProgress) -> dict[str, Row]:
    """The rows of all trials by their ids, once every process has saved its own."""
    total, known, heard_at = sum(map(len, shares)), -1, time.monotonic()
    while True:
        rows = folder.rows()
        missing = {number: sum(trial.id not in rows for trial in share) for number, share in enumerate(shares)}
        missing = {number: count for number, count in missing.items() if count}
        done = total - sum(missing.values())
        if known >= 0:
            progress.advance(done, left=total - done)
        if not missing:
            if known >= 0:
                progress.finish(f"{total} trials")
            return rows
        if known < 0:
            progress.start("trials of all processes", total, done)
        if done != known:
            known, heard_at = done, time.monotonic()
        elif time.monotonic() - heard_at > SECONDS_OF_SILENCE:
            heard_at = time.monotonic()
            warnings.warn(_silence(missing), stacklevel=2)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _silence(missing: dict[int, int]) -> str:
    waited_for = ", ".join(f"{count} of process {number}" for number, count in missing.items())
    return (
        f"no trial has finished for {SECONDS_OF_SILENCE / 60:.0f} minutes; still waiting for {waited_for}: "
        "a process that has ended goes on with the same command"
    )


def report(out: Path, *, with_page: bool = True) -> None:
    """Prints the table and draws the pictures and the page of a finished sweep.

    Pictures or a page that cannot be drawn are left out with a warning.

    Raises:
        FileNotFoundError, ValueError: the folder holds no whole results.
    """
    frame = table.read(out)
    swept = table.swept(frame)
    console = Console(width=None if sys.stdout.isatty() else 120, markup=False, highlight=False)
    table.print_summary(frame, swept, console)
    for criterion, n_clusters in suggestions(frame, swept):
        console.print(f"{criterion} suggests {n_clusters} clusters")
    console.print(f"computed by commit {', '.join(frame['commit'].fillna('unknown').unique())}", soft_wrap=True)
    drawn: list[Path] = []
    with _unless_it_fails("the pictures were"):
        drawn = _draw(frame, swept, out / PICTURES_FOLDER)
    console.print(f"{len(drawn)} pictures and {', '.join(table.FILES)} are in {out}", soft_wrap=True)
    if with_page:
        with _unless_it_fails(f"{PAGE_FILE} was"):
            console.print(f"to look at it, open {page.write(out)}", soft_wrap=True)


def _draw(frame: "DataFrame", swept: Sequence[str], folder: Path) -> list[Path]:
    """Draws the pictures in the place of earlier ones, which stay where that fails."""
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        drawn = sweep_pictures.draw(frame, swept, new)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return drawn


@contextlib.contextmanager
def _unless_it_fails(what: str) -> Iterator[None]:
    """Lets nothing that can be drawn again end a finished sweep."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"{what} not written: {error or type(error).__name__}", stacklevel=2)
