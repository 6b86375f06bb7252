"""The frontier as one picture: seconds, with a log axis, against NMI and ACC, a column for each data set."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.command import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES = ("nmi", "acc")


def draw(path: Path, records: Sequence[Record]) -> None:
    """Draws each method as a point, ours filled, and the front as a line.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a picture needs matplotlib: pip install "dec_jax[plots]"') from error
    names = list(dict.fromkeys(record["data"] for record in records))
    rows = list(dict.fromkeys(record["row"] for record in records))
    colours = dict(zip(rows, cycle(colormaps["tab20"].colors), strict=False))
    figure = Figure(figsize=(2.6 * len(names), 6), dpi=150, layout="constrained")
    axes = figure.subplots(len(SCORES), len(names), squeeze=False, sharex="col")
    for column, name in enumerate(names):
        found = [record for record in records if record["data"] == name]
        for row, score in enumerate(SCORES):
            _draw_points(axes[row, column], score, found, colours)
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("seconds")
    for row, score in enumerate(SCORES):
        axes[row, 0].set_ylabel(score.upper())
    handles = {point.get_label(): point for ax in axes.ravel() for point in ax.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, format="png")


def front(records: Sequence[Record], score: str) -> list[Record]:
    """The records that no quicker one equals, from the quickest on."""
    best: list[Record] = []
    for record in sorted(records, key=lambda record: record["seconds"]["mean"]):
        if not best or record[score]["mean"] > best[-1][score]["mean"]:
            best.append(record)
    return best


def _draw_points(ax: "Axes", score: str, records: Sequence[Record], colours: Mapping[str, Any]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    for record in records:
        ours = record["row"].startswith("ours")
        ax.plot(
            record["seconds"]["mean"],
            record[score]["mean"],
            marker="o" if ours else "^",
            color=colours[record["row"]],
            fillstyle="full" if ours else "none",
            linestyle="none",
            label=record["row"],
        )
    best = front(records, score)
    x, y = ([record[key]["mean"] for record in best] for key in ("seconds", score))
    ax.step(x, y, where="post", color="#909090", linewidth=1, label="front")
    ax.set(xscale="log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.grid(visible=True, which="major", color="#e0e0e0")
    ax.spines[["top", "right"]].set_visible(False)
