import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from dec_jax import autoencoder
from dec_jax.augmentation import Affine, Chain, Noise
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.data import NAMES, Dataset
from dec_jax.losses import gaussian, log_target_distribution, students_t
from dec_jax.resets import ReseedEmpty, SoftResets
from experiments import plan
from experiments.presets import N_CLUSTERS
from experiments.settings import Settings

DATA = Dataset("mine.npy", np.random.default_rng(0).normal(size=(300, 8)))


def test_what_depends_on_the_data_is_filled_in():
    resolved = plan.resolve(Settings(n_clusters=3), DATA)
    assert (resolved.batch_size, resolved.update_interval, resolved.scaling) == (256, 20, "rms")
    assert resolved == replace(Settings(n_clusters=3), batch_size=256, update_interval=20, scaling="rms")


def test_batches_are_no_larger_than_the_data():
    assert plan.resolve(Settings(n_clusters=3, batch_size=301), DATA).batch_size == 300
    assert plan.resolve(Settings(n_clusters=3, batch_size=300), DATA).batch_size == 300


def test_the_steps_of_a_start_from_a_partition_are_two_epochs():
    assert plan.resolve(Settings(n_clusters=3, start="n2d"), DATA).start_steps == 200
    assert plan.resolve(Settings(n_clusters=3, start="n2d", batch_size=2), DATA).start_steps == 300
    assert plan.resolve(Settings(n_clusters=3, start="n2d", start_steps=0), DATA).start_steps == 0
    assert plan.resolve(Settings(n_clusters=3), DATA).start_steps is None


def test_a_start_without_its_extra_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r'pip install "dec_jax\[n2d\]"'):
        plan.resolve(Settings(n_clusters=3, start="n2d"), DATA)


def test_given_values_stay():
    given = Settings(n_clusters=300, batch_size=7, update_interval=9, scaling="unit")
    assert plan.resolve(given, DATA) == given


@pytest.mark.parametrize(
    ("dataset", "rule"),
    [(Dataset("mnist", DATA.x), "pixels"), (Dataset("text.npz", scipy.sparse.csr_array(DATA.x)), "tfidf")],
)
def test_scaling_follows_the_data(dataset, rule):
    assert plan.resolve(Settings(n_clusters=3), dataset).scaling == rule


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"n_clusters": None}, "n_clusters is missing.*--n-clusters K"),
        ({"n_clusters": 301}, r"n_clusters must be between 2 and 300 \(the number of samples\), got 301"),
        ({"n_clusters": 300, "start": "n2d"}, r"n_clusters must be between 2 and 299 \(with start=n2d one less"),
        ({"start": "n2d", "start_steps": 10**7}, "start_steps must be between 0 and 8388607"),
        ({"max_steps": 10**7}, r"max_steps must be between 0 and 8388607 \(2³¹ samples in batches of 256\)"),
        ({"layer_wise_steps": 10**7}, "layer_wise_steps must be"),
        ({"fine_tuning_steps": 10**7}, "fine_tuning_steps must be"),
        ({"loss": "bce"}, "loss=bce needs scaling=unit, got rms"),
        ({"loss": "bce", "scaling": "unit"}, "loss=bce needs reconstruction_activation=sigmoid, got linear"),
        (
            {"loss": "bce", "scaling": "unit", "reconstruction_activation": "sigmoid"},
            "needs activation=sigmoid in layer-wise pretraining, got relu",
        ),
        ({"loss": "bce_logits", "scaling": "unit"}, "needs loss=bce in layer-wise pretraining, got bce_logits"),
    ],
)
def test_settings_that_do_not_fit(settings, problem):
    with pytest.raises(ValueError, match=problem):
        plan.resolve(Settings(**({"n_clusters": 3} | settings)), DATA)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "bce", "reconstruction_activation": "sigmoid", "activation": "sigmoid"},
        {"loss": "bce", "reconstruction_activation": "sigmoid", "layer_wise_steps": 0},
        {"loss": "bce_logits", "layer_wise_steps": 0},
        {"loss": "bce_logits", "hidden": ()},
    ],
)
def test_cross_entropy_where_it_fits(settings):
    assert plan.resolve(Settings(n_clusters=3, scaling="unit", **settings), DATA).loss == settings["loss"]


