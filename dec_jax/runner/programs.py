"""What is compiled for trials in slots: for one slot and for many.

A trial's numbers are traced, and all else is its template; trials with equal templates share a program. Of one slot the
program is that of the trial alone; of many it is the `vmap`. Programs are compiled ahead of their first call, so that
their memory is known before any of it is used, and so that what was compiled can be counted.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import numpy as np

from dec_jax.runner import build
from dec_jax.runner.config import Config
from dec_jax.runner.split import Split

Numbers = dict[str, Any]
Options = tuple[tuple[str, Any], ...]

# Of XLA's two generators of code for a CPU the older one compiles twice as fast. What it makes of augmentations is
# faster too, and what it makes of the updates of wide layers slower.
OLDER_GENERATOR = (("xla_cpu_use_fusion_emitters", False),)
# A program that runs once is compiled with few optimisations; fresh parameters are the same.
QUICKEST = (*OLDER_GENERATOR, ("xla_backend_optimization_level", 1))
_HOST = ("size", "n_clusters")  # numbers that are not settings: which bottleneck, how many clusters take part


class Keys(NamedTuple):
    """The PRNG keys of a trial, one for each thing that is random."""

    params: jax.Array
    pretraining: jax.Array
    kmeans: jax.Array
    clustering: jax.Array
    start: jax.Array


def keys_of(seed: int | jax.Array) -> Keys:
    """The keys of the trials of a seed."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def accepted(options: Options) -> Options:
    """The options of XLA where it compiles for a CPU and knows them, and none elsewhere."""
    wanted = jax.default_backend() == "cpu" and not jax.config.read("jax_disable_most_optimizations")
    return options if wanted and _knows(options) else ()


@cache
def _knows(options: Options) -> bool:
    try:
        jax.jit(lambda x: x).lower(0).compile(compiler_options=dict(options))
    except jax.errors.JaxRuntimeError:
        return False
    return True


