"""The scaling benchmark as one picture: time a sample and peak memory over each size, with log axes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"pretraining": "C0", "clustering": "C1", "refresh": "C2", "k-means": "C3"}
QUANTITIES = {"seconds_per_sample": (1e6, "µs a sample"), "peak": (2**-20, "peak memory, MiB")}
SIZES = {"n": "samples n", "k": "clusters k", "m": "embedding dimensions m", "b": "batch size b"}


def draw(path: Path, sweeps: dict[str, Sequence[Record]]) -> None:
    """Draws one column for each size that was swept.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a picture needs matplotlib: pip install "dec_jax[plots]"') from error
    sweeps = {size: records for size, records in sweeps.items() if records}
    figure = Figure(figsize=(3.4 * len(sweeps), 6), dpi=150, layout="constrained")
    axes = figure.subplots(2, len(sweeps), squeeze=False, sharex="col", sharey="row")
    for column, (size, records) in enumerate(sweeps.items()):
        for row, quantity in enumerate(QUANTITIES):
            _draw_lines(axes[row, column], size, quantity, records)
        axes[1, column].set_xlabel(SIZES[size])
    for row, (_, label) in enumerate(QUANTITIES.values()):
        axes[row, 0].set_ylabel(label)
    lines = {line.get_label(): line for ax in axes.ravel() for line in ax.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, format="png")


def _draw_lines(ax: "Axes", size: str, quantity: str, records: Sequence[Record]) -> None:
    """One line for each phase, dashed where the samples are wider than the narrowest."""
    scale, _ = QUANTITIES[quantity]
    narrow = min(record["d"] for record in records)
    for phase, d in dict.fromkeys((record["phase"], record["d"]) for record in records):
        points = [record for record in records if (record["phase"], record["d"]) == (phase, d)]
        ax.plot(
            [point[size] for point in points],
            [scale * _value(point, quantity) for point in points],
            color=COLOURS[phase],
            linestyle="-" if d == narrow else "--",
            marker="o",
            markersize=3,
            label=phase if phase == "k-means" else f"{phase}, d = {d:,}",
        )
    ax.set(xscale="log", yscale="log")
    ax.grid(visible=True, which="major", color="#e0e0e0")
    ax.spines[["top", "right"]].set_visible(False)


def _value(record: Record, quantity: str) -> float:
    if quantity == "peak":
        return record["peak_device_bytes"] or record["peak_host_bytes"]
    return record[quantity]
