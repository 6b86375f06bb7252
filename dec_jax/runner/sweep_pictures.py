"""Pictures of a sweep: its table → one PNG file each. Which ones there are follows from what was swept.

As in `dec_jax.runner.pictures`, the same table gives the same files, each written whole or not at all.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dec_jax.runner.config import show
from dec_jax.runner.drawing import GREY, colours_of, new_figure, save, tick, tidy
from dec_jax.runner.panels import SCORES
from dec_jax.runner.pictures import MAX_ROWS
from dec_jax.runner.suggestion import CRITERIA, Suggestion, check_columns, over_seeds, suggest_n_clusters
from dec_jax.runner.table import COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

K, M = "clustering.n_clusters", "network.bottleneck"
PALE = "#e6e6e6"
MAX_TICKS = 12
NAMES = SCORES | {
    "silhouette": "silhouette",
    "confidence": "confidence (mean max q)",
    "generalisability": "generalisability G",
    "seconds": "seconds per trial",
    K: "number of clusters k",
    M: "dimensions of the embedding m",
    "clustering.alpha": "degrees of freedom α",
    "clustering.update_interval": "update interval λ, in steps",
    "network.hidden": "hidden layers",
    "seed": "seeds",
}

Pictures = dict[str, Callable[[Path], None]]  # by the file's name, what draws it


def draw(frame: "DataFrame", swept: Sequence[str], folder: Path) -> list[Path]:
    """Draws what there is to see of a sweep.

    Means are over the seeds and over all settings that a picture does not show, and its title says so. Trials that
    failed are left out, and so is what no trial has a value of, such as scores where there are no labels.

    Args:
        frame: from `dec_jax.runner.table.to_frame` or `read`.
        swept: names of the settings with more than one value, "seed" included.
        folder: where the files go; it exists.

    Returns:
        The files, of these names:
        `heatmap_MEASURE.png` where both sizes were swept: acc, nmi and silhouette over n_clusters × bottleneck;
        `n_clusters.png` where that was swept: NMI, G and silhouette against it, with what is suggested;
        `curves_SETTING.png` for each setting but the seed: scores and criteria against its values;
        `seconds.png`: the seconds of the trials, by the sizes that were swept.

    Raises:
        ValueError: the table lacks a column.
        ImportError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    check_columns(frame, (*swept, *COLUMNS))
    frame = frame[frame["error"].isna()]
    pictures = _heatmaps(frame, swept) | _n_clusters(frame, swept) | _curves(frame, swept) | _seconds(frame, swept)
    for name, picture in pictures.items():
        picture(folder / name)
    return [folder / name for name in pictures]


def _heatmaps(frame: "DataFrame", swept: Sequence[str]) -> Pictures:
    if not {K, M} <= set(swept):
        return {}
    measures = measured(frame, ("acc", "nmi", "silhouette"))
    return {f"heatmap_{name}.png": partial(_heatmap, frame=frame, swept=swept, measure=name) for name in measures}


def _n_clusters(frame: "DataFrame", swept: Sequence[str]) -> Pictures:
    measures = measured(frame, ("nmi", *CRITERIA))
    if K not in swept or not measures:
        return {}
    return {"n_clusters.png": partial(_number_of_clusters, frame=frame, swept=swept, measures=measures)}


def _curves(frame: "DataFrame", swept: Sequence[str]) -> Pictures:
    panels = [measured(frame, names) for names in (tuple(SCORES), ("silhouette",), ("confidence",))]
    panels = [names for names in panels if names]
    settings = [name for name in swept if name != "seed" and frame[name].notna().any()]
    return {
        f"curves_{name}.png": partial(_setting_curves, frame=frame, swept=swept, setting=name, panels=panels)
        for name in settings
        if panels
    }


def _seconds(frame: "DataFrame", swept: Sequence[str]) -> Pictures:
    if not measured(frame, ("seconds",)):
        return {}
    return {"seconds.png": partial(_seconds_per_trial, frame=frame, swept=swept)}


def measured(frame: "DataFrame", names: Iterable[str]) -> list[str]:
    """The columns in which some trial has a finite value."""
    return [name for name in names if np.isfinite(frame[name].astype(float)).any()]


# What is drawn


