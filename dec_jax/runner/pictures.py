"""Pictures of a run: arrays → one PNG file.

Every function draws the same picture for the same arguments, writes its file whole or not at all, shows
nothing, and leaves pyplot's global state alone. Where matplotlib is missing, an ImportError says what to
install.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from dec_jax.metrics import Confusion
from dec_jax.runner.drawing import GREY, colours_of, new_figure, save, tick, tidy
from dec_jax.runner.image_sheet import as_images, cell_size, draw_sheet
from dec_jax.runner.panels import Panel, panels_of
from dec_jax.runner.plane import Plane, finite_matrix
from dec_jax.validation import check_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 20  # clusters in one picture; more cannot be told apart, by colour or by eye
MAX_PROFILE = 256  # features that one small profile can show
N_FEATURES = 50  # features shown of samples that have more than that


def loss_curves(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draws what was recorded during training, one panel for each kind of it.

    Args:
        path: the file to write.
        history: rows with the keys `phase` (str), `step` (int, counted within the phase) and `loss` (float),
            and where known `label_change`, `acc`, `nmi` and `ari` (shares, or None).

    Raises:
        ValueError: there is no finite value to draw.
    """
    panels = panels_of(history)
    if not panels:
        raise ValueError(f"history must hold at least one finite loss, got none in {len(history)} rows")
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(4.8 * columns, 3.2 * rows)
    for number, panel in enumerate(panels, start=1):
        _draw_panel(figure.add_subplot(rows, columns, number), panel)
    save(figure, path)


def embedding_2d(path: Path, plane: Plane, labels: Any, *, title: str, max_samples: int = 2000) -> None:
    """Draws the embedding in the plane, coloured by cluster, with each cluster's number at its median.

    Args:
        path: the file to write.
        plane: from `plane.lay_out`; its centres are drawn as rings.
        labels: (n,), integers, the cluster of each sample.
        title: what the picture shows.
        max_samples: of the plane's, at most.
    """
    figure = new_figure(6.4, 6.0)
    shown = plane.rows[: check_integer("max_samples", max_samples, 1)]
    points, labels = plane.points[: len(shown)], np.asarray(labels)[shown]
    ax = figure.add_subplot()
    tidy(ax, title)
    size = float(np.clip(15_000 / len(shown), 6, 40))
    ax.scatter(*points.T, s=size, c=colours_of(labels), alpha=0.75, linewidths=0)
    ax.scatter(*plane.centres.T, s=280, facecolors="none", edgecolors="black", linewidths=1.2)
    for label in np.unique(labels):
        _write(ax, np.median(points[labels == label], axis=0), str(label))
    _label_plane(ax, plane)
    save(figure, path)


def top_samples(path: Path, x: Any, q: Any, *, image_shape: tuple[int, ...] | None, n_top: int = 10) -> None:
    """Writes what `draw_top_samples` draws, with the same arguments."""
    save(draw_top_samples(x, q, image_shape=image_shape, n_top=n_top), path)


def draw_top_samples(x: Any, q: Any, *, image_shape: tuple[int, ...] | None, n_top: int = 10) -> "Figure":
    """Draws the samples with the highest q of each cluster, one cluster a row: figure 5 of Xie et al. 2016.

    Args:
        x: (n, d), real numbers, dense or scipy sparse.
        q: (n, k), float, the soft assignments; the first 20 clusters are drawn.
        image_shape: (height, width) or (height, width, 3) of a sample. None where samples are not images: they
            are drawn as profiles of their features, or where d > 256 as a heat map of the 50 that vary most.
        n_top: samples of each cluster.

    Raises:
        ValueError: the shapes do not fit together.
    """
    q = finite_matrix("q", q)
    if x.shape[0] != len(q):
        raise ValueError(f"q must hold one row per sample of x, got {len(q)} rows for {x.shape[0]} samples")
    n_top = check_integer("n_top", n_top, 1)
    n_clusters = min(q.shape[1], MAX_ROWS)
    top = np.argsort(-q[:, :n_clusters], axis=0, kind="stable")[:n_top].T
    samples = dense_rows(x, top.ravel()).reshape(*top.shape, -1)

    title = f"The {top.shape[1]} samples with the highest q of each cluster"
    if n_clusters < q.shape[1]:
        title += f"\n(the first {n_clusters} of {q.shape[1]} clusters)"
    if image_shape is not None:
        return _draw_top_images(as_images(samples, image_shape), title)
    if samples.shape[-1] <= MAX_PROFILE:
        return _draw_top_profiles(samples, title)
    return _draw_top_features(samples, title)


