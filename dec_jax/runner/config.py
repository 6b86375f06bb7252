"""The configuration of a run: one value per phase, whose fields are declared once and checked before any work starts.

A declaration `name: type = field(default, help, check, …)` is all there is to say of a setting. What reads, checks,
explains, traces or identifies settings goes by the declarations and holds no list of its own.
"""

import dataclasses
import os
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from operator import attrgetter
from typing import Any, get_args

import jax
import numpy as np

from dec_jax import representation, scan
from dec_jax.autoencoder import ACTIVATIONS, INITIALIZERS
from dec_jax.data import RULES
from dec_jax.identity import source_of
from dec_jax.losses import KERNELS, RECONSTRUCTION_LOSSES
from dec_jax.validation import check_choice, check_integer, check_number

OWN_FUNCTION = "package.module:function"
PARAMETER = "objective."  # begins the keys of --set that set a parameter of the objective
PHASES = ("pretraining", "clustering")
ONE_CLUSTER = "n_clusters must be at least 2, got 1: one cluster holds all samples, and nothing is learnt"
ALIASES = types.MappingProxyType({"lr": "clustering.learning_rate", "lambda": "clustering.update_interval"})
# Names from before settings had sections.
_RENAMED = {"learning_rate_schedule": "pretraining.schedule", "network": "network.kind", "start": "start.kind"}
_SECTION_OF_PREFIX = {"augment": "augmentation", "cluster": "clustering", "start": "start"}


def field(default: Any, help: str, check: Callable[[str, Any], Any], **roles: Any) -> Any:
    """Declares a setting; None is accepted where its annotation has it.

    Args:
        default: the DEC paper's.
        help: what it means, without its choices.
        check: (name, value) → the value as it is kept; raises TypeError or ValueError.
        **roles: traced: it may vary inside one compiled program, as a number. host: it varies, but the program never
            sees it. switch: a traced weight whose zero leaves a term out of the program. shared: its bare name sets it
            in every section that has it. named: it only names something, and nothing that is computed depends on it.
            option: the option of the command line that alone sets it, without its dashes.
    """
    return dataclasses.field(default=default, metadata={"help": help, "check": check, **roles})


def one_of(*choices: str) -> Callable[[str, Any], str]:
    """A check that accepts names."""
    return partial(check_choice, choices=choices)


def one_of_or_own(*choices: str) -> Callable[[str, Any], str]:
    """A check that accepts names, and functions of the user's own as text."""
    return partial(_choice_or_own, choices=(*choices, OWN_FUNCTION))


def _choice_or_own(name: str, value: Any, choices: Iterable[str]) -> str:
    return value if isinstance(value, str) and ":" in value else check_choice(name, value, choices)


def _typed(name: str, value: Any, kind: Any, accepted: str, convert: Callable[[Any], Any]) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {accepted}, got {value!r} ({type(value).__name__})")
    return convert(value)


def sizes(name: str, value: Any) -> tuple[int, ...]:
    """Accepts integers of 1 and more, as many as there are."""
    values = _typed(name, value, tuple | list, "a tuple of integers", tuple)
    return tuple(check_integer(f"{name}[{i}]", one, 1) for i, one in enumerate(values))


def numbers_by_name(name: str, value: Any) -> tuple[tuple[str, float], ...]:
    """Accepts a mapping, or the (name, number) pairs that it is kept as, in the order of their names."""
    pairs = sorted(_typed(name, value, tuple | Mapping, "numbers by their names", dict).items())
    return tuple((key, _checked(f"{PARAMETER}{key}", one, check_number)) for key, one in pairs)


text = partial(_typed, kind=str | os.PathLike, accepted="a name or a path", convert=os.fspath)
boolean = partial(_typed, kind=bool | np.bool_, accepted="True or False", convert=bool)
positive = partial(check_number, minimum=0, exclusive=True)
weight = partial(check_number, minimum=0)
fraction = partial(check_number, minimum=0, maximum=1)
rate = partial(check_number, minimum=0, maximum=0.999)
count = partial(check_integer, minimum=0)
size = partial(check_integer, minimum=1)
an_activation = one_of(*ACTIVATIONS)
an_optimizer = one_of("sgd", "adam")
GRAPH_STARTS = ("leiden", "spectral", "mixture")  # partitions of the samples, by the graph of their neighbours
FEATURES = ("auto", *representation.FEATURES)
a_start = one_of("auto", "kmeans", "n2d", *GRAPH_STARTS)
an_objective = one_of_or_own("dec", "idec", "dcn", "dkm", "scan", "imsat")
a_network = one_of_or_own("auto", "dense", "convolutional", "encoder")
at_least_two = partial(check_integer, minimum=2)


