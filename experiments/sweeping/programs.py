"""The four programs of a sweep, each compiled once for trials of all sizes side by side.

A program is compiled ahead of its first call, for arguments of known shapes, so that its memory is known before any of
it is used, and so that what was compiled can be counted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import ClusteringState
from dec_jax.samples import Samples
from experiments import plan
from experiments.settings import Settings
from experiments.sweeping import masked
from experiments.sweeping.masked import Hyperparameters, Pretraining

# What varies between trials of one program; the rest of the settings, and what follows from them, makes the program.
_PRETRAINING_VARIES = ("seed", "bottleneck", "learning_rate", "momentum")
_CLUSTERING_VARIES = (
    "seed",
    "n_clusters",
    "bottleneck",
    "alpha",
    "cluster_learning_rate",
    "cluster_momentum",
    "gamma",
    "distance_weight",
    "target_power",
    "target_balance",
    "tolerance",
    "max_steps",
)
_ALWAYS_VARIES = ("data", "labels", "preset")


@dataclass
class Compiled:
    """Programs by what they do and for which shapes, compiled when they are first asked for.

    Attributes:
        programs: the compiled functions.
        count: how many were compiled, those that did not fit the memory included.
    """

    programs: dict[Any, Callable[..., Any]] = field(default_factory=dict)
    count: int = 0

    def get(self, key: Any, function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = ()) -> Any:
        """`function` compiled for arguments of these shapes."""
        if key not in self.programs:
            self.count += 1
            self.programs[key] = jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
        return self.programs[key]

    def forget(self, keys: Iterable[Any]) -> None:
        """Drops programs that are of no use."""
        for key in keys:
            del self.programs[key]


def memory_of(program: Any) -> int:
    """Bytes on one device that a call of a compiled program needs at its peak, arguments and results included."""
    analysis = program.memory_analysis()
    kept = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return kept + analysis.temp_size_in_bytes


def pretraining_template(settings: Settings, bottleneck: int) -> Settings:
    """The settings that pretrainings of one program share, with the largest bottleneck."""
    defaults = Settings()
    own = {name: getattr(settings, name) for name in ("scaling", "batch_size", "update_interval")}
    varies = {name: getattr(defaults, name) for name in (*_PRETRAINING_VARIES, *_CLUSTERING_VARIES, *_ALWAYS_VARIES)}
    fixed = {name: getattr(defaults, name) for name in _ONLY_CLUSTERING}
    return replace(settings, **varies | fixed | {"bottleneck": bottleneck, **own, "update_interval": None})


_ONLY_CLUSTERING = (
    "kmeans_restarts",
    "start",
    "start_steps",
    "cluster_optimizer",
    "update_interval",
    "train_encoder",
    "objective",
    "size_balance",
    "objective_parameters",
    "kernel",
    "resets",
    "reset_every",
    "reset_keep",
    "reseed_empty",
)


def clustering_template(settings: Settings, n_clusters: int, bottleneck: int) -> tuple[Settings, int]:
    """The settings that clusterings of one program share, with the largest sizes, and their λ."""
    defaults = Settings()
    names = (*_CLUSTERING_VARIES, *_ALWAYS_VARIES, *_ONLY_PRETRAINING)
    varies = {name: getattr(defaults, name) for name in names}
    # The term is there or not; how much it weighs varies.
    varies["size_balance"] = float(settings.size_balance > 0)
    largest = {"n_clusters": n_clusters, "bottleneck": bottleneck}
    return replace(settings, **varies | largest | {"update_interval": None}), settings.update_interval


_ONLY_PRETRAINING = (
    "loss",
    "unlabelled",
    "layer_wise_steps",
    "dropout",
    "input_dropout",
    "fine_tuning_steps",
    "noise",
    "optimizer",
    "learning_rate",
    "learning_rate_schedule",
    "decay_every",
    "momentum",
    "bias_factor",
    "weight_init",
)


def pretraining_trial(settings: Settings, sizes: tuple[int, ...]) -> Pretraining:
    """The numbers of one pretraining, on the host; `sizes` are the program's bottlenecks."""
    return Pretraining(
        np.uint32(settings.seed),
        np.int32(sizes.index(settings.bottleneck)),
        np.float32(settings.learning_rate),
        np.float32(settings.momentum),
    )


def clustering_trial(settings: Settings) -> Hyperparameters:
    """The numbers of one clustering, on the host."""
    integers = {"seed": np.uint32, "n_clusters": np.int32, "bottleneck": np.int32}
    return Hyperparameters(
        *(integers.get(name, np.float32)(getattr(settings, name)) for name in Hyperparameters._fields)
    )


