"""What a configuration means in the library's terms: the network, the pretraining's stages, the clustering's recipe."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache, partial
from importlib import import_module
from typing import Any

import jax
from flax import linen as nn
from jax.tree_util import Partial

from dec_jax import corruption, objectives, pretraining, scan
from dec_jax.assignment import Assignment
from dec_jax.augmentation import Affine, Chain, Noise
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import Recipe
from dec_jax.convolutional import ConvolutionalAutoencoder, ConvolutionalEncoder
from dec_jax.corruption import Corruption
from dec_jax.losses import KERNELS, RECONSTRUCTION_LOSSES, log_target_distribution
from dec_jax.networks import FromNnx
from dec_jax.objectives import Objective
from dec_jax.optimizers import Optimizer
from dec_jax.pretraining import Stage
from dec_jax.resets import ReseedEmpty, SoftReset
from dec_jax.runner.config import PARAMETER, ClusteringConfig, Config, PretrainingConfig
from dec_jax.validation import check_image_shape

ImageShape = tuple[int, ...] | None
RESEEDED_INTERVALS = 20  # in which a cluster that loses its samples gets others, where nobody says more
GIVEN = ("n_features", "image_shape", "bottleneck")  # what a network of the user's own may be made of
OF_VIEWS = ("scan", "imsat")  # objectives that compare views of samples; the target is only watched
SQUARED_LOSSES = ("mse", "half_mse", "half_squared")  # alike but for a factor


def network(config: Config, n_features: int, image_shape: ImageShape) -> Any:
    """The autoencoder for samples of `n_features`, a Flax module; equal settings make equal ones.

    A function of the user's own is called with those of `n_features`, `image_shape` and `bottleneck` that it names.
    What it returns has `encode` and `decode`; if it names `rngs` too, it makes a flax.nnx module.

    Raises:
        TypeError: the function takes other arguments, or makes something else.
        ValueError: the network is for images and the samples have no shape, or the function cannot be imported.
    """
    one = config.network
    if ":" in one.kind:
        function = _imported("network.kind", one.kind)
        if not (inspect.isroutine(function) or inspect.isclass(function) or isinstance(function, partial)):
            kind = type(function).__name__
            raise TypeError(f"network.kind={one.kind} must be a function of {', '.join(GIVEN)} or rngs, got {kind}")
        return _own_network(one.kind, function, n_features, image_shape, one.bottleneck)
    names = ("activation", "embedding_activation", "reconstruction_activation")
    shared = {name: getattr(one, name) for name in names} | {"kernel_init": one.weight_init}
    if one.kind == "encoder":
        shape = check_image_shape(_images("network.kind=encoder", image_shape), n_features)
        return ConvolutionalEncoder(shape, one.bottleneck)
    if one.kind == "convolutional":
        shape = check_image_shape(_images("network.kind=convolutional", image_shape), n_features)
        return ConvolutionalAutoencoder(shape, bottleneck=one.bottleneck, **shared)
    return Autoencoder((n_features, *one.hidden, one.bottleneck), **shared)


@cache  # the same arguments give the same module, for which nothing is compiled a second time
def _own_network(path: str, function: Any, n_features: int, image_shape: ImageShape, bottleneck: int) -> Any:
    given = dict(zip(GIVEN, (n_features, image_shape, bottleneck), strict=True))
    try:
        names = inspect.signature(function.__init__ if inspect.isclass(function) else function).parameters
        make = partial(function, **{name: value for name, value in given.items() if name in names})
        model = FromNnx(lambda rngs: make(rngs=rngs)) if "rngs" in names else make()
    except TypeError as error:
        raise TypeError(f"network.kind={path} must be a function of {', '.join(given)} or rngs: {error}") from error
    if not isinstance(model, nn.Module | FromNnx):
        raise TypeError(f"network.kind={path} must make a Flax module, got {type(model).__name__}")
    return model


def own_functions(config: Config) -> tuple[Any, ...]:
    """What the paths of a configuration name, package.module:function, as it is imported now."""
    paths = {"network.kind": config.network.kind, "clustering.objective": config.clustering.objective}
    return tuple(_imported(name, path) for name, path in paths.items() if ":" in path)


def _imported(name: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name} {path!r} cannot be imported: {error}") from error


def _images(needed_by: str, image_shape: ImageShape) -> tuple[int, ...]:
    if image_shape is None:
        raise ValueError(f"{needed_by} needs images, and the data do not say their shape (--image-shape H,W[,C])")
    return image_shape


def stages(config: Config, model: Any, image_shape: ImageShape) -> list[Stage]:
    """The stages of the pretraining."""
    one, loss = config.pretraining, RECONSTRUCTION_LOSSES[config.pretraining.loss]
    result = []
    if one.layer_wise_steps:
        result += pretraining.layer_wise_stages(
            model,
            n_steps=one.layer_wise_steps,
            optimizer=pretraining_optimizer(config, one.layer_wise_steps),
            loss=loss,
            dropout=one.dropout,
            input_dropout=one.input_dropout,
        )
    if one.fine_tuning_steps:
        stage = pretraining.fine_tuning_stage(
            model,
            n_steps=one.fine_tuning_steps,
            optimizer=pretraining_optimizer(config, one.fine_tuning_steps),
            loss=loss,
            corruption=_noise(config),
            augmentation=augmentation(config, image_shape),
        )
        result.append(stage)
    return result


def trains_decoder(config: Config) -> bool:
    """Whether anything trains the decoder."""
    one = config.pretraining
    return one.layer_wise_steps + one.fine_tuning_steps > 0 or objective(config).reads("reconstruction")


def pretraining_optimizer(config: Config, n_steps: int) -> Optimizer:
    """The optimiser of one pretraining stage of `n_steps`."""
    one = config.pretraining
    return _optimizer(one, n_steps, decay_every=one.decay_every, warmup=one.warmup, bias_factor=one.bias_factor)


def _optimizer(one: PretrainingConfig | ClusteringConfig, n_steps: int, **schedule: Any) -> Optimizer:
    """The optimiser of a phase; `schedule` holds further attributes of it."""
    return Optimizer(
        one.learning_rate, one.momentum, n_steps=n_steps, rule=one.optimizer, schedule=one.schedule, **schedule
    )


def _noise(config: Config) -> Corruption | None:
    if config.pretraining.noise == 0:
        return None
    # Only samples that were scaled to [0, 1] have bounds to clip to.
    low, high = (0.0, 1.0) if config.data.scaling == "unit" else (None, None)
    deviation = config.pretraining.noise
    return Partial(corruption.gaussian_noise, standard_deviation=deviation, minimum=low, maximum=high)


def augmentation(config: Config, image_shape: ImageShape) -> Corruption | None:
    """What happens to the samples that the network sees in fine-tuning, and in clustering where the encoder moves.

    Raises:
        ValueError: images are to be moved, and the samples have no shape.
    """
    ranges = ranges_of(config)
    noise, dropout = ranges.pop("noise"), ranges.pop("dropout")
    corruptions: list[Corruption] = []
    if any(ranges.values()):
        # Scaling by a factor leaves the background of an image at 0.
        fill = None if config.data.scaling == "standardize" else 0.0
        moved = ", ".join(f"augmentation.{name}" for name, value in ranges.items() if value)
        corruptions.append(Affine(_images(moved, image_shape), **ranges, fill=fill))
    if noise or dropout:
        corruptions.append(Noise(noise, dropout))
    return Chain(tuple(corruptions)) if corruptions else None


def ranges_of(config: Config) -> dict[str, float]:
    """How far samples are moved, by the names of `AugmentationConfig`."""
    return {name: value for name, value in asdict(config.augmentation).items() if name != "auto"}


def recipe(config: Config, model: Any, image_shape: ImageShape, n_samples: int) -> Recipe:
    """What is constant in the clustering phase. The numbers of `config` may be traced."""
    one = config.clustering
    return Recipe(
        model,
        objective(config),
        assignment(config),
        _optimizer(one, one.max_steps),
        # What is clustered where the encoder is fixed is its embedding.
        augmentation(config, image_shape) if one.train_encoder else None,
        resets(config, n_samples),
        one.batch_size,
        one.train_encoder,
    )


def learning_recipe(recipe: Recipe, config: Config) -> Recipe:
    """The recipe by which a partition is learnt: by that of SCAN, where views are compared, or by the objective."""
    learning = scan.learning(recipe)
    return learning if config.clustering.objective in OF_VIEWS else learning.replace(objective=recipe.objective)


def assignment(config: Config) -> Assignment:
    """The soft assignment and its target distribution."""
    one = config.clustering
    target = Partial(log_target_distribution, power=one.target_power, balance=one.target_balance)
    return Assignment(one.alpha, kernel=KERNELS[one.kernel], target=target)


def resets(config: Config, n_samples: int) -> tuple[Any, ...]:
    """What changes the state of the clustering phase between two intervals."""
    one = config.clustering
    soft = (SoftReset(steps_between_resets(config, n_samples), one.resets, one.reset_keep),) if one.resets else ()
    if one.reseed_empty is False or one.kernel == "logits":  # which has no centroids
        return soft
    return (*soft, ReseedEmpty() if one.reseed_empty else ReseedEmpty(RESEEDED_INTERVALS))


def steps_between_resets(config: Config, n_samples: int) -> int:
    """Steps that see the samples as often as `clustering.reset_every` says, at least 1."""
    return max(1, round(config.clustering.reset_every * n_samples / config.clustering.batch_size))


def objective(config: Config) -> Objective:
    """What the clustering phase minimises; its reconstruction is compared as in pretraining.

    Raises:
        ValueError: the objective cannot be imported, or has no such parameter.
        TypeError: it is not an objective.
    """
    one, parameters = config.clustering, dict(config.clustering.parameters)
    if ":" in one.objective:
        chosen = _own_objective(_imported("objective", one.objective), parameters)
    else:
        chosen = _named_objective(config, parameters)
    # The term is there or not; how much it weighs may be traced.
    there = isinstance(one.size_balance, jax.Array) or one.size_balance
    return chosen + one.size_balance * objectives.size_balance() if there else chosen


def _named_objective(config: Config, parameters: dict[str, Any]) -> Objective:
    one, make = config.clustering, getattr(objectives, config.clustering.objective)
    loss = config.pretraining.loss
    # Published weights of terms are relative to the mean squared error, whatever factor pretraining had.
    weights = {"gamma": one.gamma, "weight": one.distance_weight, "loss": "mse" if loss in SQUARED_LOSSES else loss}
    if one.objective == "scan":
        weights["weight"] = one.balance
    if one.objective == "imsat":  # whose weights are parameters of its own
        weights.pop("weight")
    names = inspect.signature(make).parameters
    own = [name for name in names if name not in weights]
    for name in parameters:
        if name not in own:
            accepted = ", ".join(own) or "none"
            raise ValueError(
                f"{PARAMETER}{name} is not a parameter of objective={one.objective} (accepted: {accepted})"
            )
    return make(**{name: value for name, value in weights.items() if name in names}, **parameters)


def _own_objective(found: Any, parameters: dict[str, Any]) -> Objective:
    """The objective itself, what a function makes with the parameters, or a function of `StepInputs` with them."""
    if isinstance(found, Objective) and not parameters:
        return found
    if inspect.isfunction(found) and _can_be_called(found, parameters):
        return objectives.as_objective(found(**parameters))
    return objectives.objective(found, **parameters)


def _can_be_called(function: Callable[..., Any], parameters: Iterable[str]) -> bool:
    """Whether the parameters are all that a function needs."""
    try:
        inspect.signature(function).bind(**dict.fromkeys(parameters))
    except TypeError:
        return False
    return True
