"""Every setting of a run as one value, read from KEY=VALUE words and checked before any work starts."""

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, get_args

from dec_jax.autoencoder import ACTIVATIONS, INITIALIZERS
from dec_jax.data import RULES
from dec_jax.losses import KERNELS, RECONSTRUCTION_LOSSES
from dec_jax.validation import check_choice, check_integer, check_number

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "step", "cosine")
OBJECTIVES = ("dec", "idec", "dcn", "dkm")
NETWORKS = ("dense", "convolutional")
STARTS = ("kmeans", "n2d")


@dataclass(frozen=True)
class Settings:
    """Settings of one run. The defaults are the DEC paper's; see `HELP` for what each one means."""

    data: str = "digits"
    labels: str | None = None
    n_clusters: int | None = None
    preset: str = "paper"
    seed: int = 0
    scaling: str = "auto"

    network: str = "dense"
    hidden: tuple[int, ...] = (500, 500, 2000)
    bottleneck: int = 10
    activation: str = "relu"
    embedding_activation: str = "linear"
    reconstruction_activation: str = "linear"
    weight_init: str = "normal"

    loss: str = "half_mse"
    batch_size: int = 256
    unlabelled: bool = False
    layer_wise_steps: int = 50_000
    dropout: float = 0.2
    input_dropout: float | None = None
    fine_tuning_steps: int = 100_000
    noise: float = 0.0
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    learning_rate_schedule: str = "step"
    decay_every: int = 20_000
    momentum: float = 0.9
    bias_factor: float = 1.0

    kmeans_restarts: int = 20
    start: str = "kmeans"
    start_steps: int | None = None
    cluster_optimizer: str = "sgd"
    cluster_learning_rate: float = 0.01
    cluster_momentum: float = 0.9
    alpha: float = 1.0
    update_interval: int | None = None
    tolerance: float = 0.001
    max_steps: int = 100_000
    train_encoder: bool = True
    objective: str = "dec"
    gamma: float = 0.1
    distance_weight: float = 1.0
    size_balance: float = 0.0
    objective_parameters: tuple[tuple[str, float], ...] = ()
    kernel: str = "students_t"
    target_power: float = 2.0
    target_balance: float = 1.0
    resets: int = 0
    reset_every: int = 20
    reset_keep: float = 0.8
    reseed_empty: bool = False

    augment_rotation: float = 0.0
    augment_shift: float = 0.0
    augment_scale: float = 0.0
    augment_shear: float = 0.0
    augment_flip: float = 0.0
    augment_crop: float = 0.0
    augment_noise: float = 0.0
    augment_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            if getattr(self, name) is not None or name not in OPTIONAL:
                check(name, getattr(self, name))
        if ":" not in self.objective:
            check_choice("objective", self.objective, (*OBJECTIVES, "package.module:function"))
            if self.objective_parameters:
                raise ValueError(
                    f"{PARAMETER}{self.objective_parameters[0][0]} needs an objective package.module:function, "
                    f"got {self.objective}"
                )
        for i, size in enumerate(self.hidden):
            check_integer(f"hidden[{i}]", size, 1)
        if self.layer_wise_steps + self.fine_tuning_steps == 0:
            raise ValueError("layer_wise_steps and fine_tuning_steps must not both be 0: nothing would be trained")


PARAMETER = "objective."  # begins the keys of --set that an objective of the user's own is called with
AUGMENTATIONS = tuple(name.removeprefix("augment_") for name in Settings.__annotations__ if name.startswith("augment_"))
OPTIONAL = frozenset(field.name for field in fields(Settings) if field.default is None)

