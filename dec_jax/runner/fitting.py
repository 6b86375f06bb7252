"""One trial: trained in memory without a folder, as an estimator does, or with what a run works with."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from dec_jax import networks, starts
from dec_jax.data import Dataset
from dec_jax.runner import build, capacity, presets
from dec_jax.runner.config import Config
from dec_jax.runner.layout import Layout
from dec_jax.runner.programs import Compiled, sizes_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.resolving import resolve
from dec_jax.runner.split import split
from dec_jax.runner.trainer import train
from dec_jax.runner.work import Outcome, Row, Trial, Workshop, trial_id
from dec_jax.slots import FAILED
from dec_jax.storage import Store
from dec_jax.trained_model import TrainedModel

COMPILED = Compiled(most=32)  # for samples of one shape after the other


class Fitted(NamedTuple):
    """The configuration, resolved for the data, what the trial found out, and the trained model."""

    config: Config
    outcome: Outcome
    model: TrainedModel


def configure(preset: str | None, objective: str | None, values: Mapping[str, Any]) -> Config:
    """The configuration of an estimator.

    Args:
        preset: as in `presets.config_of`.
        objective: as in `ClusteringConfig`; None for the preset's.
        values: settings by full name that are not the preset's.

    Raises:
        TypeError, ValueError: a name is unknown, or a value is not accepted.
    """
    return presets.config_of(preset, objective).with_values(values)


def fit_model(
    config: Config, dataset: Dataset, *, show: bool = False, watch: Callable[[Row, np.ndarray], Row] | None = None
) -> Fitted:
    """Trains one trial in memory.

    Args:
        config: what is trained; what it leaves open is chosen by the data.
        dataset: what is clustered.
        show: whether progress is shown on stderr.
        watch: as in `Workshop`.

    Raises:
        TypeError, ValueError: a setting does not fit the data.
        FloatingPointError: a loss became NaN or infinite.
    """
    config = resolve(config, dataset)
    samples = split(dataset, 0.0, Layout(None))
    with PhaseProgress(silent=not show) as progress:
        limit = capacity.memory_limit(None)
        shop = Workshop(samples, Store(None), Store(None), limit, progress, watch=watch, compiled=COMPILED)
        outcome = train_one(shop, config)
    return Fitted(config, outcome, trained(outcome, dataset, samples.scaling(config.data.scaling)))


def train_one(shop: Workshop, config: Config) -> Outcome:
    """Trains the trial of a configuration, from `resolving.resolve`.

    Raises:
        FloatingPointError: a loss became NaN or infinite.
    """
    trial = Trial(0, trial_id(config, shop.split.fingerprint), config)
    (outcome,) = train(shop, [trial], sizes_of([config]))
    if outcome.stop_reason == FAILED:
        raise FloatingPointError(outcome.error)
    return outcome


def trained(outcome: Outcome, dataset: Dataset, scaling: Any) -> TrainedModel:
    """The model of a finished trial, without a decoder where nothing trained one.

    Where assignments are outputs, its centroids are the means of the clusters.
    """
    config, n_features = outcome.trial.config, dataset.x.shape[1]
    model = build.network(config, n_features, dataset.image_shape)
    params, centroids = jax.tree.map(jax.numpy.asarray, (outcome.params, outcome.centroids))
    if config.clustering.kernel == "logits":
        z, labels = map(jax.numpy.asarray, (outcome.z, outcome.labels["final"]))
        centroids = starts.means(z, labels, config.clustering.n_clusters)
    if not build.trains_decoder(config):
        params = networks.encoder_params(model, params, n_features)
    return TrainedModel(model, params, centroids, scaling, build.assignment(config), dataset.encoding)