def _checked(name: str, value: Any, check: Callable[[str, Any], Any]) -> Any:
    """The value as it is kept; what JAX traces has nothing to check."""
    return value if isinstance(value, jax.Array) else check(name, value)


class _Section:
    """Checks its fields, and calls them section.field in its messages."""

    def __post_init__(self) -> None:
        section = type(self).__name__.removesuffix("Config").lower()
        for one in fields(self):
            _keep(self, one, f"{section}.{one.name}")


def _keep(config: Any, one: dataclasses.Field, name: str) -> None:
    value = getattr(config, one.name)
    if value is not None or not _is_optional(one.type):
        object.__setattr__(config, one.name, _checked(name, value, one.metadata["check"]))


def _kind(annotation: Any) -> Any:
    """The type of a value that is there."""
    return get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation


def _is_optional(kind: Any) -> bool:
    return types.NoneType in get_args(kind)


@dataclass(frozen=True)
class DataConfig(_Section):
    """What is clustered."""

    name: str = field("digits", "named data set, or a file", text, named=True, option="data")
    labels: str | None = field(None, "file of labels, for scores only", text, named=True, option="labels")
    scaling: str = field("auto", "how features are scaled", one_of("auto", *RULES))
    unlabelled: bool = field(False, "pretrains on the unlabelled samples too that come with stl10-hog", boolean)


@dataclass(frozen=True)
class NetworkConfig(_Section):
    """The autoencoder."""

    kind: str = field("dense", "convolutional and encoder are for images; encoder does not decode", a_network)
    hidden: tuple[int, ...] = field((500, 500, 2000), "layers between input and embedding; none for no layer", sizes)
    bottleneck: int = field(10, "dimensions of the embedding", size)
    activation: str = field("relu", "of every layer but two", an_activation)
    embedding_activation: str = field("linear", "of the embedding", an_activation)
    reconstruction_activation: str = field("linear", "of the reconstruction", an_activation)
    weight_init: str = field("normal", "initial weights, normal is N(0, 0.01²)", one_of(*INITIALIZERS))


@dataclass(frozen=True)
class AugmentationConfig(_Section):
    """What happens to the samples that the network sees in fine-tuning, and in clustering where the encoder moves."""

    auto: bool = field(False, "true moves images a little, where nothing else is said", boolean)
    rotation: float = field(0.0, "images are rotated by up to so many degrees", partial(weight, maximum=180))
    shift: float = field(0.0, "images are shifted by up to this fraction of their side", fraction)
    scale: float = field(0.0, "images grow or shrink by up to this fraction", weight)
    shear: float = field(0.0, "rows of images move sideways by up to this fraction of their height", weight)
    flip: float = field(0.0, "probability of a mirrored image", fraction)
    crop: float = field(0.0, "images are cropped by up to this fraction of their side", fraction)
    noise: float = field(0.0, "standard deviation of Gaussian noise on any data", weight)
    dropout: float = field(0.0, "rate of features set to 0 in any data", rate)


@dataclass(frozen=True)
class PretrainingConfig(_Section):
    """How the autoencoder is trained before clustering."""

    loss: str = field("half_mse", "of the reconstruction, in clustering too", one_of(*RECONSTRUCTION_LOSSES))
    batch_size: int = field(256, "samples in a batch; n where there are fewer", size, shared=True)
    layer_wise_steps: int = field(50_000, "steps of denoising pretraining per layer; 0 leaves it out", count)
    dropout: float = field(0.2, "rate in layer-wise pretraining", rate)
    input_dropout: float | None = field(None, "rate on the raw input; none for dropout (the release has 0)", rate)
    fine_tuning_steps: int = field(100_000, "steps of training the whole autoencoder; 0 leaves it out", count)
    noise: float = field(0.0, "standard deviation of Gaussian noise on the input of fine-tuning", weight)
    optimizer: str = field("sgd", "of pretraining", an_optimizer)
    learning_rate: float = field(0.1, "at the first step", positive, traced=True)
    schedule: str = field("step", "of the learning rate", one_of("constant", "step", "cosine"))
    decay_every: int = field(20_000, "steps between two divisions by 10 in the schedule step", size)
    momentum: float = field(0.9, "of sgd", rate, traced=True)
    warmup: int = field(0, "steps in which the learning rate of a stage grows from 0", count, traced=True)
    bias_factor: float = field(1.0, "learning rate of biases relative to weights' (the release has 2)", positive)