def test_network():
    settings = Settings(
        hidden=(5,),
        bottleneck=2,
        activation="tanh",
        embedding_activation="sigmoid",
        reconstruction_activation="gelu",
        weight_init="he",
    )
    model = plan.network(settings, 8)
    assert model.dims == (8, 5, 2)
    assert (model.activation, model.embedding_activation) == ("tanh", "sigmoid")
    assert (model.reconstruction_activation, model.kernel_init) == ("gelu", "he")
    assert plan.network(Settings(hidden=(), bottleneck=2), 8).dims == (8, 2)


def test_convolutional_network():
    settings = Settings(network="convolutional", bottleneck=2, activation="tanh", weight_init="he")
    model = plan.network(settings, 64)
    assert isinstance(model, ConvolutionalAutoencoder)
    assert (model.image_shape, model.bottleneck, model.activation, model.kernel_init) == ((8, 8), 2, "tanh", "he")
    assert plan.network(settings, 48).image_shape == (4, 4, 3)


@pytest.mark.parametrize("settings", [{"network": "convolutional"}, {"augment_rotation": 10.0}, {"augment_flip": 0.5}])
def test_images_must_be_square(settings):
    with pytest.raises(ValueError, match=r"needs images: square images have s·s or s·s·3 features, got 7"):
        plan.resolve(Settings(n_clusters=3, **settings), Dataset("mine.npy", np.eye(9, 7)))
    plan.resolve(Settings(n_clusters=3, **settings), Dataset("mine.npy", np.eye(9, 9)))


RANGES = {
    "augment_rotation": 10.0,
    "augment_shift": 0.1,
    "augment_scale": 0.2,
    "augment_shear": 0.3,
    "augment_flip": 0.5,
    "augment_crop": 0.4,
}


def test_augmentation_of_images_then_noise():
    affine = Affine((8, 8), rotation=10.0, shift=0.1, scale=0.2, shear=0.3, flip=0.5, crop=0.4, fill=0.0)
    assert plan.augmentation(Settings(**RANGES), 64) == Chain((affine,))
    both = Settings(**RANGES, augment_noise=0.3, augment_dropout=0.1)
    assert plan.augmentation(both, 64) == Chain((affine, Noise(0.3, 0.1)))
    assert plan.augmentation(Settings(), 64) is None
    assert plan.augmentation(Settings(**RANGES, scaling="standardize"), 64).corruptions[0].fill is None


@pytest.mark.parametrize("ranges", [{"augment_noise": 0.3}, {"augment_dropout": 0.1}])
def test_any_data_can_have_noise(ranges):
    assert plan.resolve(Settings(n_clusters=3, **ranges), Dataset("mine.npy", np.eye(9, 7)))
    noisy = plan.augmentation(Settings(**ranges), 7)(jax.random.key(0), jnp.ones((5, 7)))
    assert not np.allclose(noisy, 1)


def test_one_augmentation_is_compiled_once():
    made = [plan.augmentation(Settings(**RANGES, augment_noise=0.3, seed=seed), 64) for seed in (0, 1)]
    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])


def test_augmentation_reaches_fine_tuning_and_clustering_where_the_encoder_moves():
    found = [stage.loss for stage in stages(augment_noise=0.3)]
    assert found[-1].augmentation == Chain((Noise(0.3),))
    assert all(getattr(loss, "augmentation", None) is None for loss in found[:-1])
    assert plan.clustering_augmentation(Settings(augment_noise=0.3), 8) == Chain((Noise(0.3),))
    assert plan.clustering_augmentation(Settings(augment_noise=0.3, train_encoder=False), 8) is None


