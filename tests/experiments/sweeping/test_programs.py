from dataclasses import fields, replace

import jax
import numpy as np
import pytest
from tiny_sweep import SETTINGS, samples_of

from dec_jax import autoencoder
from experiments import plan
from experiments.settings import Settings
from experiments.sweeping import masked, programs
from experiments.sweeping.masked import Hyperparameters, Pretraining
from experiments.sweeping.pretraining_cache import PRETRAINING_FIELDS
from experiments.sweeping.programs import Compiled

X = samples_of().scaled("rms")[0]
D = X.shape[1]
SIZES = (2, 3)
K = 5

# What the host looks at between two calls, and what only says where the data are and where settings come from.
ON_THE_HOST = {"tolerance", "max_steps"}
NAMES = {"data", "labels", "preset"}
# What makes a clustering program; the rest of what pretraining depends on does not reach it.
CLUSTERING = {
    "scaling",
    "hidden",
    "activation",
    "embedding_activation",
    "reconstruction_activation",
    "batch_size",
    "kmeans_restarts",
    "start",
    "start_steps",
    "cluster_optimizer",
    "update_interval",
    "train_encoder",
    "objective",
    "objective_parameters",
    "kernel",
    "network",
    "resets",
    "reset_every",
    "reset_keep",
    "reseed_empty",
    "augment_rotation",
    "augment_shift",
    "augment_scale",
    "augment_shear",
    "augment_flip",
    "augment_crop",
    "augment_noise",
    "augment_dropout",
}
OTHER = {
    "data": "mnist",
    "labels": "y.npy",
    "preset": "demo",
    "scaling": "unit",
    "hidden": (8,),
    "activation": "tanh",
    "embedding_activation": "tanh",
    "reconstruction_activation": "tanh",
    "weight_init": "he",
    "loss": "mae",
    "input_dropout": 0.1,
    "optimizer": "sgd",
    "learning_rate_schedule": "cosine",
    "start": "n2d",
    "start_steps": 5,
    "cluster_optimizer": "adam",
    "objective": "my_losses:spread",
    "train_encoder": False,
    "tolerance": 0.5,
    "dropout": 0.5,
    "momentum": 0.5,
    "cluster_momentum": 0.5,
    "size_balance": 0.5,
    "kernel": "gaussian",
    "network": "convolutional",
    "reset_keep": 0.5,
    "reseed_empty": True,
    "augment_dropout": 0.5,
}
FIELDS = [field.name for field in fields(Settings)]


def changed(name):
    """The settings with another value of one of them."""
    if name == "objective_parameters":  # which only an objective of the user's own has
        return replace(changed("objective"), objective_parameters=(("radius", 1.0),))
    value = OTHER[name] if name in OTHER else getattr(SETTINGS, name) + 1
    return replace(SETTINGS, **{name: value})


# Templates


@pytest.mark.parametrize("name", FIELDS)
def test_a_pretraining_program_depends_on_what_pretraining_does_but_what_varies_in_it(name):
    same = programs.pretraining_template(changed(name), 3) == programs.pretraining_template(SETTINGS, 3)
    assert same == (name not in set(PRETRAINING_FIELDS) - {*Pretraining._fields, "bottleneck"})


@pytest.mark.parametrize("name", FIELDS)
def test_a_clustering_program_depends_on_what_neither_varies_nor_is_pretrainings_alone(name):
    templates = [programs.clustering_template(each, K, 3) for each in (SETTINGS, changed(name))]
    if name == "size_balance":  # the term is there or not, and its weight varies
        templates.append(programs.clustering_template(replace(SETTINGS, size_balance=0.7), K, 3))
        assert templates[0] != templates[1] == templates[2]
    else:
        assert (templates[0] == templates[1]) == (name not in CLUSTERING)


def test_every_setting_has_its_place():
    of_clustering = CLUSTERING | set(Hyperparameters._fields) | ON_THE_HOST | NAMES
    assert of_clustering | set(PRETRAINING_FIELDS) == set(FIELDS)
    assert CLUSTERING.isdisjoint({*Hyperparameters._fields, *ON_THE_HOST, *NAMES})


# Side by side


