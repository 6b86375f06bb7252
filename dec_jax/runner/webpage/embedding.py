"""The embedding as an interactive plot."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dec_jax.runner.webpage.plots import SYMBOLS, Plot, Table, colour, symbol
from dec_jax.runner.webpage.text import figure, percent, plotted

MAX_NAME = 40  # signs of a name, of which there are thousands


def plot(kept: Mapping[str, Any], labels: np.ndarray, confidence: np.ndarray) -> Plot:
    """Returns the plot of a run's plane.

    Args:
        kept: from `kept.read`.
        labels: (n,), integers, the clusters of all samples.
        confidence: (n,), the largest q of all samples.
    """
    plane = kept["plane"]
    rows = np.array(plane["rows"])
    x, y = np.array(plane["x"], float), np.array(plane["y"], float)
    hover = _hover(kept, confidence[rows])
    members = {c: np.flatnonzero(labels[rows] == c) for c in np.unique(labels[rows]).tolist()}
    traces = [_points(c, x[of], y[of], [hover[i] for i in of]) for c, of in members.items()]
    traces += [_number(c, float(np.median(x[of])), float(np.median(y[of]))) for c, of in members.items()]
    if plane["centres"] and plane["centres"][0]:
        traces.append(_centres(plane["centres"]))
    n, shown = len(labels), len(rows)
    thinned = f"{shown:,} of {n:,} samples are shown, some of every cluster among them." if shown < n else ""
    return Plot(
        "embedding",
        "Embedding",
        f"Each point is a sample, coloured by its cluster. {thinned}".strip(),
        {"data": traces, "layout": _layout([plotted(name) for name in plane["axes"]])},
        _table(members, x, y),
        tall=True,
    )


def _hover(kept: Mapping[str, Any], confidence: np.ndarray) -> list[list[str]]:
    """For each point its name, its confidence and, where there are labels, its class."""
    columns = [kept.get("ids") or kept["plane"]["rows"], map(percent, confidence.tolist())]
    if kept.get("classes"):
        columns.append("–" if name is None else name for name in kept["classes"])
    return [[plotted(value, MAX_NAME) for value in point] for point in zip(*columns, strict=True)]


def _points(cluster: int, x: np.ndarray, y: np.ndarray, hover: list[list[str]]) -> dict[str, Any]:
    of_class = "<br>class %{customdata[2]}" if len(hover[0]) > 2 else ""
    words = f"sample %{{customdata[0]}}<br>cluster {cluster}<br>confidence %{{customdata[1]}}{of_class}"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"cluster {cluster}",
        "x": x.tolist(),
        "y": y.tolist(),
        "customdata": hover,
        "hovertemplate": f"{words}<extra></extra>",
        "marker": {"symbol": SYMBOLS[symbol(cluster)]},
        "meta": {"colour": colour(cluster), "cluster": cluster, "size": "points"},
    }


def _number(cluster: int, x: float, y: float) -> dict[str, Any]:
    """The number of a cluster, at the median of its points."""
    words = {"x": [x], "y": [y], "text": [str(cluster)], "hoverinfo": "skip", "cliponaxis": False}
    return {"type": "scatter", "mode": "text", "name": f"cluster {cluster}"} | words | {"meta": {"cluster": cluster}}


def _centres(centres: list[list[float]]) -> dict[str, Any]:
    places = {"x": centres[0], "y": centres[1], "hoverinfo": "skip"}
    ring = {"symbol": "circle-open", "size": 16, "line": {"width": 1.5}}
    return {"type": "scatter", "mode": "markers", "name": "centroids", "marker": ring, "meta": {}} | places


def _layout(axes: list[str]) -> dict[str, Any]:
    bare = not axes[1]  # those of t-SNE have no unit
    plain = {"showgrid": not bare, "zeroline": False, "showticklabels": not bare}
    y = {"title": {"text": axes[1]}, **plain} | ({"scaleanchor": "x"} if bare else {})
    return {"xaxis": {"title": {"text": axes[0]}, **plain}, "yaxis": y}


def _table(members: Mapping[int, np.ndarray], x: np.ndarray, y: np.ndarray) -> Table:
    rows = [
        (f"cluster {c}", f"{len(of):,}", figure(float(np.median(x[of]))), figure(float(np.median(y[of]))))
        for c, of in members.items()
    ]
    return Table("Where the clusters lie in the plot", ("cluster", "points shown", "median x", "median y"), rows)
