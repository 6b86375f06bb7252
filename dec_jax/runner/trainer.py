"""Trains trials, one or a thousand: their pretrainings first, each one once, then their clusterings, in slots.

What a trial yields depends neither on its slot nor on its neighbours. No label of a sample is seen here.
"""

from collections.abc import Iterator, Sequence

from dec_jax import slots
from dec_jax.networks import Params
from dec_jax.runner.clustering_phase import Clustering, clustering_groups
from dec_jax.runner.config import Config
from dec_jax.runner.pretraining_phase import run_pretrainings
from dec_jax.runner.programs import Sizes, sizes_of
from dec_jax.runner.work import Outcome, Trial, Workshop, found_pretrained, pretraining_key, trial_id


def train(shop: Workshop, trials: Sequence[Trial], sizes: Sizes) -> Iterator[Outcome]:
    """Outcomes of the trials, in the order in which they finish.

    Args:
        shop: what they are trained with.
        trials: all of a sweep, or those that are left.
        sizes: of the whole sweep, so that a trial yields the same whichever trials are left.
    """
    failed = run_pretrainings(shop, trials, sizes)
    for (template, _), group in clustering_groups(trials, sizes):
        broken = [trial for trial in group if pretraining_key(shop, trial.config) in failed]
        for trial in broken:
            error = failed[pretraining_key(shop, trial.config)]
            yield Outcome(trial, stop_reason=slots.FAILED, error=error)
        if whole := [trial for trial in group if trial not in broken]:
            yield from Clustering(shop, template, sizes, whole).run()


def pretrain(shop: Workshop, config: Config) -> Params:
    """The parameters that the clustering of a configuration begins with, trained where the store does not hold them.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    trial = Trial(0, trial_id(config, shop.split.fingerprint), config)
    failed = run_pretrainings(shop, [trial], sizes_of([config]))
    if failed:
        raise FloatingPointError(*failed.values())
    return found_pretrained(shop, config)[0]