def pretrain(compiled, *changes):
    """Parameters of pretrainings side by side, on the host."""
    settings = [replace(SETTINGS, fine_tuning_steps=10, **change) for change in changes]
    template = programs.pretraining_template(settings[0], max(SIZES))
    trials = programs.stack([programs.pretraining_trial(each, SIZES) for each in settings])
    states = programs.empty_pretrainings(template, SIZES, 0, trials, D)
    _, program = programs.pretraining_program(compiled, template, SIZES, 0, 10, trials, states, X)
    return jax.device_get(program(np.bool_(True), trials, states, X)[0][0])


class Lanes:
    """Three lanes of clusterings."""

    def __init__(self):
        self.compiled = Compiled()
        self.template, self.longest = programs.clustering_template(SETTINGS, K, max(SIZES))

    def run(self, *changes):
        """States (on the host) and infos after two intervals of trials side by side; None leaves a lane empty."""
        settings = [change if change is None else replace(SETTINGS, **change) for change in changes]
        params = [each and self._pretrained(each) for each in settings]
        states = programs.empty_lanes(self.template, D, 3, X, next(each for each in params if each))
        for lane, each in enumerate(settings):
            if each is not None:
                trial = programs.clustering_trial(each)
                _, enter = programs.enter_program(self.compiled, self.template, trial, states, params[lane], X)
                states, _ = enter(states, np.int32(lane), trial, params[lane], X)
        trials = programs.stack([programs.clustering_trial(each or self.template) for each in settings])
        _, advance = programs.advance_program(self.compiled, self.template, self.longest, trials, states, X)
        goes_on = np.array([each is not None for each in settings])
        for n_steps in (10, 7):
            states, infos = advance(states, trials, goes_on, np.int32(n_steps), X)
        return jax.device_get((states, infos))

    def _pretrained(self, settings):
        model = plan.network(settings, D)
        params = autoencoder.init(masked.keys_of(np.uint32(settings.seed)).params, model, D)
        return jax.device_get(masked.pad(model, params, max(SIZES)))


@pytest.fixture(scope="module")
def lanes():
    return Lanes()


def lane(tree, place):
    return jax.tree.map(lambda leaf: leaf[place], tree)


def check_identical(a, b):
    for leaf, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(leaf, other)


A = {"n_clusters": 3, "bottleneck": 2, "seed": 4}
B = {"n_clusters": 5, "bottleneck": 3, "alpha": 2.0, "cluster_learning_rate": 0.5}
C = {"n_clusters": 4, "bottleneck": 3, "cluster_momentum": 0.0, "seed": 9}


def test_a_clustering_is_the_same_in_every_lane_and_beside_all_neighbours(lanes):
    side_by_side = lanes.run(A, B, C)
    alone = [lanes.run(*[change if i == place else None for i in range(3)]) for place, change in enumerate((A, B, C))]
    for place in range(3):
        check_identical(lane(side_by_side, place), lane(alone[place], place))
    turned = lanes.run(C, A, A)
    for place, other in enumerate((2, 0, 0)):
        check_identical(lane(turned, place), lane(side_by_side, other))
    assert lanes.compiled.count == 2


def test_neighbours_that_become_nan_are_nobody_elses(lanes):
    whole, broken = lanes.run(A, B, C), lanes.run(A, B | {"cluster_learning_rate": 1e30}, C)
    assert not np.isfinite(broken[1].loss[1])
    for place in (0, 2):
        check_identical(lane(broken, place), lane(whole, place))


def test_a_lane_that_waits_stays_as_it_is(lanes):
    states, _ = lanes.run(None, B, None)
    for leaf in jax.tree.leaves(lane(states, 0)):
        np.testing.assert_array_equal(leaf, 0)


def test_a_pretraining_is_the_same_in_every_lane_and_beside_all_neighbours():
    compiled = Compiled()
    a, b = {"bottleneck": 2, "seed": 4}, {"bottleneck": 3, "learning_rate": 0.01}
    first, second, third = pretrain(compiled, a, b), pretrain(compiled, b, a), pretrain(compiled, a, a)
    for place, (other, where) in enumerate([(second, 1), (second, 0)]):
        check_identical(lane(first, place), lane(other, where))
    for place in range(2):
        check_identical(lane(third, place), lane(first, 0))
    assert compiled.count == 1
