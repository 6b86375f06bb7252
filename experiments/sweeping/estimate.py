"""What a sweep will do, before it does it: trials, pretrainings, programs, memory, time."""

import itertools
import time
from collections.abc import Mapping, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import scipy.sparse

from experiments import plan
from experiments.settings import Settings
from experiments.sweeping import engine
from experiments.sweeping.engine import Engine, SweepTrial

SIZE = 1024  # of the matrix product that the device's rate is taken from
REPEATS = 3
# Of the rate of large products, what training of these networks reaches.
EFFICIENCY = 0.5


def describe(shared: Engine, trials: Sequence[SweepTrial]) -> list[str]:
    """Lines for the screen."""
    sizes = engine.sizes_of(trials)
    needed = {engine.pretraining_key(shared, trial.settings): trial.settings for trial in trials}
    missing = engine.missing_pretrainings(shared, trials)
    n_pretraining = sum(
        len(plan.stages(template, plan.network(template, 1)))
        for template, _ in engine.pretraining_programs(missing, sizes)
    )
    groups = engine.clustering_programs(trials, sizes)
    # Starting and evaluating a trial are programs of their own, whatever its λ.
    n_programs = n_pretraining + len(groups) + 2 * len({template for (template, _), _ in groups})
    return [
        f"{len(trials)} trials, {len(needed)} distinct pretrainings ({len(needed) - len(missing)} in the cache), "
        f"{n_programs} compiled programs",
        f"memory: at most {shared.limit / 2**30:.1f} GB a device, data {_data_bytes(shared) / 2**30:.2f} GB",
        f"time: about {_duration(shared, _pretraining_flops(shared, missing))} of pretraining, at most "
        f"{_duration(shared, _clustering_flops(shared, trials))} of clustering (less by what stops early)",
    ]


def _products(settings: Settings, d: int) -> list[int]:
    """Entries of the weights of each encoder layer."""
    sizes = (d, *settings.hidden, settings.bottleneck)
    return [a * b for a, b in itertools.pairwise(sizes)]


def _pretraining_flops(shared: Engine, missing: Mapping[str, Settings]) -> float:
    """Floating-point operations of the matrix products: two a weight and sample forwards, four backwards."""
    d = shared.samples.train.x.shape[1]
    total = 0.0
    for settings in missing.values():
        weights = _products(settings, d)
        steps = settings.fine_tuning_steps + settings.layer_wise_steps
        total += 12 * settings.batch_size * sum(weights) * steps
    return total


def _clustering_flops(shared: Engine, trials: Sequence[SweepTrial]) -> float:
    n, d = shared.samples.train.x.shape
    total = 0.0
    for settings in (trial.settings for trial in trials):
        decoded = plan.objective(settings).needs("reconstruction")
        a_step = 6 * settings.batch_size * (2 if decoded else 1) + 2 * n / settings.update_interval
        total += a_step * sum(_products(settings, d)) * settings.max_steps
    return total


@cache
def _rate() -> float:
    """Floating-point operations a second of large matrix products on one device."""
    product = jax.jit(jnp.matmul)
    a = jax.block_until_ready(product(*[jnp.ones((SIZE, SIZE), jnp.float32)] * 2))
    began = time.perf_counter()
    for _ in range(REPEATS):
        a = product(a, a)
    jax.block_until_ready(a)
    return REPEATS * 2 * SIZE**3 / (time.perf_counter() - began)


def _duration(shared: Engine, flops: float) -> str:
    minutes = flops / (EFFICIENCY * _rate() * shared.layout.trial_shards) / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def _data_bytes(shared: Engine) -> int:
    x = shared.samples.train.x
    return 12 * x.nnz if scipy.sparse.issparse(x) else 4 * x.size
