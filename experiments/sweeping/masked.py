"""Trials of different sizes as one program: clusters and embedding coordinates are padded to the largest and masked.

A trial that is padded equals the same trial run alone, to float32 rounding: its random draws are those of its own size,
inactive embedding coordinates stay 0, and inactive clusters get q = 0 and no gradient. Everything here is pure, takes
one trial, and is traced: `programs` makes many trials of it.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from dec_jax import autoencoder, clustering, pretraining
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder, Params
from dec_jax.clustering import ClusteringInfo, ClusteringState
from dec_jax.kmeans import kmeans
from dec_jax.losses import KERNELS, log_target_distribution
from dec_jax.pretraining import Stage
from dec_jax.samples import Samples
from experiments import plan
from experiments.settings import Settings
from experiments.trial import Keys

KMEANS_TOLERANCE = 1e-4


class Pretraining(NamedTuple):
    """What varies between pretrainings of one program, each a scalar.

    Attributes:
        seed: uint32.
        size: int32, index of the bottleneck among the program's.
        learning_rate: float32.
        momentum: float32.
    """

    seed: jax.Array
    size: jax.Array
    learning_rate: jax.Array
    momentum: jax.Array


class Hyperparameters(NamedTuple):
    """What varies between the clusterings of one program, each a scalar.

    Attributes:
        seed: uint32.
        n_clusters: int32, the clusters that take part.
        bottleneck: int32, the embedding coordinates that take part.
        alpha: float32.
        cluster_learning_rate: float32.
        cluster_momentum: float32.
        gamma: float32.
        distance_weight: float32.
        size_balance: float32.
        target_power: float32.
        target_balance: float32.
    """

    seed: jax.Array
    n_clusters: jax.Array
    bottleneck: jax.Array
    alpha: jax.Array
    cluster_learning_rate: jax.Array
    cluster_momentum: jax.Array
    gamma: jax.Array
    distance_weight: jax.Array
    size_balance: jax.Array
    target_power: jax.Array
    target_balance: jax.Array


def check_maskable(settings: Settings) -> None:
    """Checks that trials with these settings can be padded to another size.

    Raises:
        ValueError: they have something that only a run of its own has.
    """
    for name in ("network", "unlabelled", "start", "resets", "reseed_empty"):
        default, value = getattr(Settings, name), getattr(settings, name)
        if value != default:
            raise ValueError(f"{name} must be {default} in a sweep, got {value}: experiments.run has it")


def keys_of(seed: jax.Array) -> Keys:
    """The keys of a trial, as a run of its own has them."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def pad(model: Autoencoder, params: Params, bottleneck: int) -> Params:
    """Parameters whose embedding has `bottleneck` coordinates, of which the new ones stay 0 in all of training."""
    last = model.n_layers - 1
    encoder, decoder = params[f"encoder_{last}"], params.get(f"decoder_{last}")
    width = bottleneck - model.dims[-1]
    # On the host where the arrays are: nothing is compiled for it.
    fill = np.pad if isinstance(encoder["bias"], np.ndarray) else jnp.pad
    # A weight that is 0 on both sides of a coordinate has no gradient. The sigmoid of 0 is not 0, that of −inf is.
    bias = -jnp.inf if model.embedding_activation == "sigmoid" else 0.0
    padded = {
        f"encoder_{last}": {
            "kernel": fill(encoder["kernel"], ((0, 0), (0, width))),
            "bias": fill(encoder["bias"], (0, width), constant_values=bias),
        }
    }
    if decoder is not None:
        padded[f"decoder_{last}"] = decoder | {"kernel": fill(decoder["kernel"], ((0, width), (0, 0)))}
    return params | padded


def trim(params: Params, n_layers: int, bottleneck: int) -> Params:
    """The parameters of a network of `n_layers` with its own `bottleneck`: undoes `pad`."""
    last = n_layers - 1
    encoder, decoder = params[f"encoder_{last}"], params.get(f"decoder_{last}")
    trimmed = {f"encoder_{last}": {"kernel": encoder["kernel"][:, :bottleneck], "bias": encoder["bias"][:bottleneck]}}
    if decoder is not None:
        trimmed[f"decoder_{last}"] = decoder | {"kernel": decoder["kernel"][:bottleneck]}
    return params | trimmed


def initial_params(settings: Settings, n_features: int, sizes: tuple[int, ...], trial: Pretraining) -> Params:
    """Initial parameters of the trial's own size, padded to the largest of `sizes`."""

    def of_size(bottleneck: int) -> Params:
        model = plan.network(replace(settings, bottleneck=bottleneck), n_features)
        return pad(model, autoencoder.init(keys_of(trial.seed).params, model, n_features), max(sizes))

    return jax.lax.switch(trial.size, [lambda size=size: of_size(size) for size in sizes])


