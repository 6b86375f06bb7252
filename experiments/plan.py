"""What settings mean in the library's terms: the network, the pretraining's stages, the optimisers."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from dec_jax import clustering, corruption, n2d, objectives, partition, pretraining
from dec_jax.assignment import Assignment
from dec_jax.augmentation import Affine, Chain, Noise, image_shape_of
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import Renewal
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.corruption import Corruption
from dec_jax.data import UNLABELLED_NAMES, Dataset, default_rule
from dec_jax.losses import KERNELS, RECONSTRUCTION_LOSSES, log_target_distribution
from dec_jax.objectives import Objective, StepInputs
from dec_jax.pretraining import Stage
from dec_jax.resets import ReseedEmpty, SoftResets
from dec_jax.validation import check_choice, check_integer
from experiments.settings import Settings

WEIGHTS = ("gamma", "distance_weight", "size_balance")  # settings that are weights of an objective's terms
AFFINE = ("rotation", "shift", "scale", "shear", "flip", "crop")


def resolve(settings: Settings, data: Dataset) -> Settings:
    """The settings with everything that depends on the data filled in.

    Raises:
        ImportError: a setting needs an extra that is missing.
        TypeError, ValueError: a setting is missing or does not fit the data.
    """
    n = data.x.shape[0]
    if settings.n_clusters is None:
        raise ValueError("n_clusters is missing: a file does not say how many clusters to look for (--n-clusters K)")
    check_integer("n_clusters", settings.n_clusters, 2, n, why="the number of samples")
    batch_size = min(settings.batch_size, n)
    resolved = replace(
        settings,
        batch_size=batch_size,
        update_interval=settings.update_interval or clustering.default_update_interval(n, batch_size),
        scaling=default_rule(data) if settings.scaling == "auto" else settings.scaling,
    )
    if settings.unlabelled:
        check_choice("data set with unlabelled samples", settings.data, UNLABELLED_NAMES)
    _check_steps(resolved, ("layer_wise_steps", "fine_tuning_steps", "max_steps"))
    _check_cross_entropy(resolved)
    network(resolved, data.x.shape[1])
    augmentation(resolved, data.x.shape[1])
    _check_objective(resolved, data.x.shape[1])
    _check_resets(resolved, n)
    return _resolve_start(resolved, n)


def _check_steps(settings: Settings, names: Iterable[str]) -> None:
    """The place of a batch in the stream of samples is counted in int32."""
    for name in names:
        limit = 2**31 // settings.batch_size - 1
        check_integer(name, getattr(settings, name), 0, limit, why=f"2³¹ samples in batches of {settings.batch_size}")


def _check_cross_entropy(settings: Settings) -> None:
    """Cross-entropy compares numbers in [0, 1], in the hidden layers too where these are trained one by one."""
    if not settings.loss.startswith("bce"):
        return
    needed = {"scaling": "unit", "reconstruction_activation": "sigmoid" if settings.loss == "bce" else "linear"}
    if settings.layer_wise_steps and settings.hidden:
        needed |= {"loss": "bce", "activation": "sigmoid"}
    for name, value in needed.items():
        if getattr(settings, name) != value:
            layers = " in layer-wise pretraining" if name in ("loss", "activation") else ""
            raise ValueError(f"loss={settings.loss} needs {name}={value}{layers}, got {getattr(settings, name)}")


def _check_objective(settings: Settings, n_features: int) -> None:
    """Lets the objective see the shapes of a step, before any training."""
    chosen = objective(settings)
    if chosen.needs("reconstruction") and not settings.train_encoder:
        raise ValueError(f"objective={settings.objective} reads the reconstruction and needs train_encoder=true")
    b, k, m = settings.batch_size, settings.n_clusters, settings.bottleneck
    shapes = {
        "x": (b, n_features),
        "network_input": (b, n_features),
        "z": (b, m),
        "centroids": (k, m),
        "log_q": (b, k),
        "p": (b, k),
    }
    arrays = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    arrays["reconstruction"] = arrays["x"] if chosen.needs("reconstruction") else None

    def step(arrays: dict[str, jax.Array]) -> jax.Array:
        inputs = StepInputs(**arrays, key=jax.random.key(0))
        return chosen(inputs, chosen.init(inputs.centroids))[0]

    try:
        jax.eval_shape(step, arrays)
    except Exception as error:  # whatever a function of the user's own raises
        raise ValueError(f"objective {settings.objective} cannot be computed: {error}") from error


def _check_resets(settings: Settings, n_samples: int) -> None:
    if not settings.resets:
        return
    if not settings.train_encoder:
        raise ValueError(f"resets={settings.resets} pull the encoder and need train_encoder=true")
    last = settings.resets * _steps_between_resets(settings, n_samples)
    if last >= settings.max_steps:
        raise ValueError(
            f"max_steps must be more than {last}, the step of the last of {settings.resets} resets, "
            f"got {settings.max_steps}"
        )


def _resolve_start(settings: Settings, n_samples: int) -> Settings:
    if settings.start == "kmeans":
        return settings
    why = f"with start={settings.start} one less than the number of samples"
    check_integer("n_clusters", settings.n_clusters, 2, n_samples - 1, why=why)
    n2d.import_umap()
    if settings.start_steps is None:
        settings = replace(settings, start_steps=partition.default_steps(n_samples, settings.batch_size))
    _check_steps(settings, ("start_steps",))
    return settings


def network(settings: Settings, n_features: int) -> Autoencoder | ConvolutionalAutoencoder:
    """The autoencoder for samples of `n_features`.

    Raises:
        ValueError: it is a convolutional one, and the samples are no images.
    """
    shared = {
        "activation": settings.activation,
        "embedding_activation": settings.embedding_activation,
        "reconstruction_activation": settings.reconstruction_activation,
        "kernel_init": settings.weight_init,
    }
    if settings.network == "convolutional":
        shape = _image_shape("network=convolutional", n_features)
        return ConvolutionalAutoencoder(shape, bottleneck=settings.bottleneck, **shared)
    return Autoencoder((n_features, *settings.hidden, settings.bottleneck), **shared)


def stages(settings: Settings, model: Autoencoder | ConvolutionalAutoencoder) -> list[Stage]:
    """The stages of the pretraining."""
    loss = RECONSTRUCTION_LOSSES[settings.loss]
    result = []
    if settings.layer_wise_steps:
        result += pretraining.layer_wise_stages(
            model,
            n_steps=settings.layer_wise_steps,
            optimizer=pretraining_optimizer(settings, settings.layer_wise_steps),
            loss=loss,
            dropout=settings.dropout,
            input_dropout=settings.input_dropout,
        )
    if settings.fine_tuning_steps:
        stage = pretraining.fine_tuning_stage(
            model,
            n_steps=settings.fine_tuning_steps,
            optimizer=pretraining_optimizer(settings, settings.fine_tuning_steps),
            loss=loss,
            corruption=_noise(settings),
            augmentation=augmentation(settings, model.dims[0]),
        )
        result.append(stage)
    return result


def pretraining_optimizer(settings: Settings, n_steps: int) -> optax.GradientTransformation:
    """The optimiser of one pretraining stage of `n_steps`."""
    rate, schedule = settings.learning_rate, settings.learning_rate_schedule
    if settings.optimizer == "sgd" and schedule == "step":
        return pretraining.paper_optimizer(rate, settings.momentum, settings.decay_every, settings.bias_factor)
    return optimizer(settings.optimizer, rate, schedule, n_steps, settings.momentum, settings.decay_every)


def clustering_optimizer(settings: Settings) -> optax.GradientTransformation:
    """The optimiser of the clustering phase."""
    if settings.cluster_optimizer == "adam":
        return optimizer("adam", settings.cluster_learning_rate)
    return clustering.paper_optimizer(settings.cluster_learning_rate, settings.cluster_momentum)


def objective(settings: Settings, weights: Mapping[str, float | jax.Array] | None = None) -> Objective:
    """What the clustering phase minimises.

    Args:
        settings: of the run.
        weights: what takes the place of the settings `WEIGHTS`.

    Raises:
        ValueError: `settings.objective` names a module or a function that cannot be imported.
        TypeError: the function is no objective.
    """
    gamma, distance_weight, size_balance = ((weights or vars(settings))[name] for name in WEIGHTS)
    if settings.objective == "idec":
        chosen = objectives.idec(gamma)
    elif settings.objective == "dcn":
        chosen = objectives.dcn(distance_weight)
    elif settings.objective == "dkm":
        chosen = objectives.dkm(distance_weight)
    elif settings.objective == "dec":
        chosen = objectives.dec()
    else:
        chosen = _imported(settings.objective, dict(settings.objective_parameters))
    # The term is there or not; how much it weighs may be traced.
    return chosen + size_balance * objectives.size_balance() if settings.size_balance else chosen


def _imported(path: str, parameters: Mapping[str, float]) -> Objective:
    """The objective at "package.module:function": a function of `StepInputs`, or one that makes an `Objective`."""
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"objective {path!r} cannot be imported: {error}") from error
    if isinstance(found, Objective) and not parameters:
        return found
    if inspect.isfunction(found) and _can_be_called(found, parameters):
        return objectives.as_objective(found(**parameters))
    return objectives.objective(found, **parameters)


def _can_be_called(function: Callable[..., Any], parameters: Mapping[str, float]) -> bool:
    """Whether the parameters are all that a function needs."""
    try:
        inspect.signature(function).bind(**parameters)
    except TypeError:
        return False
    return True


def assignment(settings: Settings) -> Assignment:
    """The soft assignment and its target distribution."""
    target = Partial(log_target_distribution, power=settings.target_power, balance=settings.target_balance)
    return Assignment(settings.alpha, kernel=KERNELS[settings.kernel], target=target)


def renewals(settings: Settings, n_samples: int) -> list[Renewal]:
    """What changes the state of the clustering phase between two intervals."""
    found: list[Renewal] = []
    if settings.resets:
        found.append(SoftResets(_steps_between_resets(settings, n_samples), settings.resets, settings.reset_keep))
    return [*found, ReseedEmpty()] if settings.reseed_empty else found


def _steps_between_resets(settings: Settings, n_samples: int) -> int:
    return max(1, round(settings.reset_every * n_samples / settings.batch_size))


def augmentation(settings: Settings, n_features: int) -> Corruption | None:
    """What happens to the samples that the network sees in fine-tuning, and in clustering where the encoder moves.

    Raises:
        ValueError: images are to be moved, and the samples are none.
    """
    ranges = {name: getattr(settings, f"augment_{name}") for name in AFFINE}
    corruptions: list[Corruption] = []
    if any(ranges.values()):
        # Scaling by a factor leaves the background of an image at 0.
        fill = None if settings.scaling == "standardize" else 0.0
        moved = ", ".join(f"augment_{name}" for name, value in ranges.items() if value)
        corruptions.append(Affine(_image_shape(moved, n_features), **ranges, fill=fill))
    if settings.augment_noise or settings.augment_dropout:
        corruptions.append(Noise(settings.augment_noise, settings.augment_dropout))
    return Chain(tuple(corruptions)) if corruptions else None


def _image_shape(needed_by: str, n_features: int) -> tuple[int, ...]:
    try:
        return image_shape_of(n_features)
    except ValueError as error:
        raise ValueError(f"{needed_by} needs images: {error}") from None


def clustering_augmentation(settings: Settings, n_features: int) -> Corruption | None:
    """`augmentation`, but none where the encoder is fixed: what is clustered then is its embedding."""
    return augmentation(settings, n_features) if settings.train_encoder else None


@cache  # the same arguments give the same object, for which nothing is compiled a second time
def optimizer(
    name: str,
    rate: float | jax.Array,
    schedule: str = "constant",
    n_steps: int = 1,
    momentum: float | jax.Array = 0.0,
    decay_every: int = 1,
) -> optax.GradientTransformation:
    """One of `settings.OPTIMIZERS` with one of `settings.SCHEDULES`."""
    rates = {
        "constant": optax.constant_schedule(rate),
        "step": optax.exponential_decay(rate, decay_every, 0.1, staircase=True),
        "cosine": optax.cosine_decay_schedule(rate, n_steps),
    }[schedule]
    return optax.adam(rates) if name == "adam" else optax.sgd(rates, momentum)


def _noise(settings: Settings) -> Corruption | None:
    if settings.noise == 0:
        return None
    # Only samples that were scaled to [0, 1] have bounds to clip to.
    low, high = (0.0, 1.0) if settings.scaling == "unit" else (None, None)
    return partial(corruption.gaussian_noise, standard_deviation=settings.noise, minimum=low, maximum=high)
