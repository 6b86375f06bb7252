"""Cards of the clusters: the samples and the features that stand for each one."""

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from dec_jax.runner.webpage import naming
from dec_jax.runner.webpage.features import Contrast, contrast
from dec_jax.runner.webpage.images import MAX_SIDE, as_bytes, data_uri, signed, thumbnail

if TYPE_CHECKING:
    from dec_jax.runner.runs import Run

MAX_CARDS = 30  # clusters that have one
MAX_IMAGES, MAX_ROWS = 8, 4  # samples, of the surest and of the most doubtful ones of a cluster
MAX_FEATURES = 6
BYTES_OF_IMAGES = 300_000  # of all samples in a page, at most

Card = dict[str, Any]


def of_run(run: "Run") -> list[Card]:
    """Returns a card for each of the largest clusters, as JSON has it.

    A card has its `cluster`, and as `top` and `doubtful` its surest and its least sure samples: `name`, `confidence`,
    `class`, and `image`, or the `values` of the card's `features`, those with the largest standardised mean difference.
    A card of images has the `mean` of its cluster and what sets that `apart`, as images, and `ink`, whether they
    are drawn as ink on paper.
    """
    labels, k = run.outcome.labels["final"], run.q.shape[1]
    found = contrast(run.data.x, labels, k)
    sizes = np.bincount(labels, minlength=k)
    shown = np.sort(np.argsort(-sizes, kind="stable")[: min(MAX_CARDS, np.count_nonzero(sizes))]).tolist()
    if run.data.image_shape is None:
        return [_of_rows(run, cluster, found) for cluster in shown]
    n = _n_images(run.data.image_shape, len(shown))
    low, high = float(run.data.x.min()), float(run.data.x.max())
    return [_of_images(run, cluster, found, n, (low, high)) for cluster in shown]


def _n_images(shape: tuple[int, ...], n_cards: int) -> int:
    """Samples at each end of a card that the page has room for."""
    size = min(shape[0], MAX_SIDE) * min(shape[1], MAX_SIDE) * (shape[2] if len(shape) > 2 else 1)
    return int(np.clip(BYTES_OF_IMAGES // (2 * n_cards * size), 1, MAX_IMAGES))


def _ends(run: "Run", cluster: int, n: int) -> dict[str, np.ndarray]:
    """The rows of a cluster's n surest samples, and of the n least sure ones of the others."""
    members = np.flatnonzero(run.outcome.labels["final"] == cluster)
    order = members[np.argsort(-run.q[members, cluster], kind="stable")]
    return {"top": order[:n], "doubtful": order[n:][::-1][:n]}


def _samples(run: "Run", cluster: int, rows: np.ndarray) -> list[dict[str, Any]]:
    ids, classes = naming.ids(run.data, rows), naming.classes(run.data, rows)
    names = [str(row) for row in rows] if ids is None else ids
    confidence = run.q[rows, cluster].tolist()
    classes = [None] * len(rows) if classes is None else classes
    return [{"name": a, "confidence": b, "class": c} for a, b, c in zip(names, confidence, classes, strict=True)]


def _of_rows(run: "Run", cluster: int, found: Contrast) -> Card:
    difference = found.difference[cluster]
    columns = np.argsort(-np.abs(difference), kind="stable")[:MAX_FEATURES]
    parts = (part[cluster, columns].tolist() for part in (found.difference, found.mean, found.rest))
    features = zip(naming.features(run.data, columns), *parts, strict=True)
    keys = ("name", "difference", "mean", "rest")
    card: Card = {"cluster": cluster, "features": [dict(zip(keys, one, strict=True)) for one in features]}
    for end, rows in _ends(run, cluster, MAX_ROWS).items():
        values = _dense(run.data.x, rows)[:, columns].astype(float).tolist()
        samples = zip(_samples(run, cluster, rows), values, strict=True)
        card[end] = [sample | {"values": row} for sample, row in samples]
    return card


def _of_images(run: "Run", cluster: int, found: Contrast, n: int, limits: tuple[float, float]) -> Card:
    shape = run.data.image_shape

    def small(values: np.ndarray) -> np.ndarray:
        image = np.asarray(values, np.float64).reshape(shape)
        return thumbnail(image if shape[2:] == (3,) else image.reshape(*shape[:2], -1).mean(axis=-1))

    mean, apart = small(found.mean[cluster]), small(np.clip(found.difference[cluster], -5, 5))
    apart = apart if apart.ndim == 2 else apart.mean(axis=-1)
    card: Card = {"cluster": cluster, "ink": mean.ndim == 2}
    card |= {"mean": data_uri(as_bytes(mean, *limits)), "apart": data_uri(signed(apart))}
    for end, rows in _ends(run, cluster, n).items():
        images = [data_uri(as_bytes(small(values), *limits)) for values in _dense(run.data.x, rows)]
        samples = zip(_samples(run, cluster, rows), images, strict=True)
        card[end] = [sample | {"image": image} for sample, image in samples]
    return card


def _dense(x: Any, rows: np.ndarray) -> np.ndarray:
    return x[rows].toarray() if scipy.sparse.issparse(x) else x[rows]
