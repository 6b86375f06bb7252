"""What a finished run leaves behind: a table on the screen, and a folder of results and pictures."""

import csv
import json
import platform
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from dec_jax import metrics
from dec_jax.checkpoints import save_model
from dec_jax.data import UNLABELLED
from dec_jax.digests import DIGESTS_FILE, write_with_digest
from dec_jax.identity import fingerprint, git_commit
from dec_jax.runner import pictures
from dec_jax.runner.config import as_json
from dec_jax.runner.methods import methods, named, seconds_in_all
from dec_jax.runner.panels import SCORES
from dec_jax.runner.plane import Plane, lay_out
from dec_jax.runner.run_folder import ASSIGNMENTS_FILE, HISTORY_FILE, LABELS_OF, RESULT_FILE
from dec_jax.runner.runs import Run
from dec_jax.runner.webpage import KEPT_FILE, PAGE_FILE, kept, page

PACKAGES = ("dec_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")
HISTORY_COLUMNS = ("phase", "step", "loss", "label_change", "smallest_cluster", "acc", "nmi", "ari")
PICTURES = ("loss_curves.png", "embedding.png", "top_samples.png", "reconstructions.png", "confusion.png")
FILES = ("model", ASSIGNMENTS_FILE, HISTORY_FILE, *PICTURES, PAGE_FILE, KEPT_FILE, DIGESTS_FILE, RESULT_FILE)
TRAINED, FROM_CACHE = "trained", "from cache"
NEW = ".new"  # where a result is written before it takes the place of the one before
OLD = ".old"  # where that one is until the new one is in its place


def summarize(run: Run, command: str | None = None) -> dict[str, Any]:
    """The content of `result.json`; `command` is the one that repeats the run."""
    n, d = run.data.x.shape
    outcome, device = run.outcome, jax.devices()[0]
    return {
        "command": command,
        "settings": {name: as_json(value) for name, value in run.config.flat().items()},
        "data": {"name": run.data.name, "n_samples": n, "n_features": d, "sha256": fingerprint(run.data.x)},
        **{method: _scores(run, method) for method in methods(outcome.labels)},
        "pretraining": FROM_CACHE if outcome.from_cache else TRAINED,
        "seconds": outcome.seconds,
        "steps_per_second": outcome.rates,
        "steps": outcome.steps,
        "stop_reason": outcome.stop_reason,
        "remarks": outcome.remarks,
        **({} if run.data.encoding is None else {"table": run.data.encoding.to_json()}),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": {"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()},
        "git_commit": git_commit(),
    }


def _scores(run: Run, method: str) -> dict[str, Any]:
    labels = run.outcome.labels[method]
    sizes = np.bincount(labels, minlength=run.config.clustering.n_clusters).tolist()
    if run.data.y is None:
        return {"acc": None, "nmi": None, "ari": None, "cluster_sizes": sizes}
    return metrics.scores(run.data.y, labels, unlabelled=UNLABELLED) | {"cluster_sizes": sizes}


def print_table(result: Mapping[str, Any], console: Console) -> None:
    """Prints the methods' scores, where there are labels, and the seconds that each one took in all."""
    totals = seconds_in_all(result["seconds"])
    data = result["data"]
    title = f"{data['name']}: {data['n_samples']:,} samples × {data['n_features']:,} features"
    table = Table("method", *(name.upper() for name in SCORES), "seconds", title=title)
    names = named(result)
    for method, name in names.items():
        scores = (result[method][score] for score in SCORES)
        cells = ("–" if score is None else f"{score:.4f}" for score in scores)
        table.add_row(name, *cells, f"{totals[method]:.1f}")
    console.print(table)
    phases = ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in result["seconds"].items())
    console.print(f"phases: {phases}")
    if result["pretraining"] == FROM_CACHE:
        console.print(f"pretraining: {FROM_CACHE}")
    for phase, rate in result["steps_per_second"].items():
        if rate is not None:
            console.print(f"{phase}: {rate:.1f} steps/s")
    if result["steps"]:
        console.print(f"{names['final']} did {result['steps']:,} steps and was stopped by {result['stop_reason']}")
    for remark in result.get("remarks", ()):
        console.print(f"note: {remark}", soft_wrap=True)


