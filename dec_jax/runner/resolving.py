"""Fills in what a configuration leaves to the data, and checks that its settings fit them and each other."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import scipy.sparse

from dec_jax import clustering, graph, n2d, networks, representation, scan, starts
from dec_jax.autoencoder import RANGES, is_reached
from dec_jax.data import UNLABELLED_NAMES, Dataset, apply_scaling, default_rule, fit_scaling
from dec_jax.data.scaling import COSINE_RULES
from dec_jax.objectives import StepInputs, View
from dec_jax.runner import build
from dec_jax.runner.config import GRAPH_STARTS, Config
from dec_jax.validation import check_choice, check_integer

_FOUND: WeakKeyDictionary[Dataset, dict[str, str]] = WeakKeyDictionary()  # of the data, the same for all trials
LEARNT_ALONE = 3  # times as many steps, where no others follow that would put right what was not learnt


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
    _check_start(config, data)
    _check_range(config, data)
    _check_cross_entropy(config)
    _check_network(config, build.network(config, n_features, data.image_shape), n_features)
    _check_objective(config, n_features, augments=build.augmentation(config, data.image_shape) is not None)
    _check_resets(config, n)
    return config


def _values_of_data(config: Config, data: Dataset) -> dict[str, Any]:
    """What the data say where the configuration leaves it open."""
    n, one = data.x.shape[0], config.clustering
    size = min(one.batch_size, n)
    scaling = config.data.scaling
    if scaling == "auto":
        scaling = _once(data, "scaling", lambda: default_rule(data).rule)
    values = _start_of_data(config, data, scaling) | {
        "data.scaling": scaling,
        "network.kind": _network_of_data(config, data),
        "pretraining.batch_size": min(config.pretraining.batch_size, n),
        "clustering.batch_size": size,
        "clustering.update_interval": one.update_interval or clustering.default_update_interval(n, size),
    }
    if one.objective == "scan":
        values["clustering.neighbors"] = min(one.neighbors, max(n - 1, 1))
    steps = one.max_steps
    if steps is None:
        steps = values["clustering.max_steps"] = scan.default_steps(n, size) if data.image_shape else 0
    if values["start.kind"] != "kmeans" and config.start.steps is None:
        values["start.steps"] = starts.default_steps(n, size) * (1 if steps else LEARNT_ALONE)
    if config.start.features == "auto":
        values["start.features"] = _once(data, "features", lambda: representation.choose(data.x, data.image_shape))
    if not steps or values["start.kind"] != "leiden":
        values["start.candidates"] = 1  # nothing tells them apart
    if one.update_interval is None and one.objective in build.OF_VIEWS:
        values["clustering.update_interval"] = scan.update_interval(steps)
    if one.kernel == "logits":  # an output for each cluster
        values["network.bottleneck"] = one.n_clusters
    if config.augmentation.auto and data.image_shape and not any(build.ranges_of(config).values()):
        values |= {f"augmentation.{name}": value for name, value in scan.ranges(data.image_shape).items()}
    return values


def _start_of_data(config: Config, data: Dataset, scaling: str) -> dict[str, Any]:
    """The start, and the neighbours of its graph."""
    kind = config.start.kind if config.start.kind != "auto" else _kind_of_data(data, scaling)
    if kind not in GRAPH_STARTS:
        return {"start.kind": kind}
    neighbors = config.start.neighbors or (graph.DIRECTIONS if kind == "spectral" else max(graph.SIGHTS))
    return {"start.kind": kind, "start.neighbors": min(neighbors, data.x.shape[0])}


def _kind_of_data(data: Dataset, scaling: str) -> str:
    """The kind of start: spectral for directions, whose classes are seldom equal; mixture for a table."""
    if data.image_shape:
        return "leiden"
    if scaling in COSINE_RULES:
        return "spectral"
    return "leiden" if scipy.sparse.issparse(data.x) else "mixture"


def _once(data: Dataset, what: str, find: Callable[[], str]) -> str:
    """What is found out about the data, by reading all of them: when it is asked for first."""
    found = _FOUND.setdefault(data, {})
    if what not in found:
        found[what] = find()
    return found[what]


def _network_of_data(config: Config, data: Dataset) -> str:
    """The kind of network: convolutions would leave little of the sides of small images, and cannot decode."""
    if config.network.kind != "auto":
        return config.network.kind
    convolves = data.image_shape and not scan.is_small(data.image_shape) and not build.trains_decoder(config)
    return "encoder" if convolves else "dense"


def _check_start(config: Config, data: Dataset) -> None:
    """Checks the start, and what has to be installed for it."""
    n = data.x.shape[0]
    if config.start.features == "hog" and data.image_shape is None:
        raise ValueError("start.features=hog needs images, whose shape is known (--image-shape H,W)")
    if config.start.features == "roots" and not representation.has_roots(data.x):
        raise ValueError("start.features=roots needs sparse samples of numbers of at least 0")
    if config.start.kind == "mixture" and scipy.sparse.issparse(data.x):
        raise ValueError("start.kind=mixture needs dense samples")
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
    """Checks that a network decodes where it has to, and lets one of the user's own see the shape of a batch."""
    kind, steps = config.network.kind, config.pretraining.layer_wise_steps
    if kind == "encoder" and build.trains_decoder(config):
        raise ValueError(
            "network.kind=encoder does not decode: it needs layer_wise_steps=0, fine_tuning_steps=0 and an objective "
            f"that does not read the reconstruction, got objective={config.clustering.objective}"
        )
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


def _check_objective(config: Config, n_features: int, *, augments: bool) -> None:
    """Lets the objective see the shapes of a step."""
    chosen, name = build.objective(config), config.clustering.objective
    if chosen.reads("reconstruction") and not config.clustering.train_encoder:
        raise ValueError(f"objective={name} reads the reconstruction and needs train_encoder=true")
    for what in ("view", "clean"):
        if chosen.reads(what) and not augments:
            raise ValueError(
                f"objective={name} reads {what!r}, which needs an augmentation, and there is none (--augment)"
            )
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
    last = resets * build.steps_between_resets(config, n_samples)
    if resets and last >= max_steps:
        raise ValueError(
            f"max_steps must be more than {last}, the step of the last of {resets} resets, got {max_steps}"
        )