def reconstructions(path: Path, x: Any, x_hat: Any, *, image_shape: tuple[int, ...] | None, n: int = 10) -> None:
    """Draws originals above their reconstructions, or where they are not images the profiles of both.

    Args:
        path: the file to write.
        x: (n_samples, d), real numbers, dense or scipy sparse.
        x_hat: (n_samples, d), real numbers, the reconstructions of the same samples.
        image_shape: (height, width) or (height, width, 3) of a sample, or None: profiles are drawn, where
            d > 256 of the 50 features that vary most.
        n: samples to draw, evenly spaced from the first to the last.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if x.shape != x_hat.shape:
        raise ValueError(f"x_hat must have the shape of x, {tuple(x.shape)}, got {tuple(x_hat.shape)}")
    n = min(check_integer("n", n, 1), x.shape[0])
    shown = np.linspace(0, x.shape[0] - 1, n).round().astype(int)
    both = np.stack([dense_rows(x, shown), dense_rows(x_hat, shown)])
    draw = _draw_reconstructed_profiles if image_shape is None else _draw_reconstructed_images
    figure = draw(both if image_shape is None else as_images(both, image_shape))
    save(figure, path)


def confusion(path: Path, confusion: Confusion, class_names: Sequence[str] | Mapping[int, str] | None = None) -> None:
    """Draws the matched confusion matrix: counts in the cells, coloured by their share of the class.

    Args:
        path: the file to write.
        confusion: from `dec_jax.metrics.matched_confusion`.
        class_names: the name of each class, found by its id; the ids are written where there are none.
    """
    matrix, classes, clusters = confusion
    names = [str(c if class_names is None else class_names[c]) for c in classes.tolist()]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    legible = max(matrix.shape) <= MAX_ROWS
    cell = 0.48 if legible else 8 / max(matrix.shape)
    figure = new_figure(cell * matrix.shape[1] + 1.4, cell * matrix.shape[0] + 1.2)
    ax = figure.add_subplot()
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if legible:
        _write_counts(ax, matrix, share)
    else:
        figure.colorbar(image, label="share of the class", shrink=0.7)
    tidy(
        ax,
        f"Classes and the clusters matched to them\naccuracy {100 * np.trace(matrix) / matrix.sum():.1f} %",
    )
    tick(ax, "x", range(len(clusters)), map(str, clusters))
    tick(ax, "y", range(len(classes)), names)
    ax.set(xlabel="cluster", ylabel="class")
    save(figure, path)


# Curves


def _draw_panel(ax: "Axes", panel: Panel) -> None:
    for number, (name, (steps, values)) in enumerate(panel.lines.items()):
        marker = "." if len(steps) < 40 else None  # a single point draws no line
        ax.plot(steps, values, color=colours_of([number])[0], label=name, marker=marker, linewidth=1.5)
    tidy(ax, panel.title)
    ax.set_xlabel("step")
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    if len(panel.lines) > 1:
        ax.legend(frameon=False, fontsize=9)
    if panel.scale == "log" and all(min(values) > 0 for _, values in panel.lines.values()):
        _set_log_scale(ax)
    elif panel.scale == "share":
        # Falls over three decades and may reach 0, which a logarithmic axis cannot show.
        ax.set_yscale("symlog", linthresh=0.001)
        tick(ax, "y", (0, 0.001, 0.01, 0.1, 1), ("0", "0.1 %", "1 %", "10 %", "100 %"))
        ax.set_ylim(-0.00005, 1)
    elif panel.scale == "score":
        ax.set_ylim(min(0, *(min(values) for _, values in panel.lines.values())), 1)


def _set_log_scale(ax: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")  # 0.5, where the default writes 5 × 10⁻¹
    ax.yaxis.set_minor_locator(NullLocator())


# Embedding


def _label_plane(ax: "Axes", plane: Plane) -> None:
    x, y = plane.axes
    ax.set(xlabel=x, ylabel=y)
    if plane.n_dimensions != 2:
        ax.set(yticks=[])
    if plane.n_dimensions > 2:
        ax.set(xticks=[])
        ax.spines[:].set_visible(False)


# Samples


def dense_rows(x: Any, rows: np.ndarray) -> np.ndarray:
    """The given rows of `x` as a dense array; of a sparse matrix, only these are made dense."""
    return x.tocsr()[rows].toarray() if scipy.sparse.issparse(x) else np.asarray(x[rows])


def _draw_top_images(images: np.ndarray, title: str) -> "Figure":
    figure, ax = draw_sheet(images, images.min(), images.max())
    tidy(ax, title)
    height, width = cell_size(images)
    tick(ax, "x", (np.arange(images.shape[1]) + 0.5) * width, _ranks(images.shape[1]))
    _tick_clusters(ax, (np.arange(len(images)) + 0.5) * height)
    return figure


def _draw_top_profiles(samples: np.ndarray, title: str) -> "Figure":
    n_clusters, n_top, _ = samples.shape
    figure = new_figure(0.75 * n_top + 1, 0.5 * n_clusters + 1.1)
    ax = figure.add_subplot()
    low, high = min(0.0, samples.min()), max(0.0, samples.max())
    scale = 0.8 / ((high - low) or 1)
    for row, colour in enumerate(colours_of(range(n_clusters))):
        for column, sample in enumerate(samples[row]):
            heights = row + 0.9 - scale * (sample - low)
            edges = column + np.linspace(0.06, 0.94, len(sample) + 1)
            ax.stairs(heights, edges, baseline=row + 0.9 + scale * low, fill=True, color=colour)
    ax.set(xlim=(0, n_top), ylim=(n_clusters, 0))
    tidy(ax, title)
    tick(ax, "x", np.arange(n_top) + 0.5, _ranks(n_top))
    _tick_clusters(ax, np.arange(n_clusters) + 0.5)
    return figure


def _draw_top_features(samples: np.ndarray, title: str) -> "Figure":
    n_clusters, n_top, _ = samples.shape
    features = _most_varying(samples.reshape(n_clusters * n_top, -1))
    # Grouped by the cluster in which they are largest, so that what marks a cluster stands together.
    means = samples[..., features].mean(axis=1)
    features = features[np.lexsort([-means.max(axis=0), means.argmax(axis=0)])]
    gap = np.full((n_clusters, 1, len(features)), np.nan)
    rows = np.concatenate([samples[..., features], gap], axis=1).reshape(-1, len(features))[:-1]

    figure = new_figure(9, 0.075 * len(rows) + 1.6)
    ax = figure.add_subplot()
    limit = np.nanmax(np.abs(rows)) or 1.0
    signed = np.nanmin(rows) < 0
    image = ax.imshow(
        rows,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r" if signed else "Blues",
        vmin=-limit if signed else 0,
        vmax=limit,
    )
    figure.colorbar(image, label="value", shrink=min(1, 20 / len(rows)), aspect=15, pad=0.01)
    tidy(ax, f"{title}\nin the {len(features)} features that vary most")
    tick(ax, "x", range(len(features)), map(str, features), rotation=90, fontsize=6)
    _tick_clusters(ax, np.arange(n_clusters) * (n_top + 1) + (n_top - 1) / 2)
    ax.set_xlabel("feature, grouped by the cluster in which it is largest")
    return figure


def _draw_reconstructed_images(images: np.ndarray) -> "Figure":
    # On the originals' scale, so that a reconstruction that is too pale looks pale.
    figure, ax = draw_sheet(images, images[0].min(), images[0].max())
    tidy(ax, "Originals above their reconstructions")
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    tick(ax, "y", (np.arange(2) + 0.5) * cell_size(images)[0], ("original", "reconstruction"))
    return figure


def _draw_reconstructed_profiles(both: np.ndarray) -> "Figure":
    n_features = both.shape[-1]
    label = "feature"
    if n_features > MAX_PROFILE:
        both = both[..., np.sort(_most_varying(both[0]))]
        label = f"the {both.shape[-1]} of {n_features} features that vary most"
    columns = min(5, both.shape[1])
    rows = math.ceil(both.shape[1] / columns)
    figure = new_figure(2.1 * columns + 0.8, 1.3 * rows + 1.2)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, original, reconstruction in zip(axes, *both, strict=False):
        ax.stairs(original, fill=True, color=GREY, label="original")
        ax.stairs(reconstruction, color=colours_of([0])[0], linewidth=1.2, baseline=None, label="reconstruction")
    for ax in axes:
        tidy(ax)
        ax.set_visible(ax.has_data())
    figure.suptitle("Samples and their reconstructions", x=0.01, ha="left", fontsize=11)
    figure.supxlabel(label, fontsize=10)
    figure.supylabel("value", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return figure


def _most_varying(samples: np.ndarray) -> np.ndarray:
    """The features (at most `N_FEATURES`) of the highest variance in samples (n, d), highest first."""
    return np.argsort(-samples.var(axis=0), kind="stable")[:N_FEATURES]


# Text


def _tick_clusters(ax: "Axes", positions: np.ndarray) -> None:
    """Writes the clusters' numbers in their colours in front of their rows, and removes the frame."""
    tick(ax, "y", positions, map(str, range(len(positions))), fontweight="bold")
    for text, colour in zip(ax.get_yticklabels(), colours_of(range(len(positions))), strict=True):
        text.set_color(colour)
    ax.set(ylabel="cluster", xlabel="rank by q")
    ax.spines[:].set_visible(False)


def _ranks(n_top: int) -> list[str]:
    return [str(rank) for rank in range(1, n_top + 1)]


def _write(ax: "Axes", position: np.ndarray, text: str) -> None:
    """Writes a cluster's number on a white halo, so that it is legible on any colour."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white")]
    ax.text(*position, text, ha="center", va="center", fontsize=13, fontweight="bold", path_effects=halo)


def _write_counts(ax: "Axes", matrix: np.ndarray, share: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if share[row, column] > 0.6 else "black"
            ax.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=colour)
