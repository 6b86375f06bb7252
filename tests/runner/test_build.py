import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax import networks, scan
from dec_jax.augmentation import Affine, Chain, Noise
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.data import Dataset
from dec_jax.losses import RECONSTRUCTION_LOSSES, gaussian, log_target_distribution, students_t
from dec_jax.resets import ReseedEmpty, SoftReset
from dec_jax.runner import build, presets
from dec_jax.runner.resolving import resolve

from .tiny_config import config, resolved


def test_network():
    values = config(
        network__hidden=(5,),
        network__bottleneck=2,
        network__activation="tanh",
        network__embedding_activation="sigmoid",
        network__reconstruction_activation="gelu",
        network__weight_init="he",
    )
    model = build.network(values, 8, None)
    assert model.dims == (8, 5, 2)
    assert (model.activation, model.embedding_activation) == ("tanh", "sigmoid")
    assert (model.reconstruction_activation, model.kernel_init) == ("gelu", "he")
    assert build.network(config(network__hidden=(), network__bottleneck=2), 8, None).dims == (8, 2)


def test_convolutional_network():
    values = config(network__kind="convolutional", network__bottleneck=2, network__activation="tanh")
    model = build.network(values, 24, (3, 4, 2))
    assert isinstance(model, ConvolutionalAutoencoder)
    assert (model.image_shape, model.bottleneck, model.activation) == ((3, 4, 2), 2, "tanh")


