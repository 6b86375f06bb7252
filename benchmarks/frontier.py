"""Seconds from raw samples to labels beside accuracy, ours and the peers': python -m benchmarks.frontier; see --help.

Every method of every seed runs alone in a fresh process. What was measured lies in a folder, a file for each, so that a
run that was cut short goes on where it was. Labels are read here alone, for the scores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse
from rich.table import Table

from benchmarks import command, frontier_picture
from benchmarks.command import Record
from benchmarks.frontier_worker import METHODS, PEERS
from benchmarks.peer_process import PYTHON, ROOT
from dec_jax import data, metrics
from dec_jax.data import UNLABELLED, Dataset, TableOptions
from dec_jax.data.atomic import atomic_write
from dec_jax.identity import fingerprint, git_commit
from dec_jax.runner.presets import N_CLUSTERS
from dec_jax.validation import check_choice, check_integer

SCORES = ("acc", "nmi", "ari")
ACCEPTED = ("k", "shape", "labels")


class Contest(NamedTuple):
    """A data set, and the number of clusters that every method is told."""

    dataset: Dataset
    n_clusters: int


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = command.parser("frontier", "Seconds and scores of our presets and of what a user would pick instead.")
    cli.add_argument(
        "--data",
        nargs="+",
        default=["digits"],
        metavar="NAME|FILE,k=K[,shape=HxW][,labels=FILE]",
        help="data sets, by name or as files (default: digits)",
    )
    cli.add_argument(
        "--methods", nargs="+", default=["kmeans", "umap", "auto"], metavar="NAME", help=", ".join(METHODS)
    )
    cli.add_argument("--seeds", type=int, default=3, metavar="S", help="seeds 0 to S − 1 (default: 3)")
    cli.add_argument("--folder", type=Path, default=Path("frontier"), help="what was measured (default: frontier)")
    cli.add_argument("--picture", type=Path, metavar="FILE", help="draws seconds against scores")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return command.main(parser(), run, words)


def run(arguments: argparse.Namespace) -> int:
    """Measures what is missing, one after the other, prints and writes.

    Raises:
        TypeError, ValueError, OSError: bad input.
    """
    check_integer("seeds", arguments.seeds, 1)
    for method in arguments.methods:
        check_choice("method", method, METHODS)
    contests = [read(word) for word in arguments.data]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    failed = False
    for seed in range(arguments.seeds):
        for contest in contests:
            for method in arguments.methods:
                failed |= not measured(contest, method, seed, arguments.folder)
    names = [contest.dataset.name for contest in contests]
    records = list(summaries(read_rows(arguments.folder, names, arguments.methods, arguments.seeds)))
    print_table(records)
    if arguments.picture:
        frontier_picture.draw(arguments.picture, records)
    command.write(arguments.out, records)
    return 2 if failed else 0


def read(word: str) -> Contest:
    """The data set that a word of --data names.

    Raises:
        TypeError, ValueError, OSError: it names none, or the file cannot be clustered.
    """
    name, *rest = word.split(",")
    if name in N_CLUSTERS and not rest:
        return Contest(data.load(name), N_CLUSTERS[name])
    given = dict(part.partition("=")[::2] for part in rest)
    for key in given:
        check_choice("part of --data", key, ACCEPTED)
    if not given.get("k", "").isdigit():
        raise ValueError(f"data {word} must say how many clusters to look for: FILE,k=K")
    shape = given["shape"].replace("x", ",") if "shape" in given else None
    dataset = data.load(name, given.get("labels"), options=TableOptions(image_shape=shape))
    if dataset.y is None:
        raise ValueError(f"data {word} must have labels to be scored by: FILE,k=K,labels=FILE")
    return Contest(replace(dataset, name=Path(name).stem), int(given["k"]))


def measured(contest: Contest, method: str, seed: int, folder: Path) -> bool:
    """Runs a method unless its file is there, and tells whether it is now."""
    path = folder / f"{contest.dataset.name}-{method}-seed{seed}.json"
    task = identity(contest)
    if path.exists():
        found = json.loads(path.read_text())
        if {key: found.get(key) for key in task} == task:
            return True
        command.complain(f"{path} is of other samples, labels or another k: measured again")
    name = f"{method} on {contest.dataset.name}, seed {seed}"
    try:
        rows = ask(contest, method, seed)
    except (OSError, subprocess.CalledProcessError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        command.complain(f"{name} was not measured: {' '.join(last)}")
        return False
    for row in rows.values():
        row |= metrics.scores(contest.dataset.y, np.asarray(row.pop("labels")), unlabelled=UNLABELLED)
    about = {"data": contest.dataset.name, "method": method, "seed": seed, "git_commit": git_commit()} | task
    with atomic_write(path, "w") as file:
        json.dump(about | {"rows": rows} | command.environment(), file, indent=2)
    for row, found in rows.items():
        print(f"{row}, {name}: {found['seconds']:.1f} s, NMI {found['nmi']:.4f}, ACC {found['acc']:.4f}", flush=True)
    return True


def identity(contest: Contest) -> Record:
    """What a figure is of."""
    dataset = contest.dataset
    shape = None if dataset.image_shape is None else list(dataset.image_shape)
    hashes = {"samples": fingerprint(dataset.x), "classes": fingerprint(np.asarray(dataset.y))}
    return {"n_clusters": contest.n_clusters, "image_shape": shape} | hashes


def ask(contest: Contest, method: str, seed: int) -> dict[str, Record]:
    """Seconds and labels of the rows of a method, from a process of its own.

    Raises:
        OSError: the peers' environment is not there.
        subprocess.CalledProcessError: the method failed.
    """
    python = str(PYTHON) if method in PEERS else sys.executable
    dataset, (n_clusters, shape) = contest.dataset, (contest.n_clusters, contest.dataset.image_shape)
    with tempfile.TemporaryDirectory() as folder:
        if scipy.sparse.issparse(dataset.x):
            scipy.sparse.save_npz(Path(folder) / "samples.npz", dataset.x.tocsr())
        else:
            np.save(Path(folder) / "samples.npy", dataset.x)
        (Path(folder) / "about.json").write_text(json.dumps({"n_clusters": n_clusters, "image_shape": shape}))
        words = [python, "-m", "benchmarks.frontier_worker", method, folder, str(seed)]
        where = os.environ | {"TQDM_DISABLE": "1"} | _platform()
        done = subprocess.run(words, cwd=ROOT, env=where, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _platform() -> dict[str, str]:
    """The variable that makes a process compute where --device says."""
    chosen = jax.config.jax_default_device
    return {} if chosen is None else {"JAX_PLATFORMS": {"gpu": "cuda"}.get(chosen.platform, chosen.platform)}


def read_rows(folder: Path, names: Iterable[str], methods: Iterable[str], n_seeds: int) -> Iterator[Record]:
    """What was measured: a record for each row of each method and seed."""
    for name in names:
        for method in methods:
            for seed in range(n_seeds):
                path = folder / f"{name}-{method}-seed{seed}.json"
                if not path.exists():
                    continue
                found = json.loads(path.read_text())
                for row, values in found.pop("rows").items():
                    yield found | values | {"row": row}


def summaries(rows: Iterable[Record]) -> Iterator[Record]:
    """A record for each data set and row: every seed's figures, their means and standard deviations."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["row"]), []).append(row)
    for (name, row), found in groups.items():
        record: Record = {"data": name, "row": row, "seeds": [one["seed"] for one in found]}
        record["git_commit"] = sorted({str(one["git_commit"]) for one in found})
        for key in ("seconds", *SCORES):
            values = [one[key] for one in found]
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            record[key] = {"mean": statistics.mean(values), "deviation": deviation, "values": values}
        yield record


def print_table(records: Sequence[Record]) -> None:
    """Prints a row for each data set and method."""
    table = Table("data", "method", title=f"{command.describe_device()}: mean ± standard deviation over seeds")
    for name in ("seeds", "seconds", *(score.upper() for score in SCORES)):
        table.add_column(name, justify="right")
    for record in records:
        table.add_row(*cells(record))
    command.console().print(table)


def cells(record: Record) -> list[str]:
    """A record as the cells of a table: data, method, seeds, seconds, and mean ± deviation of the scores."""
    scores = [f"{record[key]['mean']:.4f} ± {record[key]['deviation']:.4f}" for key in SCORES]
    return [record["data"], record["row"], str(len(record["seeds"])), f"{record['seconds']['mean']:.1f}", *scores]


if __name__ == "__main__":
    sys.exit(main())