@dataclass(frozen=True)
class StartConfig(_Section):
    """Where clustering starts from."""

    kind: str = field("kmeans", "n2d parts the embedding; leiden, spectral, mixture the samples", a_start)
    steps: int | None = field(None, "of learning a partition; none for 2 epochs, at least 200 steps", count)
    features: str = field(
        "samples", "what neighbours are found by; hog is images' gradients, roots are sparse rows'", one_of(*FEATURES)
    )
    neighbors: int | None = field(None, "of a sample in the graph, itself counted; none for 21, or 11", at_least_two)
    candidates: int = field(1, "partitions by leiden, of those that modularity does not tell apart, to try", size)
    kmeans_restarts: int = field(20, "restarts of k-means, the smallest inertia wins", size)


@dataclass(frozen=True)
class ClusteringConfig(_Section):
    """How network and centroids are trained together."""

    n_clusters: int | None = field(None, "clusters to look for", size, option="n-clusters")
    objective: str = field("dec", "what is minimised", an_objective, option="objective")
    parameters: tuple[tuple[str, float], ...] = field((), "of the objective", numbers_by_name)
    gamma: float = field(0.1, "weight of KL(P‖Q) in the objective idec", weight, traced=True)
    distance_weight: float = field(1.0, "weight λ of the distances in dcn and dkm", weight, traced=True)
    size_balance: float = field(0.0, "weight of a term for clusters of one size", weight, traced=True, switch=True)
    neighbors: int = field(scan.N_NEIGHBORS, "of a sample, of which scan draws one", size)
    fade: bool = field(False, "true lets scan compare more and more samples with themselves", boolean)
    balance: float = field(1.0, "weight of the entropy of cluster sizes in scan", weight, traced=True)
    kernel: str = field("students_t", "of the soft assignment; logits is for k outputs", one_of(*KERNELS))
    alpha: float = field(1.0, "degrees of freedom of students_t, variance of gaussian", positive, traced=True)
    target_power: float = field(2.0, "of q in the target distribution; more is sharper", positive, traced=True)
    target_balance: float = field(1.0, "power of cluster sizes in it; more makes them more equal", weight, traced=True)
    train_encoder: bool = field(True, "false moves the centroids only: DEC without back-propagation", boolean)
    optimizer: str = field("sgd", "of clustering", an_optimizer)
    learning_rate: float = field(0.01, "at the first step", positive, traced=True)
    schedule: str = field("constant", "of the learning rate; cosine ends at max_steps", one_of("constant", "cosine"))
    momentum: float = field(0.9, "of sgd", rate, traced=True)
    batch_size: int = field(256, "samples in a batch; n where there are fewer", size, shared=True)
    update_interval: int | None = field(
        None, "steps between two targets; none for .585 epochs, at least 20", size, host=True
    )
    tolerance: float = field(0.001, "stops when fewer than this fraction of samples change", fraction, host=True)
    max_steps: int | None = field(100_000, "stops here at the latest; none is by the samples", count, traced=True)
    resets: int = field(0, "how often the encoder is pulled towards a fresh one and clustered anew", count)
    reset_every: int = field(20, "epochs between two resets", size)
    reset_keep: float = field(0.8, "of the encoder's weights in a reset, 0 to 1", fraction)
    reseed_empty: bool | None = field(
        None, "true gives an empty cluster a new centroid, none does in the first 20 intervals", boolean
    )


