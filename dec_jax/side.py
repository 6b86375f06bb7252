"""What is known of samples beside their features: neighbours, pairs, and arrays with a row a sample.

Objectives read it (`dec_jax.objectives`). It lies on the device, and a step gathers the rows of its batch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

WEIGHT, LABEL = "weight", "label"


@struct.dataclass
class Side:
    """Side data of n samples, a pytree; `side` makes one with checks.

    Attributes:
        neighbors: (n, κ) int32, indices of other samples; None where there are none.
        fade: steps until a sample's partner is always another augmentation of itself, which takes the place of a
            neighbour more and more often; 0 never lets it.
        pairs: (c, 2) int32, samples that must or must not be in one cluster; None where there are none.
        together: (c,) bool, whether a pair must be in one cluster.
        arrays: by name, (n, …); "weight" counts a sample more or less in every mean that knows of it, "label" is −1
            where it is not known.
    """

    neighbors: jax.Array | None = None
    fade: float | jax.Array = 0.0
    pairs: jax.Array | None = None
    together: jax.Array | None = None
    arrays: dict[str, jax.Array] = struct.field(default_factory=dict)


def side(
    n_samples: int,
    *,
    neighbors: Any = None,
    must_link: Any = None,
    cannot_link: Any = None,
    labels: Any = None,
    weights: Any = None,
    arrays: dict[str, Any] | None = None,
) -> Side:
    """Side data of n samples.

    Args:
        n_samples: n.
        neighbors: (n, κ) integers, indices of other samples; `dec_jax.neighbors.nearest` without its first column.
        must_link: (·, 2) integers, pairs of samples that must be in one cluster.
        cannot_link: (·, 2) integers, pairs of samples that must not be.
        labels: (n,) integers, the cluster of a sample where it is known and −1 elsewhere. Training sees them: scores
            against the same labels say nothing.
        weights: (n,), at least 0 and not all 0.
        arrays: what an objective of your own reads, each (n, …).

    Raises:
        TypeError: indices or labels are not integers.
        ValueError: an array has another number of samples, an index lies out of range, a pair is one sample with
            itself, or is both in must_link and in cannot_link.
    """
    given = {}
    for name, values in (arrays or {}).items():
        if name in (WEIGHT, LABEL):
            raise ValueError(f"arrays must not hold {name!r}, which is an argument of its own")
        given[name] = _of_all_samples(f"arrays[{name!r}]", values, n_samples)
    if labels is not None:
        given[LABEL] = _check_training_labels(_of_all_samples("labels", labels, n_samples))
    if weights is not None:
        given[WEIGHT] = _check_weights(_of_all_samples("weights", weights, n_samples))
    if neighbors is not None:
        neighbors = _check_neighbors(neighbors, n_samples)
    pairs, together = _check_pairs(must_link, cannot_link, n_samples)
    return Side(
        neighbors, pairs=pairs, together=together, arrays={name: jnp.asarray(values) for name, values in given.items()}
    )


def _of_all_samples(name: str, values: Any, n_samples: int) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim == 0 or len(values) != n_samples:
        raise ValueError(f"{name} must have a row for each of the {n_samples} samples, got shape {values.shape}")
    if values.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold numbers, got dtype {values.dtype}")
    return values


def _check_integers(name: str, values: Any) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype.kind not in "ui":
        raise TypeError(f"{name} must hold integers, got dtype {values.dtype}")
    return values


def _check_range(name: str, values: np.ndarray, n_samples: int) -> None:
    if values.size and (values.min() < 0 or values.max() >= n_samples):
        raise ValueError(f"{name} must hold indices from 0 to {n_samples - 1}, got {values.min()} to {values.max()}")


def _check_training_labels(labels: np.ndarray) -> np.ndarray:
    labels = _check_integers("labels", labels)
    if labels.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {labels.shape}")
    if labels.min() < -1:
        raise ValueError(f"labels must be at least −1 (not known), got {labels.min()}")
    if labels.max() < 0:
        raise ValueError("labels must hold at least one that is known, got −1 for all samples")
    return labels.astype(np.int32)


def _check_weights(weights: np.ndarray) -> np.ndarray:
    if weights.ndim != 1:
        raise ValueError(f"weights must be one-dimensional, got shape {weights.shape}")
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.max() == 0:
        raise ValueError("weights must be finite, at least 0 and not all 0")
    return weights.astype(np.float32)


def _check_neighbors(neighbors: Any, n_samples: int) -> jax.Array:
    neighbors = _check_integers("neighbors", neighbors)
    if neighbors.ndim != 2 or neighbors.shape[0] != n_samples or not neighbors.shape[1]:
        raise ValueError(f"neighbors must have shape ({n_samples}, at least 1), got {neighbors.shape}")
    if neighbors.shape[1] >= n_samples:
        raise ValueError(f"neighbors must be fewer than the {n_samples} samples, got {neighbors.shape[1]} of each")
    _check_range("neighbors", neighbors, n_samples)
    return jnp.asarray(neighbors, jnp.int32)


def _check_pairs(must_link: Any, cannot_link: Any, n_samples: int) -> tuple[jax.Array | None, jax.Array | None]:
    if must_link is None and cannot_link is None:
        return None, None
    kinds = []
    for name, pairs in (("must_link", must_link), ("cannot_link", cannot_link)):
        pairs = np.zeros((0, 2), np.int32) if pairs is None else _check_integers(name, pairs)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"{name} must have shape (pairs, 2), got {pairs.shape}")
        _check_range(name, pairs, n_samples)
        alone = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
        if len(alone):
            raise ValueError(f"{name} must hold pairs of different samples, got {pairs[alone[0]].tolist()}")
        kinds.append(np.sort(pairs, axis=1))
    both = set(map(tuple, kinds[0].tolist())) & set(map(tuple, kinds[1].tolist()))
    if both:
        raise ValueError(f"a pair must not be both in must_link and in cannot_link, got {sorted(both)[0]}")
    pairs = np.concatenate(kinds)
    if not len(pairs):
        raise ValueError("must_link and cannot_link must hold at least one pair")
    return jnp.asarray(pairs, jnp.int32), jnp.arange(len(pairs)) < len(kinds[0])
