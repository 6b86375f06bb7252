"""A picture with its caption: as PNG and as SVG, and a line of Markdown that shows it."""

import textwrap
from typing import TYPE_CHECKING

from dec_jax.data.atomic import atomic_write
from dec_jax.runner.drawing import DPI, new_figure
from experiments.paper.context import Context

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARACTERS_PER_INCH = 17  # of a caption


def new(width: float, height: float) -> "Figure":
    """An empty picture, sizes in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    return new_figure(width, height)


def write(context: Context, name: str, figure: "Figure", caption: str) -> None:
    """Writes `name`.png, `name`.svg and `name`.md, each whole or not at all; the same picture gives the same files."""
    from matplotlib import rc_context

    caption = f"{caption} {context.provenance()}"
    lines = textwrap.fill(caption, width=int(figure.get_figwidth() * CHARACTERS_PER_INCH))
    figure.text(0, -0.02, lines, va="top", fontsize=7)
    context.out.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", {}), ("svg", {"Date": None})):
        with rc_context({"svg.hashsalt": name}), atomic_write(context.out / f"{name}.{kind}") as file:
            figure.savefig(file, format=kind, dpi=DPI, bbox_inches="tight", metadata=metadata)
    with atomic_write(context.out / f"{name}.md", "w") as file:
        file.write(f"![{name}]({name}.png)\n\n{caption}\n")
    context.console.print(f"{name}: {context.out / name}.png, .svg", soft_wrap=True)