def stack(trees: list[Any]) -> Any:
    """Host pytrees of equal structure as one with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def first_pretraining_state(template: Settings, model: Autoencoder, sizes: tuple[int, ...], trial: Pretraining) -> Any:
    """State before the first step of the first stage."""
    params = masked.initial_params(template, model.dims[0], sizes, trial)
    return next_stage_state(template, model, 0, trial, params)


def next_stage_state(template: Settings, model: Autoencoder, index: int, trial: Pretraining, params: Any) -> Any:
    """State before the first step of stage `index`."""
    stage = masked.stage_of(template, model, index, trial)
    return params, stage.optimizer.init(stage.loss.trainable(params)), jnp.int32(0)


def pretraining_program(
    compiled: Compiled,
    template: Settings,
    sizes: tuple[int, ...],
    index: int,
    n_steps: int,
    trials: Pretraining,
    states: Any,
    x: Samples,
    sharding: NamedSharding | None = None,
) -> tuple[Any, Callable[..., Any]]:
    """Its key, and (is_first, trials, states, x) → (states, mean losses): a window of stage `index`.

    The trials run side by side. Where `is_first` is true, `states` counts for nothing but its shapes and, past the
    first stage, its parameters.
    """
    model = plan.network(template, x.shape[1])
    window = partial(masked.pretrain_window, template, model, index, n_steps, template.batch_size)

    def begin(trial: Pretraining, state: Any) -> Any:
        if index == 0:
            return first_pretraining_state(template, model, sizes, trial)
        return next_stage_state(template, model, index, trial, state[0])

    def run(is_first: jax.Array, trials: Pretraining, states: Any, x: Samples) -> Any:
        # One after the other: a switch over sizes is a branch that way, and every size at once side by side.
        fresh = partial(jax.lax.map, lambda both: begin(*both))
        states = jax.lax.cond(is_first, lambda: fresh((trials, states)), lambda: states)
        states = _constrain(states, sharding)
        states, losses = jax.vmap(window, in_axes=(0, 0, None))(trials, states, x)
        return _constrain(states, sharding), losses

    key = ("pretraining", template, sizes, index, n_steps, _shapes(trials), sharding)
    return key, compiled.get(key, run, np.bool_(True), trials, _laid(states, sharding), x, donate=(2,))


def enter_program(
    compiled: Compiled,
    template: Settings,
    trial: Hyperparameters,
    states: ClusteringState,
    params: Any,
    x: Samples,
    sharding: NamedSharding | None = None,
) -> tuple[Any, Callable[..., Any]]:
    """Its key, and (states, lane, trial, params, x) → (states, labels): k-means starts a trial in a lane."""
    model = plan.network(template, x.shape[1])

    def run(states: Any, lane: jax.Array, trial: Hyperparameters, params: Any, x: Samples) -> Any:
        state = masked.start_clustering(template, model, trial, params, x)
        put = partial(jax.lax.dynamic_update_index_in_dim, index=lane, axis=0)
        return _constrain(jax.tree.map(put, states, state), sharding), state.labels

    key = ("enter", template, _shapes(states.step), sharding)
    return key, compiled.get(key, run, _laid(states, sharding), np.int32(0), trial, params, x, donate=(0,))


def advance_program(
    compiled: Compiled,
    template: Settings,
    longest: int,
    trials: Hyperparameters,
    states: ClusteringState,
    x: Samples,
    sharding: NamedSharding | None = None,
) -> tuple[Any, Callable[..., Any]]:
    """Its key, and (states, trials, goes_on, n_steps, x) → (states, infos): an interval of every lane that goes on."""
    model = plan.network(template, x.shape[1])

    def run(states: Any, trials: Hyperparameters, goes_on: jax.Array, n_steps: jax.Array, x: Samples) -> Any:
        def one(trial: Hyperparameters, state: ClusteringState, goes_on: jax.Array) -> Any:
            moved, info = masked.cluster_interval(
                template, model, longest, template.batch_size, n_steps, x, trial, state
            )
            return jax.tree.map(partial(jnp.where, goes_on), moved, state), info

        states, infos = jax.vmap(one)(trials, states, goes_on)
        return _constrain(states, sharding), infos

    key = ("advance", template, longest, _shapes(states.step), sharding)
    goes_on = np.ones(len(trials.seed), bool)
    return key, compiled.get(key, run, _laid(states, sharding), trials, goes_on, np.int32(1), x, donate=(0,))


def leave_program(
    compiled: Compiled,
    template: Settings,
    trial: Hyperparameters,
    states: ClusteringState,
    x: Samples,
    held_out: Samples | None,
    sharding: NamedSharding | None = None,
) -> tuple[Any, Callable[..., Any]]:
    """Its key, and (states, lane, trial, x, held_out) → (z, log q) of the trained samples and of those held out."""
    model = plan.network(template, x.shape[1])

    def run(states: Any, lane: jax.Array, trial: Hyperparameters, x: Samples, held_out: Samples | None) -> Any:
        state = jax.tree.map(lambda all_: jax.lax.dynamic_index_in_dim(all_, lane, 0, keepdims=False), states)
        found = partial(masked.evaluate, template, model, trial, state)
        return found(x), None if held_out is None else found(held_out)

    key = ("leave", template, _shapes(states.step), held_out is None)
    return key, compiled.get(key, run, _laid(states, sharding), np.int32(0), trial, x, held_out)


def empty_lanes(template: Settings, n_features: int, n_lanes: int, x: Samples, params: Any) -> ClusteringState:
    """Zeros (on the host) in the shapes of `n_lanes` clustering states."""
    model = plan.network(template, n_features)
    trial = clustering_trial(template)
    state = jax.eval_shape(partial(masked.start_clustering, template, model), trial, params, x)
    return jax.tree.map(lambda leaf: np.zeros((n_lanes, *leaf.shape), leaf.dtype), state)


def empty_pretrainings(template: Settings, sizes: tuple[int, ...], index: int, trials: Pretraining, d: int) -> Any:
    """Zeros (on the host) in the shapes of the pretraining states of `trials` in stage `index`."""
    model = plan.network(template, d)
    one = jax.tree.map(lambda leaf: leaf[0], trials)

    def begin(trial: Pretraining) -> Any:
        params = masked.initial_params(template, d, sizes, trial)
        return next_stage_state(template, model, index, trial, params)

    state = jax.eval_shape(begin, one)
    return jax.tree.map(lambda leaf: np.zeros((len(trials.seed), *leaf.shape), leaf.dtype), state)


def _laid(tree: Any, sharding: NamedSharding | None) -> Any:
    """The shapes of arrays that lie as `sharding` says; left open, the compiler would choose for itself."""
    if sharding is None:
        return tree
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _constrain(tree: Any, sharding: NamedSharding | None) -> Any:
    return tree if sharding is None else jax.lax.with_sharding_constraint(tree, sharding)


def _shapes(tree: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves(tree))
