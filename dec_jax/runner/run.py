"""dec-jax run: clusters one data set."""

import argparse
import contextlib
import errno
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from dec_jax import data, n2d
from dec_jax.folder_lock import lock
from dec_jax.runner import fitting, report, runs, table_arguments
from dec_jax.runner.command_line import CommandParser
from dec_jax.runner.config import ONE_CLUSTER, AugmentationConfig, Config, describe, parse
from dec_jax.runner.failures import naming, reported, say
from dec_jax.runner.presets import N_CLUSTERS, PRESETS, config_of
from dec_jax.runner.profiler import Profiler
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.resolving import resolve
from dec_jax.runner.sweep_folder import IDENTITY_FILE as SWEEP_FILE
from dec_jax.runner.webpage import PAGE_FILE
from dec_jax.samples import usable_batch_size
from dec_jax.storage import Store
from dec_jax.validation import check_choice

AUGMENT = ("rotation=10", "shift=0.1")  # of --augment without ranges (Guo et al., DEC-DA, ACML 2018)
AUGMENTATIONS = tuple(field.name for field in fields(AugmentationConfig) if field.type is float)
MEGABYTE = 2**20
# The options of --help; the others stand in --help-all.
SHOWN = (
    *("--data", "--n-clusters", "--labels", "--preset", "--seed", "--out", "--overwrite", "--set"),
    *("--drop", "--id-column", "--label-column", "--missing"),
)


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        prog="dec-jax run",
        usage="dec-jax run [--data NAME|FILE --n-clusters K] [OPTION …]",
        shown=SHOWN,
        more=f"keys of --set, with the defaults of preset paper; result.json has what was used:\n{describe()}\n",
        description="Clusters one data set and writes result, model and pictures to a folder. Without options: digits.",
    )
    names = ", ".join(data.NAMES)
    cli.add_argument("--data", default="digits", metavar="NAME|FILE", help=f"{names}, or a file: a table or an array")
    cli.add_argument("--labels", metavar="FILE", help="one label per sample, used for scores only")
    cli.add_argument("--n-clusters", type=int, metavar="K", help="number of clusters; a file needs it")
    cli.add_argument(
        "--preset",
        metavar="NAME",
        help=f"{', '.join(PRESETS)} (default: auto; with an objective that needs an autoencoder fast)",
    )
    cli.add_argument(
        "--bottleneck", type=int, metavar="M", help="dimensions of the embedding (default: 10; auto: one for a cluster)"
    )
    cli.add_argument(
        "--objective",
        metavar="NAME",
        help="dec, idec, dcn, dkm, scan, imsat or package.module:function (default: the preset's)",
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
    cli.add_argument(
        "--baselines",
        metavar="LIST",
        help=f"{', '.join(runs.BASELINES)}, with commas between, or none (default: kmeans if quick)",
    )
    cli.add_argument("--no-report", action="store_false", dest="page", help="leave report.html out")
    cli.add_argument("--overwrite", action="store_true", help="replace the result in the folder")
    table_arguments.add_arguments(cli)
    return cli


def read_config(arguments: argparse.Namespace) -> Config:
    """The configuration that a command line asks for: the preset's, then its own.

    Raises:
        TypeError, ValueError: a name is unknown, or a value is not accepted.
    """
    base = config_of(arguments.preset, arguments.objective)
    values = parse(_augmentations(arguments.augment)) | parse(arguments.set)
    k = N_CLUSTERS.get(arguments.data) if arguments.n_clusters is None else arguments.n_clusters
    if k == 1:
        raise ValueError(ONE_CLUSTER)
    given = {"data.name": arguments.data, "data.labels": arguments.labels, "seed": arguments.seed}
    given |= {"clustering.n_clusters": k}
    if arguments.bottleneck is not None:
        given["network.bottleneck"] = arguments.bottleneck
    return base.with_values(values | given)


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
    return [f"augmentation.{word}" for word in words or AUGMENT]


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `failures.reported`."""
    words = sys.argv[1:] if words is None else words
    arguments = parser().parse_args(words)
    return reported(lambda: run(arguments, f"dec-jax run {shlex.join(words)}".strip()), saves=True)


def run(arguments: argparse.Namespace, command: str) -> None:
    """Runs one trial and writes its folder, which names the command that repeats it.

    Raises:
        TypeError, ValueError, OSError: bad input, found before any training.
        FloatingPointError: a loss became NaN or infinite.
    """
    config = read_config(arguments)
    out = (arguments.out or default_out(config)).expanduser()
    _check_out(out, overwrite=arguments.overwrite)
    baselines = _read_baselines(arguments.baselines)
    profiler = Profiler(arguments.profile)
    options = table_arguments.read(arguments)
    dataset = data.load(config.data.name, config.data.labels, data_dir=arguments.data_dir, options=options)
    resolved = resolve(config, dataset)
    rule = resolved.data.scaling
    data.apply_scaling(data.fit_scaling(rule, dataset.x), dataset.x)  # says what cannot be scaled
    with naming(out), _held(out, dataset):
        # Once more: another process may have finished in between.
        _check_out(out, overwrite=arguments.overwrite)
        runs.claim(resolved, dataset, out, overwrite=arguments.overwrite)
        for note in dataset.notes:
            say("note", note)
        if dataset.encoding is not None:
            print(dataset.encoding, file=sys.stderr)
        for size in sorted({config.pretraining.batch_size, config.clustering.batch_size}):
            usable_batch_size(size, dataset.x.shape[0])  # says so where it is too large
        cache = Store(arguments.cache) if arguments.cache else None
        with PhaseProgress() as progress, profiler:
            given = {"data_dir": arguments.data_dir, "baselines": baselines, "compiled": fitting.COMPILED}
            desk = runs.Desk(out, progress, profiler, cache, **given)
            finished = runs.run(resolved, dataset, desk)
        result = report.summarize(finished, command)
        report.write(out, finished, result, with_page=arguments.page)
        runs.forget(out)
    console = Console(width=None if sys.stdout.isatty() else 100, markup=False, highlight=False)
    report.print_table(result, console)
    console.print(f"result, model and pictures are in {out}", soft_wrap=True)
    if (out / PAGE_FILE).exists():
        console.print(f"to look at it, open {out / PAGE_FILE}", soft_wrap=True)


def _read_baselines(text: str | None) -> tuple[str, ...] | None:
    """The names that --baselines lists; None where it is not given.

    Raises:
        ValueError: a name is unknown.
        ImportError: umap-learn is missing.
    """
    if text is None:
        return None
    names = () if text.lower() in ("", "none") else tuple(dict.fromkeys(text.split(",")))
    for name in names:
        check_choice("baseline", name, runs.BASELINES)
    if "umap" in names:
        n2d.import_umap()
    return names


def default_out(config: Config) -> Path:
    """The folder of a run that names none."""
    return Path("runs") / f"{Path(config.data.name).stem}-{config.preset}-seed{config.seed}"


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, {out} is a file")
    if (out / SWEEP_FILE).exists():
        raise ValueError(f"out {out} holds a sweep; choose another folder")
    if (out / report.RESULT_FILE).exists() and not overwrite:
        raise ValueError(f"out {out} already holds a result; choose another folder, or add --overwrite")


@contextlib.contextmanager
def _held(out: Path, dataset: data.Dataset) -> Iterator[None]:
    """The folder, writable and this process's alone."""
    _make_writable(out, dataset)
    with lock(out):
        yield


def _make_writable(out: Path, dataset: data.Dataset) -> None:
    # Assignments, model and checkpoints: hundreds of bytes per sample and some copies of the parameters.
    needed = 100 * MEGABYTE + 400 * dataset.x.shape[0]
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if shutil.disk_usage(existing).free < needed:
        raise OSError(errno.ENOSPC, f"about {needed // MEGABYTE} MB of free disk space are needed")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