HELP = {
    "scaling": f"how features are scaled: auto, {', '.join(RULES)}",
    "network": f"{', '.join(NETWORKS)} (of square images; hidden does not count then)",
    "hidden": "sizes of the layers between input and embedding, e.g. 500,500,2000; none for no layer",
    "bottleneck": "dimensions of the embedding",
    "activation": f"of every layer but two: {', '.join(ACTIVATIONS)}",
    "embedding_activation": "of the embedding",
    "reconstruction_activation": "of the reconstruction",
    "weight_init": f"initial weights: {', '.join(INITIALIZERS)} (normal is N(0, 0.01²))",
    "loss": f"of the reconstruction: {', '.join(RECONSTRUCTION_LOSSES)}",
    "batch_size": "samples in a batch; n where there are fewer",
    "unlabelled": "true pretrains on the unlabelled samples too that come with a data set (stl10-hog)",
    "layer_wise_steps": "steps of denoising pretraining a layer; 0 leaves it out",
    "dropout": "rate in layer-wise pretraining",
    "input_dropout": "rate on the raw input; none for the same as dropout (the release has 0)",
    "fine_tuning_steps": "steps of training the whole autoencoder; 0 leaves it out",
    "noise": "standard deviation of Gaussian noise on the input of fine-tuning",
    "optimizer": f"of pretraining: {', '.join(OPTIMIZERS)}",
    "learning_rate": "of pretraining, at its first step",
    "learning_rate_schedule": f"of pretraining: {', '.join(SCHEDULES)}",
    "decay_every": "steps between two divisions by 10 in the schedule step",
    "momentum": "of sgd in pretraining",
    "bias_factor": "learning rate of biases relative to weights in the schedule step (the release has 2)",
    "kmeans_restarts": "restarts of k-means, the smallest inertia wins",
    "start": f"of clustering: {', '.join(STARTS)} (UMAP of the embedding and a Gaussian mixture; needs dec_jax[n2d])",
    "start_steps": "steps in which the network learns the partition of n2d; none for 2 epochs, at least 200 steps",
    "cluster_optimizer": f"of clustering: {', '.join(OPTIMIZERS)}",
    "cluster_learning_rate": "of clustering, constant",
    "cluster_momentum": "of sgd in clustering",
    "alpha": "degrees of freedom of the soft assignment",
    "update_interval": "steps between two target distributions; none for 0.585 epochs, at least 20 steps",
    "tolerance": "clustering stops when fewer than this fraction of samples change their cluster",
    "max_steps": "clustering stops here at the latest",
    "train_encoder": "false is DEC without back-propagation: only the centroids move",
    "gamma": "weight of KL(P‖Q) in the objective idec",
    "distance_weight": "weight λ of the distances in the objectives dcn and dkm",
    "size_balance": "weight of a term that keeps clusters of one size",
    "kernel": f"of the soft assignment: {', '.join(KERNELS)} (whose variance is alpha)",
    "target_power": "of q in the target distribution; more is sharper",
    "target_balance": "power of the clusters' sizes in the target distribution; more makes them more equal",
    "resets": "how often the encoder is pulled towards a fresh one and its embedding clustered anew",
    "reset_every": "epochs between two resets",
    "reset_keep": "of the encoder's weights in a reset, 0 to 1",
    "reseed_empty": "true gives an empty cluster a new centroid",
    "augment_rotation": "images are rotated by up to so many degrees",
    "augment_shift": "images are shifted by up to this fraction of their side",
    "augment_scale": "images grow or shrink by up to this fraction",
    "augment_shear": "rows of images move sideways by up to this fraction of their height",
    "augment_flip": "probability of a mirrored image",
    "augment_crop": "images are cropped by up to this fraction of their side",
    "augment_noise": "standard deviation of Gaussian noise on any data",
    "augment_dropout": "rate of features set to 0 in any data",
}

_rate = partial(check_number, minimum=0, maximum=0.999)
_positive = partial(check_number, minimum=0, exclusive=True)
_weight = partial(check_number, minimum=0)
_fraction = partial(check_number, minimum=0, maximum=1)
_count = partial(check_integer, minimum=0)
_size = partial(check_integer, minimum=1)

CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "n_clusters": partial(check_integer, minimum=2),
    "seed": partial(check_integer, minimum=0, maximum=2**32 - 1),
    "scaling": partial(check_choice, choices=("auto", *RULES)),
    "bottleneck": _size,
    "activation": partial(check_choice, choices=ACTIVATIONS),
    "embedding_activation": partial(check_choice, choices=ACTIVATIONS),
    "reconstruction_activation": partial(check_choice, choices=ACTIVATIONS),
    "weight_init": partial(check_choice, choices=INITIALIZERS),
    "loss": partial(check_choice, choices=RECONSTRUCTION_LOSSES),
    "batch_size": _size,
    "layer_wise_steps": _count,
    "dropout": _rate,
    "input_dropout": _rate,
    "fine_tuning_steps": _count,
    "noise": partial(check_number, minimum=0),
    "optimizer": partial(check_choice, choices=OPTIMIZERS),
    "learning_rate": _positive,
    "learning_rate_schedule": partial(check_choice, choices=SCHEDULES),
    "decay_every": _size,
    "momentum": _rate,
    "bias_factor": _positive,
    "kmeans_restarts": _size,
    "start": partial(check_choice, choices=STARTS),
    "start_steps": _count,
    "cluster_optimizer": partial(check_choice, choices=OPTIMIZERS),
    "cluster_learning_rate": _positive,
    "cluster_momentum": _rate,
    "alpha": _positive,
    "update_interval": _size,
    "tolerance": partial(check_number, minimum=0, maximum=1),
    "max_steps": _size,
    "gamma": _weight,
    "distance_weight": _weight,
    "size_balance": _weight,
    "network": partial(check_choice, choices=NETWORKS),
    "kernel": partial(check_choice, choices=KERNELS),
    "target_power": _positive,
    "target_balance": _weight,
    "resets": _count,
    "reset_every": _size,
    "reset_keep": partial(check_number, minimum=0, maximum=1),
    "augment_rotation": partial(check_number, minimum=0, maximum=180),
    "augment_shift": _fraction,
    "augment_scale": _weight,
    "augment_shear": _weight,
    "augment_flip": _fraction,
    "augment_crop": _fraction,
    "augment_noise": _weight,
    "augment_dropout": _rate,
}


def parse(words: Iterable[str]) -> dict[str, Any]:
    """Turns KEY=VALUE words into values of the settings' types.

    Raises:
        ValueError: a word has no "=", its key is unknown (names near matches) or its value has another type.
    """
    types_by_name = {field.name: field.type for field in fields(Settings) if field.name in HELP}
    values: dict[str, Any] = {}
    own: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, got {word!r}")
        if name == "objective_parameters":
            raise ValueError(f"{name} are given one by one, as --set {PARAMETER}NAME=VALUE")
        if name not in HELP and name in Settings.__dataclass_fields__:
            raise ValueError(f"{name} is no key of --set but an option of its own: --{name.replace('_', '-')}")
        if name.startswith(PARAMETER):
            own[name.removeprefix(PARAMETER)] = check_number(name, parse_value(name, text, float))
            continue
        check_choice("setting", name, types_by_name)
        values[name] = parse_value(name, text, types_by_name[name])
    return values | ({"objective_parameters": tuple(sorted(own.items()))} if own else {})


def parse_value(name: str, text: str, kind: Any) -> Any:
    """The value of a setting's type that `text` writes.

    Raises:
        ValueError: it writes none.
    """
    kinds = get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if text.lower() in ("none", "auto") and types.NoneType in kinds:
        return None
    kind = kinds[0]
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float):
            return kind(text)
        if kind is str:
            return text
        return () if text.lower() in ("", "none") else tuple(int(size) for size in text.split(","))
    except (KeyError, ValueError):
        accepted = {bool: "true or false", int: "an integer", float: "a number"}.get(kind, "integers like 500,500")
        raise ValueError(f"{name} must be {accepted}, got {text!r}") from None