OWN = """
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from dec_jax.objectives import kl, objective

def spread(inputs, radius):
    return jnp.mean(jnp.maximum(jnp.linalg.norm(inputs.z, axis=-1) - radius, 0))

def compact(radius=3.0, weight=0.1):
    return kl() + weight * objective(spread, radius=radius)

made = 2 * kl()

def vector(inputs):
    return inputs.z

class Small(nn.Module):
    n_features: int
    bottleneck: int

    def setup(self):
        self.down = nn.Dense(self.bottleneck)
        self.up = nn.Dense(self.n_features)

    def encode(self, x):
        return self.down(x)

    def decode(self, z):
        return self.up(z)

    def __call__(self, x):
        return self.decode(self.encode(x))

def small(n_features, bottleneck):
    return Small(n_features, bottleneck)

def narrow(n_features):
    return Small(n_features, 1)

def broken(n_features, width):
    return Small(n_features, width)

def number():
    return 3

class SmallNnx(nnx.Module):
    def __init__(self, n_features, bottleneck, rngs):
        self.down = nnx.Linear(n_features, bottleneck, rngs=rngs)
        self.up = nnx.Linear(bottleneck, n_features, rngs=rngs)

    def encode(self, x):
        return self.down(x)

    def decode(self, z):
        return self.up(z)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own, `own_module`."""
    (tmp_path / "own_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_module"
    sys.modules.pop("own_module", None)
    build._own_network.cache_clear()


@pytest.mark.parametrize("kind", ["small", "Small", "SmallNnx"])
def test_a_network_of_the_users_own(own, kind):
    values = {"network__kind": f"{own}:{kind}", "network__bottleneck": 2, "pretraining__layer_wise_steps": 0}
    found = resolved(**values)
    model = build.network(found, 8, None)
    assert model is build.network(found, 8, None)
    params = networks.init(jax.random.key(0), model, 8)
    assert networks.encode(model, params, jnp.ones((5, 8))).shape == (5, 2)
    assert [stage.name for stage in build.stages(found, model, None)] == ["fine-tuning"]


@pytest.mark.parametrize(
    ("kind", "error", "problem"),
    [
        ("nothing", ValueError, "network.kind 'own_module:nothing' cannot be imported"),
        ("broken", TypeError, "must be a function of n_features, image_shape, bottleneck or rngs: .*'width'"),
        ("number", TypeError, "must make a Flax module, got int"),
        ("made", TypeError, "must be a function of"),
        ("narrow", ValueError, r"must encode and decode to \(\(2, 10\), \(2, 8\)\), got \(2, 1\) and \(2, 8\)"),
    ],
)
def test_networks_of_the_users_own_that_do_not_fit(own, kind, error, problem):
    with pytest.raises(error, match=problem):
        resolved(network__kind=f"{own}:{kind}", pretraining__layer_wise_steps=0)


def test_a_network_without_layer_pairs_has_no_layer_wise_pretraining(own):
    with pytest.raises(ValueError, match=r"layer_wise_steps must be 0, as network.kind=own_module:small .*, got 50000"):
        resolved(network__kind=f"{own}:small")


RANGES = {"rotation": 10.0, "shift": 0.1, "scale": 0.2, "shear": 0.3, "flip": 0.5, "crop": 0.4}
AUGMENTED = {f"augmentation__{name}": value for name, value in RANGES.items()}


def test_augmentation_of_images_then_noise():
    affine = Affine((8, 8), **RANGES, fill=0.0)
    assert build.augmentation(config(**AUGMENTED), (8, 8)) == Chain((affine,))
    both = config(**AUGMENTED, augmentation__noise=0.3, augmentation__dropout=0.1)
    assert build.augmentation(both, (8, 8)) == Chain((affine, Noise(0.3, 0.1)))
    assert build.augmentation(config(), (8, 8)) is None
    standardized = build.augmentation(config(**AUGMENTED, data__scaling="standardize"), (8, 8))
    assert standardized.corruptions[0].fill is None


@pytest.mark.parametrize("name", ["augmentation__noise", "augmentation__dropout"])
def test_any_data_can_have_noise(name):
    found = resolved(**{name: 0.3})
    assert not np.allclose(build.augmentation(found, None)(jax.random.key(0), jnp.ones((5, 7))), 1)


def stages(**values):
    made = config(network__hidden=(5,), network__bottleneck=2, **values)
    return build.stages(made, build.network(made, 8, None), None)


def test_augmentation_reaches_fine_tuning_and_clustering_where_the_encoder_moves():
    found = [stage.loss for stage in stages(augmentation__noise=0.3)]
    assert found[-1].augmentation == Chain((Noise(0.3),))
    assert all(getattr(loss, "augmentation", None) is None for loss in found[:-1])
    assert recipe(augmentation__noise=0.3).augmentation == Chain((Noise(0.3),))
    assert recipe(augmentation__noise=0.3, clustering__train_encoder=False).augmentation is None


def test_stages_in_their_order_and_without_either_half():
    found = stages(pretraining__layer_wise_steps=30, pretraining__fine_tuning_steps=40)
    assert [(one.name, one.n_steps) for one in found] == [("layer 1", 30), ("layer 2", 30), ("fine-tuning", 40)]
    assert [one.name for one in stages(pretraining__layer_wise_steps=0)] == ["fine-tuning"]
    assert [one.name for one in stages(pretraining__fine_tuning_steps=0)] == ["layer 1", "layer 2"]


def test_dropout_reaches_the_layers():
    first, second, _ = stages(pretraining__dropout=0.3, pretraining__input_dropout=0.1)
    assert (first.loss.input_dropout, first.loss.dropout) == (0.1, 0.3)
    assert (second.loss.input_dropout, second.loss.dropout) == (0.3, 0.3)
    assert stages(pretraining__dropout=0.3)[0].loss.input_dropout == 0.3


@pytest.mark.parametrize(("scaling", "clipped"), [("unit", True), ("rms", False)])
def test_noise_is_clipped_where_samples_have_bounds(scaling, clipped):
    corrupt = stages(pretraining__noise=2.0, data__scaling=scaling)[-1].loss.corruption
    noisy = corrupt(jax.random.key(0), jnp.full((50, 8), 0.5))
    assert bool(jnp.all((noisy >= 0) & (noisy <= 1))) is clipped
    assert float(noisy.std()) > 0.3
    assert stages()[-1].loss.corruption is None


def learning_rates(optimizer, n_steps):
    """What a constant gradient of 1 is multiplied by at each step, for a weight and a bias."""
    params = {"bias": jnp.zeros(()), "kernel": jnp.zeros(())}
    state, rates = optimizer.init(params), []
    for _ in range(n_steps):
        updates, state = optimizer.update({"bias": jnp.ones(()), "kernel": jnp.ones(())}, state, params)
        rates.append((-float(updates["kernel"]), -float(updates["bias"])))
    return np.array(rates)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5]),
        ("step", [0.5, 0.5, 0.05, 0.05]),
        ("cosine", 0.25 * (1 + np.cos(np.pi * np.arange(4) / 4))),
    ],
)
def test_learning_rate_schedules(rule, schedule, expected):
    made = config(
        pretraining__optimizer=rule,
        pretraining__schedule=schedule,
        pretraining__learning_rate=0.5,
        pretraining__decay_every=2,
        pretraining__momentum=0.0,
        pretraining__bias_factor=2.0,
    )
    rates = learning_rates(build.pretraining_optimizer(made, 4), 4)
    np.testing.assert_allclose(rates, np.outer(expected, [1, 2]), rtol=1e-4)


def test_clustering_optimizers():
    sgd = recipe(clustering__learning_rate=0.2, clustering__momentum=0.5).optimizer
    np.testing.assert_allclose(learning_rates(sgd, 3)[:, 0], [0.2, 0.3, 0.35], rtol=1e-5)
    adam = recipe(clustering__optimizer="adam", clustering__learning_rate=0.2).optimizer
    np.testing.assert_allclose(learning_rates(adam, 3)[:, 0], [0.2, 0.2, 0.2], rtol=1e-4)


