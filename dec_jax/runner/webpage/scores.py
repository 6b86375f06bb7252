"""What a run reached beside its baselines, and how its clusters fit the classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from dec_jax.runner.panels import SCORES
from dec_jax.runner.webpage.plots import Plot, Table
from dec_jax.runner.webpage.text import figure, plotted


def methods(
    result: Mapping[str, Any], names: Mapping[str, str], seconds: Mapping[str, float | None], labels: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns what there is to say of each method: `name`, `scores` (ACC, NMI, ARI), `agreement`, `seconds`, `ours`.

    Args:
        result: content of result.json.
        names: what the methods are called, ours the last.
        seconds: that each one took in all.
        labels: clusters (n,) by method.
    """
    ours = labels["final"]
    return [
        {
            "name": name,
            "scores": [result[method][score] for score in SCORES],
            "agreement": float(adjusted_rand_score(ours, labels[method])) if method in labels else None,
            "seconds": seconds.get(method),
            "ours": method == "final",
        }
        for method, name in names.items()
    ]


def confusion(found: Mapping[str, Any]) -> Plot:
    """Returns the plot of a matched confusion, from `kept.read`."""
    matrix = np.array(found["matrix"])
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    clusters = [f"cluster {c}" for c in found["clusters"]]
    heat = {
        "type": "heatmap",
        "z": share.round(4).tolist(),
        "text": [[str(count) if count else "" for count in row] for row in matrix.tolist()],
        "x": [str(c) for c in found["clusters"]],
        "y": list(map(plotted, found["classes"])),
        "zmin": 0,
        "zmax": 1,
        "hovertemplate": "class %{y}, cluster %{x}<br>%{z:.1%} of the class<extra></extra>",
        "meta": {"scale": "accent"},
        "showscale": False,
    }
    if max(matrix.shape) <= 20:
        heat["texttemplate"] = "%{text}"
    layout = {
        "xaxis": {"title": {"text": "cluster"}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": "class"}, "type": "category", "autorange": "reversed", "showgrid": False},
    }
    rows = [
        [name, *(f"{count:,}" for count in row)] for name, row in zip(found["classes"], matrix.tolist(), strict=True)
    ]
    accuracy = figure(100 * np.trace(matrix) / matrix.sum())
    return Plot(
        "confusion",
        "Classes and clusters",
        f"Samples of each class by cluster; what is matched lies on the diagonal, {accuracy} % of the samples.",
        {"data": [heat], "layout": layout},
        Table("Samples of each class by cluster", ["class", *clusters], rows),
        tall=True,
    )