@dataclass(frozen=True)
class Config:
    """Configuration of a run: hashable, and checked wherever it is made. The defaults are the DEC paper's.

    Raises:
        TypeError: a value has another type than its field.
        ValueError: a value is out of range, or an unknown name.
    """

    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    pretraining: PretrainingConfig = PretrainingConfig()
    start: StartConfig = StartConfig()
    clustering: ClusteringConfig = ClusteringConfig()
    seed: int = field(
        0, "fixes a run", partial(check_integer, minimum=0, maximum=2**32 - 1), traced=True, option="seed"
    )
    preset: str = field("paper", "what the settings started from", text, named=True, option="preset")

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.metadata:
                _keep(self, one, one.name)
            elif not isinstance(getattr(self, one.name), one.type):
                raise TypeError(f"{one.name} must be a {one.type.__name__}, got {getattr(self, one.name)!r}")

    def with_values(self, values: Mapping[str, Any]) -> "Config":
        """This configuration with some values changed, checked again.

        Args:
            values: by full name, such as {"pretraining.momentum": 0.5, "seed": 3}. "objective.NAME" changes one of
                `clustering.parameters` and leaves the others.

        Raises:
            TypeError, ValueError: a name is unknown, or a value is not accepted.
        """
        own = {name.removeprefix(PARAMETER): value for name, value in values.items() if name.startswith(PARAMETER)}
        values = {name: value for name, value in values.items() if not name.startswith(PARAMETER)}
        if own:
            before = values.get("clustering.parameters", self.clustering.parameters)
            values["clustering.parameters"] = dict(before) | own
        changes: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            section, _, inner = check_choice("setting", name, FIELDS).rpartition(".")
            changes.setdefault(section, {})[inner] = value
        top = changes.pop("", {})
        return replace(self, **{name: replace(getattr(self, name), **new) for name, new in changes.items()}, **top)

    def flat(self) -> dict[str, Any]:
        """All values by full name."""
        return {name: attrgetter(name)(self) for name in FIELDS}

    def template(
        self, phase: str | None = None, *, n_clusters: int | None = None, bottleneck: int | None = None
    ) -> "Config":
        """What all configurations of one compiled program have in common: the static argument of its compilation.

        What may vary has its default; `template.with_values(numbers)` brings it back.

        Args:
            phase: one of `PHASES`, whose program does not depend on the other's settings; None keeps both.
            n_clusters: the program's largest number; None keeps this one's.
            bottleneck: the program's largest; None keeps this one's.
        """
        given = {"clustering.n_clusters": n_clusters, "network.bottleneck": bottleneck}
        values = {name: value for name, value in given.items() if value is not None}
        for name, one in FIELDS.items():
            if one.metadata.get("switch"):
                values[name] = float(attrgetter(name)(self) != 0)
            elif one.metadata.get("traced") or one.metadata.get("host") or one.metadata.get("named"):
                values[name] = one.default
        shared = self.with_values(values)
        if phase is None:
            return shared
        if check_choice("phase", phase, PHASES) == "pretraining":
            return replace(shared, start=StartConfig(), clustering=ClusteringConfig())
        # Objectives that reconstruct do it with the loss of pretraining.
        return replace(shared, pretraining=PretrainingConfig(loss=self.pretraining.loss))

    def numbers(self, phase: str | None = None) -> dict[str, np.generic]:
        """What varies inside one compiled program, by full name: float32, and uint32 for the seed.

        The weight of a term that the template leaves out is not among them.

        Args:
            phase: one of `PHASES`; None is both.
        """
        sections = ("seed", *((phase,) if phase else PHASES))
        return {
            name: np.uint32(value) if name == "seed" else np.float32(value)
            for name, value in self.flat().items()
            if FIELDS[name].metadata.get("traced") and name.partition(".")[0] in sections
            if value != 0 or not FIELDS[name].metadata.get("switch")
        }

    def pretraining_identity(self) -> dict[str, Any]:
        """All that a pretrained network depends on but its samples, as JSON has it.

        Raises:
            ValueError: a function of the user's own, whose source is a part of it, cannot be found.
        """
        return self._identity("data", "network", "augmentation", "pretraining", "seed")

    def clustering_identity(self) -> dict[str, Any]:
        """All that a clustering depends on but its samples, as JSON has it; raises as `pretraining_identity` does."""
        return self._identity(*SECTIONS, "seed")

    def _identity(self, *parts: str) -> dict[str, Any]:
        values = {
            name: as_json(value)
            for name, value in self.flat().items()
            if name.partition(".")[0] in parts and not FIELDS[name].metadata.get("named")
        }
        own = [value for value in values.values() if isinstance(value, str) and ":" in value]
        return values | {"sources": {path: source_of(path) for path in own}}