def write(folder: Path, run: Run, result: Mapping[str, Any], *, draw: bool = True, with_page: bool = False) -> None:
    """Writes the model and the tables, in the place of a previous result's, and then draws the pictures and the page.

    A picture or a page that cannot be drawn is left out with a warning.

    Args:
        folder: the folder.
        run: a finished one.
        result: from `summarize`.
        draw: whether anybody wants pictures.
        with_page: whether anybody wants report.html.

    Raises:
        OSError: the folder cannot be written; a previous result stays as it was.
    """
    new = folder / NEW
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        save_model(new / "model", run.trained)
        of_methods = {
            f"{LABELS_OF}{method}": labels for method, labels in run.outcome.labels.items() if method != "final"
        }
        with write_with_digest(new / ASSIGNMENTS_FILE) as file:
            np.savez_compressed(file, labels=run.outcome.labels["final"], q=run.q, z=run.outcome.z, **of_methods)
        _write_history(new / HISTORY_FILE, run.outcome.history)
        with write_with_digest(new / RESULT_FILE, "w") as file:
            json.dump(result, file, indent=2)
            file.write("\n")
        _replace(new, folder)
        plane = cache(partial(_plane, run))  # the same one in the picture and on the page
        if draw:
            _draw(new, run, plane)
            for name in PICTURES:
                if (new / name).exists():
                    (new / name).replace(folder / name)
        if with_page:
            _write_page(folder, run, plane)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _replace(new: Path, folder: Path) -> None:
    """Moves the new files to their places; `result.json` goes first and comes last, so it stands by a whole result.

    Where a file cannot be moved, the previous ones come back.
    """
    old, moved = folder / OLD, []
    shutil.rmtree(old, ignore_errors=True)
    old.mkdir()
    places = [(folder / name, old / name) for name in reversed(FILES)]
    places += [(new / name, folder / name) for name in FILES]
    try:
        for source, target in places:
            if source.exists():
                source.rename(target)
                moved.append((source, target))
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    with write_with_digest(path, "w") as file:
        columns = dict.fromkeys([*HISTORY_COLUMNS, *(name for row in history for name in row)])
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows(history)


def _plane(run: Run) -> Plane:
    logits = run.config.clustering.kernel == "logits"  # which has no centroids
    centroids = None if logits else np.asarray(run.trained.centroids)
    return lay_out(run.outcome.z, run.outcome.labels["final"], seed=run.config.seed, centroids=centroids)


def _write_page(folder: Path, run: Run, plane: Callable[[], Plane]) -> None:
    try:
        kept.write(folder, kept.of_run(run, plane()))
        page.write(folder)
    except Exception as error:  # no failure of a page is worth a finished result
        warnings.warn(f"{PAGE_FILE} was not written: {error or type(error).__name__}", stacklevel=3)


def _draw(folder: Path, run: Run, plane: Callable[[], Plane]) -> None:
    for name, picture in _pictures(run, plane).items():
        try:
            picture(folder / name)
        except ImportError as error:
            warnings.warn(f"no pictures were drawn: {error}", stacklevel=3)
            return
        except Exception as error:  # no failure of a picture is worth a finished result
            (folder / name).unlink(missing_ok=True)
            warnings.warn(f"{name} was not drawn: {error or type(error).__name__}", stacklevel=3)


def _pictures(run: Run, plane: Callable[[], Plane]) -> dict[str, Callable[[Path], None]]:
    """By their files' names, functions that draw the pictures of a run."""
    shape, history = run.data.image_shape, run.outcome.history
    found = {
        "embedding.png": partial(_draw_embedding, run=run, plane=plane),
        "top_samples.png": partial(pictures.top_samples, x=run.data.x, q=run.q, image_shape=shape),
    }
    if history:
        found["loss_curves.png"] = partial(pictures.loss_curves, history=history)
    if run.reconstructions:
        x, x_hat = run.reconstructions
        found["reconstructions.png"] = partial(pictures.reconstructions, x=x, x_hat=x_hat, image_shape=shape)
    if run.data.y is not None:
        found["confusion.png"] = partial(_draw_confusion, run=run)
    return found


def _draw_embedding(path: Path, run: Run, plane: Callable[[], Plane]) -> None:
    title = f"{run.data.name}: embedding after clustering, {run.config.clustering.n_clusters} clusters"
    pictures.embedding_2d(path, plane(), run.outcome.labels["final"], title=title)


def _draw_confusion(path: Path, run: Run) -> None:
    matched = metrics.matched_confusion(*metrics.labelled(run.data.y, run.outcome.labels["final"], UNLABELLED))
    pictures.confusion(path, confusion=matched, class_names=run.data.class_names)