def _heatmap(path: Path, frame: "DataFrame", swept: Sequence[str], measure: str) -> None:
    """One measure over n_clusters × bottleneck, with the values in the cells where there are few."""
    known = frame[np.isfinite(frame[measure])]
    table = known.pivot_table(measure, M, K, aggfunc="mean")
    values = table.to_numpy(float)
    legible = max(values.shape) <= MAX_ROWS
    width, height = (0.52, 0.42) if legible else (8 / max(values.shape),) * 2
    figure = new_figure(max(width * values.shape[1], 2.4) + 1.8, max(height * values.shape[0], 1.2) + 1.3)
    ax = figure.add_subplot()
    image = ax.imshow(values, cmap="viridis", aspect="auto", origin="lower")
    ax.set_facecolor(PALE)  # shows where no trial has a value
    if legible:
        _write_values(ax, values, image.norm(values))
    figure.colorbar(image)
    tidy(ax, _title(NAMES[measure], swept, (K, M)))
    _tick_values(ax, "x", range(values.shape[1]), table.columns.tolist())
    _tick_values(ax, "y", range(values.shape[0]), table.index.tolist())
    ax.set(xlabel=NAMES[K], ylabel=NAMES[M])
    ax.spines[:].set_visible(False)
    save(figure, path)


def _write_values(ax: "Axes", values: np.ndarray, brightness: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if brightness[row, column] > 0.6 else "white"
        if math.isfinite(value):
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)


def _number_of_clusters(path: Path, frame: "DataFrame", swept: Sequence[str], measures: Sequence[str]) -> None:
    """Figure 6 of Xie et al. 2016: measures against n_clusters, one below the other, and what they suggest."""
    figure = new_figure(6.4, 2.0 * len(measures) + 0.8)
    axes = figure.subplots(len(measures), sharex=True, squeeze=False).ravel()
    suggestions = [suggest_n_clusters(frame, name) for name in measures if name in CRITERIA]
    for ax, measure in zip(axes, measures, strict=True):
        _draw_measure(ax, frame, K, measure, 0)
        tidy(ax)
        ax.set_ylabel(NAMES[measure])
        for suggestion in suggestions:
            _mark(ax, suggestion, measure)
    _set_values(axes[-1], frame, K)
    _head(figure, _title("Choosing the number of clusters", swept, (K,), spread="band"))
    save(figure, path)


def _mark(ax: "Axes", suggestion: Suggestion, measure: str) -> None:
    """Marks a suggestion by a line, and names it in the panel of its own criterion."""
    k, criterion, curve = suggestion
    if k is None:
        return
    colour = colours_of([1 + list(CRITERIA).index(criterion)])[0]
    ax.axvline(k, color=colour, linewidth=1.2, linestyle="--", zorder=1)
    if criterion == measure:
        ax.plot(k, curve[k], "o", color=colour, markersize=9, fillstyle="none", markeredgewidth=1.8)
        reason = {"generalisability": "before the sharpest drop", "silhouette": "the highest"}[criterion]
        ax.set_title(f"{criterion} suggests {k}: {reason}", loc="right", fontsize=9, color=colour)


def _setting_curves(
    path: Path, frame: "DataFrame", swept: Sequence[str], setting: str, panels: Sequence[Sequence[str]]
) -> None:
    """Scores and criteria against a setting's values, mean and standard deviation over the seeds."""
    figure = new_figure(4.2 * len(panels), 3.4)
    for ax, measures in zip(figure.subplots(1, len(panels), squeeze=False).ravel(), panels, strict=True):
        for number, measure in enumerate(measures):
            _draw_measure(ax, frame, setting, measure, number)
        tidy(ax)
        if len(measures) > 1:
            ax.legend(frameon=False, fontsize=9, ncols=len(measures), loc="lower left", bbox_to_anchor=(0, 1))
        ax.set_ylabel("agreement with the classes" if measures[0] in SCORES else NAMES[measures[0]])
        _set_values(ax, frame, setting)
    spread = "band" if is_number(setting) else "bars"
    figure.get_layout_engine().set(wspace=0.04)
    _head(figure, _title(f"Clustering quality against {name_of(setting)}", swept, (setting,), spread))
    save(figure, path)


def _draw_measure(ax: "Axes", frame: "DataFrame", setting: str, measure: str, number: int) -> None:
    """The mean over the seeds with a band of one standard deviation, or bars of it where values are not numbers."""
    curve = over_seeds(frame, setting, measure)
    mean, spread = curve["mean"].to_numpy(), curve["std"].fillna(0).to_numpy()
    colour = colours_of([number])[0]
    if is_number(setting):
        x = curve.index.to_numpy(float)
        ax.plot(x, mean, color=colour, marker=".", linewidth=1.5, label=NAMES[measure])
        ax.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
    else:
        places = _values(frame, setting)
        x = np.array([places.index(value) for value in curve.index]) + 0.12 * number  # side by side, not one on another
        ax.errorbar(x, mean, spread, color=colour, fmt="o", capsize=3, label=NAMES[measure])
    ax.grid(axis="y", color=PALE, linewidth=0.8)