def recipe(**values):
    made = resolved(network__hidden=(5,), network__bottleneck=2, **values)
    return build.recipe(made, build.network(made, 8, None), None, 300)


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({}, {"kl": 1}),
        ({"objective": "idec", "gamma": 0.5}, {"reconstruction": 1, "kl": 0.5}),
        ({"size_balance": 2.0}, {"kl": 1, "size_balance": 2}),
        ({"objective": "imsat"}, {"consistency": 1, "uncertainty": 0.1, "balance": 0.4}),
        ({"objective": "dcn", "distance_weight": 0.5}, {"reconstruction": 1, "distance": 0.5}),
        ({"objective": "dkm", "distance_weight": 3.0}, {"reconstruction": 1, "distance": 3}),
        ({"objective": "dec_jax.objectives:size_balance"}, {"size_balance": 1}),
        (
            {"objective": "dec_jax.objectives:idec", "parameters": {"gamma": 0.7}},
            {"reconstruction": 1, "kl": 0.7},
        ),
    ],
)
def test_objective(options, terms):
    made = build.objective(config(**{f"clustering__{name}": value for name, value in options.items()}))
    assert {term.name: term.weight for term in made.terms} == terms


@pytest.mark.parametrize("objective", ["idec", "dcn", "dkm"])
@pytest.mark.parametrize("loss", RECONSTRUCTION_LOSSES)
def test_objectives_reconstruct_with_the_loss_of_pretraining(objective, loss):
    term = build.objective(config(clustering__objective=objective, pretraining__loss=loss)).terms[0]
    y, x = jnp.array([[0.3, 0.9]]), jnp.array([[0.0, 1.0]])
    inputs = type("Inputs", (), {"reconstruction": y, "network_input": x, "side": {}})
    # Published weights are relative to the mean squared error, whatever factor pretraining had.
    compared = "mse" if loss in ("half_mse", "half_squared") else loss
    assert float(term.function(inputs)) == pytest.approx(float(RECONSTRUCTION_LOSSES[compared](y, x)))


def test_parameters_of_a_named_objective():
    made = build.objective(config(clustering__objective="dkm", objective__start=0.5))
    assert made.terms[1].parameters["start"] == 0.5
    with pytest.raises(ValueError, match="objective.radius is not a parameter of objective=dkm .accepted: start"):
        resolved(clustering__objective="dkm", objective__radius=0.5)
    with pytest.raises(ValueError, match="objective.gamma is not a parameter of objective=dec .accepted: none"):
        resolved(objective__gamma=0.5)


def test_a_function_of_inputs_gets_its_parameters(own):
    values = {"clustering__objective": f"{own}:spread", "objective__radius": 2.0}
    (term,) = build.objective(config(**values)).terms
    assert (term.name, term.weight, term.parameters) == ("spread", 1, {"radius": 2.0})
    balanced = build.objective(config(**values, clustering__size_balance=0.5))
    assert [(term.name, term.weight) for term in balanced.terms] == [("spread", 1), ("size_balance", 0.5)]


@pytest.mark.parametrize(
    ("parameters", "radius", "weight"),
    [({}, 3.0, 0.1), ({"radius": 2.0}, 2.0, 0.1), ({"radius": 2.0, "weight": 0.5}, 2.0, 0.5)],
)
def test_a_function_that_makes_an_objective_gets_its_parameters(own, parameters, radius, weight):
    made = build.objective(config(clustering__objective=f"{own}:compact", clustering__parameters=parameters))
    assert [(term.name, term.weight) for term in made.terms] == [("kl", 1), ("spread", weight)]
    assert made.terms[1].parameters == {"radius": radius}


def test_an_objective_that_is_made_already(own):
    (term,) = build.objective(config(clustering__objective=f"{own}:made")).terms
    assert (term.name, term.weight) == ("kl", 2)


@pytest.mark.parametrize(
    ("name", "parameters", "error", "problem"),
    [
        ("spread", {}, TypeError, "missing a required argument: 'radius'"),
        ("spread", {"radius": 2.0, "more": 1.0}, TypeError, "unexpected keyword argument 'more'"),
        ("compact", {"radios": 2.0}, TypeError, "unexpected keyword argument 'radios'"),
        ("made", {"radius": 2.0}, TypeError, "unexpected keyword argument 'radius'"),
        ("vector", {}, ValueError, "objective own_module:vector cannot be computed: .* must return a scalar"),
        ("nothing", {}, ValueError, "objective 'own_module:nothing' cannot be imported: module .* has no attribute"),
        ("", {}, ValueError, "cannot be imported"),
    ],
)
def test_objectives_that_do_not_fit_are_found_before_any_training(own, name, parameters, error, problem):
    with pytest.raises(error, match=problem):
        resolved(clustering__objective=f"{own}:{name}", clustering__parameters=parameters)


