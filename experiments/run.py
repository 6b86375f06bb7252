"""Clusters one data set: python -m experiments.run --data NAME|FILE; see --help."""

import argparse
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from dec_jax import data
from dec_jax.samples import usable_batch_size
from dec_jax.validation import check_choice
from experiments import plan, report, trial
from experiments.journal import Journal
from experiments.presets import N_CLUSTERS, PRESETS, changes_of
from experiments.profiler import Profiler
from experiments.progress import PhaseProgress
from experiments.settings import AUGMENTATIONS, HELP, OBJECTIVES, Settings, parse
from experiments.sweeping.pretraining_cache import PretrainingCache

AUGMENT = ("rotation=10", "shift=0.1")  # of --augment without ranges (Guo et al., DEC-DA, ACML 2018)
UNFINISHED = "unfinished"
SWEEP_FILE = "sweep.json"  # stands in the folder of a sweep, which keeps its work in progress under the same name
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
    cli.add_argument(
        "--objective", metavar="NAME", help=f"{', '.join(OBJECTIVES)} or package.module:function (default: dec)"
    )
    cli.add_argument(
        "--augment",
        nargs="*",
        metavar="RANGE=VALUE",
        help=f"trains on augmented samples: {', '.join(AUGMENTATIONS)} (nothing: {' '.join(AUGMENT)})",
    )
    cli.add_argument("--seed", type=int, default=0, metavar="S", help="fixes the run to the last bit (default: 0)")
    cli.add_argument("--out", type=Path, metavar="DIR", help="default: runs/DATA-PRESET-seedS")
    cli.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="any other setting")
    cli.add_argument("--cache", type=Path, metavar="DIR", help="folder of pretrained networks, shared with sweeps")
    cli.add_argument("--data-dir", metavar="DIR", help="folder of TFDS, or of scikit-learn for reuters")
    cli.add_argument(
        "--profile",
        type=Path,
        metavar="DIR",
        help="writes traces of the second window of each phase, which ui.perfetto.dev and XProf open",
    )
    cli.add_argument("--overwrite", action="store_true", help="replace the result in the folder")
    return cli


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings that a command line asks for: the preset's, then its own.

    Raises:
        TypeError, ValueError: a name is unknown, or a value is none that is accepted.
    """
    preset = changes_of(arguments.preset, arguments.objective or Settings.objective)
    values = preset | parse(_augmentations(arguments.augment)) | parse(arguments.set)
    for name in ("n_clusters", "bottleneck", "objective"):
        if getattr(arguments, name) is not None:
            values[name] = getattr(arguments, name)
    values.setdefault("n_clusters", N_CLUSTERS.get(arguments.data))
    names = ("data", "labels", "preset", "seed")
    return Settings(**{name: getattr(arguments, name) for name in names}, **values)


def _augmentations(words: Sequence[str] | None) -> list[str]:
    """The words of --augment as those of --set.

    Raises:
        ValueError: a word names no augmentation.
    """
    if words is None:
        return []
    for word in words:
        name, equals, _ = word.partition("=")
        check_choice("augmentation", name, AUGMENTATIONS)
        if not equals:
            raise ValueError(f"--augment takes RANGE=VALUE, got {word!r}")
    return [f"augment_{word}" for word in words or AUGMENT]


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 2 for bad input, 130 when it was interrupted."""
    arguments = parser().parse_args(words)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            run(arguments)
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on from the last saved moment", file=sys.stderr)
            return 130
        except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
            say("error", error)
            return 2
    return 0


def say(kind: str, message: Warning | Exception | str) -> None:
    """Prints a warning or an error on one line of stderr."""
    print(f"{kind}: {str(message).replace(chr(10), ' ')}", file=sys.stderr)


def run(arguments: argparse.Namespace) -> None:
    """Runs one trial and writes its folder.

    Raises:
        TypeError, ValueError, OSError: bad input, found before any training.
        FloatingPointError: a loss became NaN or infinite.
    """
    settings = read_settings(arguments)
    out = (arguments.out or default_out(settings)).expanduser()
    _check_out(out, overwrite=arguments.overwrite)
    profiler = Profiler(arguments.profile)
    dataset = data.load(settings.data, settings.labels, data_dir=arguments.data_dir)
    resolved = plan.resolve(settings, dataset)
    scaling = data.fit_scaling(resolved.scaling, dataset.x)
    samples = data.apply_scaling(scaling, dataset.x)
    unlabelled = trial.load_unlabelled(resolved, scaling, arguments.data_dir)
    identity = vars(resolved) | {"samples": trial.fingerprint(dataset)}
    cache = PretrainingCache(arguments.cache) if arguments.cache else None
    with naming(out):
        _make_writable(out, dataset)
        journal = Journal(out / UNFINISHED, identity, overwrite=arguments.overwrite)
        usable_batch_size(settings.batch_size, dataset.x.shape[0])  # says so where it is none
        with PhaseProgress() as progress, profiler:
            begun = trial.Trial(
                resolved, dataset, scaling, samples, journal, progress, profiler, cache=cache, unlabelled=unlabelled
            )
            del samples  # the trial lets go of them once the device has them
            finished = trial.run(begun)
        result = report.summarize(finished)
        report.write(out, finished, result)
    journal.remove()
    console = Console(width=None if sys.stdout.isatty() else 100, markup=False, highlight=False)
    report.print_table(result, console)
    console.print(f"result, model and pictures are in {out}", soft_wrap=True)


def default_out(settings: Settings) -> Path:
    """The folder of a run that names none."""
    return Path("runs") / f"{Path(settings.data).stem}-{settings.preset}-seed{settings.seed}"


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, {out} is a file")
    if (out / SWEEP_FILE).exists():
        raise ValueError(f"out {out} holds a sweep; choose another folder")
    if (out / report.RESULT_FILE).exists() and not overwrite:
        raise ValueError(f"out {out} already holds a result; choose another folder, or add --overwrite")


@contextmanager
def naming(out: Path) -> Iterator[None]:
    """Lets an error of the file system say which folder it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(f"out {out} cannot be written: {error.strerror or error}") from error


def _make_writable(out: Path, dataset: data.Dataset) -> None:
    # Assignments, model and checkpoints: hundreds of bytes a sample and some copies of the parameters.
    needed = 100 * MEGABYTE + 400 * dataset.x.shape[0]
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if shutil.disk_usage(existing).free < needed:
        raise OSError(f"about {needed // MEGABYTE} MB of free disk space are needed")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
