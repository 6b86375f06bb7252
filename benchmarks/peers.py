"""Compares with other implementations, turn by turn: python -m benchmarks.peers; see --help."""

import argparse
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table

from benchmarks import command, phases, synthetic, workload
from benchmarks.command import Record
from benchmarks.matmul_rate import MatmulRate
from benchmarks.peer_process import WORKER, PeerError, PeerProcess
from benchmarks.phases import Phase
from benchmarks.timing import seconds, seconds_per_step
from benchmarks.workload import Workload
from dec_jax.validation import check_integer

N_RESTARTS = 20
TOLERANCE = 1e-4
WARM_UP_STEPS = 5


class Turn(NamedTuple):
    """One turn of one side: seconds per step, our operations per step, and the inertia that k-means reached."""

    seconds: float
    flops: float = 0.0
    inertia: float | None = None


@dataclass(frozen=True)
class Pair:
    """The same work on both sides.

    Attributes:
        name: of the work.
        peer: of the other side.
        warm_up: lets both sides compile.
        ours: does our work in the given round.
        theirs: does theirs.
    """

    name: str
    peer: str
    warm_up: Callable[[], Any]
    ours: Callable[[int], Turn]
    theirs: Callable[[int], Turn]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = command.parser("peers", "Turn by turn against PyTorch, ClustPy and scikit-learn; `make peers` installs them.")
    workload.add_arguments(cli)
    cli.add_argument("--steps", type=int, metavar="S", help="steps in one turn, an epoch at most (default: one epoch)")
    cli.add_argument("--rounds", type=int, default=5, metavar="R", help="turns of each side (default: 5)")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return command.main(parser(), run, words)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints and writes; what a missing peer leaves is measured all the same.

    Raises:
        TypeError, ValueError, OSError, MemoryError: bad input.
    """
    check_integer("rounds", arguments.rounds, 1)
    work = workload.read(arguments)
    n_steps = check_integer("steps", work.epoch if arguments.steps is None else arguments.steps, 1, work.epoch)
    rate = MatmulRate()
    rate.measure()
    records: list[Record] = []
    missing = False
    with tempfile.TemporaryDirectory() as folder:
        for pairs in (partial(trained_pairs, work, n_steps, Path(folder)), partial(kmeans_pairs, work, Path(folder))):
            try:
                for pair in pairs():
                    missing |= not compete(pair, arguments.rounds, records)
                    rate.measure()
            except PeerError as error:
                command.complain(error)
                missing = True
    for record in records:
        record["fraction"] = record["gflops"] * 1e9 / rate.flops_per_second
    print_table(records, work, rate)
    command.write(arguments.out, records)
    return 2 if missing else 0


def compete(pair: Pair, rounds: int, records: list[Record]) -> bool:
    """Lets both sides take turns, ours first, and adds their record; tells whether the other side was able to."""
    try:
        pair.warm_up()
        records.append(summarize(pair, [(pair.ours(i), pair.theirs(i)) for i in range(rounds)]))
    except PeerError as error:
        command.complain(f"{pair.name} against {pair.peer} was not measured: {error}")
        return False
    return True


def trained_pairs(work: Workload, n_steps: int, folder: Path) -> Iterator[Pair]:
    """Fine-tuning and clustering against each peer.

    Raises:
        PeerError: no peer is installed, or none can take the samples.
    """
    with PeerProcess() as process:
        np.save(folder / "x.npy", np.asarray(work.x))
        process.ask(
            "load",
            x=str(folder / "x.npy"),
            dims=work.model.dims,
            batch_size=work.batch_size,
            n_clusters=work.n_clusters,
            threads=os.cpu_count(),
            device=command.device().platform,
        )
        for phase, n_windows, name, peers in contests(work, n_steps):
            for peer in peers:
                ask = partial(process.ask, "train", peer=peer, phase=name)
                # ClustPy knows only whole epochs: it gets one over as many samples as make the steps.
                theirs = (1, n_windows * phase.n_steps) if peer == "ClustPy" else (n_windows, phase.n_steps)
                yield Pair(
                    phase.name,
                    peer,
                    partial(warm_up, phase, ask),
                    partial(our_turn, phase, n_windows),
                    partial(their_turn, ask, *theirs),
                )


def contests(work: Workload, n_steps: int) -> Iterator[tuple[Phase, int, str, tuple[str, ...]]]:
    """Our phase, how many runs of it make a turn, the peers' name for it, and the peers.

    P is refreshed no less often than the paper does. PyTorch does that too; ClustPy never computes a P of all samples,
    so it meets our updates alone, which is the same work, and our updates with P, which is what a run takes.
    """
    n_windows = math.ceil(n_steps / work.update_interval)
    window = n_steps // n_windows
    yield phases.fine_tuning(work, n_steps), 1, "fine_tuning", ("PyTorch", "torch.compile", "ClustPy")
    yield phases.clustering_updates(work, window), n_windows, "clustering", ("ClustPy",)
    with_refresh = phases.clustering_updates(work, window, with_refresh=True)
    yield with_refresh, n_windows, "clustering", ("PyTorch", "torch.compile", "ClustPy")


def warm_up(phase: Phase, ask: Callable[..., Record]) -> None:
    """Runs both sides once."""
    seconds_per_step(phase)
    ask(steps=WARM_UP_STEPS)


def our_turn(phase: Phase, n_windows: int, round_: int) -> Turn:
    """Some runs of a phase."""
    return Turn(statistics.mean(seconds_per_step(phase) for _ in range(n_windows)), phase.flops_per_step(None))


def their_turn(ask: Callable[..., Record], n_windows: int, n_steps: int, round_: int) -> Turn:
    """Some windows of a peer."""
    total = sum(ask(steps=n_steps)["seconds"] for _ in range(n_windows))
    return Turn(total / (n_windows * n_steps))


def kmeans_pairs(work: Workload, folder: Path) -> Iterator[Pair]:
    """k-means on synthetic embeddings against scikit-learn's: equal restarts and tolerance, another seed each round."""
    z = synthetic.embedding(work.x.shape[0], work.model.dims[-1], work.n_clusters)
    np.save(folder / "z.npy", z)
    ours = partial(our_kmeans, jax.numpy.asarray(z), work.n_clusters)
    with PeerProcess((sys.executable, *WORKER)) as process:
        ask = partial(
            process.ask,
            "kmeans",
            z=str(folder / "z.npy"),
            n_clusters=work.n_clusters,
            n_restarts=N_RESTARTS,
            tolerance=TOLERANCE,
        )
        yield Pair(
            f"k-means, {N_RESTARTS} restarts",
            "scikit-learn",
            lambda: (ours(0), ask(seed=0)),
            ours,
            lambda round_: Turn(**ask(seed=round_)),
        )


