"""The grid of a sweep: which values its settings take, read from words or a TOML file, and the trials they make."""

import argparse
import math
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain, product
from typing import Any, get_args, get_origin

from dec_jax import data
from dec_jax.validation import check_choice, check_integer
from experiments.presets import N_CLUSTERS, PRESETS, changes_of
from experiments.settings import HELP, Settings, parse_value

# A mistyped range is refused before it fills the memory.
MAX_TRIALS = 100_000
MAX_SHOWN = 6

FIXED = ("data", "labels")
# Which setting an option gives values to, and which one a short key of --set stands for.
OPTIONS = types.MappingProxyType(
    {
        "data": "data",
        "labels": "labels",
        "n_clusters": "n_clusters",
        "bottleneck": "bottleneck",
        "seeds": "seed",
        "preset": "preset",
        "objective": "objective",
    }
)
ALIASES = types.MappingProxyType({"lr": "cluster_learning_rate", "lambda": "update_interval"})

# A run may leave n_clusters open; who lists values of it wants numbers.
KINDS: Mapping[str, Any] = {field.name: field.type for field in fields(Settings)} | {"n_clusters": int}
_FASTEST = ("bottleneck", "n_clusters", "seed")
ORDER = ("preset", *(name for name in KINDS if name not in (*FIXED, "preset", *_FASTEST)), *_FASTEST)