def _set_values(ax: "Axes", frame: "DataFrame", setting: str) -> None:
    """The axis of a setting: its values at their places, logarithmic where they span more than a decade."""
    values = _values(frame, setting)
    ax.set_xlabel(name_of(setting))
    if not is_number(setting):
        ax.set_xlim(-0.5, len(values) - 0.5)
        _tick_values(ax, "x", range(len(values)), values)
    elif 0 < 10 * values[0] < values[-1]:
        ax.set_xscale("log")
        ax.minorticks_off()
        _tick_values(ax, "x", values, values, scale=math.log)
    else:
        _tick_values(ax, "x", values, values)


def _seconds_per_trial(path: Path, frame: "DataFrame", swept: Sequence[str]) -> None:
    """How long trials took: the median, the quartiles and the trials themselves, by the sizes that were swept."""
    settings = [name for name in (K, M) if name in swept]
    figure = new_figure(4.8 * len(settings) or 2.8, 3.2)
    axes = figure.subplots(1, max(len(settings), 1), sharey=True, squeeze=False).ravel()
    frame = frame[np.isfinite(frame["seconds"])]
    for ax, setting in zip(axes, settings or [None], strict=True):
        values = _values(frame, setting) if setting else ["all trials"]
        chosen = [frame[frame[setting] == value] if setting else frame for value in values]
        _draw_distributions(ax, [trials["seconds"].to_numpy(float) for trials in chosen])
        tidy(ax)
        _tick_values(ax, "x", range(len(values)), values)
        ax.set_xlabel(NAMES.get(setting, ""))
    axes[0].set(ylabel=NAMES["seconds"], ylim=(0, None))
    _head(figure, f"Seconds of {len(frame):,} trials")
    save(figure, path)


def _draw_distributions(ax: "Axes", groups: Sequence[np.ndarray]) -> None:
    random = np.random.default_rng(0)
    for position, values in enumerate(groups):
        x = position + random.uniform(-0.18, 0.18, len(values))  # side by side, not one on another
        size = float(np.clip(200 / len(values), 2, 12))
        ax.scatter(x, values, s=size, color=GREY, linewidths=0, zorder=1)
    style = {"color": colours_of([0])[0], "linewidth": 1.3}
    parts = {f"{part}props": style for part in ("box", "median", "whisker", "cap")}
    ax.boxplot(groups, positions=range(len(groups)), widths=0.55, showfliers=False, **parts)
    ax.grid(axis="y", color=PALE, linewidth=0.8)


# Names and values


def _head(figure: "Figure", title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)


def _title(what: str, swept: Sequence[str], shown: Sequence[str], spread: str = "") -> str:
    """What a picture shows, over what its values are means, and what it draws of their spread."""
    others = [name_of(name) for name in swept if name not in shown]
    lines = [what]
    if others:
        lines.append(f"mean over {', '.join(others)}")
    if spread and "seed" in swept:
        lines.append(f"{spread}: ± one standard deviation between seeds")
    return "\n".join(lines)


def name_of(setting: str) -> str:
    """What a setting or a measure is called."""
    return NAMES.get(setting, setting.replace(".", " ").replace("_", " "))


def is_number(setting: str) -> bool:
    """Whether the values of a setting are numbers."""
    return COLUMNS[setting] in (int, float)


def _values(frame: "DataFrame", setting: str) -> list[Any]:
    """The values of a setting, numbers ascending; None, which leaves it open, has no place among them."""
    values = frame[setting].dropna().unique().tolist()
    return sorted(values) if is_number(setting) else values


def _tick_values(
    ax: "Axes", axis: str, places: Sequence[float], values: Sequence[Any], scale: Callable[[float], float] = float
) -> None:
    """Writes values along an axis, leaving out those that would stand too close after the one before."""
    gap = (scale(places[-1]) - scale(places[0])) / MAX_TICKS
    written: list[int] = []
    for i, place in enumerate(places):
        if not written or scale(place) - scale(places[written[-1]]) >= gap:
            written.append(i)
    names = (f"{values[i]:g}" if isinstance(values[i], float) else show(values[i]) for i in written)
    tick(ax, axis, [places[i] for i in written], names)
