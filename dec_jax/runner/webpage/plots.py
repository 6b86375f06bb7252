"""What a page shows: tables, and interactive plots each with a table beside it for those who do not see it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

N_COLOURS = 10  # --c0 … --c9 of the style sheet
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "triangle-down", "x")
# Of the symbols in a page's text.
SIGNS = ("●", "◆", "■", "▲", "✚", "★", "▼", "✖")


class Table(NamedTuple):
    """A table; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Plot(NamedTuple):
    """An interactive plot.

    Attributes:
        id: of its element.
        title: its heading.
        description: what it shows, in one sentence.
        figure: traces and layout, as Plotly takes them; `meta` of a trace says which colour of the page it has, and
            which cluster it is of, so that the plot follows the page's scheme and the legend.
        table: the same in words.
        tall: whether it needs much room.
    """

    id: str
    title: str
    description: str
    figure: dict[str, Any]
    table: Table
    tall: bool = False


def colour(cluster: int) -> int:
    """Returns the number of a cluster's colour: repeated after ten, with another symbol."""
    return cluster % N_COLOURS


def symbol(cluster: int) -> int:
    """Returns the number of a cluster's symbol."""
    return cluster // N_COLOURS % len(SYMBOLS)
