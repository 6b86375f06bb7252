"""What was recorded during training, as panels of named lines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SCORES = {"acc": "ACC", "nmi": "NMI", "ari": "ARI"}

Series = tuple[list[int], list[float]]  # steps and the values at them


class Panel(NamedTuple):
    """Named lines over training steps, and how to draw their values: "log", "linear", "share" or "score"."""

    title: str
    lines: dict[str, Series]
    scale: str


def panels_of(history: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Returns a panel for each kind of what was recorded; those without a finite value are left out.

    Args:
        history: rows with the keys `phase` (str), `step` (int, counted within the phase) and `loss` (float), and where
            known `label_change`, `acc`, `nmi` and `ari` (shares, or None).
    """
    phases: dict[str, list[Mapping[str, Any]]] = {}
    for row in history:
        phases.setdefault(row["phase"], []).append(row)
    clustering = {name: rows for name, rows in phases.items() if name == "clustering"}
    pretraining = {name: rows for name, rows in phases.items() if name != "clustering"}
    panels = [
        Panel("Pretraining loss", _lines(pretraining, "loss"), "log"),
        Panel("Clustering loss", _lines(clustering, "loss"), "linear"),
        Panel("Samples that changed their cluster", _lines(phases, "label_change"), "share"),
        *(
            Panel(f"Agreement with the classes during {name}", _score_lines(rows), "score")
            for name, rows in phases.items()
        ),
    ]
    return [panel for panel in panels if panel.lines]


def _lines(phases: Mapping[str, Sequence[Mapping[str, Any]]], key: str) -> dict[str, Series]:
    lines = {name: _series(rows, key) for name, rows in phases.items()}
    return {name: line for name, line in lines.items() if line[0]}


def _score_lines(rows: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    lines = {name: _series(rows, key) for key, name in SCORES.items()}
    return {name: line for name, line in lines.items() if line[0]}


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> Series:
    """The steps that have a finite value under `key`, and these values."""
    known = [row for row in rows if row.get(key) is not None and math.isfinite(row[key])]
    return [row["step"] for row in known], [row[key] for row in known]