@dataclass(frozen=True)
class Grid:
    """All combinations of some settings' values; every one of them has passed the checks of `Settings`.

    Attributes:
        fixed: settings that all trials share and no preset knows: data and labels.
        axes: the values of every setting that was asked for, one or more, the slowest to vary first; preset is one of
            them. Settings that are no axis are the preset's.

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

    def trials(self) -> list[Settings]:
        """The settings of every trial: the seed varies fastest, then n_clusters, bottleneck, the rest, the preset.

        Trials that differ in nothing but the preset's name are one trial, the first.
        """
        return list(self._trials)

    def identity(self) -> dict[str, Any]:
        """What makes two sweeps the same one, as JSON has it: data, values in their order, what the presets hold."""
        axes = {name: [_as_json(value) for value in values] for name, values in self.axes.items()}
        named = product(self.axes["preset"], self.axes.get("objective", (Settings.objective,)))
        presets = {", ".join(names): vars(Settings(**changes_of(*names))) for names in named}
        bases = {preset: {name: _as_json(value) for name, value in base.items()} for preset, base in presets.items()}
        return {**self.fixed, **axes, "presets": bases}

    @cached_property
    def _trials(self) -> tuple[Settings, ...]:
        trials: dict[tuple[Any, ...], Settings] = {}
        for combination in product(*self.axes.values()):
            values = dict(zip(self.axes, combination, strict=True))
            preset = changes_of(values["preset"], values.get("objective", Settings.objective))
            settings = Settings(**{**self.fixed, **preset, **values})
            trials.setdefault(tuple(value for name, value in vars(settings).items() if name != "preset"), settings)
        return tuple(trials.values())


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def add_arguments(cli: argparse.ArgumentParser) -> None:
    """Adds the options that `read` reads. Their values stay text, so that an error in one is worded here."""
    names = ", ".join(data.NAMES)
    aliases = ", ".join(f"{alias} for {name}" for alias, name in ALIASES.items())
    cli.add_argument("--data", metavar="NAME|FILE", help=f"{names}, or a .npy, .npz or .csv file (default: digits)")
    cli.add_argument("--labels", metavar="FILE", help="one label per sample, used for scores only")
    cli.add_argument("--n-clusters", metavar="K,…", help="numbers of clusters: 5,10 or 2:21 (2…20) or 2:21:3")
    cli.add_argument("--bottleneck", metavar="M,…", help="dimensions of the embedding (default: 10)")
    cli.add_argument("--seeds", metavar="N|S,…", help="how many seeds from 0 on, or which: 0,3,7 or 0:5 (default: 1)")
    cli.add_argument("--preset", metavar="NAME,…", help=f"{', '.join(PRESETS)} (default: fast)")
    cli.add_argument("--objective", metavar="NAME,…", help="what clustering minimises (default: dec)")
    cli.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE,…",
        help=f"values of any other setting, of hidden as 500,500,2000/100,100; {aliases}",
    )
    cli.add_argument("--config", metavar="FILE", help="a .toml file of the same words; the command line wins over it")


def read(arguments: argparse.Namespace) -> Grid:
    """The grid that a command line, and the TOML file it names, ask for.

    Raises:
        TypeError, ValueError: a name is unknown or given twice, or a value is none that is accepted.
    """
    given = {"data": "digits", "labels": None, "preset": ("fast",), "seed": (0,)}
    if arguments.config is not None:
        given |= _read_file(arguments.config)
    given |= _collect(_words(arguments))
    if given["data"] in N_CLUSTERS:
        given.setdefault("n_clusters", (N_CLUSTERS[given["data"]],))
    return Grid({name: given[name] for name in FIXED}, {name: given[name] for name in ORDER if name in given})


def _words(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """What the command line gives: the setting, how it was written, its text."""
    for option, name in OPTIONS.items():
        if getattr(arguments, option) is not None:
            yield name, f"--{option.replace('_', '-')}", getattr(arguments, option)
    for word in arguments.set:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"--set takes KEY=VALUE, got {word!r}")
        yield _setting(key, "--set"), f"--set {key}", text


def _read_file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return _collect(_entries(tomllib.load(file)))
    except OSError as error:
        raise ValueError(f"config {path} cannot be read: {error.strerror or error}") from error
    except (TypeError, ValueError) as error:  # TOML's own errors among them
        raise ValueError(f"config {path}: {error}") from error


def _entries(content: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """What a file gives: the setting, how it was written, its value."""
    table = content.pop("set", {})
    if not isinstance(table, dict):
        raise TypeError(f"set must be a table of settings, got {table!r}")
    for key, value in content.items():
        if key in HELP.keys() | ALIASES.keys() and key not in OPTIONS:
            raise ValueError(f"{key} is no option but a key of --set: it belongs into the table [set]")
        check_choice("option", key, (*OPTIONS, "set"))
        yield OPTIONS[key], key, value
    for key, value in table.items():
        yield _setting(key, "[set]"), f"[set] {key}", value


def _setting(key: str, place: str) -> str:
    """The setting that a key of --set stands for."""
    option = "seeds" if key == "seed" else key
    if option in OPTIONS and key not in HELP:
        raise ValueError(f"{key} is no key of {place} but an option of its own: --{option.replace('_', '-')}")
    check_choice("setting", key, (*HELP, *ALIASES))
    return ALIASES.get(key, key)


def _collect(entries: Iterable[tuple[str, str, Any]]) -> dict[str, Any]:
    """The values of each setting that one source gives; it may give none twice."""
    written: dict[str, str] = {}
    given = {}
    for name, word, value in entries:
        if name in written:
            raise ValueError(f"{name} is given twice: as {written[name]} and as {word}")
        written[name] = word
        given[name] = _read_value(name, value)
    return given


def _read_value(name: str, value: Any) -> Any:
    if name in FIXED:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be one name or file, got {value!r} ({type(value).__name__})")
        return value
    kind = KINDS[name]
    text = _as_text(name, value, kind)
    if name != "seed":
        return parse_values(name, text, kind)
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
        kind: the setting's type as `Settings` annotates it; "none" is None where the type has it.

    Raises:
        ValueError: a value is missing, of another type or there twice, or a range is none.
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
    if start > stop:
        raise ValueError(f"{name} must be a range that goes upwards, got {word!r}")
    if start == stop:
        raise ValueError(f"{name} must be a range that holds a number, got {word!r}, whose end is not part of it")
    if (stop - start) // step > MAX_TRIALS:
        raise ValueError(f"{name} must have at most {MAX_TRIALS:,} values, got {word!r}")
    return range(start, stop, step)


def describe(grid: Grid) -> list[str]:
    """One line for each setting that is swept, such as "n_clusters: 2…20 (19 values)"."""
    return [f"{name}: {_show_all(grid.axes[name])} ({len(grid.axes[name])} values)" for name in grid.swept]


def _show_all(values: tuple[Any, ...]) -> str:
    first = values[0]
    if len(values) > 2 and isinstance(first, int) and values == tuple(range(first, first + len(values))):
        return f"{first}…{values[-1]}"
    words = [show(value) for value in values]
    if len(words) > MAX_SHOWN:
        words[MAX_SHOWN - 2 : -1] = ["…"]
    return (" / " if isinstance(first, tuple) else ", ").join(words)


def show(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
