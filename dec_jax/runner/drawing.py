"""What all pictures have in common: figures, colours, titles, ticks, and the files they are written to."""

import math
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dec_jax.data.extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
GREY = "#b0b0b0"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "plots", "a picture", "matplotlib")
    return figure.Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def save(figure: "Figure", path: Path) -> None:
    """Writes a PNG whole or not at all: what was at `path` survives a failure."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a name in a script that the font lacks is drawn as boxes
            figure.savefig(unfinished, format="png", bbox_inches="tight")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def colours_of(labels: Iterable[int]) -> np.ndarray:
    """The colour of each cluster, (n, 4): the same one in all pictures, repeated after twenty."""
    from matplotlib import colormaps

    labels = np.asarray(labels)
    palette = colormaps["tab10" if labels.max() < 10 else "tab20"]
    return palette(labels % palette.N)


def tidy(ax: "Axes", title: str = "") -> None:
    """Writes a title above the left corner, and removes the frame above and on the right."""
    ax.set_title(_as_it_is(title), loc="left", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)


def tick(ax: "Axes", axis: str, positions: Iterable[float], names: Iterable[str], **text: Any) -> None:
    """Writes names along an axis, without tick marks; of many only every second, third or so."""
    positions, names = list(positions), [_as_it_is(name) for name in names]
    every = math.ceil(len(names) / 50) or 1
    set_ticks = ax.set_xticks if axis == "x" else ax.set_yticks
    set_ticks(positions[::every], names[::every], **text)
    ax.tick_params(axis=axis, which="both", length=0)


def _as_it_is(text: str) -> str:
    """A user's own text, in which a dollar is not the beginning of mathematics."""
    return text.replace("$", r"\$")
