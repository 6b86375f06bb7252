"""The library's phases as pieces of work that can be run again and again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import flops
from benchmarks.workload import Workload, random_key
from dec_jax import clustering, networks, pretraining
from dec_jax.clustering import ClusteringState, Recipe
from dec_jax.kmeans import KMeansResult, kmeans
from dec_jax.networks import Params
from dec_jax.pretraining import Stage
from dec_jax.samples import Samples


@dataclass(frozen=True)
class Phase:
    """A piece of work.

    Attributes:
        name: what it is.
        n_steps: steps in one run.
        flops_per_step: of one step, from what `run` returned.
        run: does the steps; each run goes on where the one before stopped.
    """

    name: str
    n_steps: int
    flops_per_step: Callable[[Any], float]
    run: Callable[[], Any]


def layer_pair(work: Workload, layer: int, n_steps: int) -> Phase:
    """Layer-wise pretraining of one layer pair, with dropout."""
    stage = pretraining.layer_wise_stages(work.model)[layer]
    x = pretraining.layer_input(work.model, work.params, work.x, layer) if layer else work.x
    sizes = work.model.dims[layer : layer + 2]
    count = flops.layer_pair_step(work.batch_size, *sizes)
    return _pretraining(f"layer-wise step, {sizes[0]}–{sizes[1]}", work, stage, x, n_steps, count)


def fine_tuning(work: Workload, n_steps: int) -> Phase:
    """Fine-tuning of the whole autoencoder, without dropout."""
    count = flops.fine_tuning_step(work.batch_size, work.model.dims)
    return _pretraining("fine-tuning step", work, pretraining.fine_tuning_stage(work.model), work.x, n_steps, count)


_window = jax.jit(pretraining.train_window, static_argnames="batch_size", donate_argnames="state")


def _pretraining(name: str, work: Workload, stage: Stage, x: Samples, n_steps: int, count: int) -> Phase:
    opt_state = stage.optimizer.init(stage.loss.trainable(work.params))
    # Training donates its state's memory, and other phases go on using the parameters.
    params, opt_state = jax.tree.map(jnp.copy, (work.params, opt_state))
    done = 0

    def run() -> jax.Array:
        nonlocal params, opt_state, done
        state = (params, opt_state, jnp.int32(done))
        trained = _window(random_key(), stage.program, state, x, n_steps, batch_size=work.batch_size)
        params, opt_state, loss, _ = trained
        done += n_steps
        return loss

    return Phase(name, n_steps, lambda _: count, run)


def epoch(work: Workload) -> Phase:
    """One epoch of fine-tuning as a run of the library does it: from parameters on, and with its loss on the host."""
    stage = pretraining.fine_tuning_stage(work.model, n_steps=work.epoch)
    count = work.epoch * flops.fine_tuning_step(work.batch_size, work.model.dims)

    def run() -> Params:
        return pretraining.pretrain(random_key(), [stage], work.params, work.x, batch_size=work.batch_size)[0]

    return Phase("pretraining epoch", 1, lambda _: count, run)


_start = jax.jit(clustering.init_state)
_interval = jax.jit(clustering.train_interval, donate_argnames="state")
_updates = jax.jit(clustering.train_steps, donate_argnames="state")


def clustering_updates(work: Workload, n_steps: int, *, with_refresh: bool = False) -> Phase:
    """Updates of encoder and centroids, and the new target P that follows them where it is asked for."""
    recipe, state = _clustering(work)
    count = flops.clustering_step(work.batch_size, work.model.dims, work.n_clusters)
    if with_refresh:
        count += flops.refresh(work.x.shape[0], work.model.dims, work.n_clusters) / n_steps
    advance = _interval if with_refresh else _updates

    def run() -> jax.Array:
        nonlocal state
        state, *_ = advance(random_key(), recipe, state, work.x, n_steps)
        return state.centroids

    name = "clustering step and its share of P" if with_refresh else "clustering step"
    return Phase(name, n_steps, lambda _: count, run)


def _clustering(work: Workload) -> tuple[Recipe, ClusteringState]:
    """The paper's recipe, and a state whose centroids are drawn."""
    recipe = Recipe(work.model, batch_size=work.batch_size)
    # Training donates its state's memory, and other phases go on using the parameters.
    params = jax.tree.map(jnp.copy, work.params)
    return recipe, _start(recipe, params, _centroids(work), work.x)


def _centroids(work: Workload) -> jax.Array:
    return jax.random.normal(random_key(), (work.n_clusters, work.model.dims[-1]))


def products_alone(name: str, shapes: Sequence[tuple[int, int, int]], n_steps: int) -> Phase:
    """Nothing but matrix products of these shapes (rows, inner, columns): what a step made of them cannot undercut."""
    keys = jax.random.split(random_key(), 2 * len(shapes))
    # Two of each left factor, in turn: a product of what never changes would be taken out of the loop.
    left = [jax.random.normal(key, (2, a, b)) for key, (a, b, _) in zip(keys[::2], shapes, strict=True)]
    right = [jax.random.normal(key, (b, c)) for key, (_, b, c) in zip(keys[1::2], shapes, strict=True)]

    @jax.jit
    def run(left: list[jax.Array], right: list[jax.Array]) -> list[jax.Array]:
        def multiply(i: jax.Array, _: list[jax.Array]) -> list[jax.Array]:
            return [pair[i % 2] @ factor for pair, factor in zip(left, right, strict=True)]

        return jax.lax.fori_loop(0, n_steps, multiply, [jnp.zeros((a, c)) for a, _, c in shapes])

    return Phase(name, n_steps, lambda _: flops.products(shapes), partial(run, left, right))


_refresh = jax.jit(clustering.update_target)


def refresh(work: Workload) -> Phase:
    """P and labels of all samples."""
    recipe, centroids = Recipe(work.model, batch_size=work.batch_size), _centroids(work)
    params = networks.encoder_params(work.model, work.params, work.model.dims[0])
    count = flops.refresh(work.x.shape[0], work.model.dims, work.n_clusters)
    return Phase("refresh of P", 1, lambda _: count, partial(_refresh, recipe, params, centroids, work.x))


def kmeans_restarts(
    z: jax.Array, n_clusters: int, n_restarts: int, key: jax.Array | None = None, **stopping: Any
) -> Phase:
    """k-means on z (n, m); `stopping` is tolerance and max_iterations."""

    def count(result: KMeansResult) -> int:
        return flops.kmeans(*z.shape, n_clusters, n_restarts, int(result.n_iterations.sum()))

    key = random_key() if key is None else key
    run = partial(kmeans, key, z, n_clusters, n_restarts=n_restarts, **stopping)
    return Phase(f"k-means, {n_restarts} restarts", 1, count, run)
