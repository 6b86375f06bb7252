"""What a sweep will do, before it does it: trials, pretrainings, programs, memory, time."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import scipy.sparse

from dec_jax import networks
from dec_jax.runner import build
from dec_jax.runner.clustering_phase import clustering_groups
from dec_jax.runner.config import Config, NetworkConfig
from dec_jax.runner.pretraining_phase import missing_pretrainings, pretraining_groups
from dec_jax.runner.programs import Sizes
from dec_jax.runner.work import Trial, Workshop, pretraining_key

SIZE = 1024  # of the matrix product that the device's rate is taken from
REPEATS = 3
# Of the rate of large products, what training of these networks reaches.
EFFICIENCY = 0.5
BACKWARDS = 3  # operations of a training step, relative to those of its forward pass
PER_PRETRAINING = 1  # programs: fresh parameters, or a look at its units
PER_CLUSTERING = 3  # start, advance, finish


class _Flops(NamedTuple):
    """Floating-point operations of one sample's way through a network."""

    encode: float
    reconstruct: float


def describe(shop: Workshop, trials: Sequence[Trial], sizes: Sizes) -> list[str]:
    """Lines for the screen."""
    needed = {pretraining_key(shop, trial.config): trial.config for trial in trials}
    missing = missing_pretrainings(shop, trials)
    return [
        f"{len(trials)} trials, {len(needed)} distinct pretrainings ({len(needed) - len(missing)} in the cache), "
        f"at most {_n_programs(shop, trials, missing, sizes)} compiled programs",
        f"memory: at most {shop.limit / 2**30:.1f} GB per device, data {_data_bytes(shop) / 2**30:.2f} GB",
        f"time: about {_duration(shop, sum(_pretraining_flops(shop, config) for config in missing.values()))} of "
        f"pretraining, at most {_duration(shop, sum(_clustering_flops(shop, trial.config) for trial in trials))} of "
        "clustering (less by what stops early)",
    ]


def _n_programs(shop: Workshop, trials: Sequence[Trial], missing: dict[str, Config], sizes: Sizes) -> int:
    """A stage has a beginning and a window, and what it works on where layers are below; another λ is the same one."""
    count = 0
    for template, _ in pretraining_groups(missing, sizes):
        stages = build.stages(template, shop.split.network(template), shop.split.train.image_shape)
        count += PER_PRETRAINING + sum(2 + (stage.layer > 0) for stage in stages)
    for template in {template for (template, _), _ in clustering_groups(trials, sizes)}:
        start = template.start
        count += PER_CLUSTERING + (start.kind != "kmeans") + (start.kind == "n2d") + (start.candidates > 1)
        count += len(build.resets(template, shop.split.train.x.shape[0]))
    return count


def _pretraining_flops(shop: Workshop, config: Config) -> float:
    """Layer by layer it is the whole network once."""
    one = config.pretraining
    steps = one.fine_tuning_steps + one.layer_wise_steps
    return BACKWARDS * _flops(shop, config).reconstruct * one.batch_size * steps


def _clustering_flops(shop: Workshop, config: Config) -> float:
    one, flops, n = config.clustering, _flops(shop, config), shop.split.train.x.shape[0]
    forward = flops.reconstruct if build.objective(config).reads("reconstruction") else flops.encode
    return (BACKWARDS * forward * one.batch_size + flops.encode * n / one.update_interval) * one.max_steps


def _flops(shop: Workshop, config: Config) -> _Flops:
    return _count(config.network, shop.split.train.x.shape[1], shop.split.train.image_shape)


@cache
def _count(network: NetworkConfig, n_features: int, image_shape: tuple[int, ...] | None) -> _Flops:
    """Operations by what the compiler counts; where it counts nothing, two per parameter."""
    model = build.network(replace(Config(), network=network), n_features, image_shape)
    params = jax.eval_shape(lambda: networks.init(jax.random.key(0), model, n_features))
    x = jax.ShapeDtypeStruct((1, n_features), jnp.float32)
    z = jax.eval_shape(lambda params, x: networks.encode(model, params, x), params, x)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))

    def count(function: Any, given: Any) -> float:
        analysis = jax.jit(lambda params, x: function(model, params, x)).lower(params, given).cost_analysis()
        return float((analysis or {}).get("flops", parameters))

    encode = count(networks.encode, x)
    return _Flops(encode, encode + count(networks.decode, z))


@cache
def _rate() -> float:
    """Floating-point operations per second of large matrix products on one device."""
    product = jax.jit(jnp.matmul)
    a = jax.block_until_ready(product(*[jnp.ones((SIZE, SIZE), jnp.float32)] * 2))
    began = time.perf_counter()
    for _ in range(REPEATS):
        a = product(a, a)
    jax.block_until_ready(a)
    return REPEATS * 2 * SIZE**3 / (time.perf_counter() - began)


def _duration(shop: Workshop, flops: float) -> str:
    minutes = flops / (EFFICIENCY * _rate() * shop.split.layout.trial_shards) / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _data_bytes(shop: Workshop) -> int:
    x = shop.split.train.x
    return 12 * x.nnz if scipy.sparse.issparse(x) else 4 * x.size
