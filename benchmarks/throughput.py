"""Times every phase on one device: python -m benchmarks.throughput; see --help."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
from rich.table import Table

from benchmarks import command, compilations, flops, memory, phases, synthetic, transfers, workload
from benchmarks.command import Record
from benchmarks.matmul_rate import MatmulRate
from benchmarks.phases import Phase
from benchmarks.timing import Measurement, measure
from benchmarks.workload import Workload
from dec_jax.validation import check_integer

N_RESTARTS = 20
PROFILED_STEPS = 5

Build = Callable[[], Phase]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = command.parser("throughput", "Seconds per step, GFLOP/s, and the fraction of the device's own product rate.")
    workload.add_arguments(cli)
    cli.add_argument("--steps", type=int, metavar="S", help="steps in one timing (default: one epoch, or λ)")
    cli.add_argument("--repeats", type=int, default=5, metavar="R", help="timings of each phase (default: 5)")
    cli.add_argument("--profile", type=Path, metavar="DIR", help="write a trace that Perfetto and XProf open")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return command.main(parser(), run, words)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints and writes.

    Raises:
        TypeError, ValueError, OSError, MemoryError: bad input.
    """
    check_integer("repeats", arguments.repeats, 1)
    if arguments.steps is not None:
        check_integer("steps", arguments.steps, 1)
    work = workload.read(arguments)
    rate = MatmulRate()
    rate.measure()
    measurements: list[Measurement] = []
    failed = False
    with compilations.watch() as compiled:
        for build in rows(work, arguments.steps):
            try:
                measurements.append(measure(build(), arguments.repeats))
            except jax.errors.JaxRuntimeError as error:  # a phase that needs more memory than the device has
                command.complain(error)
                failed = True
            rate.measure()
        copied = count_copies(phases.epoch(work))
    records = [measurement.record(rate.flops_per_second) for measurement in measurements]
    totals = whole_run(rate, compiled, copied)
    print_tables(records, totals, work)
    command.write(arguments.out, [record | totals for record in records])
    if arguments.profile:
        profile(arguments.profile, work)
    return 2 if failed else 0


def rows(work: Workload, n_steps: int | None) -> Iterator[Build]:
    """The phases in the order of the table; each is built when its turn comes and freed after it."""
    dims = work.model.dims
    for layer in range(work.model.n_layers):
        yield partial(phases.layer_pair, work, layer, n_steps or work.epoch)
    yield partial(phases.fine_tuning, work, n_steps or work.epoch)
    yield partial(products_alone, "autoencoder", work, (*dims, *dims[-2::-1]), n_steps or work.epoch)
    yield partial(phases.refresh, work)
    yield partial(phases.clustering_updates, work, n_steps or work.update_interval)
    yield partial(products_alone, "encoder", work, dims, n_steps or work.update_interval)
    z = synthetic.embedding(work.x.shape[0], dims[-1], work.n_clusters)
    yield partial(phases.kmeans_restarts, jax.numpy.asarray(z), work.n_clusters, N_RESTARTS)
    yield partial(phases.epoch, work)


def products_alone(what: str, work: Workload, dims: Sequence[int], n_steps: int) -> Phase:
    """The matrix products of an update of layers of sizes `dims`, and nothing else of it."""
    shapes = flops.products_of_training(work.batch_size, dims)
    return phases.products_alone(f"matrix products alone, {what}", shapes, n_steps)


def count_copies(epoch: Phase) -> transfers.Transfers:
    """Copies between host and device during one epoch that is compiled already."""
    with transfers.watch() as seen:
        jax.block_until_ready(epoch.run())
    return seen


def whole_run(rate: MatmulRate, compiled: compilations.Compilations, copied: transfers.Transfers) -> Record:
    """What belongs to no single phase."""
    return {
        "matrix_product_gflops": rate.flops_per_second / 1e9,
        "peak_host_bytes": memory.peak_host_bytes(),
        "peak_device_bytes": memory.peak_device_bytes(),
        "all_compilations": compiled.count,
        "all_compile_seconds": compiled.seconds,
        "epoch_copies": vars(copied),
    }


def print_tables(records: Sequence[Record], totals: Record, work: Workload) -> None:
    """Prints a row for each phase, and what belongs to none below it."""
    screen = command.console()
    dims = "–".join(map(str, work.model.dims))
    title = f"{dims}, batch {work.batch_size}, {work.x.shape[0]:,} samples, {command.describe_device()}"
    table = Table("phase", title=title)
    for name in ("compile s", "ms per step", "GFLOP", "GFLOP/s", "fraction"):
        table.add_column(name, justify="right")
    for record in records:
        values = (
            record["compile_seconds"],
            1e3 * record["seconds_per_step"],
            record["flops_per_step"] / 1e9,
            record["gflops"],
            record["fraction"],
        )
        table.add_row(record["name"], *map(command.si, values))
    screen.print(table)
    screen.print(f"matrix products of this device: {totals['matrix_product_gflops']:.0f} GFLOP/s (fraction 1)")
    device_peak = totals["peak_device_bytes"]
    on_device = "" if device_peak is None else f", {device_peak / 2**20:,.0f} MiB on the device"
    screen.print(f"peak memory: {totals['peak_host_bytes'] / 2**20:,.0f} MiB on the host{on_device}")
    screen.print(f"compilations: {totals['all_compilations']}, {totals['all_compile_seconds']:.1f} s")
    screen.print(f"copies in one epoch: {_describe(totals['epoch_copies'])}")


def _describe(copies: Record) -> str:
    text = "; ".join(
        f"{copies[f'{direction}_copies']} {direction.replace('_', ' ')}, {copies[f'{direction}_bytes']:,} bytes"
        for direction in ("host_to_device", "device_to_host")
    )
    return f"{text} ({copies['copies_without_size']} have no size in JAX's log)"


def profile(folder: Path, work: Workload) -> None:
    """Writes a trace of a few fine-tuning and clustering steps."""
    steps = PROFILED_STEPS
    traced = [phases.fine_tuning(work, steps), phases.clustering_updates(work, steps), phases.refresh(work)]
    for phase in traced:
        jax.block_until_ready(phase.run())
    with jax.profiler.trace(folder, create_perfetto_trace=True):
        for phase in traced:
            with jax.profiler.TraceAnnotation(phase.name):
                jax.block_until_ready(phase.run())
    found = sorted(folder.rglob("perfetto_trace.json.gz"), key=lambda path: path.stat().st_mtime)
    print(f"trace: Perfetto opens {found[-1]}, XProf opens {folder}")


if __name__ == "__main__":
    sys.exit(main())
