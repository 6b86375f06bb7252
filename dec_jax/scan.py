"""Clustering without an autoencoder: a partition of the neighbour graph, learnt and corrected by a network.

After Van Gansbeke et al., "SCAN: Learning to Classify Images without Labels", ECCV 2020, with neighbours of the samples
themselves, of the histograms of their gradients, or of their roots: nearest samples → a partition of their graph → a
network with one output per cluster learns it on augmented samples → it minimises −mean log Σ_j q_j(x'_i) q_j(x''_n(i))
− λ H(q̄). At first x'' is an augmentation of a random neighbour's, which moves whole groups of samples to where their
neighbours are; more and more often it is another augmentation of the sample itself, which says nothing wrong at borders
between clusters.

It takes no labels of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dec_jax import clustering, graph, networks, objectives, representation, starts
from dec_jax.assignment import Assignment
from dec_jax.augmentation import Affine, Noise
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import ClusteringInfo, ClusteringState, Recipe
from dec_jax.convolutional import ConvolutionalEncoder
from dec_jax.losses import logits
from dec_jax.neighbors import Neighbors, metric_of, nearest
from dec_jax.optimizers import adam
from dec_jax.samples import Samples, to_device
from dec_jax.side import Side
from dec_jax.validation import check_image_shape, check_integer

N_NEIGHBORS = 5
HIDDEN = (256, 256)
KERNEL_INIT = "he"
SMALL_UP_TO = 16  # pixels of an image's shorter side
MOVED = MappingProxyType({"rotation": 15.0, "shift": 0.1, "scale": 0.15, "shear": 0.2})
MOVED_SMALL = MappingProxyType({"rotation": 10.0, "shift": 0.05, "scale": 0.1, "shear": 0.1})  # by less than a pixel
LEARNING_RATE = 2e-3
BATCH_SIZE = 256
LEAST_STEPS, MOST_STEPS = 800, 5000
N_INTERVALS = 20  # nothing reads the target distribution: it is only watched


class ScanFit(NamedTuple):
    """Result of `fit`.

    Attributes:
        labels: (n,) int32, clusters from 0 to k − 1.
        q: (n, k) float32, soft assignment of the clean samples.
        start: (n,) int32, the partition of the graph that the network learnt first.
        recipe: of the clustering phase.
        state: after it.
        history: what was worth watching after each interval.
    """

    labels: np.ndarray
    q: np.ndarray
    start: np.ndarray
    recipe: Recipe
    state: ClusteringState
    history: list[ClusteringInfo]


def recipe(
    n_features: int,
    n_clusters: int,
    *,
    image_shape: tuple[int, ...] | None = None,
    weight: float | jax.Array = 1.0,
    n_steps: int | jax.Array = MOST_STEPS,
    batch_size: int = BATCH_SIZE,
) -> Recipe:
    """The recipe for images with a shape, or for other samples; it lacks the neighbours, which `fit` adds.

    Images are turned, shifted, scaled and sheared by up to `MOVED`, and a small convolutional network sees them. Below
    `SMALL_UP_TO` pixels per side they are moved by up to `MOVED_SMALL`, and the network is dense, since convolutions
    would leave little of their sides. Of other samples a fifth of the features is dropped.

    Args:
        n_features: d.
        n_clusters: k.
        image_shape: (h, w) or (h, w, channels) of the flattened images; None for other samples.
        weight: λ, at least 0.
        n_steps: updates until the learning rate is 0.
        batch_size: b.
    """
    if image_shape is None:
        model, augmentation = _dense(n_features, n_clusters), Noise(dropout_rate=0.2)
    else:
        shape = check_image_shape(image_shape, n_features)
        small = is_small(shape)
        model = _dense(n_features, n_clusters) if small else ConvolutionalEncoder(shape, n_clusters)
        augmentation = Affine(shape, **ranges(shape))
    return Recipe(
        model,
        objectives.scan(weight),
        Assignment(kernel=logits),
        adam(LEARNING_RATE, schedule="cosine", n_steps=n_steps),
        augmentation,
        batch_size=batch_size,
    )


def is_small(image_shape: tuple[int, ...]) -> bool:
    """Whether convolutions would leave little of the sides of images (h, w) or (h, w, channels)."""
    return min(image_shape[:2]) < SMALL_UP_TO


def ranges(image_shape: tuple[int, ...]) -> dict[str, float]:
    """How far images (h, w) or (h, w, channels) are moved, as arguments of `Affine`."""
    return dict(MOVED_SMALL if is_small(image_shape) else MOVED)


def _dense(n_features: int, n_clusters: int) -> Autoencoder:
    return Autoencoder((n_features, *HIDDEN, n_clusters), kernel_init=KERNEL_INIT)


def default_steps(n_samples: int, batch_size: int = BATCH_SIZE) -> int:
    """Steps of 256 samples: 100 ∛n, many epochs of few samples and few of many; no less than 800, no more than 5,000.

    Of other batches there are as many as see as many samples.
    """
    steps = min(max(100 * math.cbrt(n_samples), LEAST_STEPS), MOST_STEPS)
    return round(steps * BATCH_SIZE / batch_size)


def update_interval(n_steps: int) -> int:
    """Steps between two looks at the assignments, λ: a twentieth of all, at least 1."""
    return max(1, n_steps // N_INTERVALS)


def learning(recipe: Recipe) -> Recipe:
    """The recipe by which the network learns a partition: by its cross-entropy KL(P‖Q), at a constant rate."""
    return recipe.replace(objective=objectives.kl(), optimizer=recipe.optimizer.replace(schedule="constant"))


def fit(
    key: jax.Array,
    x: Any,
    n_clusters: int,
    *,
    image_shape: tuple[int, ...] | None = None,
    near: Neighbors | None = None,
    start: np.ndarray | None = None,
    n_steps: int | None = None,
    on_interval: Callable[[ClusteringState, ClusteringInfo], None] | None = None,
) -> ScanFit:
    """Clusters samples: neighbours, a partition of their graph, a network that learns and corrects it.

    Args:
        key: PRNG key of all that is random.
        x: (n, d) samples, dense or sparse, scaled so that features lie about between −1 and 1.
        n_clusters: k, between 2 and n.
        image_shape: (h, w) or (h, w, channels) of the flattened images; None where samples are not images.
        near: what `neighbors.nearest` found, at least 6 of each; None to find 21.
        start: (n,) integers from 0 to k − 1, a partition to start from; None for the one of
            `graph.partitions` from which the loss falls lowest in a tenth of the steps.
        n_steps: updates after the start is learnt, at least 1; None for `default_steps`.
        on_interval: called after each interval with the state and what is worth watching.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
        FloatingPointError: the loss became NaN or infinite.
    """
    n, d = x.shape
    check_integer("n_clusters", n_clusters, 2, n, why="the number of samples")
    n_steps = default_steps(n) if n_steps is None else check_integer("n_steps", n_steps, 1)
    chosen = recipe(d, n_clusters, image_shape=image_shape, n_steps=n_steps, batch_size=min(BATCH_SIZE, n))
    near = _neighbors(x, image_shape) if near is None else _checked(near, n)
    keys = jax.random.split(key, 4)
    if start is None:
        candidates = graph.partitions(near, n_clusters, seed=int(jax.random.randint(keys[0], (), 0, 2**31 - 1)))
    else:
        candidates = [start]
    x = to_device(x)
    neighbors = jnp.asarray(near.indices[:, 1 : N_NEIGHBORS + 1], jnp.int32)
    chosen = chosen.replace(side=Side(neighbors, fade=n_steps))
    start, state = _best_start(keys[1:], chosen, candidates, x, n_clusters)
    state, history, _ = clustering.fit(
        keys[3],
        chosen,
        state,
        x,
        update_interval=update_interval(n_steps),
        tolerance=0,
        max_steps=n_steps,
        on_interval=on_interval,
    )
    q = clustering.soft_assignments(chosen.model, state.params, state.centroids, x, chosen.assignment)
    return ScanFit(np.asarray(state.labels), np.asarray(q), np.asarray(start), chosen, state, history)


def _neighbors(x: Any, image_shape: tuple[int, ...] | None) -> Neighbors:
    """As many nearest samples as the graph needs, by what suits the samples (n, d)."""
    seen = representation.represented(x, representation.choose(x, image_shape), image_shape)
    return nearest(seen, min(max(graph.SIGHTS), x.shape[0]), metric=metric_of(seen))


def _checked(near: Neighbors, n: int) -> Neighbors:
    check_integer("near", near.indices.shape[1], min(N_NEIGHBORS + 1, n), why="neighbours, itself included")
    if len(near.indices) != n:
        raise ValueError(f"near must be of the {n} samples, got {len(near.indices)}")
    return near


def _best_start(
    keys: jax.Array, chosen: Recipe, candidates: Sequence[np.ndarray], x: Samples, n_clusters: int
) -> tuple[np.ndarray, ClusteringState]:
    """The one of the partitions (n,) from which the loss falls lowest in two intervals, and the state of its start."""
    learnt = [_learnt(keys[:2], chosen, start, x, n_clusters) for start in candidates]
    if len(learnt) == 1:
        return candidates[0], learnt[0]
    interval = update_interval(chosen.optimizer.n_steps)
    losses = [float(_loss_after(keys[2], chosen, state, x, interval)) for state in learnt]
    best = starts.lowest(losses)
    return candidates[best], learnt[best]


_loss_after = jax.jit(starts.loss_after)


def _learnt(keys: jax.Array, chosen: Recipe, start: np.ndarray, x: Samples, n_clusters: int) -> ClusteringState:
    """The state before the first step of SCAN, once the network has learnt the partition `start` (n,)."""
    params = networks.init(keys[0], chosen.model, x.shape[1])
    learnt = starts.from_labels(keys[1], learning(chosen), params, start, x, n_clusters=n_clusters)
    return starts.from_centroids(chosen, learnt.params, learnt.centroids, x)
