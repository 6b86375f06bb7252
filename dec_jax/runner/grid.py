"""The grid of a sweep: which values its settings take, read from words or a TOML file, and the trials they make."""

import argparse
import math
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
from typing import Any, get_args, get_origin

from dec_jax import data
from dec_jax.runner.config import (
    BARE,
    FIELDS,
    ONE_CLUSTER,
    OPTIONS,
    Config,
    as_json,
    find,
    kind_of,
    parse_value,
    show,
)
from dec_jax.runner.presets import N_CLUSTERS, PRESETS, config_of
from dec_jax.validation import check_choice, check_integer

# A mistyped range is refused before it fills the memory.
MAX_TRIALS = 100_000
MAX_SHOWN = 6

FIXED = ("data.name", "data.labels")
OF_TRAINING = ("network.", "pretraining.", "clustering.")  # the sections of settings
OPTION_NAMES = {name.replace("-", "_"): full for name, full in OPTIONS.items() if name != "seed"} | {
    "seeds": "seed",
    "bottleneck": "network.bottleneck",
}
_FASTEST = ("network.bottleneck", "clustering.n_clusters", "seed")


@dataclass(frozen=True)
class Grid:
    """All combinations of some settings' values; every one of them has passed the checks of `Config`.

    Attributes:
        fixed: settings that all trials share and no preset knows: data.name and data.labels.
        axes: the values of every setting that was asked for, one or more, the slowest to vary first, by full name, or
            by the one name of a setting that two sections share; preset is one of them. Settings that are not an axis
            are the preset's.

    Raises:
        TypeError, ValueError: a trial's settings are not accepted, or there are more than MAX_TRIALS.
    """

    fixed: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]]

    def __post_init__(self) -> None:
        size = math.prod(map(len, self.axes.values()))
        if size > MAX_TRIALS:
            raise ValueError(f"a sweep must have at most {MAX_TRIALS:,} trials, got {size:,}")
        check_integer("the number of trials", self.size, 1)

    @property
    def size(self) -> int:
        """The number of trials."""
        return len(self._trials)

    @property
    def swept(self) -> tuple[str, ...]:
        """The names of the axes with more than one value."""
        return tuple(name for name, values in self.axes.items() if len(values) > 1)

    def trials(self) -> list[Config]:
        """The configuration of every trial: the seed varies fastest, then n_clusters, bottleneck, the rest, the preset.

        Trials that differ in nothing but the preset's name are one trial, the first.
        """
        return list(self._trials)

    def identity(self) -> dict[str, Any]:
        """What makes two sweeps the same one, as JSON has it: data, values in their order, what the presets hold."""
        values = {", ".join(filter(None, names)): base.flat() for names, base in self._bases().items()}
        presets = {name: {key: as_json(value) for key, value in base.items()} for name, base in values.items()}
        return {**self.fixed, **{name: as_json(values) for name, values in self.axes.items()}, "presets": presets}

    def _bases(self) -> dict[tuple[str, str | None], Config]:
        """The configurations that trials start from, by preset and objective."""
        objectives = self.axes.get("clustering.objective", (None,))
        return {names: config_of(*names) for names in product(self.axes["preset"], objectives)}

    @cached_property
    def _trials(self) -> tuple[Config, ...]:
        trials: dict[Config, Config] = {}
        bases = {names: base.with_values(self.fixed) for names, base in self._bases().items()}
        names = [_full_names(name) for name in self.axes]
        for combination in product(*self.axes.values()):
            values = {name: value for all_of, value in zip(names, combination, strict=True) for name in all_of}
            objective = values.get("clustering.objective")
            config = bases[values["preset"], objective].with_values(values)
            trials.setdefault(replace(config, preset=""), config)
        return tuple(trials.values())


def _full_names(axis: str) -> tuple[str, ...]:
    return (axis,) if axis in FIELDS else find(axis)


