"""One trial in memory, without a folder: what an estimator runs."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax

from dec_jax.data import Dataset
from dec_jax.runner import build, capacity, presets
from dec_jax.runner.config import Config
from dec_jax.runner.layout import Layout
from dec_jax.runner.programs import Compiled, sizes_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.split import split
from dec_jax.runner.trainer import train
from dec_jax.runner.work import Outcome, Trial, Workshop, trial_id
from dec_jax.slots import FAILED
from dec_jax.storage import Store
from dec_jax.trained_model import TrainedModel

COMPILED = Compiled(most=32)  # for samples of one shape after the other


class Fitted(NamedTuple):
    """The configuration, resolved for the data, what the trial found out, and the trained model."""

    config: Config
    outcome: Outcome
    model: TrainedModel


def fit_model(
    dataset: Dataset, preset: str, objective: str, values: Mapping[str, Any], *, show: bool = False
) -> Fitted:
    """Trains one trial.

    Args:
        dataset: what is clustered.
        preset: one of `presets.PRESETS`.
        objective: as in `ClusteringConfig`.
        values: settings by full name that are not the preset's.
        show: whether progress is shown on stderr.

    Raises:
        TypeError, ValueError: a setting is not accepted, or does not fit the data.
        FloatingPointError: a loss became NaN or infinite.
    """
    config = build.resolve(presets.config_of(preset, objective).with_values(values), dataset)
    samples = split(dataset, 0.0, Layout(None))
    with ExitStack() as shown:
        progress = PhaseProgress(silent=not show)
        shown.enter_context(progress)
        limit = capacity.memory_limit(None)
        shop = Workshop(samples, Store(None), Store(None), limit, progress, compiled=COMPILED)
        (outcome,) = train(shop, [Trial(0, trial_id(config, samples.fingerprint), config)], sizes_of([config]))
    if outcome.stop_reason == FAILED:
        raise FloatingPointError(outcome.error)
    return Fitted(config, outcome, trained(outcome, dataset, samples.scaling(config.data.scaling)))


def trained(outcome: Outcome, dataset: Dataset, scaling: Any) -> TrainedModel:
    """The model of a finished trial."""
    config = outcome.trial.config
    model = build.network(config, dataset.x.shape[1], dataset.image_shape)
    params, centroids = jax.tree.map(jax.numpy.asarray, (outcome.params, outcome.centroids))
    return TrainedModel(model, params, centroids, scaling, build.assignment(config), dataset.encoding)