def test_assignment():
    made = recipe().assignment
    assert (made.alpha, made.active, made.kernel.func) == (1, None, students_t)
    assert (made.target.func, made.target.keywords) == (log_target_distribution, {"power": 2, "balance": 1})
    values = {"alpha": 2.0, "kernel": "gaussian", "target_power": 3.0, "target_balance": 0.0}
    made = build.assignment(config(**{f"clustering__{name}": value for name, value in values.items()}))
    assert (made.alpha, made.kernel.func, made.target.keywords) == (2, gaussian, {"power": 3, "balance": 0})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (ReseedEmpty(20),)),
        ({"reseed_empty": False}, ()),
        ({"kernel": "logits"}, ()),
        ({"reseed_empty": True}, (ReseedEmpty(),)),
        ({"resets": 3}, (SoftReset(20 * 1000 // 100, 3, 0.8), ReseedEmpty(20))),
        (
            {"resets": 1, "reset_every": 3, "reset_keep": 0.5, "reseed_empty": True},
            (SoftReset(30, 1, 0.5), ReseedEmpty()),
        ),
        ({"batch_size": 3000, "resets": 2, "reset_every": 1, "reseed_empty": False}, (SoftReset(1, 2),)),
    ],
)
def test_resets_count_in_epochs_and_are_a_step_apart_at_least(values, expected):
    values = {"batch_size": 100} | values
    made = config(**{f"clustering__{name}": value for name, value in values.items()})
    assert build.resets(made, 1000) == expected


def test_a_traced_recipe_has_the_numbers_of_its_configuration_and_compiles_once():
    values = {"alpha": 2.0, "learning_rate": 0.2, "momentum": 0.5, "target_power": 3.0, "target_balance": 0.5}
    values |= {"gamma": 0.7, "size_balance": 0.5}
    changed = {f"clustering__{name}": value for name, value in values.items()}
    configs = [
        resolved(clustering__objective="idec", clustering__size_balance=1.0),
        resolved(clustering__objective="idec", **changed, seed=3, clustering__max_steps=7),
    ]
    template = configs[0].template("clustering")

    @jax.jit
    def traced(numbers):
        made = template.with_values(numbers)
        return build.recipe(made, build.network(made, 8, None), None, 300)

    for one in configs:
        assert one.template("clustering") == template
        expected = build.recipe(one, build.network(one, 8, None), None, 300)
        found = traced(one.numbers())
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        np.testing.assert_allclose(jax.tree.leaves(found), jax.tree.leaves(expected), rtol=1e-6)
    assert traced._cache_size() == 1


def test_traced_stages_have_the_numbers_of_their_configuration():
    values = {"pretraining__learning_rate": 0.2, "pretraining__momentum": 0.5, "pretraining__noise": 0.3}
    one = resolved(network__hidden=(5,), **values, **{"augmentation__dropout": 0.1})
    template = one.template("pretraining")

    @jax.jit
    def traced(numbers):
        made = template.with_values(numbers)
        return build.stages(made, build.network(made, 8, None), None)

    found, expected = traced(one.numbers("pretraining")), build.stages(one, build.network(one, 8, None), None)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    np.testing.assert_allclose(jax.tree.leaves(found), jax.tree.leaves(expected), rtol=1e-6)


@pytest.mark.parametrize("side", [8, 16])
def test_the_preset_auto_clusters_images_by_the_recipe_of_scan(side):
    shape, x = (side, side), np.random.default_rng(0).integers(0, 256, (300, side**2)).astype(float)
    given = presets.config_of("auto").with_values({"clustering.n_clusters": 3})
    found = resolve(given, Dataset("x", x, image_shape=shape))
    made = build.recipe(found, build.network(found, side**2, shape), shape, 300)
    told = scan.recipe(side**2, 3, image_shape=shape, n_steps=found.clustering.max_steps)
    assert found.clustering.max_steps == scan.default_steps(300)
    (affine,) = made.augmentation.corruptions
    assert affine.replace(fill=told.augmentation.fill) == told.augmentation
    for name in ("model", "objective", "optimizer", "batch_size"):
        assert getattr(made, name) == getattr(told, name)
    assert made.assignment.kernel.func is told.assignment.kernel.func
    assert build.learning_recipe(made, found).objective == scan.learning(told).objective
