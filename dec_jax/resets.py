"""Resets that compose with any objective: clustering leaves a solution it has settled in too early.

Soft resets with reclustering follow BRB (Miklautz et al., "Breaking the Reclustering Barrier in Centroid-based Deep
Clustering", ICLR 2025); empty clusters get a new centroid as k-means++ chooses one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dec_jax import autoencoder, clustering
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Params
from dec_jax.clustering import ClusteringState
from dec_jax.kmeans import kmeans
from dec_jax.losses import squared_distances
from dec_jax.objectives import Objective
from dec_jax.samples import Samples, take_rows
from dec_jax.validation import check_integer, check_number

# What is folded into a run's key for the draws of a renewal; below it lie the numbers of permutations of batches.
_RENEWAL = 2**32 - 2


@dataclass(frozen=True)
class SoftResets:
    """Pulls the encoder towards a fresh one and clusters its embedding anew, a few times in a run.

    It happens at the first refresh of P after steps `every`, 2·`every`, …, `count`·`every`; until the last of them the
    tolerance stops nothing. θ ← a·θ + (1 − a)·φ with φ a fresh initialisation, in all layers of the encoder but the
    embedding; the decoder stays as it is. k-means gives the centroids, the optimiser forgets what it knew of the old
    ones, and the objective's terms start with new memories.

    Attributes:
        every: steps between two resets, at least 1.
        count: how many there are, at least 1.
        keep: a, in [0, 1].
        n_samples: that k-means sees, or all where there are fewer.
        n_restarts: of k-means.

    Raises:
        TypeError, ValueError: a number is none that is accepted.
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

    def __call__(  # noqa: D102
        self,
        key: jax.Array,
        before: int,
        state: ClusteringState,
        x: Samples,
        *,
        model: nn.Module,
        objective: Objective,
        assignment: Assignment,
    ) -> ClusteringState:
        number = min(int(state.step) // self.every, self.count)
        if number <= before // self.every:
            return state
        return _soft_reset(_key(key, state), state, x, objective, assignment, model=model, resets=self)

    def is_over(self, step: int) -> bool:  # noqa: D102
        return step >= self.every * self.count


@dataclass(frozen=True)
class ReseedEmpty:
    """Gives every cluster that is empty a new centroid: a sample's embedding, far ones the most likely.

    A sample is drawn with a probability that grows with its squared distance to the nearest centroid of a cluster that
    is not empty, as in k-means++ (Arthur, Vassilvitskii 2007). While clusters are empty, the tolerance stops nothing.
    """

    def __call__(  # noqa: D102
        self,
        key: jax.Array,
        before: int,
        state: ClusteringState,
        x: Samples,
        *,
        model: nn.Module,
        objective: Objective,
        assignment: Assignment,
    ) -> ClusteringState:
        empty = jnp.bincount(state.labels, length=len(state.centroids)) == 0
        if assignment.active is not None:
            empty &= assignment.active
        return _reseed(_key(key, state), state, empty, x, assignment, model=model) if empty.any() else state

    def is_over(self, step: int) -> bool:  # noqa: D102
        return True


def _key(key: jax.Array, state: ClusteringState) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, _RENEWAL), state.step)


@partial(jax.jit, static_argnames=("model", "resets"))
def _soft_reset(
    key: jax.Array,
    state: ClusteringState,
    x: Samples,
    objective: Objective,
    assignment: Assignment,
    *,
    model: nn.Module,
    resets: SoftResets,
) -> ClusteringState:
    params_key, rows_key, kmeans_key = jax.random.split(key, 3)
    params = _shrink_and_perturb(params_key, model, state.params, x.shape[1], resets.keep)
    rows = jax.random.permutation(rows_key, x.shape[0])[: resets.n_samples]
    z = clustering.embed(model, params, take_rows(x, rows))
    centroids = kmeans(kmeans_key, z, len(state.centroids), n_restarts=resets.n_restarts).centroids
    target, labels = clustering.refresh(model, params, centroids, x, assignment)
    opt_state = _of_centroids(state.opt_state, jnp.zeros_like)
    return ClusteringState(params, centroids, opt_state, target, labels, state.step, objective.init(centroids))


@partial(jax.jit, static_argnames="model")
def _reseed(
    key: jax.Array, state: ClusteringState, empty: jax.Array, x: Samples, assignment: Assignment, *, model: nn.Module
) -> ClusteringState:
    z = clustering.embed(model, state.params, x)
    nearest = jnp.where(empty, jnp.inf, squared_distances(z, state.centroids)).min(axis=1)
    # The largest sums of log weight and Gumbel noise are draws without replacement.
    _, chosen = jax.lax.top_k(jnp.log(nearest) + jax.random.gumbel(key, nearest.shape), len(empty))
    centroids = jnp.where(empty[:, None], z[chosen], state.centroids)
    target, labels = clustering.refresh(model, state.params, centroids, x, assignment)
    opt_state = _of_centroids(state.opt_state, lambda moments: jnp.where(empty[:, None], 0, moments))
    return state._replace(centroids=centroids, opt_state=opt_state, target=target, labels=labels)


def _shrink_and_perturb(key: jax.Array, model: nn.Module, params: Params, n_features: int, keep: float) -> Params:
    """θ ← a·θ + (1 − a)·φ in all layers of the encoder but the last, the embedding."""
    fresh = autoencoder.init(key, model, n_features)
    pulled = sorted(autoencoder.encoder_params(params), key=lambda name: (len(name), name))[:-1]
    mixed = {name: jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, params[name], fresh[name]) for name in pulled}
    return params | mixed


def _of_centroids(opt_state: Any, change: Any) -> Any:
    """The optimiser's state with what it keeps of the centroids changed."""

    def visit(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return change(leaf) if jax.tree_util.DictKey("centroids") in path else leaf

    return jax.tree_util.tree_map_with_path(visit, opt_state)
