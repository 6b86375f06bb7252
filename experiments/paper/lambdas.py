"""Figure 2: how accuracy depends on λ, the steps between two target distributions, and on SEC's and LDMGI's own."""

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dec_jax.runner.drawing import tidy
from experiments.paper import figure, scores, table
from experiments.paper.accuracy import SWEPT
from experiments.paper.context import Context, Unavailable
from experiments.paper.table import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = ("mnist",)
INTERVALS = tuple(10 * 2**i for i in range(9))
PARAMETERS = {"LDMGI": "λ", "SEC": "μ"}


class Curve(NamedTuple):
    """Scores by the value of a method's parameter.

    Attributes:
        values: (v,) of the parameter.
        acc: (v, seeds) per cent.
        nmi: (v, seeds) per cent.
        loss: (v, seeds) the last mean loss of a step; nothing for the methods that have none.
    """

    values: list[float]
    acc: list[list[float]]
    nmi: list[list[float]]
    loss: list[list[float]]


def run(context: Context) -> None:
    """Writes a table and a picture for each data set."""
    context.each(NAMES, lambda context, name: _write(context, name, _dec(context, name) | _baselines(context, name)))


def _dec(context: Context, name: str) -> dict[str, Curve]:
    rows = [
        [context.run(context.config(name, seed, {"clustering.update_interval": value})) for seed in context.seeds]
        for value in INTERVALS
    ]
    acc, nmi = ([[100 * run.result["final"][score] for run in runs] for runs in rows] for score in ("acc", "nmi"))
    loss = [[float(run.history[-1]["loss"]) for run in runs] for runs in rows]
    return {"DEC": Curve(list(INTERVALS), acc, nmi, loss)}


def _baselines(context: Context, name: str) -> dict[str, Curve]:
    y, x, k = context.load(name).y, context.scaled(name), context.config(name).clustering.n_clusters
    curves = {}
    for label, method in SWEPT.items():
        try:
            found = [scores.nine_values(context, method, lambda _: x, y, k, seed) for seed in context.seeds]
        except Unavailable as error:
            context.console.print(f"{label} is left out: {error}", soft_wrap=True)
            continue
        acc, nmi = (
            [[100 * v for v in row] for row in zip(*(f[s] for f in found), strict=True)] for s in ("acc", "nmi")
        )
        curves[label] = Curve(found[0]["values"], acc, nmi, [])
    return curves


def _write(context: Context, name: str, curves: dict[str, Curve]) -> None:
    stem = f"lambda-{Path(name).stem}"
    rows = {}
    for label, curve in curves.items():
        for i, value in enumerate(curve.values):
            loss = f"{statistics.mean(curve.loss[i]):.4g}" if curve.loss else table.UNKNOWN
            parameter = PARAMETERS.get(label, "λ")
            rows[f"{label}, {parameter} = {value:g}"] = (Cell(tuple(curve.acc[i])), Cell(tuple(curve.nmi[i])), loss)
    caption = (
        "ACC and NMI in per cent, mean ± standard deviation over the seeds; the loss is KL(P‖Q) of the last "
        "interval. P stays the first one where λ is more than the steps that were done."
    )
    table.write(context, f"{stem}-values", table.Table(f"Parameters on {name}", ("ACC", "NMI", "loss"), rows, caption))
    picture = figure.new(11, 3.4)
    dec, loss, others = picture.subplots(1, 3)
    _draw(dec, curves["DEC"], {"ACC": curves["DEC"].acc, "NMI": curves["DEC"].nmi}, "DEC", "per cent")
    _draw(loss, curves["DEC"], {"": curves["DEC"].loss}, "KL(P‖Q) at the end", "loss")
    for label in [label for label in curves if label != "DEC"]:
        _draw(others, curves[label], {label: curves[label].acc}, "LDMGI, SEC: ACC", "per cent")
    for ax in (dec, loss):
        ax.set_xlabel("λ, steps between two target distributions")
    others.set_xlabel("parameter")
    figure.write(
        context, stem, picture, f"Figure 2 of the paper on {name}: mean and standard deviation over the seeds."
    )


def _draw(ax: "Axes", curve: Curve, lines: dict[str, list[list[float]]], title: str, label: str) -> None:
    for name, rows in lines.items():
        means = [statistics.mean(row) for row in rows]
        deviations = [statistics.stdev(row) if len(row) > 1 else 0.0 for row in rows]
        ax.errorbar(curve.values, means, deviations, marker="o", markersize=3, capsize=2, linewidth=1.2, label=name)
    ax.set(xscale="log", ylabel=label)
    tidy(ax, title)
    if any(lines):
        ax.legend(frameon=False, fontsize=8)