def stages(**settings):
    settings = Settings(hidden=(5,), bottleneck=2, **settings)
    return plan.stages(settings, plan.network(settings, 8))


def test_stages_in_their_order():
    found = [(stage.name, stage.n_steps) for stage in stages(layer_wise_steps=30, fine_tuning_steps=40)]
    assert found == [("layer 1", 30), ("layer 2", 30), ("fine-tuning", 40)]


def test_either_half_can_be_left_out():
    assert [stage.name for stage in stages(layer_wise_steps=0)] == ["fine-tuning"]
    assert [stage.name for stage in stages(fine_tuning_steps=0)] == ["layer 1", "layer 2"]


def test_dropout_reaches_the_layers():
    first, second, _ = stages(dropout=0.3, input_dropout=0.1)
    assert (first.loss.input_dropout, first.loss.dropout) == (0.1, 0.3)
    assert (second.loss.input_dropout, second.loss.dropout) == (0.3, 0.3)
    assert stages(dropout=0.3)[0].loss.input_dropout == 0.3


@pytest.mark.parametrize(("scaling", "clipped"), [("unit", True), ("rms", False)])
def test_noise_is_clipped_where_samples_have_bounds(scaling, clipped):
    corrupt = stages(noise=2.0, scaling=scaling)[-1].loss.corruption
    noisy = corrupt(jax.random.key(0), jnp.full((50, 8), 0.5))
    assert bool(jnp.all((noisy >= 0) & (noisy <= 1))) is clipped
    assert float(noisy.std()) > 0.3


def test_no_noise_is_no_corruption():
    assert stages(noise=0.0)[-1].loss.corruption is None


