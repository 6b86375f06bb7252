"""Figure 6: how many clusters there are, by NMI, which needs classes, and by generalisability, which needs none.

The trials are a sweep of `experiments.sweep`, with a tenth of the samples held out.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dec_jax.data.atomic import atomic_write
from experiments import sweep, trial
from experiments.paper import figure, published, table
from experiments.paper.context import SCALES, Context, digest
from experiments.paper.table import Cell
from experiments.pictures import GREY, _tidy
from experiments.sweeping import table as sweep_table
from experiments.sweeping.suggestion import suggest_n_clusters

if TYPE_CHECKING:
    from pandas import DataFrame

NAMES = ("mnist",)
N_CLUSTERS = range(5, 15)
CRITERIA = ("generalisability", "silhouette")


def run(context: Context) -> None:
    """Writes a table and a picture for each data set."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    frame = _sweep(context, name)
    suggested = {criterion: suggest_n_clusters(frame, criterion).n_clusters for criterion in CRITERIA}
    _write_table(context, name, frame, suggested)
    _draw(context, name, frame, suggested["generalisability"])


def _sweep(context: Context, name: str) -> "DataFrame":
    """The table of the sweep, which goes on where it stopped, and is read back where it is finished."""
    what = _words(context)
    out = context.work / "sweeps" / digest([what, trial.fingerprint(context.load(name))])
    if not (out / sweep_table.FILES[0]).exists():
        sweep.run(sweep.parser().parse_args([*what, *_files(context, name, out)]))
    return sweep_table.read(out)


def _files(context: Context, name: str, folder: Path) -> list[str]:
    """The sweep's options that name files; the samples go there by one, because they may be a part of the data set."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for end, values in (("x", context.scaled(name)), ("y", context.load(name).y)):
        with atomic_write(f"{folder}-{end}.npy") as file:
            np.save(file, values.toarray() if hasattr(values, "toarray") else values)
    samples = ("--data", f"{folder}-x.npy", "--labels", f"{folder}-y.npy")
    return [*samples, "--out", str(folder), "--cache", str(context.work / "pretraining")]


def _words(context: Context) -> list[str]:
    """All its other options."""
    changes = {"scaling": "none"} | context.changes
    settings = [
        f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}" for key, value in changes.items()
    ]
    return [
        *("--preset", SCALES[context.scale], "--n-clusters", f"{N_CLUSTERS.start}:{N_CLUSTERS.stop}"),
        *("--seeds", ",".join(f"{seed}:{seed + 1}" for seed in context.seeds), "--set", *settings),
    ]


def _write_table(context: Context, name: str, frame: "DataFrame", suggested: dict[str, int | None]) -> None:
    rows = {}
    for k, group in frame.groupby("n_clusters"):
        nmi, acc = (Cell(tuple(100 * group.sort_values("seed")[score])) for score in ("nmi", "acc"))
        spread = [table.plus_minus(group[score].tolist(), digits=3) for score in CRITERIA]
        rows[f"k = {k}"] = (nmi, acc, *spread)
    theirs = f" The paper reads {published.N_CLUSTERS_OF_MNIST} off its own curve." if name == "mnist" else ""
    said = ", ".join(f"{criterion} suggests {k or table.UNKNOWN}" for criterion, k in suggested.items())
    caption = f"NMI and ACC in per cent, mean ± standard deviation over the seeds. Without labels {said}.{theirs}"
    columns = ("NMI", "ACC", *CRITERIA)
    table.write(
        context, f"clusters-{Path(name).stem}-values", table.Table("Number of clusters", columns, rows, caption)
    )


def _draw(context: Context, name: str, frame: "DataFrame", suggested: int | None) -> None:
    picture = figure.new(8, 3.2)
    for ax, score, title in zip(
        picture.subplots(1, 2), ("nmi", "generalisability"), ("NMI", "generalisability G"), strict=True
    ):
        groups = frame.groupby("n_clusters")[score]
        ax.errorbar(groups.mean().index, groups.mean(), groups.std().fillna(0), marker="o", markersize=3, capsize=2)
        if suggested is not None:
            ax.axvline(suggested, color=GREY, linestyle="--", linewidth=1)
        ax.set_xlabel("number of clusters k")
        _tidy(ax, title)
    caption = (
        f"Figure 6 of the paper on {name}: mean and standard deviation over the seeds; G is the training loss over "
        f"that of held-out samples. Dashed: the number before G's sharpest fall, {suggested or table.UNKNOWN}"
    )
    theirs = f" (the paper's: {published.N_CLUSTERS_OF_MNIST})" if name == "mnist" else ""
    figure.write(context, f"clusters-{Path(name).stem}", picture, f"{caption}{theirs}.")
