"""k-means on the device: greedy k-means++, Lloyd to tolerance, restarts side by side, memory bounded by a chunk."""

from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dec_jax.samples import CHUNK_SIZE, map_rows, sum_rows
from dec_jax.validation import check_integer, check_number


class KMeansResult(NamedTuple):
    """The restart with the smallest inertia.

    Attributes:
        centroids: (k, m) float32.
        labels: (n,) int32, nearest centroid of each sample.
        inertia: scalar, Σ_i min_j ‖z_i − μ_j‖².
        n_iterations: (n_restarts,) int32, Lloyd iterations of each restart.
    """

    centroids: jax.Array
    labels: jax.Array
    inertia: jax.Array
    n_iterations: jax.Array


class _Lloyd(NamedTuple):
    centroids: jax.Array  # (restarts, k, m)
    shift: jax.Array  # (restarts,) Σ_j ‖movement of μ_j‖² in the last iteration
    iterations: jax.Array  # (restarts,)


def kmeans(
    key: jax.Array,
    z: jax.Array,
    n_clusters: int,
    *,
    n_restarts: int = 20,
    tolerance: float | jax.Array = 1e-4,
    max_iterations: int = 300,
    chunk_size: int = CHUNK_SIZE,
    n_active: jax.Array | None = None,
) -> KMeansResult:
    """Best of several runs of k-means (Lloyd 1982) from greedy k-means++ seeds (Arthur and Vassilvitskii 2007).

    A cluster that loses all of its samples restarts at a sample far from every centroid. Besides z, memory holds about
    chunk_size × 256 numbers, or k × n_restarts where those are more, and n × (2 + ln k) during the seeding.

    Args:
        key: PRNG key.
        z: (n, m) float32.
        n_clusters: k, between 1 and n.
        n_restarts: number of runs, the one with the smallest inertia is returned.
        tolerance: a run stops when its centroids' squared movements add up to at most this, relative to the mean
            variance of the features that vary.
        max_iterations: of Lloyd's algorithm.
        chunk_size: samples compared with the centroids at a time.
        n_active: scalar int32, at most k: only the first n_active centroids take part, with the draws of a run with
            that k; the others stay at the mean of z. Traced: one program serves every number of clusters up to k.

    Raises:
        TypeError, ValueError: an argument has the wrong type or lies out of range.
    """
    check_integer("n_clusters", n_clusters, 1, len(z), why="the number of samples")
    check_integer("n_restarts", n_restarts, 1)
    if not isinstance(tolerance, jax.Array):
        check_number("tolerance", tolerance, 0)
    check_integer("max_iterations", max_iterations, 1)
    check_integer("chunk_size", chunk_size, 1)
    return _kmeans(key, z, tolerance, max_iterations, n_active, n_clusters, n_restarts, chunk_size)