def stage_of(settings: Settings, model: Autoencoder, index: int, trial: Pretraining) -> Stage:
    """A stage of the pretraining with the trial's own optimiser."""
    stage = plan.stages(settings, model)[index]
    rate, schedule = trial.learning_rate, settings.learning_rate_schedule
    # `__wrapped__` is the function behind the cache, which knows no traced values.
    if settings.optimizer == "sgd" and schedule == "step":
        make = pretraining.paper_optimizer.__wrapped__
        optimizer = make(rate, trial.momentum, settings.decay_every, settings.bias_factor)
    else:
        make = plan.optimizer.__wrapped__
        optimizer = make(settings.optimizer, rate, schedule, stage.n_steps, trial.momentum, settings.decay_every)
    return replace(stage, optimizer=optimizer)


def pretrain_window(
    settings: Settings,
    model: Autoencoder,
    index: int,
    n_steps: int,
    batch_size: int,
    trial: Pretraining,
    state: tuple[Params, optax.OptState, jax.Array],
    x: Samples,
) -> tuple[tuple[Params, optax.OptState, jax.Array], jax.Array]:
    """`n_steps` steps of stage `index`: the state after (parameters, optimiser's state, step) and the mean loss."""
    params, opt_state, step = state
    stage = stage_of(settings, model, index, trial)
    inputs = pretraining.layer_input(model, params, x, stage.layer) if stage.layer else x
    key = jax.random.fold_in(keys_of(trial.seed).pretraining, index)
    params, opt_state, loss = pretraining.run_steps.__wrapped__(
        key, params, opt_state, step, inputs, n_steps, stage=stage, batch_size=batch_size, longest=n_steps
    )
    return (params, opt_state, step + n_steps), loss


def clustering_optimizer(settings: Settings, trial: Hyperparameters) -> optax.GradientTransformation:
    """The trial's own optimiser; without back-propagation it leaves the encoder as it is."""
    if settings.cluster_optimizer == "adam":
        moving = plan.optimizer.__wrapped__("adam", trial.cluster_learning_rate)
    else:
        moving = optax.sgd(trial.cluster_learning_rate, trial.cluster_momentum)
    if settings.train_encoder:
        return moving
    labels = {"params": "fixed", "centroids": "moving"}
    return optax.multi_transform({"moving": moving, "fixed": optax.set_to_zero()}, labels)


def assignment_of(settings: Settings, trial: Hyperparameters) -> Assignment:
    """The trial's soft assignment: of the settings' clusters only its own take part."""
    return Assignment(
        trial.alpha,
        active=jnp.arange(settings.n_clusters) < trial.n_clusters,
        kernel=KERNELS[settings.kernel],
        target=Partial(log_target_distribution, power=trial.target_power, balance=trial.target_balance),
    )


def start_clustering(
    settings: Settings, model: Autoencoder, trial: Hyperparameters, params: Params, x: Samples
) -> ClusteringState:
    """The state before the first update: k-means on the embedding, P and labels."""
    k, m = settings.n_clusters, settings.bottleneck
    z = clustering.embed(model, autoencoder.encoder_params(params), x)
    centroids = kmeans(
        keys_of(trial.seed).kmeans,
        z,
        k,
        n_restarts=settings.kmeans_restarts,
        # Relative to the mean variance of the coordinates that take part.
        tolerance=KMEANS_TOLERANCE * m / trial.bottleneck.astype(jnp.float32),
        n_active=trial.n_clusters,
    ).centroids
    return clustering.start(
        model,
        params,
        centroids,
        x,
        optimizer=clustering_optimizer(settings, trial),
        objective=plan.objective(settings),
        assignment=assignment_of(settings, trial),
    )


def cluster_interval(
    settings: Settings,
    model: Autoencoder,
    longest: int,
    batch_size: int,
    n_steps: jax.Array,
    x: Samples,
    trial: Hyperparameters,
    state: ClusteringState,
) -> tuple[ClusteringState, ClusteringInfo]:
    """`n_steps` updates, at most `longest`, and the refresh of P."""
    return clustering.interval(
        keys_of(trial.seed).clustering,
        state,
        x,
        n_steps,
        model=model,
        optimizer=clustering_optimizer(settings, trial),
        objective=plan.objective(settings, trial._asdict()),
        assignment=assignment_of(settings, trial),
        augmentation=plan.clustering_augmentation(settings, x.shape[1]),
        batch_size=batch_size,
        longest=longest,
    )


def evaluate(
    settings: Settings, model: Autoencoder, trial: Hyperparameters, state: ClusteringState, x: Samples
) -> tuple[jax.Array, jax.Array]:
    """Embedding z (n, m) and log soft assignment (n, k) of x; inactive ones are 0 and −inf."""
    z = clustering.embed(model, state.params, x)
    return z, assignment_of(settings, trial).log_q(z, state.centroids)