def our_kmeans(z: jax.Array, n_clusters: int, round_: int) -> Turn:
    """One k-means of ours."""
    key = jax.random.key(round_)
    phase = phases.kmeans_restarts(z, n_clusters, N_RESTARTS, key, tolerance=TOLERANCE)
    results = []
    turn = seconds(lambda: results.append(phase.run()) or results)
    return Turn(turn, phase.flops_per_step(results[0]), float(results[0].inertia))


def summarize(pair: Pair, rounds: Sequence[tuple[Turn, Turn]]) -> Record:
    """A pair's figures; a ratio above 1 means that we are faster."""
    ours, theirs = zip(*rounds, strict=True)
    ratios = [their.seconds / our.seconds for our, their in rounds]
    record = {
        "name": f"{pair.name} against {pair.peer}",
        "seconds_per_step": statistics.median(turn.seconds for turn in ours),
        "peer_seconds_per_step": statistics.median(turn.seconds for turn in theirs),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "gflops": statistics.median(turn.flops / turn.seconds for turn in ours) / 1e9,
    }
    if ours[0].inertia is not None:
        record["inertia"] = statistics.median(turn.inertia for turn in ours)
        record["peer_inertia"] = statistics.median(turn.inertia for turn in theirs)
    return record


def print_table(records: Sequence[Record], work: Workload, rate: MatmulRate) -> None:
    """Prints a row for each pair."""
    screen = command.console()
    dims = "–".join(map(str, work.model.dims))
    title = f"{dims}, batch {work.batch_size}, {work.x.shape[0]:,} samples, {command.describe_device()}, float32"
    table = Table("work", "peer", title=title)
    for name in ("our ms", "peer's ms", "ratio", "range", "fraction"):
        table.add_column(name, justify="right")
    for record in records:
        name, peer = record["name"].split(" against ")
        times = (command.si(1e3 * record[side]) for side in ("seconds_per_step", "peer_seconds_per_step"))
        low, high = record["ratio_range"]
        fraction = command.si(record["fraction"])
        table.add_row(name, peer, *times, f"{record['ratio']:.2f}", f"{low:.2f}–{high:.2f}", fraction)
    screen.print(table)
    for record in records:
        if "inertia" in record:
            screen.print(f"inertia: ours {record['inertia']:.7g}, scikit-learn's {record['peer_inertia']:.7g}")
    screen.print(f"matrix products of this device: {rate.flops_per_second / 1e9:.0f} GFLOP/s (fraction 1)")


if __name__ == "__main__":
    sys.exit(main())
