"""Where clustering starts: centroids from k-means on the embedding, centroids of your own, or a partition."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dec_jax import clustering, networks
from dec_jax.clustering import ClusteringState, Recipe
from dec_jax.kmeans import kmeans
from dec_jax.networks import Params
from dec_jax.samples import Samples, usable_batch_size
from dec_jax.validation import check_integer, check_labels

LEAST_STEPS = 200
EPOCHS = 2


def from_centroids(recipe: Recipe, params: Params, centroids: jax.Array, x: Samples) -> ClusteringState:
    """State before the first update, from centroids (k, m) of your own.

    Args:
        recipe: of the clustering phase.
        params: of the network after pretraining; those of a decoder are dropped where the objective does not read it.
        centroids: (k, m).
        x: (n, d) samples on the device.
    """
    return _from_centroids(recipe, params, centroids, x)


@jax.jit
def _from_centroids(recipe: Recipe, params: Params, centroids: jax.Array, x: Samples) -> ClusteringState:
    # Training donates its state's memory, and the caller goes on using the arrays that came in.
    params, centroids = jax.tree.map(jnp.copy, (params, centroids))
    return clustering.init_state(recipe, params, centroids, x)


def from_kmeans(
    key: jax.Array, recipe: Recipe, params: Params, x: Samples, n_clusters: int, *, n_restarts: int = 20
) -> ClusteringState:
    """State before the first update, with centroids from k-means on the embedding.

    Args:
        key: PRNG key of k-means.
        recipe: of the clustering phase.
        params: of the network after pretraining.
        x: (n, d) samples on the device.
        n_clusters: k, between 2 and n.
        n_restarts: of k-means; the smallest inertia wins.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
    """
    check_integer("n_clusters", n_clusters, 2, x.shape[0], why="the number of samples")
    z = networks.embed(recipe.model, params, x)
    return from_centroids(recipe, params, kmeans(key, z, n_clusters, n_restarts=n_restarts).centroids, x)


def from_labels(
    key: jax.Array,
    recipe: Recipe,
    params: Params,
    labels: np.ndarray | jax.Array,
    x: Samples,
    *,
    n_clusters: int,
    n_steps: int | None = None,
) -> ClusteringState:
    """State before the first update, once encoder and centroids have learnt a partition.

    The nearest of the clusters' means is not the cluster of a sample where clusters are not balls. So the objective is
    minimised for a while with P fixed at the partition: p_ij is 1 where sample i is in cluster j, 0 elsewhere.

    Args:
        key: PRNG key of the batches.
        recipe: of the clustering phase; its objective has to read P for the partition to be learnt.
        params: of the network after pretraining.
        labels: (n,) integers from 0 to k − 1, the partition.
        x: (n, d) samples on the device.
        n_clusters: k, between 2 and n.
        n_steps: updates, at least 0; None for `default_steps`. With 0 the centroids are the means of the clusters.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
    """
    n = x.shape[0]
    check_integer("n_clusters", n_clusters, 2, n, why="the number of samples")
    labels = _check_partition(labels, n, n_clusters)
    recipe = recipe.replace(batch_size=usable_batch_size(recipe.batch_size, n))
    n_steps = default_steps(n, recipe.batch_size) if n_steps is None else check_integer("n_steps", n_steps, 0)
    centroids = means(networks.embed(recipe.model, params, x), labels, n_clusters)
    state = from_centroids(recipe, params, centroids, x)
    return learn_partition(key, recipe, state, labels, x, n_steps) if n_steps else state


@partial(jax.jit, donate_argnames="state")
def learn_partition(
    key: jax.Array, recipe: Recipe, state: ClusteringState, labels: jax.Array, x: Samples, n_steps: jax.Array
) -> ClusteringState:
    """The state of a fresh start, once encoder and centroids have learnt the partition `labels` (n,) in `n_steps`."""
    state = state._replace(target=jax.nn.one_hot(labels, len(state.centroids)))
    learnt, *_ = clustering.train_steps(key, recipe, state, x, n_steps)
    return clustering.init_state(recipe, learnt.params, learnt.centroids, x)


def loss_after(
    key: jax.Array, recipe: Recipe, state: ClusteringState, x: Samples, n_steps: int | jax.Array
) -> jax.Array:
    """What tells starts apart before training is done: the mean objective of the second `n_steps` updates. Pure.

    Args:
        key: PRNG key of the batches.
        recipe: of the clustering phase.
        state: of a fresh start.
        x: (n, d) samples on the device.
        n_steps: at least 1.
    """
    state, _ = clustering.train_interval(key, recipe, state, x, n_steps)
    _, info = clustering.train_interval(key, recipe, state, x, n_steps)
    return info.loss


def lowest(losses: Sequence[float]) -> int:
    """The index of the start with the lowest of `loss_after`; a loss that is not a number is the highest."""
    return int(np.nan_to_num(losses, nan=np.inf).argmin())


def means(z: jax.Array, labels: jax.Array, n_clusters: int) -> jax.Array:
    """Mean embedding (k, m) of each cluster of z (n, m); the mean of all samples where a cluster is empty."""
    members = jnp.bincount(labels, length=n_clusters)[:, None]
    sums = jax.ops.segment_sum(z, labels, n_clusters)
    return jnp.where(members > 0, sums / jnp.maximum(members, 1), z.mean(axis=0))


def default_steps(n_samples: int, batch_size: int) -> int:
    """Two epochs, and no less than 200 steps."""
    return max(LEAST_STEPS, round(EPOCHS * n_samples / batch_size))


def _check_partition(labels: np.ndarray | jax.Array, n: int, n_clusters: int) -> jax.Array:
    labels = check_labels(labels, n)
    if labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(f"labels must lie between 0 and {n_clusters - 1}, got {labels.min()} to {labels.max()}")
    return jnp.asarray(labels, jnp.int32)