SECTIONS: Mapping[str, type] = {one.name: one.type for one in fields(Config) if not one.metadata}
FIELDS: Mapping[str, dataclasses.Field] = {
    f"{section}.{one.name}": one for section, kind in SECTIONS.items() for one in fields(kind)
} | {one.name: one for one in fields(Config) if one.metadata}
OPTIONS: Mapping[str, str] = {one.metadata["option"]: name for name, one in FIELDS.items() if "option" in one.metadata}
# What may stand for a setting in --set without its section.
BARE = (*dict.fromkeys(name.rpartition(".")[2] for name in FIELDS if name not in OPTIONS.values()), *ALIASES)


def as_json(value: Any) -> Any:
    """The value as JSON has it: tuples are lists."""
    return [as_json(one) for one in value] if isinstance(value, tuple) else value


def rate_of(phase: str) -> str:
    """The full name of the learning rate of a phase, one of `PHASES`: what to lower where its training fails."""
    return f"{phase}.learning_rate"


def find(key: str) -> tuple[str, ...]:
    """The full names of the settings that a key of --set stands for: one, or all of a shared one.

    Args:
        key: section.field, or a field alone where no other section has it; one of `ALIASES`; objective.NAME.

    Raises:
        ValueError: the key is unknown (names near matches), ambiguous, renamed, or an option of its own.
    """
    prefix, _, rest = key.partition("_")
    new = _RENAMED.get(key, f"{_SECTION_OF_PREFIX.get(prefix, '')}.{rest}")
    full = OPTIONS.get(key.replace("_", "-")) or ALIASES.get(key, key)
    found = (full,) if full.startswith(PARAMETER) else _named(full)
    if not found and new in FIELDS:
        raise ValueError(f"{key} has another name now: {new}")
    if not found:
        check_choice("setting", key, FIELDS if "." in key else BARE)
    roles = [FIELDS[name].metadata for name in found if name in FIELDS]
    if len(found) > 1 and "shared" not in roles[0]:
        raise ValueError(f"{key} is ambiguous: {' or '.join(found)}")
    if roles and "option" in roles[0]:
        raise ValueError(f"{key} is not a key of --set but an option of its own: --{roles[0]['option']}")
    return found


def _named(key: str) -> tuple[str, ...]:
    return tuple(name for name in FIELDS if key in (name, name.rpartition(".")[2]))


def parse(words: Iterable[str]) -> dict[str, Any]:
    """Turns KEY=VALUE words into values by full name, as `Config.with_values` takes them; the last of two words counts.

    Args:
        words: the keys are those of `find`; batch_size alone sets that of both phases.

    Raises:
        ValueError: a word has no "=", its key is not one (names near matches), or its value has another type.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, equals, written = word.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, got {word!r}")
        values |= {name: parse_value(name, written, kind_of(name)) for name in find(key)}
    return values


def kind_of(name: str) -> Any:
    """The type of a setting, by its full name.

    Raises:
        ValueError: it has no text, as it is set by other keys.
    """
    if name == "clustering.parameters":
        raise ValueError(f"{name} are set one by one, as --set {PARAMETER}NAME=VALUE")
    return float if name.startswith(PARAMETER) else FIELDS[name].type


def parse_value(name: str, written: str, kind: Any) -> Any:
    """The value of a setting's type that a text writes.

    Raises:
        ValueError: it does not write one.
    """
    if written.lower() in ("none", "auto") and _is_optional(kind):
        return None
    kind = _kind(kind)
    try:
        if kind is bool:
            return {"true": True, "false": False}[written.lower()]
        if kind in (int, float, str):
            return kind(written)
        return () if written.lower() in ("", "none") else tuple(int(one) for one in written.split(","))
    except (KeyError, ValueError):
        accepted = {bool: "true or false", int: "an integer", float: "a number"}.get(kind, "integers like 500,500")
        raise ValueError(f"{name} must be {accepted}, got {written!r}") from None


def show(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe() -> str:
    """The keys of --set, one per line, with what they mean, their choices and their defaults."""
    lines = []
    for name, one in FIELDS.items():
        if name == "clustering.parameters":
            lines.append(f"  {PARAMETER + 'NAME':<40}a parameter of the objective, a number")
        elif not one.metadata.get("option"):
            choices = getattr(one.metadata["check"], "keywords", {}).get("choices", ())
            meaning = one.metadata["help"] + (f": {', '.join(choices)}" if choices else "")
            lines.append(f"  {name:<40}{meaning} (default: {show(one.default)})")
    lines += [f"  {alias:<40}{name}" for alias, name in ALIASES.items()]
    return "\n".join(lines)
