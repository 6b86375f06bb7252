"""What the page of a run shows, from the files of its folder."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dec_jax.digests import read_checked
from dec_jax.runner.methods import named, seconds_in_all
from dec_jax.runner.panels import SCORES
from dec_jax.runner.plane import lay_out
from dec_jax.runner.run_folder import ASSIGNMENTS_FILE, HISTORY_FILE, LABELS_OF, RESULT_FILE
from dec_jax.runner.webpage import clusters, curves, embedding, kept, scores
from dec_jax.runner.webpage.plots import Plot, Table
from dec_jax.runner.webpage.text import duration, percent, short


def is_here(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    return (folder / RESULT_FILE).exists()


def content(folder: Path) -> dict[str, Any]:
    """Returns what the template shows.

    Raises:
        ValueError: a file is damaged.
        OSError: a file is missing.
        KeyError, IndexError, TypeError: a file holds something else.
    """
    result = json.loads(read_checked(folder / RESULT_FILE))
    with np.load(io.BytesIO(read_checked(folder / ASSIGNMENTS_FILE)), allow_pickle=False) as file:
        arrays = dict(file)
    labels, q = arrays["labels"], arrays["q"]
    known = kept.read(folder)
    if "plane" not in known:
        known |= {"plane": kept.of_plane(lay_out(arrays["z"], labels, seed=result["settings"]["seed"]))}
    training = curves.plots(curves.read_history(folder / HISTORY_FILE))
    plots = [embedding.plot(known, labels, q.max(axis=1)), *training]
    if known.get("confusion"):
        plots.append(scores.confusion(known["confusion"]))
    by_method = {"final": labels} | {name.removeprefix(LABELS_OF): array for name, array in arrays.items()}
    names = named(result)
    found = clusters.clusters(known, labels, q)
    return {
        "title": short(result["data"]["name"]),
        "objective": names["final"],
        "tiles": _tiles(result, q),
        "plots": {plot.id: plot for plot in plots},
        "curves": training,
        "labelled": result["final"]["acc"] is not None,
        "methods": scores.methods(result, names, seconds_in_all(result["seconds"]), by_method),
        "notes": known.get("notes", []),
        "settings": _settings(result["settings"]),
        "repeat": _repeat(result),
        "sections": _sections(plots),
    } | _clusters(found)


def _clusters(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page says of the clusters and their cards."""
    cards = [cluster["card"] for cluster in found if cluster["card"]]
    sizes = [cluster["size"] for cluster in found]
    return {
        "clusters": found,
        "images": any("mean" in card for card in cards),
        "n_empty": sizes.count(0),
        "n_without_card": sum(map(bool, sizes)) - len(cards) if cards else 0,
    }


def _sections(plots: list[Plot]) -> list[tuple[str, str]]:
    """The headings of the page, by the ids of their sections."""
    ids = {plot.id for plot in plots}
    sections = [("plane", "Embedding"), ("methods", "Beside the baselines"), ("clusters", "Clusters")]
    sections += [("classes", "Classes and clusters")] if "confusion" in ids else []
    sections += [("training", "Training")] if "curve-0" in ids else []
    return [*sections, ("repeat", "How to get the same result")]


def _settings(settings: Mapping[str, Any]) -> Table:
    rows = [(name, "none" if value is None else short(value)) for name, value in settings.items()]
    return Table("Settings, as --set takes them", ("setting", "value"), rows)


def _tiles(result: Mapping[str, Any], q: np.ndarray) -> list[tuple[str, str]]:
    """The figures that a reader looks for first."""
    data, final = result["data"], result["final"]
    tiles = [("samples", f"{data['n_samples']:,}"), ("features", f"{data['n_features']:,}")]
    tiles.append(("clusters", f"{np.count_nonzero(final['cluster_sizes'])}"))
    if final["acc"] is None:
        tiles.append(("mean confidence", percent(float(q.max(axis=1).mean()))))
    else:
        tiles += [(name.upper(), f"{final[name]:.3f}") for name in SCORES]
    return [*tiles, ("time", duration(sum(result["seconds"].values())))]


def _repeat(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What fixes the result, in the order in which one needs it."""
    device = result["device"]
    known = {
        "command": result.get("command"),
        "seed": str(result["settings"]["seed"]),
        "SHA-256 of the samples": result["data"].get("sha256"),
        "commit": result["git_commit"],
        "versions": ", ".join(f"{name} {number}" for name, number in result["versions"].items()),
        "device": f"{device['count']} × {device['kind']} ({device['platform']})",
    }
    return [(name, value) for name, value in known.items() if value]
