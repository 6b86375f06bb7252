"""What the page of a sweep shows, from the files of its folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dec_jax.digests import read_checked
from dec_jax.runner import table
from dec_jax.runner.suggestion import suggestions
from dec_jax.runner.sweep_folder import IDENTITY_FILE
from dec_jax.runner.sweep_pictures import name_of
from dec_jax.runner.webpage import kept, sweep_plots
from dec_jax.runner.webpage.plots import Table
from dec_jax.runner.webpage.text import figure, short

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_ROWS = 200  # of the table in the page
SECTIONS = (("table", "Table"), ("repeat", "How to get the same result"))


def is_here(folder: Path) -> bool:
    """Whether a folder holds a finished sweep."""
    return (folder / IDENTITY_FILE).exists() and (folder / table.CSV_FILE).exists()


def content(folder: Path) -> dict[str, Any]:
    """Returns what the template shows.

    Raises:
        ValueError: a file is damaged.
        ImportError: pandas is not installed.
    """
    frame = table.read(folder)
    swept, rows = table.swept(frame), table.best_rows(frame, table.swept(frame))
    identity = json.loads(read_checked(folder / IDENTITY_FILE))
    plots = sweep_plots.plots(frame, swept)
    return {
        "title": short(Path(identity["data.name"]).name),
        "tiles": _tiles(frame),
        "plots": {plot.id: plot for plot in plots},
        "swept": [(name_of(name), _values(frame, name)) for name in swept],
        "suggestions": suggestions(frame, swept),
        "summary": _summary(frame, swept, rows[:MAX_ROWS]),
        "n_more": max(0, len(rows) - MAX_ROWS),
        "repeat": _repeat(frame, identity, kept.read(folder)),
        "sections": [("grid", "What was varied"), *([("plots", "Plots")] if plots else []), *SECTIONS],
    }


def _tiles(frame: "DataFrame") -> list[tuple[str, str]]:
    n_failed = int(frame["error"].notna().sum())
    tiles = [("trials", f"{len(frame):,}"), ("seeds", f"{frame['seed'].nunique():,}")]
    if n_failed:
        tiles.append(("failed", f"{n_failed:,}"))
    best = {name: frame[name].max() for name in table.measures(frame)}
    return tiles + [
        (f"best {name if name in table.CRITERIA else name.upper()}", figure(float(v))) for name, v in best.items()
    ]


def _values(frame: "DataFrame", setting: str) -> str:
    values = [table.shown(value) for value in frame[setting].unique()]
    return short(", ".join(values))


def _summary(frame: "DataFrame", swept: Sequence[str], rows: list[tuple[str, ...]]) -> Table:
    """The rows of `table.best_rows` under the names that people know."""
    names, settings = table.measures(frame), [name for name in swept if name != "seed"]
    header = (*map(name_of, settings), "trials", *map(name_of, names))
    return Table(f"Mean ± standard deviation over the seeds, the best {name_of(names[0])} first", header, rows)


def _repeat(frame: "DataFrame", identity: Mapping[str, Any], known: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What fixes the result, in the order in which one needs it."""
    found = {
        "command": known.get("command"),
        "seeds": ", ".join(map(str, sorted(frame["seed"].unique().tolist()))),
        "held out": f"{identity['held_out']:g} of the samples",
        "SHA-256 of the samples": identity["samples"],
        "commit": ", ".join(frame["commit"].dropna().unique()),
        "versions": "; ".join(frame["versions"].dropna().unique()),
    }
    return [(name, value) for name, value in found.items() if value]
