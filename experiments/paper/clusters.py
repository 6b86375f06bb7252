"""Figure 6: how many clusters there are, by NMI, which needs classes, and by generalisability, which needs none.

The trials are trained side by side, with a tenth of the samples held out.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from dec_jax import metrics
from dec_jax.identity import git_commit, identity
from dec_jax.runner.capacity import memory_limit
from dec_jax.runner.criteria import criteria
from dec_jax.runner.drawing import GREY, tidy
from dec_jax.runner.layout import make_layout
from dec_jax.runner.programs import Sizes, sizes_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.split import Split, split
from dec_jax.runner.suggestion import N_CLUSTERS as K
from dec_jax.runner.suggestion import suggest_n_clusters
from dec_jax.runner.trainer import train
from dec_jax.runner.work import Outcome, Trial, Workshop, trial_id
from dec_jax.slots import FAILED
from dec_jax.storage import Store
from experiments.paper import figure, published, table
from experiments.paper.context import Context
from experiments.paper.table import Cell

NAMES = ("mnist",)
N_CLUSTERS = range(5, 15)
HELD_OUT = 0.1
CRITERIA = ("generalisability", "silhouette")


def run(context: Context) -> None:
    """Writes a table and a picture for each data set."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    frame = _trials(context, name)
    suggested = {criterion: suggest_n_clusters(frame, criterion).n_clusters for criterion in CRITERIA}
    _write_table(context, name, frame, suggested)
    _draw(context, name, frame, suggested["generalisability"])


def _trials(context: Context, name: str) -> DataFrame:
    """One row per trial, which goes on where it stopped; of a finished one the scores are made anew.

    Raises:
        FloatingPointError: a loss became NaN or infinite.
    """
    samples = split(context.load(name), HELD_OUT, make_layout())
    configs = [
        context.config(name, seed, {"clustering.n_clusters": k}, samples.train)
        for k in N_CLUSTERS
        for seed in context.seeds
    ]
    sizes = sizes_of(configs)
    trials = [Trial(i, trial_id(config, samples.fingerprint), config) for i, config in enumerate(configs)]
    kept = Store(context.work / "numbers-of-clusters")
    found = {trial.id: kept.get(_name(trial, sizes)) for trial in trials}
    missing = [trial for trial in trials if found[trial.id] is None]
    if missing:
        _train(context, samples, missing, sizes, kept)
        found |= {trial.id: kept.get(_name(trial, sizes)) for trial in missing}
    return DataFrame([_row(context, name, trial, found[trial.id]) for trial in trials])


def _name(trial: Trial, sizes: Sizes) -> str:
    """Of what is kept of a trial, whose last bits depend on what it was padded to, and on how many there were."""
    together = [list(counts.values()) for counts in (sizes.pretrainings, sizes.clusterings)]
    return identity(trial=trial.id, n_clusters=sizes.n_clusters, bottlenecks=sizes.bottlenecks, together=together)


def _train(context: Context, samples: Split, trials: list[Trial], sizes: Sizes, kept: Store) -> None:
    unfinished = Store(context.work / "unfinished" / samples.fingerprint)
    with PhaseProgress() as progress:
        shop = Workshop(samples, context.pretrainings, unfinished, memory_limit(None), progress)
        for outcome in train(shop, trials, sizes):
            if outcome.stop_reason == FAILED:
                raise FloatingPointError(outcome.error)
            found = _criteria(outcome, samples.held_out) | {"git_commit": git_commit()}
            kept.put(_name(outcome.trial, sizes), outcome.labels["final"], found)


def _criteria(outcome: Outcome, held_out: np.ndarray) -> dict[str, float]:
    found = criteria(outcome.z, outcome.log_q, outcome.labels["final"], held_out, seed=outcome.trial.config.seed)
    return {name: found[name] for name in CRITERIA}


def _row(context: Context, name: str, trial: Trial, kept: tuple[np.ndarray, dict[str, Any]]) -> dict[str, Any]:
    labels, found = kept
    context.commits.add(str(found.pop("git_commit")))
    one = {K: trial.config.clustering.n_clusters, "seed": trial.config.seed}
    return one | found | metrics.scores(context.load(name).y, labels)


def _write_table(context: Context, name: str, frame: DataFrame, suggested: dict[str, int | None]) -> None:
    rows = {}
    for k, group in frame.groupby(K):
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


def _draw(context: Context, name: str, frame: DataFrame, suggested: int | None) -> None:
    picture = figure.new(8, 3.2)
    for ax, score, title in zip(
        picture.subplots(1, 2), ("nmi", "generalisability"), ("NMI", "generalisability G"), strict=True
    ):
        groups = frame.groupby(K)[score]
        ax.errorbar(groups.mean().index, groups.mean(), groups.std().fillna(0), marker="o", markersize=3, capsize=2)
        if suggested is not None:
            ax.axvline(suggested, color=GREY, linestyle="--", linewidth=1)
        ax.set_xlabel("number of clusters k")
        tidy(ax, title)
    caption = (
        f"Figure 6 of the paper on {name}: mean and standard deviation over the seeds; G is the training loss over "
        f"that of held-out samples. Dashed: the number before G's sharpest fall, {suggested or table.UNKNOWN}"
    )
    theirs = f" (the paper's: {published.N_CLUSTERS_OF_MNIST})" if name == "mnist" else ""
    figure.write(context, f"clusters-{Path(name).stem}", picture, f"{caption}{theirs}.")
