"""What whoever reads a result should know of it, a line each; no label of a sample is read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse

from dec_jax import data
from dec_jax.data import Scaling
from dec_jax.runner.criteria import SILHOUETTE_SAMPLES, silhouette

ROWS_AT_A_TIME = 4096
WORSE = 0.05  # silhouettes that differ by less are alike


def on_clusters(labels: np.ndarray, n_clusters: int, x: Any) -> list[str]:
    """Says that fewer clusters were found than were asked for.

    Args:
        labels: (n,) clusters.
        n_clusters: k.
        x: (n, d) samples, dense or sparse.
    """
    found = len(np.unique(labels))
    if found == n_clusters:
        return []
    text = f"{found} of {n_clusters} clusters were found"
    distinct = n_distinct(x, n_clusters)
    if distinct < n_clusters:
        text = f"{text}: the samples have {distinct} distinct row{'s' * (distinct > 1)}"
    if found < distinct:
        text = f"{text}, the others are empty; fewer n_clusters, size_balance=1 or resets may help"
    return [text]


def on_starts(losses: Sequence[float], *, is_mixture: bool = False) -> list[str]:
    """Says which of several partitions clustering started from, or that it was a mixture.

    Args:
        losses: of the partitions, that of the highest modularity first; of a single one nothing is said.
        is_mixture: whether the only one is a mixture of Gaussians.
    """
    if is_mixture:
        return ["the samples are a mixture of Gaussians, one for each cluster; clustering starts from it"]
    if len(losses) < 2:
        return []
    tried = ", ".join(f"{loss:.3f}" for loss in losses)
    return [
        f"{len(losses)} partitions of the neighbours are almost equally good, and differ; clustering starts from the "
        f"one where its loss falls lowest ({tried}; the first has the highest modularity)"
    ]


def n_distinct(x: Any, most: int) -> int:
    """The number of distinct rows of x (n, d), dense or sparse, counted up to `most`."""
    seen: set[bytes] = set()
    for start in range(0, x.shape[0], ROWS_AT_A_TIME):
        rows = x[start : start + ROWS_AT_A_TIME]
        rows = rows.toarray() if scipy.sparse.issparse(rows) else np.asarray(rows)
        seen.update(row.tobytes() for row in rows)
        if len(seen) >= most:
            return most
    return len(seen)


def on_baseline(labels: np.ndarray, baseline: np.ndarray, x: Any, scaling: Scaling, seed: int) -> list[str]:
    """Says that k-means parts the input better, by the silhouette of 2,000 scaled samples.

    Args:
        labels: (n,) clusters.
        baseline: (n,) those of k-means.
        x: (n, d) raw samples, dense or sparse.
        scaling: fitted to them.
        seed: fixes which samples are compared.
    """
    shown = np.sort(np.random.default_rng(seed).permutation(x.shape[0])[:SILHOUETTE_SAMPLES])
    scaled = data.apply_scaling(scaling, x[shown])
    own, other = (silhouette(scaled, found[shown], seed) for found in (labels, baseline))
    if not own < other - WORSE:  # NaN where there are no two clusters
        return []
    return [
        f"k-means on the input parts the samples better by their silhouette, which prefers round clusters: "
        f"{other:.2f}, here {own:.2f}"
    ]