@dataclass
class Compiled:
    """Programs by what they do and for which shapes, compiled when they are first asked for.

    Attributes:
        most: programs that are kept; the one that was not used for longest goes first.
        programs: the compiled functions, and shapes of what functions return.
        count: how many were compiled, those that did not fit the memory included.
    """

    most: int = 10_000
    programs: dict[Any, Any] = field(default_factory=dict)
    count: int = 0

    def get(
        self,
        key: Any,
        function: Callable[..., Any],
        *arguments: Any,
        donate: tuple[int, ...] = (),
        options: Options = (),
    ) -> Any:
        """`function` compiled for arguments of these shapes, which are a part of the key.

        Args:
            key: of the program.
            function: pure.
            *arguments: values or shapes.
            donate: the arguments whose memory the results take.
            options: of the compiler; see `accepted`.
        """

        def compiled() -> Callable[..., Any]:
            self.count += 1
            lowered = jax.jit(function, donate_argnums=donate).lower(*arguments)
            return lowered.compile(compiler_options=dict(accepted(options)))

        return self._kept(key, compiled)

    def shapes(self, key: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """The shapes of what `function` returns for arguments of these shapes, which are a part of the key."""
        return self._kept(("shapes", key), lambda: jax.eval_shape(function, *arguments))

    def _kept(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self.programs:
            self.programs[key] = make()
        self.programs[key] = self.programs.pop(key)  # the last used is the last
        while len(self.programs) > self.most:
            del self.programs[next(iter(self.programs))]
        return self.programs[key]

    def forget(self, keys: Iterable[Any]) -> None:
        """Drops programs that are of no use."""
        for key in keys:
            self.programs.pop(key, None)


class Same:
    """Equal to another one of the same thing, whatever that is: a module that is loaded again has other functions."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), leaf.dtype) for leaf in leaves)


def memory_of(program: Any) -> int:
    """Bytes on one device that a call of a compiled program needs at its peak, arguments and results included."""
    analysis = program.memory_analysis()
    kept = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return kept + analysis.temp_size_in_bytes


class Sizes(NamedTuple):
    """What trials are padded to, and how many there are; the last bits of a result may depend on both.

    Attributes:
        n_clusters: the numbers of clusters, smallest first.
        bottlenecks: smallest first.
        pretrainings: how many a program has to do, by its template.
        clusterings: how many a program has to do, by its template and λ.
    """

    n_clusters: tuple[int, ...]
    bottlenecks: tuple[int, ...]
    pretrainings: Mapping[Config, int]
    clusterings: Mapping[tuple[Config, int], int]


def sizes_of(configs: Iterable[Config], n_workers: int = 1) -> Sizes:
    """The sizes of a whole sweep, whose trials are dealt out to so many workers."""
    configs = list(configs)
    n_clusters = sorted({config.clustering.n_clusters for config in configs})
    bottlenecks = sorted({config.network.bottleneck for config in configs})
    sizes = Sizes(tuple(n_clusters), tuple(bottlenecks), {}, {})
    distinct = {json.dumps(config.pretraining_identity()): config for config in configs}
    pretrainings = Counter(template_of(config, "pretraining", sizes) for config in distinct.values())
    clusterings = Counter(
        (template_of(config, "clustering", sizes), config.clustering.update_interval) for config in configs
    )

    def share(counts: Counter) -> dict[Any, int]:
        return {key: -(-count // n_workers) for key, count in counts.items()}

    return sizes._replace(pretrainings=share(pretrainings), clusterings=share(clusterings))


def template_of(config: Config, phase: str, sizes: Sizes) -> Config:
    """What the programs of trials have in common; a network that is not padded keeps its bottleneck."""
    bottleneck = sizes.bottlenecks[-1] if _is_padded(config) else config.network.bottleneck
    return config.template(phase, n_clusters=sizes.n_clusters[-1], bottleneck=bottleneck)


def _is_padded(config: Config) -> bool:
    return config.network.kind == "dense"


def stack(trees: Sequence[Any]) -> Any:
    """Host pytrees of equal structure as one with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def over_slots(function: Callable[..., Any], n_slots: int, axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """`function` of one trial for all slots; of a single slot it is the function itself."""
    if n_slots > 1:
        return jax.vmap(function, axes)

    def one(*arguments: Any) -> Any:
        given = zip(arguments, axes, strict=True)
        own = [argument if axis is None else jax.tree.map(itemgetter(0), argument) for argument, axis in given]
        return jax.tree.map(lambda leaf: leaf[None], function(*own))

    return one


def in_turn(function: Callable[..., Any], n_slots: int, axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """`over_slots`, one slot after the other: a switch is a branch that way, and every case at once side by side."""
    if n_slots == 1:
        return over_slots(function, n_slots, axes)
    return lambda *arguments: jax.lax.map(lambda own: function(*own), arguments)


def at_slot(slot: jax.Array, tree: Any) -> Any:
    """The leaves of one slot."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, slot, 0, keepdims=False), tree)


class Slots:
    """What the programs of both phases have in common.

    Args:
        split: the samples.
        compiled: where programs are kept.
        template: of the trials.
        sizes: what they are padded to.
        n_slots: trials side by side.
    """

    phase = ""

    def __init__(self, split: Split, compiled: Compiled, template: Config, sizes: Sizes, n_slots: int) -> None:
        self.split, self.compiled, self.template, self.n_slots = split, compiled, template, n_slots
        self.shape, self.n_features = split.train.image_shape, split.train.x.shape[1]
        self.model = self._network(template.network.bottleneck)
        padded = sizes.bottlenecks if _is_padded(template) else (template.network.bottleneck,)
        self.models = tuple(map(self._network, padded))
        self.n_clusters = sizes.n_clusters
        self.functions = tuple(map(Same, build.own_functions(template)))
        self.sharding = split.layout.by_trial
        self.used: dict[Any, Callable[..., Any]] = {}

    def _network(self, bottleneck: int) -> Any:
        config = self.template.with_values({"network.bottleneck": bottleneck})
        return build.network(config, self.n_features, self.shape)

    def numbers_of(self, config: Config) -> Numbers:
        """What varies between the trials of the program, on the host."""
        bottlenecks = [model.dims[-1] for model in self.models] if len(self.models) > 1 else [config.network.bottleneck]
        size = bottlenecks.index(config.network.bottleneck)
        sizes = {"size": np.int32(size), "n_clusters": np.int32(config.clustering.n_clusters or 0)}
        return config.numbers(self.phase) | sizes

    def _config(self, numbers: Numbers) -> Config:
        return self.template.with_values({name: value for name, value in numbers.items() if name not in _HOST})

    def _program(self, name: Any, function: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
        key = (*self._key(name, arguments), self.n_slots, self.sharding)
        self.used[key] = self.compiled.get(key, function, *arguments, **how)
        return self.used[key]

    def _result(self, name: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """The shapes of what a function of one trial returns."""
        return self.compiled.shapes(self._key(name, arguments), function, *arguments)

    def _key(self, name: Any, arguments: Any) -> tuple[Any, ...]:
        return name, self.template, self.models, self.functions, self.shape, self.n_clusters, _shapes(arguments)

    def _laid(self, tree: Any) -> Any:
        """The shapes of arrays over slots; left open, the compiler would choose for itself where they lie."""
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.sharding), tree)

    def _constrain(self, tree: Any) -> Any:
        return tree if self.sharding is None else jax.lax.with_sharding_constraint(tree, self.sharding)
