"""What a step of clustering sees: the batch, and beside it views, neighbours, pairs and rows of the side data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from dec_jax.samples import Samples, take_rows
from dec_jax.side import LABEL, Side

if TYPE_CHECKING:
    from dec_jax.clustering import Recipe


class Batch(NamedTuple):
    """What a step sees of the samples, gathered; None where no term of the objective reads it.

    Attributes:
        x: (b, d).
        p: (b, k), rows of the target distribution.
        rows: (b,) int32, which samples they are.
        side: their rows of the side data's arrays.
        neighbor: (b, d), a random neighbour of each.
        pairs: two samples of each of b random pairs, (2, b, d).
        together: (b,) bool, whether a pair must be in one cluster.
    """

    x: jax.Array
    p: jax.Array | None
    rows: jax.Array | None = None
    side: dict[str, jax.Array] = {}  # noqa: RUF012 - a pytree, and nobody writes to it
    neighbor: jax.Array | None = None
    pairs: jax.Array | None = None
    together: jax.Array | None = None


def take_batch(
    key: jax.Array, recipe: Recipe, x: Samples, rows: jax.Array, target: jax.Array | None, step: int | jax.Array = 0
) -> Batch:
    """What a step sees of the samples: pure, and not compiled.

    Args:
        key: of the draws of neighbours and pairs.
        recipe: what is constant.
        x: (n, d) samples.
        rows: (b,) int32.
        target: (n, k) target distribution, or None.
        step: updates done before.
    """
    neighbor_key, pairs_key = jax.random.split(key)
    objective, given = recipe.objective, recipe.side
    p = None if target is None else target[rows]
    batch = Batch(take_rows(x, rows), p, rows, {name: values[rows] for name, values in given.arrays.items()})
    if objective.reads("neighbor"):
        batch = batch._replace(neighbor=take_rows(x, _partners(neighbor_key, given, rows, step)))
    if objective.reads("pairs"):
        drawn = jax.random.randint(pairs_key, rows.shape, 0, len(given.pairs))
        pairs = take_rows(x, given.pairs[drawn].T.ravel()).reshape(2, len(rows), -1)
        batch = batch._replace(pairs=pairs, together=given.together[drawn])
    return batch


def _partners(key: jax.Array, given: Side, rows: jax.Array, step: int | jax.Array) -> jax.Array:
    """A random neighbour (b,) of each sample, or the sample itself, as `Side.fade` says."""
    column_key, fade_key = jax.random.split(key)
    column = jax.random.randint(column_key, rows.shape, 0, given.neighbors.shape[1])
    faded = jnp.where(jnp.asarray(given.fade) > 0, step / jnp.maximum(given.fade, 1), 0)
    return jnp.where(jax.random.uniform(fade_key, rows.shape) < faded, rows, given.neighbors[rows, column])


def seen(key: jax.Array, recipe: Recipe, batch: Batch) -> dict[str, jax.Array]:
    """By name, all that the network sees in a step, (b, d) each, the batch first: pure, and not compiled."""
    augmented = {"batch": batch.x}
    if recipe.objective.reads("view"):
        augmented["view"] = batch.x
    if batch.neighbor is not None:
        augmented["neighbor"] = batch.neighbor
    if batch.pairs is not None:
        augmented |= {"first": batch.pairs[0], "second": batch.pairs[1]}
    if recipe.augmentation is not None:
        moved = recipe.augmentation(key, joined(augmented))
        augmented = dict(zip(augmented, jnp.split(moved, len(augmented)), strict=True))
    return augmented | ({"clean": batch.x} if recipe.objective.reads("clean") else {})


def joined(parts: dict[str, jax.Array]) -> jax.Array:
    """The parts (b, …) one below the other."""
    return jnp.concatenate(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))


def check_reads(recipe: Recipe, n_samples: int, n_clusters: int) -> None:
    """Checks that the run can give what the objective reads.

    Raises:
        ValueError: it reads a second or a clean view without an augmentation, or side data that are not there or are
            of another number of samples or clusters.
    """
    objective, given = recipe.objective, recipe.side
    for what in ("view", "clean"):
        if objective.reads(what) and recipe.augmentation is None:
            raise ValueError(f"the objective reads {what!r}, which needs an augmentation, and the recipe has none")
    sources = {"neighbor": given.neighbors, "pairs": given.pairs, "label": given.arrays.get(LABEL)}
    for what, source in sources.items():
        if objective.reads(what) and source is None:
            raise ValueError(
                f"the objective reads {what!r}, and the recipe's side data have none; see dec_jax.side.side"
            )
    for name, values in {"neighbors": given.neighbors, **given.arrays}.items():
        if values is not None and values.shape[0] != n_samples:
            raise ValueError(f"side data {name} must be of the {n_samples} samples, got {values.shape[0]}")
    if objective.reads("label") and (largest := int(given.arrays[LABEL].max())) >= n_clusters:
        raise ValueError(f"labels must lie between −1 and {n_clusters - 1}, a class for each cluster, got {largest}")
