"""What a configuration means in the library's terms: the network, the pretraining's stages, the clustering's recipe."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache, partial
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.tree_util import Partial

from dec_jax import clustering, corruption, graph, n2d, networks, objectives, pretraining, scan, starts
from dec_jax.assignment import Assignment
from dec_jax.augmentation import Affine, Chain, Noise, check_image_shape
from dec_jax.autoencoder import RANGES, Autoencoder, is_reached
from dec_jax.clustering import Recipe
from dec_jax.convolutional import ConvolutionalAutoencoder, ConvolutionalEncoder
from dec_jax.corruption import Corruption
from dec_jax.data import UNLABELLED_NAMES, Dataset, apply_scaling, default_rule, fit_scaling
from dec_jax.data.scaling import COSINE_RULES
from dec_jax.losses import KERNELS, RECONSTRUCTION_LOSSES, log_target_distribution
from dec_jax.networks import FromNnx
from dec_jax.objectives import Objective, StepInputs, View
from dec_jax.optimizers import Optimizer
from dec_jax.pretraining import Stage
from dec_jax.resets import ReseedEmpty, SoftReset
from dec_jax.runner.config import GRAPH_STARTS, PARAMETER, ClusteringConfig, Config, PretrainingConfig
from dec_jax.validation import check_choice, check_integer

ImageShape = tuple[int, ...] | None
# What is chosen by what the data are; on digits, optdigits, mnist-test and newsgroups.
RESEEDED_INTERVALS = 20  # in which a cluster that loses its samples gets others, where nobody says more
GIVEN = ("n_features", "image_shape", "bottleneck")  # what a network of the user's own may be made of
OF_VIEWS = ("scan", "imsat")  # objectives that compare views of samples; the target is only watched
SQUARED_LOSSES = ("mse", "half_mse", "half_squared")  # alike but for a factor


def resolve(config: Config, data: Dataset) -> Config:
    """The configuration with everything that depends on the data filled in.

    Raises:
        ImportError: a setting needs an extra that is missing.
        TypeError, ValueError: a setting is missing or does not fit the data.
    """
    (n, n_features), k = data.x.shape, config.clustering.n_clusters
    if k is None:
        raise ValueError("n_clusters is missing: a file does not say how many clusters to look for (--n-clusters K)")
    check_integer("n_clusters", k, 1, n, why="the number of samples")
    if config.data.unlabelled:
        check_choice("data set with unlabelled samples", config.data.name, UNLABELLED_NAMES)
    config = config.with_values(_values_of_data(config, data))
    _check_steps(config)
    _check_start(config, n)
    _check_range(config, data)
    _check_cross_entropy(config)
    _check_network(config, network(config, n_features, data.image_shape), n_features)
    augmentation(config, data.image_shape)
    _check_objective(config, n_features)
    _check_resets(config, n)
    return config


def _values_of_data(config: Config, data: Dataset) -> dict[str, Any]:
    """What the data say where the configuration leaves it open."""
    n, one = data.x.shape[0], config.clustering
    size = min(one.batch_size, n)
    scaling = default_rule(data).rule if config.data.scaling == "auto" else config.data.scaling
    values = _start_of_data(config, data, scaling) | {
        "data.scaling": scaling,
        "network.kind": _network_of_data(config, data),
        "pretraining.batch_size": min(config.pretraining.batch_size, n),
        "clustering.batch_size": size,
        "clustering.update_interval": one.update_interval or clustering.default_update_interval(n, size),
    }
    if one.objective == "scan":
        values["clustering.neighbors"] = min(one.neighbors, max(n - 1, 1))
    if values["start.kind"] != "kmeans" and config.start.steps is None:
        values["start.steps"] = starts.default_steps(n, size)
    if one.max_steps is None:
        values["clustering.max_steps"] = scan.default_steps(n, size) if data.image_shape else 0
    if one.update_interval is None and one.objective in OF_VIEWS:
        steps = values.get("clustering.max_steps", one.max_steps)
        values["clustering.update_interval"] = scan.update_interval(steps)
    if one.kernel == "logits":  # an output for each cluster
        values["network.bottleneck"] = one.n_clusters
    if config.augmentation.auto and data.image_shape and not any(_ranges(config).values()):
        values |= {f"augmentation.{name}": value for name, value in scan.ranges(data.image_shape).items()}
    return values


def _start_of_data(config: Config, data: Dataset, scaling: str) -> dict[str, Any]:
    """The start, and the neighbours of its graph: the spectral one for directions, whose classes are seldom equal."""
    kind = config.start.kind
    if kind == "auto":
        kind = "spectral" if scaling in COSINE_RULES and not data.image_shape else "leiden"
    if kind not in GRAPH_STARTS:
        return {"start.kind": kind}
    neighbors = config.start.neighbors or (graph.DIRECTIONS if kind == "spectral" else max(graph.SIGHTS))
    return {"start.kind": kind, "start.neighbors": min(neighbors, data.x.shape[0])}


def _network_of_data(config: Config, data: Dataset) -> str:
    """The kind of network: convolutions would leave little of the sides of small images."""
    if config.network.kind != "auto":
        return config.network.kind
    return "encoder" if data.image_shape and not scan.is_small(data.image_shape) else "dense"


def _check_start(config: Config, n: int) -> None:
    """Checks the start, and what has to be installed for it."""
    kind, one = config.start.kind, config.pretraining
    if one.layer_wise_steps + one.fine_tuning_steps == 0 and kind not in GRAPH_STARTS:
        raise ValueError(
            "layer_wise_steps and fine_tuning_steps must not both be 0, unless clustering starts from a partition of "
            f"the samples (start.kind: {', '.join(GRAPH_STARTS)})"
        )
    if config.clustering.objective == "scan":
        check_integer("clustering.neighbors", config.clustering.neighbors, 1, n - 1, why="the other samples")
    if kind == "n2d":
        why = "with start.kind=n2d one less than the samples"
        check_integer("n_clusters", config.clustering.n_clusters, 2, n - 1, why=why)
        n2d.import_umap()


def _check_steps(config: Config) -> None:
    """The place of a batch in the stream of samples is counted in int32."""
    values = config.flat()
    for name in (
        "pretraining.layer_wise_steps",
        "pretraining.fine_tuning_steps",
        "start.steps",
        "clustering.max_steps",
    ):
        size = values["pretraining.batch_size" if name.startswith("pretraining") else "clustering.batch_size"]
        check_integer(name, values[name] or 0, 0, 2**31 // size - 1, why=f"2³¹ samples in batches of {size}")


def _check_cross_entropy(config: Config) -> None:
    """Cross-entropy compares probabilities, in the hidden layers too where these are trained one by one."""
    loss, values = config.pretraining.loss, config.flat()
    if not loss.startswith("bce"):
        return
    last = "sigmoid" if loss == "bce" else "linear"
    needed = [("network.reconstruction_activation", last, "")]
    if config.pretraining.layer_wise_steps and config.network.hidden:
        layers = " in layer-wise pretraining"
        needed += [("pretraining.loss", "bce", layers), ("network.activation", "sigmoid", layers)]
    for name, value, where in needed:
        if values[name] != value:
            raise ValueError(f"pretraining.loss={loss} needs {name}={value}{where}, got {values[name]}")


def _check_range(config: Config, data: Dataset) -> None:
    """The reconstruction has to reach the scaled samples; cross-entropy takes those in [0, 1] alone."""
    one, loss, rule = config.network, config.pretraining.loss, config.data.scaling
    is_cross_entropy = loss.startswith("bce")
    activation = "sigmoid" if is_cross_entropy else one.reconstruction_activation
    nothing_decoded = config.pretraining.layer_wise_steps + config.pretraining.fine_tuning_steps == 0
    has_activation = is_cross_entropy or one.kind in ("dense", "convolutional")
    if activation == "linear" or nothing_decoded or not has_activation or rule == "unit":
        return
    x = apply_scaling(fit_scaling(rule, data.x), data.x)
    low, high = float(x.min()), float(x.max())
    if not is_reached(activation, low, high):
        what = f"pretraining.loss={loss}" if is_cross_entropy else f"network.reconstruction_activation={activation}"
        least, most = RANGES[activation]
        raise ValueError(
            f"{what} needs samples between {least:g} and {most:g}, and data.scaling={rule} makes them lie between "
            f"{low:.4g} and {high:.4g}; with data.scaling=unit they lie between 0 and 1"
        )


def _check_network(config: Config, model: Any, n_features: int) -> None:
    """Lets a network of the user's own see the shape of a batch."""
    kind, steps = config.network.kind, config.pretraining.layer_wise_steps
    if ":" not in kind:
        return
    if steps and not (hasattr(model, "encode_layer") and hasattr(model, "decode_layer")):
        raise ValueError(f"layer_wise_steps must be 0, as network.kind={kind} has no layer pairs, got {steps}")

    def both(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = networks.init(key, model, n_features)
        z = networks.encode(model, params, jnp.zeros((2, n_features)))
        return z, networks.decode(model, params, z)

    try:
        z, x = jax.eval_shape(both, jax.random.key(0))
    except Exception as error:  # whatever a module of the user's own raises
        raise ValueError(f"network.kind={kind} cannot be computed: {error}") from error
    expected = (2, config.network.bottleneck), (2, n_features)
    if (z.shape, x.shape) != expected:
        raise ValueError(f"network.kind={kind} must encode and decode to {expected}, got {z.shape} and {x.shape}")


def _check_objective(config: Config, n_features: int) -> None:
    """Lets the objective see the shapes of a step."""
    chosen, name = objective(config), config.clustering.objective
    if chosen.reads("reconstruction") and not config.clustering.train_encoder:
        raise ValueError(f"objective={name} reads the reconstruction and needs train_encoder=true")
    b, k, m = config.clustering.batch_size, config.clustering.n_clusters, config.network.bottleneck
    shapes = {"x": (b, n_features), "network_input": (b, n_features), "z": (b, m), "centroids": (k, m)}
    shapes |= {"log_q": (b, k), "p": (b, k)}
    arrays = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in shapes.items()}
    arrays["reconstruction"] = arrays["x"] if chosen.reads("reconstruction") else None
    for what in ("view", "clean", "neighbor"):
        if chosen.reads(what):
            arrays[what] = View(arrays["x"], arrays["z"], arrays["log_q"])
    for what in ("pairs", "label"):
        if chosen.reads(what):
            raise ValueError(f"objective={name} reads {what}, which a run cannot give; see dec_jax.side")

    def step(arrays: dict[str, jax.Array]) -> jax.Array:
        inputs = StepInputs(**arrays, key=jax.random.key(0))
        return chosen(inputs, chosen.init(inputs.centroids))[0]

    try:
        jax.eval_shape(step, arrays)
    except Exception as error:  # whatever a function of the user's own raises
        raise ValueError(f"objective {name} cannot be computed: {error}") from error


def _check_resets(config: Config, n_samples: int) -> None:
    resets, max_steps = config.clustering.resets, config.clustering.max_steps
    if resets and not config.clustering.train_encoder:
        raise ValueError(f"resets={resets} pull the encoder and need train_encoder=true")
    last = resets * _steps_between_resets(config, n_samples)
    if resets and last >= max_steps:
        raise ValueError(
            f"max_steps must be more than {last}, the step of the last of {resets} resets, got {max_steps}"
        )


def _steps_between_resets(config: Config, n_samples: int) -> int:
    return max(1, round(config.clustering.reset_every * n_samples / config.clustering.batch_size))


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
    ranges = _ranges(config)
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


def _ranges(config: Config) -> dict[str, float]:
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
    soft = (SoftReset(_steps_between_resets(config, n_samples), one.resets, one.reset_keep),) if one.resets else ()
    if one.reseed_empty is False or one.kernel == "logits":  # which has no centroids
        return soft
    return (*soft, ReseedEmpty() if one.reseed_empty else ReseedEmpty(RESEEDED_INTERVALS))


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
    if one.objective in OF_VIEWS:
        weights["weight"] = one.balance
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
