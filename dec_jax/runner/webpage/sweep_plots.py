"""A sweep's table as interactive plots: heat maps over both sizes, and curves against each setting, with the seeds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dec_jax.runner.suggestion import over_seeds
from dec_jax.runner.sweep_pictures import K, M, is_number, measured, name_of
from dec_jax.runner.table import SCORES, shown
from dec_jax.runner.webpage.plots import Plot, Table
from dec_jax.runner.webpage.text import figure, plotted

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_VALUES = 20  # of a heat map whose cells say theirs
HEATS = (*SCORES, "silhouette")
GROUPS = (SCORES, ("silhouette", "confidence"), ("generalisability",))  # of measures that one plot has


def plots(frame: "DataFrame", swept: Sequence[str]) -> list[Plot]:
    """Returns what there is to see of a sweep; trials that failed are left out.

    Args:
        frame: from `table.read`.
        swept: from `table.swept`.
    """
    frame = frame[frame["error"].isna()]
    groups = [measured(frame, group) for group in GROUPS]
    settings = [name for name in swept if name != "seed" and frame[name].notna().any()]
    heats = [name for group in groups for name in group] if {K, M} <= set(swept) else []
    return [
        *(_heatmap(frame, name) for name in heats if name in HEATS),
        *(_curves(frame, setting, names) for setting in settings for names in groups if names),
    ]


def _heatmap(frame: "DataFrame", measure: str) -> Plot:
    known = frame[np.isfinite(frame[measure].astype(float))]
    table = known.pivot_table(measure, M, K, aggfunc="mean")
    values = table.to_numpy(float)
    columns, rows = (list(map(str, axis.tolist())) for axis in (table.columns, table.index))
    heat = {
        "type": "heatmap",
        "z": [[None if np.isnan(value) else round(value, 4) for value in row] for row in values.tolist()],
        "x": columns,
        "y": rows,
        "hovertemplate": f"k %{{x}}, m %{{y}}<br>{name_of(measure)} %{{z:.3f}}<extra></extra>",
        "meta": {"scale": "accent"},
        "colorbar": {"thickness": 10, "outlinewidth": 0},
    }
    if max(values.shape) <= MAX_VALUES:
        heat["texttemplate"] = "%{z:.2f}"
    axes = {"xaxis": (K, "k"), "yaxis": (M, "m")}
    layout = {
        axis: {"title": {"text": name_of(of)}, "type": "category", "showgrid": False} for axis, (of, _) in axes.items()
    }
    title = f"{name_of(measure)} over both sizes"
    cells = [(row, *map(figure, line)) for row, line in zip(rows, values.tolist(), strict=True)]
    return Plot(
        f"heatmap-{measure}",
        title,
        f"Mean of {name_of(measure)} for each number of clusters k and of dimensions m, over all other settings.",
        {"data": [heat], "layout": layout},
        Table(title, ("m \\ k", *columns), cells),
    )


def _curves(frame: "DataFrame", setting: str, measures: Sequence[str]) -> Plot:
    traces, rows = [], []
    for number, measure in enumerate(measures):
        curve = over_seeds(frame, setting, measure)
        traces += [_seeds(frame, setting, measure, number), _mean(curve, setting, measure, number)]
        rows += [
            (name_of(measure), shown(value), figure(line["mean"]), figure(line["std"]))
            for value, line in curve.iterrows()
        ]
    what = "agreement with the classes" if measures[0] in SCORES else " and ".join(map(name_of, measures))
    title = f"{what[0].upper()}{what[1:]} against {name_of(setting)}"
    numbers = is_number(setting)
    x: dict[str, Any] = {"title": {"text": plotted(name_of(setting))}} | ({} if numbers else {"type": "category"})
    values = frame[setting].dropna()
    if numbers and 0 < 10 * values.min() < values.max():
        x["type"] = "log"
    layout = {"xaxis": x, "yaxis": {}, "showlegend": True}
    return Plot(
        f"curves-{measures[0]}-{setting.replace('.', '-')}",
        title,
        "The mean over the seeds, bars of one standard deviation between them, and each trial as a pale point.",
        {"data": traces, "layout": layout},
        Table(title, ("measure", name_of(setting), "mean", "standard deviation"), rows),
    )


def _places(values: Sequence[Any], setting: str) -> list[Any]:
    return [float(v) if is_number(setting) else plotted(shown(v)) for v in values]


def _seeds(frame: "DataFrame", setting: str, measure: str, number: int) -> dict[str, Any]:
    """Each trial as a pale point."""
    known = frame[np.isfinite(frame[measure].astype(float)) & frame[setting].notna()]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name_of(measure),
        "x": _places(known[setting].tolist(), setting),
        "y": known[measure].astype(float).round(5).tolist(),
        "customdata": known["seed"].tolist(),
        "hovertemplate": f"%{{x}}, seed %{{customdata}}<br>{name_of(measure)} %{{y:.4f}}<extra></extra>",
        "opacity": 0.35,
        "showlegend": False,
        "legendgroup": measure,
        "meta": {"colour": number, "size": "points"},
    }


def _mean(curve: "DataFrame", setting: str, measure: str, number: int) -> dict[str, Any]:
    numbers = is_number(setting)
    return {
        "type": "scatter",
        "mode": "lines+markers" if numbers else "markers",
        "name": name_of(measure),
        "x": _places(curve.index.tolist(), setting),
        "y": curve["mean"].round(5).tolist(),
        "error_y": {"type": "data", "array": curve["std"].fillna(0).round(5).tolist(), "thickness": 1.2},
        "hovertemplate": f"%{{x}}<br>{name_of(measure)} %{{y:.4f}}<extra></extra>",
        "legendgroup": measure,
        "meta": {"colour": number},
    }