def add_arguments(cli: argparse.ArgumentParser) -> None:
    """Adds the options that `read` reads. Their values stay text, so that an error in one is worded here."""
    helps = {
        "data": ("NAME|FILE", f"{', '.join(data.NAMES)}, or a file: a table or an array (default: digits)"),
        "labels": ("FILE", "one label per sample, used for scores only"),
        "n-clusters": ("K,…", "numbers of clusters: 5,10 or 2:21 (2…20) or 2:21:3"),
        "bottleneck": ("M,…", "dimensions of the embedding (default: 10)"),
        "seeds": ("N|S,…", "how many seeds, or which: 0,3,7 or 0:5 (default: 1)"),
        "preset": ("NAME,…", f"{', '.join(PRESETS)} (default: auto, or fast where settings of training are given)"),
        "objective": ("NAME,…", "what clustering minimises (default: the preset's)"),
        "config": ("FILE", "a .toml file of options; the command line wins"),
    }
    for option, (metavar, meaning) in helps.items():
        cli.add_argument(f"--{option}", metavar=metavar, help=meaning)
    meaning = "any other setting; hidden as 500,500,2000/100,100"
    cli.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE,…", help=meaning)


def read(arguments: argparse.Namespace) -> Grid:
    """The grid that a command line, and the TOML file it names, ask for.

    Raises:
        TypeError, ValueError: a name is unknown or given twice, or a value is not one that is accepted.
    """
    given = {"data.name": "digits", "data.labels": None, "seed": (0,)}
    if arguments.config is not None:
        given |= _read_file(arguments.config)
    given |= _collect(_words(arguments))
    if "preset" not in given:
        given["preset"] = (_default_preset(given),)
    if 1 in given.get("clustering.n_clusters", ()):
        raise ValueError(ONE_CLUSTER)
    if given["data.name"] in N_CLUSTERS:
        given.setdefault("clustering.n_clusters", (N_CLUSTERS[given["data.name"]],))
    return Grid({name: given[name] for name in FIXED}, {name: given[name] for name in sorted(given, key=_speed)[2:]})


def _default_preset(axes: Iterable[str]) -> str:
    """The preset of a sweep over axes: that of `run`, unless they are of the network or of training."""
    names = {name for axis in axes for name in _full_names(axis)} - {"clustering.n_clusters"}
    return "fast" if any(name.startswith(OF_TRAINING) for name in names) else "auto"


def _speed(axis: str) -> int:
    """Where an axis stands among the others; what is fixed comes first."""
    if axis in FIXED or axis == "preset":
        return (*FIXED, "preset").index(axis) - 3
    if axis in _FASTEST:
        return len(FIELDS) + _FASTEST.index(axis)
    name = _full_names(axis)[0]
    return list(FIELDS).index(name if name in FIELDS else "clustering.parameters")