@partial(jax.jit, static_argnames=("n_clusters", "n_restarts", "chunk_size"))
def _kmeans(
    key: jax.Array,
    z: jax.Array,
    tolerance: jax.Array,
    max_iterations: jax.Array,
    n_active: jax.Array | None,
    n_clusters: int,
    n_restarts: int,
    chunk_size: int,
) -> KMeansResult:
    active = None if n_active is None else jnp.arange(n_clusters) < n_active
    origin = z.mean(axis=0)
    z = z - origin  # distances lose fewest digits around the mean
    # A chunk is shared by all restarts: fewer rows where there are more centroids.
    chunk_size = max(1, chunk_size // max(1, n_clusters * n_restarts // 256))
    keys = jax.random.split(key, n_restarts)
    # One after the other: side by side, the distances of all restarts would be the largest array of the run.
    seeds = jax.lax.map(lambda key: _plus_plus(key, z, n_clusters, n_active), keys)
    centroids, iterations = _lloyd(z, seeds, active, tolerance * _mean_variance(z), max_iterations, chunk_size)
    inertias = sum_rows(lambda rows: jax.vmap(partial(_inertia, rows, active))(centroids), z, chunk_size)
    best = jnp.argmin(inertias)
    labels = map_rows(lambda rows: _nearest(rows, active, centroids[best]), z, chunk_size)
    return KMeansResult(centroids[best] + origin, labels, inertias[best], iterations)


def _mean_variance(z: jax.Array) -> jax.Array:
    """Mean variance of the features that vary: others, such as those of a padded embedding, do not count."""
    variance = z.var(axis=0)
    return variance.sum() / jnp.maximum(jnp.count_nonzero(variance), 1)


def _squared_distances(z: jax.Array, centroids: jax.Array) -> jax.Array:
    products = jnp.matmul(z, centroids.T, precision="highest")
    squared = jnp.sum(z**2, axis=-1)[:, None] - 2 * products + jnp.sum(centroids**2, axis=-1)
    return jnp.maximum(squared, 0)


def _nearest(z: jax.Array, active: jax.Array | None, centroids: jax.Array) -> jax.Array:
    # ‖z‖² is the same for all centroids.
    scores = 0.5 * jnp.sum(centroids**2, axis=-1) - jnp.matmul(z, centroids.T, precision="highest")
    if active is not None:
        scores = jnp.where(active, scores, jnp.inf)
    return jnp.argmin(scores, axis=-1).astype(jnp.int32)


def _inertia(z: jax.Array, active: jax.Array | None, centroids: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(z - centroids[_nearest(z, active, centroids)]))


def _plus_plus(key: jax.Array, z: jax.Array, n_clusters: int, n_active: jax.Array | None) -> jax.Array:
    """Greedy k-means++ seeds (k, m): of 2 + ln k samples drawn by squared distance, the best one becomes a seed."""
    n_trials = 2 + int(np.log(n_clusters))
    # Of a larger draw, the first numbers are those of a smaller one.
    trial_is_on = True if n_active is None else jnp.arange(n_trials) < 2 + jnp.floor(jnp.log(n_active))
    first_key, key = jax.random.split(key)
    first = z[jax.random.randint(first_key, (), 0, len(z))]
    seeds = jnp.zeros((n_clusters, z.shape[1]), z.dtype).at[0].set(first)
    nearest = _squared_distances(z, first[None])[:, 0]

    def add_seed(j: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        seeds, nearest = carry
        cumulative = jnp.cumsum(nearest)
        draws = jax.random.uniform(jax.random.fold_in(key, j), (n_trials,)) * cumulative[-1]
        trials = z[jnp.minimum(jnp.searchsorted(cumulative, draws, side="right"), len(z) - 1)]
        # The samples lie along the fast axis of memory: (trials, n).
        candidates = jnp.minimum(nearest, _squared_distances(trials, z))
        best = jnp.argmin(jnp.where(trial_is_on, candidates.sum(axis=1), jnp.inf))
        return seeds.at[j].set(trials[best]), candidates[best]

    return jax.lax.fori_loop(1, n_clusters if n_active is None else n_active, add_seed, (seeds, nearest))[0]


def _lloyd(
    z: jax.Array,
    seeds: jax.Array,
    active: jax.Array | None,
    threshold: jax.Array,
    max_iterations: jax.Array,
    chunk_size: int,
) -> tuple[jax.Array, jax.Array]:
    """Centroids (restarts, k, m) that moved by no more than `threshold`, and the iterations (restarts,) of each."""

    def unfinished(state: _Lloyd) -> jax.Array:
        return (state.shift > threshold) & (state.iterations < max_iterations)

    def iterate(state: _Lloyd) -> _Lloyd:
        moved = _move(z, active, state.centroids, chunk_size)
        shift = jnp.sum((moved - state.centroids) ** 2, axis=(1, 2))
        # A run that has met the tolerance stays where it is, as if it ran alone.
        goes_on = unfinished(state)
        moved = jnp.where(goes_on[:, None, None], moved, state.centroids)
        return _Lloyd(moved, jnp.where(goes_on, shift, state.shift), state.iterations + goes_on)

    n = len(seeds)
    state = _Lloyd(seeds, jnp.full(n, jnp.inf, z.dtype), jnp.zeros(n, jnp.int32))
    # The slowest of twenty restarts takes three times the mean. Those that are done leave, in two more programs.
    widths = [width for width in (n, n // 3, n // 9) if width]
    for width, few in zip(widths, [*widths[1:], 0], strict=True):
        slowest = jnp.argsort(~unfinished(state))[:width]
        lanes = jax.tree.map(itemgetter(slowest), state)
        lanes = jax.lax.while_loop(lambda lanes, few=few: jnp.sum(unfinished(lanes)) > few, iterate, lanes)
        state = jax.tree.map(lambda old, new, slowest=slowest: old.at[slowest].set(new), state, lanes)
    return state.centroids, state.iterations


def _move(z: jax.Array, active: jax.Array | None, centroids: jax.Array, chunk_size: int) -> jax.Array:
    """One Lloyd iteration of all restarts: each centroid goes to the mean of its samples."""

    def statistics(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vmap(partial(_cluster_sums, rows, active))(centroids)

    sums, counts = sum_rows(statistics, z, chunk_size)
    empty = counts == 0
    means = jnp.where(empty[..., None], centroids, sums / jnp.maximum(counts, 1)[..., None])
    lost = empty if active is None else empty & active
    # Rare, and dear: a real branch, which is why the restarts are an axis here and no outer vmap.
    return jax.lax.cond(lost.any(), partial(_reseed, z, chunk_size), lambda means, *_: means, means, lost, empty)


def _cluster_sums(z: jax.Array, active: jax.Array | None, centroids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sum (k, m) and number (k,) of the samples nearest to each centroid."""
    members = jax.nn.one_hot(_nearest(z, active, centroids), len(centroids), dtype=z.dtype)
    return jnp.matmul(members.T, z, precision="highest"), members.sum(axis=0)


def _reseed(z: jax.Array, chunk_size: int, centroids: jax.Array, lost: jax.Array, empty: jax.Array) -> jax.Array:
    """Puts the j-th lost cluster of each restart onto the j-th farthest sample, unless that lies on a centroid."""

    def far(centroids: jax.Array, lost: jax.Array, empty: jax.Array) -> jax.Array:
        distances = map_rows(lambda rows: _distance_to_used(rows, centroids, empty), z, chunk_size)
        farthest, samples = jax.lax.top_k(distances, len(centroids))
        rank = jnp.maximum(jnp.cumsum(lost) - 1, 0)
        replace = lost & (farthest[rank] > 0)
        return jnp.where(replace[:, None], z[samples[rank]], centroids)

    return jax.lax.map(lambda restart: far(*restart), (centroids, lost, empty))


def _distance_to_used(z: jax.Array, centroids: jax.Array, empty: jax.Array) -> jax.Array:
    return jnp.min(jnp.where(empty, jnp.inf, _squared_distances(z, centroids)), axis=-1)
