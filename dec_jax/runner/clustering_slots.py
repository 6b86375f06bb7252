"""The compiled programs of clustering, for one trial and for many side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dec_jax import clustering, networks, starts
from dec_jax.clustering import ClusteringInfo, ClusteringState, Recipe
from dec_jax.kmeans import kmeans
from dec_jax.networks import Params
from dec_jax.runner import build
from dec_jax.runner.config import GRAPH_STARTS, Config
from dec_jax.runner.programs import OLDER_GENERATOR, Numbers, Slots, at_slot, keys_of, over_slots, stack
from dec_jax.samples import Samples
from dec_jax.side import Side


class SlotState(NamedTuple):
    """A trial that is clustered: its state, and the embedding (n, m) that takes the samples' place, or ()."""

    state: ClusteringState
    own: Any


class Given(NamedTuple):
    """Samples (n, d) and what is known of them beside their features."""

    x: Samples
    side: Side


class ClusteringSlots(Slots):
    """Clustering in slots; what `slots.run` needs of a program but for what the host does beside it.

    Args:
        params: shapes or values of one trial's pretrained parameters, padded.
        **what: as in `Slots`.
    """

    phase = "clustering"

    def __init__(self, params: Params, **what: Any) -> None:
        super().__init__(**what)
        self.params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), params)
        x, self.held_out = self.split.scaled(self.template.data.scaling)
        self.x = Given(x, self._side())
        one = self.numbers_of(self.template)
        self.numbers = stack([one] * self.n_slots)
        shapes, _ = self._result("start", self._start, one, self.params, self.x)
        self.states = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((self.n_slots, *leaf.shape), leaf.dtype), shapes)

    def allocate(self) -> None:
        """Fills the slots with zeros."""
        self.states = self.put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self.states))

    def put(self, states: Any) -> Any:
        """The states on the devices."""
        return jax.device_put(states, self.sharding)

    def set_numbers(self, slot: int, config: Config) -> None:
        """Notes the numbers of the trial in a slot."""
        for name, value in self.numbers_of(config).items():
            self.numbers[name][slot] = value

    def start_from_kmeans(self, slot: int, params: Params) -> np.ndarray:
        """Puts the state of a fresh start into a slot; returns the clusters of k-means on the embedding, (n,) int32."""
        self.states, labels = self._start_program()(self.states, np.int32(slot), self.numbers, params, self.x)
        return np.asarray(labels)

    def start_from_labels(self, slot: int, labels: np.ndarray) -> None:
        """Lets the trial in a slot learn a partition (n,) before its first step."""
        steps = np.int32(self.template.start.steps)
        arguments = (self.states, np.int32(slot), self.numbers, np.asarray(labels, np.int32), self.x, steps)
        self.states = self._one_program("learn", self._learn, *arguments)(*arguments)

    def loss_from_labels(self, slot: int, labels: np.ndarray, interval: int) -> float:
        """The objective after two intervals from a partition (n,), in a slot whose trial has not begun."""
        steps = np.int32(self.template.start.steps), np.int32(interval)
        arguments = (self.states, np.int32(slot), self.numbers, np.asarray(labels, np.int32), self.x, steps)
        self.states, loss = self._one_program("try", self._try, *arguments)(*arguments)
        return float(loss)

    def reset_slot(self, slot: int, reset: Any) -> None:
        """Changes the state of a slot between two intervals."""
        arguments = (self.states, np.int32(slot), self.numbers, self.x)
        self.states = self._one_program(("reset", reset), partial(self._reset, reset), *arguments)(*arguments)

    def advance(self, running: np.ndarray, n_steps: int) -> ClusteringInfo:
        """Trains an interval in the slots that `running` (n_slots,) marks; leaves (n_slots,), on the host."""
        self.states, infos = self._advance_program()(self.states, self.numbers, running, np.int32(n_steps), self.x)
        return jax.device_get(infos)

    def labels_of(self, slot: int) -> np.ndarray:
        """Clusters (n,) of the trial in a slot when P was last computed."""
        return np.asarray(self.states.state.labels[slot])

    def embedding_of(self, slot: int) -> np.ndarray:
        """Embedding (n, m) of the training samples by the trial in a slot."""
        arguments = (self.states, np.int32(slot), self.numbers, self.x)

        def embedding(states: SlotState, slot: jax.Array, numbers: Numbers, given: Given) -> jax.Array:
            _, one, recipe, x = self._of_slot(states, slot, numbers, given)
            return networks.embed(recipe.model, one.state.params, x)

        return np.asarray(self._program("embedding", embedding, self._laid(self.states), *arguments[1:])(*arguments))

    def results_of(self, slot: int, params: Params) -> tuple[Params, np.ndarray, Any, Any]:
        """Parameters and centroids of the trial in a slot; (z, log q) of the training samples and of those held out."""
        arguments = (self.states, np.int32(slot), self.numbers, params, self.x, self.held_out)
        return jax.device_get(self._finish_program()(*arguments))

    def compile(self, trains: bool = True) -> dict[Any, Callable[..., Any]]:
        """Compiles the programs that every trial needs, and that of an interval where one `trains`; returns all."""
        self._start_program()
        if trains:
            self._advance_program()
        self._finish_program()
        return self.used

    def _side(self) -> Side:
        """The neighbours of the samples, where the objective reads them."""
        if not build.objective(self.template).reads("neighbor"):
            return Side(fade=np.float32(0))
        one = self.template
        neighbors = self.split.neighbors(one.data.scaling, one.clustering.neighbors + 1, one.start.features)
        return Side(jnp.asarray(neighbors.indices[:, 1:], jnp.int32), fade=np.float32(0))

    # ----------------------------------------------------------------------------------------- one trial, and pure

    def _recipe(self, numbers: Numbers) -> Recipe:
        recipe = build.recipe(self._config(numbers), self.model, self.shape, self.x.x.shape[0])
        if len(self.n_clusters) > 1:
            active = jnp.arange(self.n_clusters[-1]) < numbers["n_clusters"]
            recipe = recipe.replace(assignment=recipe.assignment.replace(active=active))
        return recipe

    def _start(self, numbers: Numbers, params: Params, given: Given) -> tuple[SlotState, jax.Array]:
        recipe, own, x = self._beside(self._recipe(numbers), given), (), given.x
        if not recipe.train_encoder:
            recipe, params, x = clustering.freeze_encoder(recipe, params, x)
            own = x
        state = clustering.init_state(recipe, params, self._first_centroids(numbers, recipe, params, x), x)
        return SlotState(state, own), state.labels

    def _first_centroids(self, numbers: Numbers, recipe: Recipe, params: Params, x: Samples) -> jax.Array:
        """Those of k-means on the embedding; zeros where a partition of the samples takes their place."""
        k, m = self.template.clustering.n_clusters, self.template.network.bottleneck
        if self.template.start.kind in GRAPH_STARTS:
            return jnp.zeros((k, m))
        return kmeans(
            keys_of(numbers["seed"]).kmeans,
            networks.embed(recipe.model, params, x),
            k,
            n_restarts=self.template.start.kmeans_restarts,
            n_active=numbers["n_clusters"] if len(self.n_clusters) > 1 else None,
        ).centroids

    def _of_slot(self, states: Any, slot: Any, numbers: Any, given: Given) -> tuple[Any, SlotState, Recipe, Samples]:
        """Keys, state, recipe and samples of the trial in a slot."""
        own, one = at_slot(slot, (numbers, states))
        recipe, x = self._with_samples(self._recipe(own), one, given)
        return keys_of(own["seed"]), one, recipe, x

    def _beside(self, recipe: Recipe, given: Given) -> Recipe:
        """The recipe with what is known of the samples beside their features."""
        fade = recipe.optimizer.n_steps if self.template.clustering.fade else 0
        return recipe.replace(side=given.side.replace(fade=fade))

    def _with_samples(self, recipe: Recipe, one: SlotState, given: Given) -> tuple[Recipe, Samples]:
        if not recipe.train_encoder:
            return clustering.frozen(recipe), one.own
        return self._beside(recipe, given), given.x

    def _learn(
        self, states: SlotState, slot: jax.Array, numbers: Numbers, labels: jax.Array, given: Given, n_steps: jax.Array
    ) -> SlotState:
        keys, one, recipe, x = self._of_slot(states, slot, numbers, given)
        z = networks.embed(recipe.model, one.state.params, x)
        centroids = starts.means(z, labels, len(one.state.centroids))
        state = clustering.init_state(recipe, one.state.params, centroids, x)
        learning = build.learning_recipe(recipe, self.template)
        first = clustering.init_state(learning, one.state.params, centroids, x)
        learnt = starts.learn_partition(keys.start, learning, first, labels, x, n_steps)
        learnt = clustering.init_state(recipe, learnt.params, learnt.centroids, x)
        # With no steps the centroids are the means of the clusters.
        state = jax.tree.map(partial(jnp.where, n_steps > 0), learnt, state)
        return self._placed(states, slot, SlotState(state, one.own))

    def _try(
        self, states: SlotState, slot: jax.Array, numbers: Numbers, labels: jax.Array, given: Given, n_steps: Any
    ) -> tuple[SlotState, jax.Array]:
        learning, interval = n_steps
        states = self._learn(states, slot, numbers, labels, given, learning)
        keys, one, recipe, x = self._of_slot(states, slot, numbers, given)
        return states, starts.loss_after(keys.clustering, recipe, one.state, x, interval)

    def _reset(self, reset: Any, states: SlotState, slot: jax.Array, numbers: Numbers, given: Given) -> SlotState:
        keys, one, recipe, x = self._of_slot(states, slot, numbers, given)
        return self._placed(states, slot, one._replace(state=reset(keys.clustering, recipe, one.state, x)))

    def _placed(self, states: SlotState, slot: jax.Array, one: SlotState) -> SlotState:
        put = partial(jax.lax.dynamic_update_index_in_dim, index=slot, axis=0)
        return self._constrain(jax.tree.map(put, states, one))

    # ------------------------------------------------------------------------------------------------ all the slots

    def _one_program(self, name: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        options = OLDER_GENERATOR if self.template.clustering.kernel == "logits" else ()
        return self._program(name, function, self._laid(arguments[0]), *arguments[1:], donate=(0,), options=options)

    def _start_program(self) -> Any:
        def start(states: Any, slot: jax.Array, numbers: Numbers, params: Params, given: Given) -> Any:
            one, labels = self._start(at_slot(slot, numbers), params, given)
            return self._placed(states, slot, one), labels

        return self._one_program("start", start, self.states, np.int32(0), self.numbers, self.params, self.x)

    def _advance_program(self) -> Any:
        def one(state: SlotState, numbers: Numbers, runs: jax.Array, n_steps: jax.Array, given: Given) -> Any:
            recipe, x = self._with_samples(self._recipe(numbers), state, given)
            key = keys_of(numbers["seed"]).clustering
            moved, info = clustering.train_interval(key, recipe, state.state, x, n_steps)
            if self.n_slots > 1:
                moved = jax.tree.map(partial(jnp.where, runs), moved, state.state)
            return state._replace(state=moved), info

        every = over_slots(one, self.n_slots, (0, 0, 0, None, None))

        def advance(*arguments: Any) -> Any:
            states, infos = every(*arguments)
            return self._constrain(states), infos

        runs = np.ones(self.n_slots, bool)
        return self._one_program("advance", advance, self.states, self.numbers, runs, np.int32(1), self.x)

    def _finish_program(self) -> Any:
        def finish(
            states: Any, slot: jax.Array, numbers: Numbers, params: Params, given: Given, held_out: Samples | None
        ) -> Any:
            own, one = at_slot(slot, (numbers, states))
            params, assignment = params | one.state.params, self._recipe(own).assignment

            def found(x: Samples) -> tuple[jax.Array, jax.Array]:
                z = networks.embed(self.model, params, x)
                return z, assignment.log_q(z, one.state.centroids)

            return params, one.state.centroids, found(given.x), None if held_out is None else found(held_out)

        arguments = (self.states, np.int32(0), self.numbers, self.params, self.x, self.held_out)
        return self._program("finish", finish, self._laid(arguments[0]), *arguments[1:])
