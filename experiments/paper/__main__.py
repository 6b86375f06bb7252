"""The paper's tables and figures: python -m experiments.paper TARGET --out DIR; see --help."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dec_jax import data
from dec_jax.folder_lock import lock
from dec_jax.runner.failures import reported, say
from dec_jax.runner.presets import N_CLUSTERS
from dec_jax.validation import check_choice, check_integer
from experiments.paper import targets
from experiments.paper.context import SCALES, Context, Unavailable

ALL = "all"
SEEDS = {"full": 5, "fast": 5, "laptop": 3}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(
        prog="python -m experiments.paper",
        description="Makes a table or a figure of the DEC paper: ours, with the published figures beside it.",
    )
    cli.add_argument("target", metavar="TARGET", help=f"{', '.join(targets.TARGETS)} or {ALL}")
    cli.add_argument("--data", nargs="+", default=[], metavar="NAME", help="default: each target's own")
    cli.add_argument("--seeds", type=int, metavar="N", help="0 to N − 1 (default: 3 with laptop, else 5)")
    cli.add_argument("--scale", default="laptop", help=f"{', '.join(SCALES)} (default: laptop)")
    cli.add_argument("--out", type=Path, required=True, metavar="DIR", help="for tables, pictures and unfinished work")
    cli.add_argument("--data-dir", metavar="DIR", help="folder of TFDS, or of scikit-learn for reuters")
    cli.add_argument("--labels", metavar="FILE", help="classes for scoring, where --data is a file")
    cli.add_argument("--n-clusters", type=int, metavar="K", help="number of clusters, where --data is a file")
    return cli


def read_context(arguments: argparse.Namespace) -> Context:
    """What a command line asks for.

    Raises:
        TypeError, ValueError: a name is unknown, or a number is out of range.
    """
    check_choice("scale", arguments.scale, SCALES)
    n_seeds = check_integer("seeds", SEEDS[arguments.scale] if arguments.seeds is None else arguments.seeds, 1)
    for name in arguments.data:
        if name not in data.NAMES and not Path(name).is_file():
            check_choice("data", name, (*data.NAMES, "a file that exists"))
        if name not in N_CLUSTERS and arguments.n_clusters is None:
            raise ValueError(f"n_clusters is missing: {name} does not say how many to look for (--n-clusters K)")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"out must be a folder, {arguments.out} is a file")
    return Context(
        out=arguments.out.expanduser(),
        scale=arguments.scale,
        seeds=tuple(range(n_seeds)),
        names=tuple(arguments.data),
        data_dir=arguments.data_dir,
        labels=arguments.labels,
        n_clusters=arguments.n_clusters,
        console=Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False),
    )


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 1 where a target could not be made; else as `failures.reported`.
    """
    arguments = parser().parse_args(words)
    return reported(lambda: _run(arguments), saves=True)


def _run(arguments: argparse.Namespace) -> int:
    check_choice("target", arguments.target, (*targets.TARGETS, ALL))
    context = read_context(arguments)
    names = list(targets.TARGETS) if arguments.target == ALL else [arguments.target]
    with lock(context.out):
        return max([_make(name, context) for name in names])


def _make(name: str, context: Context) -> int:
    context.commits.clear()
    try:
        targets.load(name)(context)
    except (Unavailable, ImportError) as error:
        say("error", f"{name}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
