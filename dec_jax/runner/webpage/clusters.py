"""The clusters of a run: how large and how sure they are, and their cards."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dec_jax.runner.webpage.plots import SIGNS, colour, symbol


def clusters(kept: Mapping[str, Any], labels: np.ndarray, q: np.ndarray) -> list[dict[str, Any]]:
    """Returns what there is to say of each cluster.

    `number`, `colour`, `sign`, `size`, `share`, mean `confidence`, the `nearest` other cluster, and its `card`; None
    where it has none.

    Args:
        kept: from `kept.read`.
        labels: (n,), integers, the clusters of all samples.
        q: (n, k), the soft assignment.
    """
    cards = {card["cluster"]: card for card in kept.get("cards", [])}
    return [_cluster(c, labels, q) | {"card": cards.get(c)} for c in range(q.shape[1])]


def _cluster(cluster: int, labels: np.ndarray, q: np.ndarray) -> dict[str, Any]:
    members = q[labels == cluster]
    known: dict[str, Any] = {"number": cluster, "colour": colour(cluster), "sign": SIGNS[symbol(cluster)]}
    known |= {"size": len(members), "share": len(members) / len(labels), "confidence": None, "nearest": None}
    if len(members):
        known["confidence"] = float(members[:, cluster].mean())
        others = members.mean(axis=0)
        others[cluster] = -1
        known["nearest"] = int(others.argmax()) if len(others) > 1 else None
    return known
