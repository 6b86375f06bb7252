"""What a finished trial leaves behind: a table on the screen, and a folder of results and pictures."""

import csv
import json
import platform
import shutil
import subprocess
import warnings
from collections.abc import Container, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from dec_jax import metrics
from dec_jax.checkpoints import save_model
from dec_jax.data.atomic import atomic_write
from experiments import pictures
from experiments.settings import OBJECTIVES
from experiments.speed import speeds
from experiments.trial import Trial

METHODS = {
    "kmeans": "k-means on the input",
    "autoencoder_kmeans": "k-means on the embedding",
    "n2d": "N2D on the embedding",  # where clustering starts from it
    "final": "DEC",
}
PACKAGES = ("dec_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")
HISTORY_COLUMNS = ("phase", "step", "loss", "label_change", "smallest_cluster", "acc", "nmi", "ari")
RESULT_FILE = "result.json"
PICTURES = ("loss_curves.png", "embedding.png", "top_samples.png", "reconstructions.png", "confusion.png")
FILES = ("model", "assignments.npz", "history.csv", *PICTURES, RESULT_FILE)
NEW = ".new"  # where a result is written before it takes the place of the one before


def summarize(trial: Trial) -> dict[str, Any]:
    """The content of `result.json`."""
    n, d = trial.data.x.shape
    device = jax.devices()[0]
    return {
        "settings": vars(trial.settings),
        "data": {"name": trial.data.name, "n_samples": n, "n_features": d},
        **{method: _scores(trial, method) for method in methods(trial.labels)},
        "seconds": trial.seconds,
        "speed": speeds(trial),
        "steps": trial.steps,
        "stop_reason": trial.stop_reason,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": {"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()},
        "git_commit": git_commit(),
    }


def methods(found: Container[str]) -> dict[str, str]:
    """Those of `METHODS` that a trial has labels of, or a result scores."""
    return {method: name for method, name in METHODS.items() if method in found}


def _scores(trial: Trial, method: str) -> dict[str, Any]:
    labels = trial.labels[method]
    sizes = np.bincount(labels, minlength=trial.settings.n_clusters).tolist()
    if trial.data.y is None:
        return {"acc": None, "nmi": None, "ari": None, "cluster_sizes": sizes}
    return metrics.scores(trial.data.y, labels) | {"cluster_sizes": sizes}


def git_commit() -> str | None:
    """Commit of the code that runs, with "-dirty" where it was changed since; None outside a git checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def objective_name(objective: str) -> str:
    """What tables call the result of an objective: DEC, IDEC, …, or the function of the user's own."""
    return objective.upper() if objective in OBJECTIVES else objective.partition(":")[2]


def print_table(result: Mapping[str, Any], console: Console) -> None:
    """Prints the methods' scores, where there are labels, and the seconds that each one took in all."""
    seconds = result["seconds"]
    totals = {"kmeans": seconds["kmeans"]}
    totals["autoencoder_kmeans"] = seconds["pretraining"] + seconds["autoencoder_kmeans"]
    totals["n2d"] = seconds["pretraining"] + seconds.get("n2d", 0.0)
    totals["final"] = totals["autoencoder_kmeans"] + seconds.get("n2d", 0.0) + seconds["clustering"]
    data = result["data"]
    title = f"{data['name']}: {data['n_samples']:,} samples × {data['n_features']:,} features"
    table = Table("method", *(name.upper() for name in ("acc", "nmi", "ari")), "seconds", title=title)
    names = methods(result) | {"final": objective_name(result["settings"]["objective"])}
    for method, name in names.items():
        scores = (result[method][score] for score in ("acc", "nmi", "ari"))
        cells = ("–" if score is None else f"{score:.4f}" for score in scores)
        table.add_row(name, *cells, f"{totals[method]:.1f}")
    console.print(table)
    phases = ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in seconds.items())
    console.print(f"phases: {phases}")
    for phase, speed in result["speed"].items():
        fraction = speed["fraction"]
        of_rate = "" if fraction is None else f", {fraction:.2f} of the device's rate of matrix products"
        console.print(f"{phase}: {speed['steps_per_second']:.1f} steps/s{of_rate}")
    console.print(f"{names['final']} did {result['steps']:,} steps and was stopped by {result['stop_reason']}")


def write(folder: Path, trial: Trial, result: Mapping[str, Any], *, draw: bool = True) -> None:
    """Writes the model, the pictures unless nobody wants them, and the tables, in the place of a previous result's.

    Raises:
        OSError: the folder cannot be written; a previous result stays as it was.
    """
    new = folder / NEW
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        save_model(new / "model", trial.trained)
        with atomic_write(new / "assignments.npz") as file:
            np.savez_compressed(file, labels=trial.labels["final"], q=trial.q, z=trial.z)
        _write_history(new / "history.csv", trial.history)
        if draw:
            _draw(new, trial)
        with atomic_write(new / RESULT_FILE, "w") as file:
            json.dump(result, file, indent=2)
            file.write("\n")
        _replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _replace(new: Path, folder: Path) -> None:
    """Moves the new files to their places; `result.json` goes first and comes last, so it stands by a whole result."""
    for name in reversed(FILES):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    for name in FILES:
        if (new / name).exists():
            (new / name).rename(folder / name)


def _write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    with atomic_write(path, "w") as file:
        terms = [name for name in history[-1] if name not in HISTORY_COLUMNS]  # of the objective
        writer = csv.DictWriter(file, [*HISTORY_COLUMNS, *terms], restval="")
        writer.writeheader()
        writer.writerows(history)


def _draw(folder: Path, trial: Trial) -> None:
    shape = trial.data.image_shape
    title = f"{trial.data.name}: embedding after clustering, {trial.settings.n_clusters} clusters"
    draw = [
        partial(pictures.loss_curves, history=trial.history),
        partial(
            pictures.embedding_2d,
            z=trial.z,
            labels=trial.labels["final"],
            title=title,
            seed=trial.settings.seed,
            centroids=np.asarray(trial.trained.centroids),
        ),
        partial(pictures.top_samples, x=trial.data.x, q=trial.q, image_shape=shape),
        partial(
            pictures.reconstructions,
            x=trial.reconstructions[0],
            x_hat=trial.reconstructions[1],
            image_shape=shape,
        ),
    ]
    if trial.data.y is not None:
        matched = metrics.matched_confusion(trial.data.y, trial.labels["final"])
        draw.append(partial(pictures.confusion, confusion=matched, class_names=trial.data.class_names))
    try:
        for name, picture in zip(PICTURES, draw, strict=False):
            picture(folder / name)
    except ImportError as error:
        warnings.warn(f"no pictures were drawn: {error}", stacklevel=2)