def _words(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """What the command line gives: the axis, how it was written, its text."""
    for option, name in OPTION_NAMES.items():
        if getattr(arguments, option) is not None:
            yield name, f"--{option.replace('_', '-')}", getattr(arguments, option)
    for word in arguments.set:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, got {word!r}")
        yield _axis(key), f"--set {key}", text


def _read_file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return _collect(_entries(tomllib.load(file)))
    except OSError as error:
        raise ValueError(f"config {path} cannot be read: {error.strerror or error}") from error
    except (TypeError, ValueError) as error:  # TOML's own errors among them
        raise ValueError(f"config {path}: {error}") from error


def _entries(content: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """What a file gives: the axis, how it was written, its value."""
    table = content.pop("set", {})
    if not isinstance(table, dict):
        raise TypeError(f"set must be a table of settings, got {table!r}")
    for key, value in content.items():
        if key in BARE and key not in OPTION_NAMES:
            raise ValueError(f"{key} is not an option but a key of --set: it belongs into the table [set]")
        check_choice("option", key, (*OPTION_NAMES, "set"))
        yield OPTION_NAMES[key], key, value
    for key, value in _flat(table):
        yield _axis(key), f"[set] {key}", value


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of a table and of the tables in it, such as [set.clustering], by their keys."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _axis(key: str) -> str:
    """The name of the axis that a key of --set gives values to."""
    found = find(key)
    return key if len(found) > 1 else found[0]


def _collect(entries: Iterable[tuple[str, str, Any]]) -> dict[str, Any]:
    """The values of each axis that one source gives; it may give none twice."""
    written: dict[str, str] = {}
    given = {}
    for axis, word, value in entries:
        for name in _full_names(axis):
            if name in written:
                raise ValueError(f"{name} is given twice: as {written[name]} and as {word}")
            written[name] = word
        given[axis] = _read_value(axis, value)
    return given


def _read_value(axis: str, value: Any) -> Any:
    if axis in FIXED:
        if not isinstance(value, str):
            raise TypeError(f"{axis} must be one name or file, got {value!r} ({type(value).__name__})")
        return value
    # A run may leave n_clusters open; who lists values of it wants numbers.
    kind = int if axis == "clustering.n_clusters" else kind_of(_full_names(axis)[0])
    text = _as_text(axis, value, kind)
    if axis != "seed":
        return parse_values(axis, text, kind)
    seeds = parse_values("seeds", text, int)
    if isinstance(value, list) or "," in text or ":" in text:
        return seeds
    return tuple(range(check_integer("seeds", seeds[0], 1, MAX_TRIALS)))


def _as_text(name: str, value: Any, kind: Any) -> str:
    """How a value of a TOML file is written on the command line, so that both are read alike."""
    if isinstance(value, dict):
        raise TypeError(f"{name} must be a value or a list of values, got a table")
    if not isinstance(value, list):
        return str(value)
    # The integers of a list are one value of hidden; its lists and its texts are one each.
    apart = (list, str) if get_origin(kind) is tuple else list
    separator = "/" if any(isinstance(item, apart) for item in value) else ","
    return separator.join(_as_text(name, item, None) for item in value)


def parse_values(name: str, text: str, kind: Any) -> tuple[Any, ...]:
    """The values that a text lists.

    Args:
        name: the setting's name, for the messages.
        text: values between commas, or between slashes where a value is a tuple and has commas of its own. Integers
            may be ranges START:STOP or START:STOP:STEP, without STOP itself.
        kind: the setting's type as it is declared; "none" is None where the type has it.

    Raises:
        ValueError: a value is missing, of another type or there twice, or a range is not one.
    """
    words = [word.strip() for word in text.split("/" if get_origin(kind) is tuple else ",")]
    if "" in words:
        raise ValueError(f"{name} must have a value in every place of its list, got {text!r}")
    values = tuple(chain.from_iterable(_expand(name, word, kind) for word in words))
    if len(set(values)) < len(values):
        repeated = next(value for i, value in enumerate(values) if value in values[:i])
        raise ValueError(f"{name} must list no value twice, got {show(repeated)} more than once in {text!r}")
    return values


def _expand(name: str, word: str, kind: Any) -> Iterable[Any]:
    number = get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
    if ":" in word and number is int:
        return _parse_range(name, word)
    if ":" in word and number is float:
        raise ValueError(f"{name} must be a list like 0.01,0.1 (only integers have ranges), got {word!r}")
    return (parse_value(name, word, kind),)


def _parse_range(name: str, word: str) -> range:
    try:
        start, stop, step = [int(part) for part in (word if word.count(":") > 1 else f"{word}:1").split(":")]
    except ValueError:
        raise ValueError(f"{name} must be a range START:STOP or START:STOP:STEP of integers, got {word!r}") from None
    check_integer(f"the step of {name}", step, 1)
    if start >= stop:
        raise ValueError(f"{name} must be a range that goes upwards and holds a number, got {word!r}")
    if (stop - start) // step > MAX_TRIALS:
        raise ValueError(f"{name} must have at most {MAX_TRIALS:,} values, got {word!r}")
    return range(start, stop, step)


def describe(grid: Grid) -> list[str]:
    """One line for each setting that is swept, such as "clustering.n_clusters: 2…20 (19 values)"."""
    return [f"{name}: {_show_all(grid.axes[name])} ({len(grid.axes[name])} values)" for name in grid.swept]


def _show_all(values: tuple[Any, ...]) -> str:
    first = values[0]
    if len(values) > 2 and isinstance(first, int) and values == tuple(range(first, first + len(values))):
        return f"{first}…{values[-1]}"
    words = [show(value) for value in values]
    if len(words) > MAX_SHOWN:
        words[MAX_SHOWN - 2 : -1] = ["…"]
    return (" / " if isinstance(first, tuple) else ", ").join(words)
