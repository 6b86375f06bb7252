"""The curves of a run's training as interactive plots."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dec_jax.digests import read_checked
from dec_jax.runner.panels import Panel, Series, panels_of
from dec_jax.runner.webpage.plots import Plot, Table
from dec_jax.runner.webpage.text import figure, plotted

MAX_POINTS = 500  # of a line
TICKS = {"share": ".1~%", "score": ".0~%"}


def read_history(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of history.csv, with numbers as numbers, and None where nothing was known.

    Raises:
        FileNotFoundError, ValueError: it is missing, or damaged.
    """
    rows = csv.DictReader(io.StringIO(read_checked(path).decode(), newline=""))
    return [{name: _value(name, text) for name, text in row.items()} for row in rows]


def _value(name: str, text: str) -> Any:
    if name == "phase":
        return text
    return None if not text else int(text) if name == "step" else float(text)


def plots(history: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Returns a plot for each panel that a history has."""
    return [_plot(number, panel) for number, panel in enumerate(panels_of(history))]


def _plot(number: int, panel: Panel) -> Plot:
    lines = [_line(i, name, series) for i, (name, series) in enumerate(panel.lines.items())]
    y: dict[str, Any] = {"tickformat": TICKS[panel.scale]} if panel.scale in TICKS else {}
    if panel.scale == "log" and all(min(values) > 0 for _, values in panel.lines.values()):
        values = [value for _, values in panel.lines.values() for value in values]
        y |= {"type": "log", "exponentformat": "power", "dtick": "D2" if max(values) < 30 * min(values) else 1}
    elif panel.scale != "linear":
        y |= {"rangemode": "tozero"}
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": y, "showlegend": len(lines) > 1}
    return Plot(f"curve-{number}", panel.title, _description(panel), {"data": lines, "layout": layout}, _table(panel))


def _description(panel: Panel) -> str:
    """Where each line begins and ends."""
    known = panel.lines.items()
    several = len(known) > 1
    ends = [
        f"{name if several else panel.title} from {figure(values[0])} to {figure(values[-1])}"
        for name, (_, values) in known
    ]
    last = max(steps[-1] for _, (steps, _) in known)
    return ", ".join(ends) + f" in {last:,} steps."


def _line(number: int, name: str, series: Series) -> dict[str, Any]:
    steps, values = (part[:: -(-len(part) // MAX_POINTS)] for part in series)
    mode = "lines+markers" if len(steps) < 40 else "lines"  # a single point draws no line
    line = {"type": "scatter", "mode": mode, "name": plotted(name), "x": steps, "y": values}
    return line | {"hovertemplate": "step %{x}: %{y}<extra></extra>", "meta": {"colour": number}}


def _table(panel: Panel) -> Table:
    rows = [
        (name, f"{steps[-1]:,}", *map(figure, (values[0], values[-1], min(values), max(values))))
        for name, (steps, values) in panel.lines.items()
    ]
    return Table(panel.title, ("line", "last step", "first", "last", "lowest", "highest"), rows)
