"""What a run keeps for its page, as no other file has it: its plane, and the samples that stand for its clusters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from dec_jax import metrics
from dec_jax.data import UNLABELLED
from dec_jax.digests import read_checked, write_with_digest
from dec_jax.runner.plane import Plane
from dec_jax.runner.webpage import KEPT_FILE, cards, naming

if TYPE_CHECKING:
    from dec_jax.runner.runs import Run

MAX_CLASSES = 100  # of a confusion matrix that is shown


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes what `read` reads.

    Raises:
        OSError: the folder cannot be written.
    """
    with write_with_digest(folder / KEPT_FILE, "w") as file:
        json.dump(content, file)


def read(folder: Path) -> dict[str, Any]:
    """Returns what was kept, and nothing where nothing was.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content = read_checked(folder / KEPT_FILE)
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{folder / KEPT_FILE} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{folder / KEPT_FILE} is damaged: it must hold a mapping")
    return found


def of_run(run: "Run", plane: Plane) -> dict[str, Any]:
    """Returns what a run keeps, as JSON has it."""
    return {
        "plane": of_plane(plane),
        "ids": naming.ids(run.data, plane.rows),
        "classes": naming.classes(run.data, plane.rows),
        "confusion": _confusion(run),
        "cards": cards.of_run(run),
        "notes": list(run.data.notes),
    }


def of_plane(plane: Plane) -> dict[str, Any]:
    """Returns the plane as JSON has it, to four digits."""
    points = {name: _rounded(values) for name, values in zip("xy", plane.points.T, strict=True)}
    centres = [_rounded(values) for values in plane.centres.T]
    return {"rows": plane.rows.tolist(), **points, "centres": centres, "axes": list(plane.axes)}


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _confusion(run: "Run") -> dict[str, Any] | None:
    data = run.data
    if data.y is None or not (data.y != UNLABELLED).any():
        return None
    found = metrics.matched_confusion(*metrics.labelled(data.y, run.outcome.labels["final"], UNLABELLED))
    if scipy.sparse.issparse(found.matrix) or max(found.matrix.shape) > MAX_CLASSES:
        return None
    classes = [naming.class_name(data, y) for y in found.classes.tolist()]
    return {"matrix": found.matrix.tolist(), "classes": classes, "clusters": found.clusters.tolist()}
