"""Resets that compose with any objective: clustering leaves a solution it has settled in too early.

Soft resets with reclustering follow BRB (Miklautz et al., "Breaking the Reclustering Barrier in Centroid-based Deep
Clustering", ICLR 2025); empty clusters get a new centroid as k-means++ chooses one. Clusters that take no part stay as
they are.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dec_jax import clustering, networks
from dec_jax.clustering import ClusteringInfo, ClusteringState, Recipe
from dec_jax.kmeans import kmeans
from dec_jax.losses import squared_distances
from dec_jax.networks import Params
from dec_jax.samples import Samples, take_rows
from dec_jax.validation import check_integer, check_number

# What is folded into a run's key for the draws of each reset; below lie the numbers of permutations of batches.
_SOFT_RESET, _RESEED = 2**32 - 2, 2**32 - 3


@dataclass(frozen=True)
class SoftReset:
    """Pulls the encoder towards a fresh one and clusters its embedding anew, a few times in a run.

    It happens at the first new target after steps `every`, 2·`every`, …, `count`·`every`; until the last of them the
    tolerance stops nothing. θ ← a·θ + (1 − a)·φ with φ a fresh initialisation, in all layers of the encoder but the
    embedding; the decoder stays as it is. k-means gives the centroids, the optimiser forgets what it knew of the old
    ones, and the objective's terms start with new states.

    Attributes:
        every: steps between two resets, at least 1.
        count: how many there are, at least 1.
        keep: a, in [0, 1].
        n_samples: that k-means sees, or all where there are fewer.
        n_restarts: of k-means.

    Raises:
        TypeError, ValueError: a number is not one that is accepted.
    """

    every: int
    count: int
    keep: float = 0.8
    n_samples: int = 10_000
    n_restarts: int = 10

    def __post_init__(self) -> None:
        for name in ("every", "count", "n_samples", "n_restarts"):
            check_integer(name, getattr(self, name), 1)
        check_number("keep", self.keep, 0, 1)

    def is_due(self, before: int, step: int, info: ClusteringInfo) -> bool:  # noqa: D102
        return min(step // self.every, self.count) > before // self.every

    def may_stop(self, step: int) -> bool:  # noqa: D102
        return step >= self.every * self.count

    def __call__(self, key: jax.Array, recipe: Recipe, state: ClusteringState, x: Samples) -> ClusteringState:
        """The state after a reset."""
        params_key, rows_key, kmeans_key = jax.random.split(_key(key, _SOFT_RESET, state), 3)
        params = _shrink_and_perturb(params_key, recipe.model, state.params, x.shape[1], self.keep)
        rows = jax.random.permutation(rows_key, x.shape[0])[: self.n_samples]
        z = networks.embed(recipe.model, params, take_rows(x, rows))
        centroids = _clustered(kmeans_key, z, state.centroids, recipe.assignment.active, self.n_restarts)
        return state._replace(
            params=params,
            opt_state=_of_centroids(state.opt_state, jnp.zeros_like),
            term_states=recipe.objective.init(centroids),
        )._replace(**_assigned(recipe, params, centroids, x))


@dataclass(frozen=True)
class ReseedEmpty:
    """Gives every cluster that is empty a new centroid: a sample's embedding, far ones the most likely.

    A sample is drawn with a probability that grows with its squared distance to the nearest centroid of a cluster that
    is not empty, as in k-means++ (Arthur, Vassilvitskii 2007). While clusters are empty, the tolerance stops nothing.

    Attributes:
        intervals: after which it ends, at least 1; None for never. Then clusters that no sample is left for do not keep
            a run from stopping.
    """

    intervals: int | None = None

    def __post_init__(self) -> None:
        if self.intervals is not None:
            check_integer("intervals", self.intervals, 1)

    def is_due(self, before: int, step: int, info: ClusteringInfo) -> bool:  # noqa: D102
        is_over = self.intervals is not None and before >= self.intervals * (step - before)
        return info.smallest_cluster == 0 and not is_over

    def may_stop(self, step: int) -> bool:  # noqa: D102
        return True

    def __call__(self, key: jax.Array, recipe: Recipe, state: ClusteringState, x: Samples) -> ClusteringState:
        """The state with new centroids."""
        empty = jnp.bincount(state.labels, length=len(state.centroids)) == 0
        lost = empty if recipe.assignment.active is None else empty & recipe.assignment.active
        z = networks.embed(recipe.model, state.params, x)
        nearest = jnp.where(empty, jnp.inf, squared_distances(z, state.centroids)).min(axis=1)
        noise = jax.random.gumbel(_key(key, _RESEED, state), nearest.shape)
        # The largest sums of log weight and Gumbel noise are draws without replacement.
        _, drawn = jax.lax.top_k(jnp.log(nearest) + noise, len(lost))
        centroids = jnp.where(lost[:, None], z[drawn], state.centroids)
        opt_state = _of_centroids(state.opt_state, lambda moments: jnp.where(lost[:, None], 0, moments))
        return state._replace(opt_state=opt_state, **_assigned(recipe, state.params, centroids, x))


def _key(key: jax.Array, purpose: int, state: ClusteringState) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, purpose), state.step)


def _clustered(
    key: jax.Array, z: jax.Array, centroids: jax.Array, active: jax.Array | None, n_restarts: int
) -> jax.Array:
    """Centroids (k, m) of k-means on z (n, m) where clusters take part; the others stay."""
    if active is None:
        return kmeans(key, z, len(centroids), n_restarts=n_restarts).centroids
    found = kmeans(key, z, len(centroids), n_restarts=n_restarts, n_active=jnp.sum(active)).centroids
    return jnp.where(active[:, None], found[jnp.cumsum(active) - 1], centroids)


def _assigned(recipe: Recipe, params: Params, centroids: jax.Array, x: Samples) -> dict[str, jax.Array]:
    target, labels = clustering.update_target(recipe, params, centroids, x)
    return {"centroids": centroids, "target": target, "labels": labels}


def _shrink_and_perturb(key: jax.Array, model: Any, params: Params, n_features: int, keep: float) -> Params:
    """θ ← a·θ + (1 − a)·φ in all layers of the encoder but the last, the embedding."""
    fresh = networks.init(key, model, n_features)
    moving, _ = networks.split(params)
    entries = [name for name in networks.encoder_entries(model, params, n_features) if name in moving]
    layer_of = {name: name.rpartition(".")[0] or name for name in entries}  # of nnx, a layer has several entries
    pulled = [name for name in entries if layer_of[name] != layer_of[entries[-1]]]
    return params | {
        name: jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, params[name], fresh[name]) for name in pulled
    }


def _of_centroids(opt_state: Any, change: Any) -> Any:
    """The optimiser's state with what it keeps of the centroids changed."""

    def visit(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return change(leaf) if jax.tree_util.DictKey("centroids") in path else leaf

    return jax.tree_util.tree_map_with_path(visit, opt_state)
