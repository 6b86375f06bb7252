"""Clusters one data set: python -m experiments.run --data NAME|FILE; see --help."""

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from dec_jax import data
from dec_jax.validation import check_choice
from experiments import plan, report, trial
from experiments.journal import Journal
from experiments.presets import N_CLUSTERS, PRESETS
from experiments.progress import PhaseProgress
from experiments.settings import HELP, Settings, parse

UNFINISHED = "unfinished"
MEGABYTE = 2**20


def parser() -> argparse.ArgumentParser:
    """The command line."""
    settings = "\n".join(f"  {name:<26}{text}" for name, text in HELP.items())
    cli = argparse.ArgumentParser(
        prog="python -m experiments.run",
        description="Clusters one data set with DEC and writes the result, the model and pictures to a folder.",
        epilog=f"keys of --set:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(data.NAMES)
    cli.add_argument("--data", default="digits", metavar="NAME|FILE", help=f"{names}, or a .npy, .npz or .csv file")
    cli.add_argument("--labels", metavar="FILE", help="one label per sample, used for scores only")
    cli.add_argument("--n-clusters", type=int, metavar="K", help="number of clusters; a file needs it")
    cli.add_argument("--preset", default="fast", metavar="NAME", help=f"{', '.join(PRESETS)} (default: fast)")
    cli.add_argument("--bottleneck", type=int, metavar="M", help="dimensions of the embedding (default: 10)")
    cli.add_argument("--seed", type=int, default=0, metavar="S", help="fixes the run to the last bit (default: 0)")
    cli.add_argument("--out", type=Path, metavar="DIR", help="default: runs/DATA-PRESET-seedS")
    cli.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="any other setting")
    cli.add_argument("--data-dir", metavar="DIR", help="folder of data prepared by TFDS (default: TFDS_DATA_DIR)")
    cli.add_argument("--overwrite", action="store_true", help="replace the result in the folder")
    return cli


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings that a command line asks for: the preset's, then its own.

    Raises:
        TypeError, ValueError: a name is unknown, or a value is none that is accepted.
    """
    preset = PRESETS[check_choice("preset", arguments.preset, PRESETS)]
    values = preset | parse(arguments.set)
    for name in ("n_clusters", "bottleneck"):
        if getattr(arguments, name) is not None:
            values[name] = getattr(arguments, name)
    values.setdefault("n_clusters", N_CLUSTERS.get(arguments.data))
    names = ("data", "labels", "preset", "seed")
    return Settings(**{name: getattr(arguments, name) for name in names}, **values)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 2 for bad input, 130 when it was interrupted."""
    arguments = parser().parse_args(words)
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        run(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last saved moment", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Runs one trial and writes its folder.

    Raises:
        TypeError, ValueError, OSError: bad input, found before any training.
        FloatingPointError: a loss became NaN or infinite.
    """
    settings = read_settings(arguments)
    name = Path(settings.data).stem
    out = arguments.out or Path("runs") / f"{name}-{settings.preset}-seed{settings.seed}"
    _check_out(out, overwrite=arguments.overwrite)
    dataset = data.load(settings.data, settings.labels, data_dir=arguments.data_dir)
    resolved = plan.resolve(settings, dataset)
    if resolved.batch_size < settings.batch_size:
        warnings.warn(f"batch_size is {resolved.batch_size}, the number of samples", stacklevel=1)
    _check_writable(out, dataset)
    identity = {field.name: getattr(resolved, field.name) for field in fields(resolved)}
    identity["samples"] = trial.fingerprint(dataset)
    journal = Journal(out / UNFINISHED, identity, overwrite=arguments.overwrite)
    with PhaseProgress() as progress:
        finished = trial.run(trial.Trial(resolved, dataset, journal, progress))
    result = report.summarize(finished)
    console = Console(width=None if sys.stdout.isatty() else 100)
    report.print_table(result, console)
    report.write(out, finished, result)
    journal.remove()
    console.print(f"result, model and pictures are in {out}", highlight=False, soft_wrap=True)


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, {out} is a file")
    if (out / report.RESULT_FILE).exists() and not overwrite:
        raise ValueError(f"out {out} already holds a result; choose another folder, or add --overwrite")


def _check_writable(out: Path, dataset: data.Dataset) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OSError(f"out {out} cannot be written: {error.strerror}") from error
    # Assignments, model and checkpoints: hundreds of bytes a sample and some copies of the parameters.
    needed = 100 * MEGABYTE + 400 * dataset.x.shape[0]
    if shutil.disk_usage(out).free < needed:
        raise OSError(f"out {out} needs about {needed // MEGABYTE} MB of free disk space")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
