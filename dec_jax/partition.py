"""Clustering that starts from a partition of the samples, where k-means on the embedding starts from round clusters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dec_jax import autoencoder, clustering
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Params
from dec_jax.clustering import ClusteringState
from dec_jax.corruption import Corruption
from dec_jax.objectives import Objective, StepInputs, as_objective, dec
from dec_jax.samples import Samples, usable_batch_size
from dec_jax.validation import check_integer, check_labels

LEAST_STEPS = 200
EPOCHS = 2


def means(z: jax.Array, labels: jax.Array, n_clusters: int) -> jax.Array:
    """Mean embedding (k, m) of each cluster of z (n, m); the mean of all samples where a cluster is empty."""
    members = jnp.bincount(labels, length=n_clusters)[:, None]
    sums = jax.ops.segment_sum(z, labels, n_clusters)
    return jnp.where(members > 0, sums / jnp.maximum(members, 1), z.mean(axis=0))


def start(
    key: jax.Array,
    model: nn.Module,
    params: Params,
    labels: np.ndarray | jax.Array,
    x: Samples,
    n_clusters: int,
    *,
    n_steps: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | Callable[[StepInputs], jax.Array] | None = None,
    assignment: Assignment | None = None,
    augmentation: Corruption | None = None,
    batch_size: int = 256,
) -> ClusteringState:
    """State before the first update of `clustering.fit`, once encoder and centroids have learnt a partition.

    The nearest of the clusters' means is not the cluster of a sample where clusters are no balls. So the objective is
    minimised for a while with P fixed at the partition: p_ij is 1 where sample i is in cluster j, 0 elsewhere.

    Args:
        key: PRNG key of the batches.
        model: a Flax module with `encode`, and `decode` where the objective needs the reconstruction.
        params: its parameters after pretraining.
        labels: (n,) integers from 0 to k − 1, the partition.
        x: (n, d) samples on the device.
        n_clusters: k, between 2 and n.
        n_steps: updates, at least 0; None for `default_steps`. With 0 the centroids are the means of the clusters.
        optimizer: of these updates and of those of `clustering.fit`, before which it is started anew; default
            `clustering.paper_optimizer()`.
        objective: as in `clustering.fit`; it has to read P for the partition to be learnt.
        assignment: as in `clustering.fit`.
        augmentation: as in `clustering.fit`.
        batch_size: as in `clustering.fit`.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
    """
    n = x.shape[0]
    check_integer("n_clusters", n_clusters, 2, n, why="the number of samples")
    labels = _check_partition(labels, n, n_clusters)
    batch_size = usable_batch_size(batch_size, n)
    n_steps = default_steps(n, batch_size) if n_steps is None else check_integer("n_steps", n_steps, 0)
    shared = {
        "optimizer": optimizer or clustering.paper_optimizer(),
        "objective": as_objective(objective or dec()),
        "assignment": assignment or Assignment(),
    }
    centroids = means(clustering.embed(model, autoencoder.encoder_params(params), x), labels, n_clusters)
    state = clustering.start(model, params, centroids, x, **shared)
    if n_steps == 0:
        return state
    how = shared | {"augmentation": augmentation, "batch_size": batch_size, "longest": n_steps}
    learning = state._replace(target=jax.nn.one_hot(labels, n_clusters))
    learnt, _ = clustering.advance(key, learning, x, n_steps, model=model, **how)
    return clustering.start(model, learnt.params, learnt.centroids, x, **shared)


def default_steps(n_samples: int, batch_size: int) -> int:
    """Two epochs, and no less than 200 steps."""
    return max(LEAST_STEPS, round(EPOCHS * n_samples / batch_size))


def _check_partition(labels: np.ndarray | jax.Array, n: int, n_clusters: int) -> jax.Array:
    labels = check_labels(labels, n)
    if labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(f"labels must lie between 0 and {n_clusters - 1}, got {labels.min()} to {labels.max()}")
    return jnp.asarray(labels, jnp.int32)
