"""A table of ours beside the published: on the screen, as CSV and as Markdown."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import rich.table

from dec_jax.data.atomic import atomic_write
from experiments.paper.context import Context

UNKNOWN = "–"  # as the paper marks what could not be had


@dataclass(frozen=True)
class Cell:
    """A figure of ours over the seeds, and the published one.

    Attributes:
        values: per cent, one per seed; none where it could not be had.
        published: per cent; None where nobody has published one.
        note: why there is none.
    """

    values: tuple[float, ...] = ()
    published: float | None = None
    note: str = ""

    def __str__(self) -> str:
        published = "" if self.published is None else f" (published {self.published:g})"
        return plus_minus(self.values) + published


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        columns: headings of the cells.
        rows: cells by the row's name, as many as there are columns.
        caption: below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[Cell | str, ...]]
    caption: str


def of_columns(title: str, columns: Mapping[str, Mapping[str, Cell]], caption: str) -> Table:
    """The table of columns by their headings, each of which has cells by the rows' names, the same ones."""
    rows = next(iter(columns.values()))
    return Table(title, tuple(columns), {row: tuple(cells[row] for cells in columns.values()) for row in rows}, caption)


def write(context: Context, name: str, table: Table) -> None:
    """Shows a table, and writes `name`.csv and `name`.md, each whole or not at all."""
    caption = " ".join([table.caption, *_notes(table), context.provenance()])
    shown = rich.table.Table("", *table.columns, title=table.title, caption=caption)
    for row, cells in table.rows.items():
        shown.add_row(row, *map(str, cells))
    context.console.print(shown)
    context.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(context.out / f"{name}.csv", "w") as file:
        csv.writer(file).writerows(_long(table, context.seeds))
    with atomic_write(context.out / f"{name}.md", "w") as file:
        file.write(f"# {table.title}\n\n{_markdown(table)}\n\n{caption}\n")


def plus_minus(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation of values as text, the mean alone of one value, a dash of none."""
    if not values:
        return UNKNOWN
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _notes(table: Table) -> list[str]:
    """Why cells are empty, each reason once."""
    cells = [cell for row in table.rows.values() for cell in row if isinstance(cell, Cell)]
    return [f"{UNKNOWN} {note}." for note in dict.fromkeys(cell.note for cell in cells if cell.note)]


def _long(table: Table, seeds: Sequence[int]) -> list[list[str | float]]:
    """One line per cell."""
    head = ["row", "column", "mean", "std", "published", "text", *(f"seed {seed}" for seed in seeds)]
    lines: list[list[str | float]] = [head]
    for row, cells in table.rows.items():
        for column, cell in zip(table.columns, cells, strict=True):
            lines.append([row, column, *_fields(cell, len(seeds))])
    return lines


def _fields(cell: Cell | str, n_seeds: int) -> list[str | float]:
    if isinstance(cell, str):
        return ["", "", "", cell, *[""] * n_seeds]
    mean = statistics.mean(cell.values) if cell.values else ""
    deviation = statistics.stdev(cell.values) if len(cell.values) > 1 else ""
    published = "" if cell.published is None else cell.published
    return [mean, deviation, published, cell.note, *cell.values, *[""] * (n_seeds - len(cell.values))]


def _markdown(table: Table) -> str:
    lines = [["", *table.columns], ["---"] * (1 + len(table.columns))]
    lines += [[row, *map(str, cells)] for row, cells in table.rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