def learning_rates(optimizer, n_steps):
    """What a constant gradient of 1 is multiplied by at each step."""
    params = {"bias": jnp.zeros(()), "kernel": jnp.zeros(())}
    state, rates = optimizer.init(params), []
    for _ in range(n_steps):
        updates, state = optimizer.update({"bias": jnp.ones(()), "kernel": jnp.ones(())}, state, params)
        rates.append((-float(updates["kernel"]), -float(updates["bias"])))
    return np.array(rates)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5]),
        ("step", [0.5, 0.5, 0.05, 0.05]),
        ("cosine", 0.25 * (1 + np.cos(np.pi * np.arange(4) / 4))),
    ],
)
def test_learning_rate_schedules(optimizer, schedule, expected):
    settings = Settings(
        optimizer=optimizer, learning_rate_schedule=schedule, learning_rate=0.5, decay_every=2, momentum=0.0
    )
    rates = learning_rates(plan.pretraining_optimizer(settings, 4), 4)
    np.testing.assert_allclose(rates[:, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(rates[:, 1], expected, rtol=1e-4)


def test_biases_learn_faster_as_in_the_release():
    rates = learning_rates(plan.pretraining_optimizer(Settings(bias_factor=2.0, momentum=0.0), 3), 3)
    np.testing.assert_allclose(rates, [[0.1, 0.2]] * 3, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_momentum_adds_up(schedule):
    settings = Settings(learning_rate=1.0, momentum=0.5, learning_rate_schedule=schedule)
    rates = learning_rates(plan.pretraining_optimizer(settings, 3), 3)
    np.testing.assert_allclose(rates[:, 0], [1.0, 1.5, 1.75], rtol=1e-6)


def test_clustering_optimizers():
    sgd = plan.clustering_optimizer(Settings(cluster_learning_rate=0.2, cluster_momentum=0.5))
    np.testing.assert_allclose(learning_rates(sgd, 3)[:, 0], [0.2, 0.3, 0.35], rtol=1e-5)
    adam = plan.clustering_optimizer(Settings(cluster_optimizer="adam", cluster_learning_rate=0.2))
    np.testing.assert_allclose(learning_rates(adam, 3)[:, 0], [0.2, 0.2, 0.2], rtol=1e-4)


@pytest.mark.parametrize("preset", [{}, {"optimizer": "adam", "learning_rate_schedule": "cosine"}])
def test_runs_that_differ_in_their_seed_share_what_is_compiled(preset):
    assert stages(seed=0, **preset) == stages(seed=1, **preset)
    assert hash(stages(seed=0, **preset)[0]) == hash(stages(seed=1, **preset)[0])


def test_stages_train_the_network_they_were_made_for():
    stage = stages(layer_wise_steps=0)[0]
    params = autoencoder.init(jax.random.key(0), stage.loss.model, 8)
    assert float(stage.loss(params, jax.random.key(1), jnp.ones((4, 8)))) > 0


def test_every_named_data_set_knows_its_number_of_clusters():
    assert set(N_CLUSTERS) == set(NAMES)


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({}, {"kl": 1}),
        ({"objective": "idec", "gamma": 0.5}, {"reconstruction": 1, "kl": 0.5}),
        ({"size_balance": 2.0}, {"kl": 1, "size_balance": 2}),
        ({"objective": "dcn", "distance_weight": 0.5}, {"reconstruction": 1, "distance": 0.5}),
        ({"objective": "dkm", "distance_weight": 3.0}, {"reconstruction": 1, "distance": 3}),
        ({"objective": "dec_jax.objectives:size_balance"}, {"size_balance": 1}),
        (
            {"objective": "dec_jax.objectives:idec", "objective_parameters": (("gamma", 0.7),)},
            {"reconstruction": 1, "kl": 0.7},
        ),
    ],
)
def test_objective(options, terms):
    made = plan.objective(Settings(**options))
    assert {term.name: term.weight for term in made.terms} == terms


def test_weights_that_are_given_take_the_place_of_the_settings():
    made = plan.objective(
        Settings(objective="idec", size_balance=1.0), {"gamma": 3.0, "distance_weight": 1.0, "size_balance": 4.0}
    )
    assert [term.weight for term in made.terms] == [1, 3, 4]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own, `own_losses`."""
    (tmp_path / "own_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_losses"
    sys.modules.pop("own_losses", None)


OWN = """
import jax.numpy as jnp
from dec_jax.objectives import kl, objective

def spread(inputs, radius):
    return jnp.mean(jnp.maximum(jnp.linalg.norm(inputs.z, axis=-1) - radius, 0))

def compact(radius=3.0, weight=0.1):
    return kl() + weight * objective(spread, radius=radius)

made = 2 * kl()
"""


def test_a_function_of_inputs_gets_its_parameters(own):
    settings = Settings(objective="own_losses:spread", objective_parameters=(("radius", 2.0),))
    (term,) = plan.objective(settings).terms
    assert (term.name, term.weight, term.parameters) == ("spread", 1, {"radius": 2.0})
    balanced = plan.objective(replace(settings, size_balance=0.5))
    assert [(term.name, term.weight) for term in balanced.terms] == [("spread", 1), ("size_balance", 0.5)]


@pytest.mark.parametrize(
    ("parameters", "radius", "weight"),
    [((), 3.0, 0.1), ((("radius", 2.0),), 2.0, 0.1), ((("radius", 2.0), ("weight", 0.5)), 2.0, 0.5)],
)
def test_a_function_that_makes_an_objective_gets_its_parameters(own, parameters, radius, weight):
    made = plan.objective(Settings(objective="own_losses:compact", objective_parameters=parameters))
    assert [(term.name, term.weight) for term in made.terms] == [("kl", 1), ("spread", weight)]
    assert made.terms[1].parameters == {"radius": radius}


def test_an_objective_that_is_made_already(own):
    (term,) = plan.objective(Settings(objective="own_losses:made")).terms
    assert (term.name, term.weight) == ("kl", 2)


@pytest.mark.parametrize(
    ("name", "parameters", "problem"),
    [
        ("spread", {}, "missing a required argument: 'radius'"),
        ("spread", {"radios": 2.0}, "missing a required argument: 'radius'|unexpected keyword argument 'radios'"),
        ("spread", {"radius": 2.0, "more": 1.0}, "unexpected keyword argument 'more'"),
        ("compact", {"radios": 2.0}, "unexpected keyword argument 'radios'"),
        ("made", {"radius": 2.0}, "unexpected keyword argument 'radius'"),
    ],
)
def test_parameters_that_an_objective_does_not_have(own, name, parameters, problem):
    settings = Settings(n_clusters=3, objective=f"{own}:{name}", objective_parameters=tuple(parameters.items()))
    with pytest.raises(TypeError, match=problem):
        plan.resolve(settings, DATA)


def test_assignment():
    made = plan.assignment(Settings())
    assert (made.alpha, made.active, made.kernel.func) == (1, None, students_t)
    assert (made.target.func, made.target.keywords) == (log_target_distribution, {"power": 2, "balance": 1})
    made = plan.assignment(Settings(alpha=2.0, kernel="gaussian", target_power=3.0, target_balance=0.0))
    assert (made.alpha, made.kernel.func, made.target.keywords) == (2, gaussian, {"power": 3, "balance": 0})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"reseed_empty": True}, [ReseedEmpty()]),
        ({"resets": 3}, [SoftResets(20 * 1000 // 100, 3, 0.8)]),
        (
            {"resets": 1, "reset_every": 3, "reset_keep": 0.5, "reseed_empty": True},
            [SoftResets(30, 1, 0.5), ReseedEmpty()],
        ),
    ],
)
def test_renewals_count_in_epochs(settings, expected):
    assert plan.renewals(Settings(batch_size=100, **settings), 1000) == expected


def test_resets_are_a_step_apart_at_least():
    assert plan.renewals(Settings(batch_size=300, resets=2, reset_every=1), 100) == [SoftResets(1, 2)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"objective": "no_such_module:loss"}, ValueError, "'no_such_module:loss' cannot be imported: No module named"),
        ({"objective": "dec_jax.objectives:loss"}, ValueError, "cannot be imported: module .* has no attribute 'loss'"),
        ({"objective": "dec_jax.objectives:"}, ValueError, "cannot be imported"),
        ({"objective": "dec_jax.losses:kl_divergence"}, TypeError, "an objective must be a function"),
        ({"objective": "idec", "train_encoder": False}, ValueError, "reads the reconstruction and needs train_encoder"),
        ({"objective": "dcn", "train_encoder": False}, ValueError, "objective=dcn reads the reconstruction and needs"),
        ({"objective": "dkm", "train_encoder": False}, ValueError, "objective=dkm reads the reconstruction and needs"),
    ],
)
def test_bad_objectives_are_found_before_any_training(options, error, message):
    with pytest.raises(error, match=message):
        plan.resolve(Settings(n_clusters=3, **options), Dataset("made", np.eye(8)))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"train_encoder": False}, "resets=1 pull the encoder and need train_encoder=true"),
        ({"max_steps": 20}, "max_steps must be more than 20, the step of the last of 1 resets, got 20"),
    ],
)
def test_resets_that_cannot_be(settings, problem):
    with pytest.raises(ValueError, match=problem):
        plan.resolve(Settings(n_clusters=3, resets=1, **settings), Dataset("made", np.eye(8)))


def test_an_objective_that_cannot_be_computed_is_found_before_any_training(monkeypatch):
    monkeypatch.setattr(plan.objectives, "dec", lambda: plan.objectives.objective(lambda inputs: inputs.z))
    with pytest.raises(ValueError, match=r"objective dec cannot be computed: .* must return a scalar, got shape"):
        plan.resolve(Settings(n_clusters=3), Dataset("made", np.eye(8)))
