from dataclasses import fields

import pytest

from experiments.presets import N_CLUSTERS, PRESETS, changes_of
from experiments.settings import CHECKS, HELP, OBJECTIVES, Settings, parse


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("bottleneck=7", 7),
        ("batch_size=1_000", 1000),
        ("learning_rate=1e-3", 0.001),
        ("learning_rate=1", 1.0),
        ("train_encoder=false", False),
        ("train_encoder=True", True),
        ("activation=tanh", "tanh"),
        ("scaling=none", "none"),
        ("scaling=auto", "auto"),
        ("hidden=500,20", (500, 20)),
        ("hidden=64", (64,)),
        ("hidden=none", ()),
        ("hidden=", ()),
        ("update_interval=160", 160),
        ("update_interval=none", None),
        ("update_interval=auto", None),
        ("input_dropout=0", 0.0),
        ("input_dropout=None", None),
        ("network=convolutional", "convolutional"),
        ("resets=2", 2),
        ("reseed_empty=true", True),
        ("target_power=3", 3.0),
        ("augment_rotation=10", 10.0),
    ],
)
def test_words_become_values_of_the_settings_types(word, value):
    (found,) = parse([word]).values()
    assert found == value
    assert type(found) is type(value)


def test_of_two_words_the_last_one_counts():
    assert parse(["alpha=2", "bottleneck=3", "alpha=0.5"]) == {"alpha": 0.5, "bottleneck": 3}


def test_parameters_of_an_objective_are_numbers_by_name():
    found = parse(["objective.radius=2", "alpha=2", "objective.b=1e-3", "objective.radius=3"])
    assert found == {"alpha": 2, "objective_parameters": (("b", 0.001), ("radius", 3.0))}
    settings = Settings(objective="my_losses:spread", **found)
    assert dict(settings.objective_parameters) == {"b": 0.001, "radius": 3.0}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_of_this_package_take_no_parameters(objective):
    with pytest.raises(
        ValueError, match=f"objective.radius needs an objective package.module:function, got {objective}$"
    ):
        Settings(objective=objective, **parse(["objective.radius=2"]))


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("bottleneck", "--set takes KEY=VALUE, got 'bottleneck'"),
        ("bottelneck=3", "unknown setting 'bottelneck'; did you mean 'bottleneck'"),
        ("seed=3", "seed is no key of --set but an option of its own: --seed"),
        ("n_clusters=3", "an option of its own: --n-clusters"),
        ("bottleneck=many", "bottleneck must be an integer, got 'many'"),
        ("bottleneck=1.5", "bottleneck must be an integer, got '1.5'"),
        ("bottleneck=none", "bottleneck must be an integer, got 'none'"),
        ("alpha=", "alpha must be a number, got ''"),
        ("train_encoder=1", "train_encoder must be true or false, got '1'"),
        ("hidden=500;500", "hidden must be integers like 500,500, got '500;500'"),
        ("hidden=500,", "hidden must be integers like 500,500"),
        ("objective.radius=wide", "objective.radius must be a number, got 'wide'"),
        ("objective.radius", "--set takes KEY=VALUE, got 'objective.radius'"),
        ("objective=idec", "an option of its own: --objective"),
        ("reseed_empty=yes", "reseed_empty must be true or false, got 'yes'"),
        ("resets=1.5", "resets must be an integer, got '1.5'"),
        ("augment_rotatoin=3", "unknown setting 'augment_rotatoin'; did you mean 'augment_rotation'"),
    ],
)
def test_words_that_cannot_be_read(word, problem):
    with pytest.raises(ValueError, match=problem):
        parse([word])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", 1),
        ("seed", -1),
        ("seed", 2**32),
        ("bottleneck", 0),
        ("batch_size", 0),
        ("layer_wise_steps", -1),
        ("fine_tuning_steps", -1),
        ("dropout", -0.1),
        ("dropout", 1.0),
        ("input_dropout", 1.5),
        ("noise", -0.1),
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("cluster_learning_rate", -0.1),
        ("cluster_learning_rate", float("inf")),
        ("momentum", -0.1),
        ("cluster_momentum", 1.0),
        ("decay_every", 0),
        ("bias_factor", 0.0),
        ("kmeans_restarts", 0),
        ("start_steps", -1),
        ("alpha", 0.0),
        ("alpha", -1.0),
        ("update_interval", 0),
        ("update_interval", -160),
        ("tolerance", -0.001),
        ("tolerance", 1.1),
        ("max_steps", 0),
        ("gamma", -0.1),
        ("distance_weight", -1.0),
        ("size_balance", -1.0),
        ("target_power", 0.0),
        ("target_balance", -0.5),
        ("resets", -1),
        ("reset_every", 0),
        ("reset_keep", 1.1),
        ("reset_keep", -0.1),
        ("augment_rotation", 181.0),
        ("augment_rotation", -1.0),
        ("augment_shift", 1.1),
        ("augment_scale", -0.1),
        ("augment_shear", -0.1),
        ("augment_flip", 1.5),
        ("augment_crop", -0.1),
        ("augment_noise", -1.0),
        ("augment_noise", float("inf")),
        ("augment_dropout", 1.0),
    ],
)
def test_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*got {value}"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("activation", "rellu", "relu"),
        ("embedding_activation", "liner", "linear"),
        ("reconstruction_activation", "sigmod", "sigmoid"),
        ("weight_init", "glorrot", "glorot"),
        ("loss", "mseq", "mse"),
        ("scaling", "pixel", "pixels"),
        ("optimizer", "adamw", "adam"),
        ("learning_rate_schedule", "cosin", "cosine"),
        ("cluster_optimizer", "sdg", "sgd"),
        ("network", "convolutionl", "convolutional"),
        ("kernel", "gausian", "gaussian"),
        ("objective", "dmk", "dkm"),
        ("start", "kmean", "kmeans"),
    ],
)
def test_unknown_names_are_told_their_neighbours(name, value, near):
    with pytest.raises(ValueError, match=f"unknown {name} '{value}'; did you mean '{near}'"):
        Settings(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("bottleneck", None), ("bottleneck", 2.0), ("max_steps", True)])
def test_values_of_another_type(name, value):
    with pytest.raises(TypeError, match=f"{name} must be an integer"):
        Settings(**{name: value})


def test_sizes_of_hidden_layers():
    with pytest.raises(ValueError, match=r"hidden\[1\] must be at least 1, got 0"):
        Settings(hidden=(500, 0))


def test_something_must_be_trained():
    with pytest.raises(ValueError, match="layer_wise_steps and fine_tuning_steps must not both be 0"):
        Settings(layer_wise_steps=0, fine_tuning_steps=0)


def test_every_setting_is_an_option_or_explained_and_checked():
    names = {field.name for field in fields(Settings)}
    assert names - set(HELP) == {"data", "labels", "n_clusters", "preset", "seed", "objective", "objective_parameters"}
    assert set(HELP) < names
    assert names - set(CHECKS) == {
        "data",
        "labels",
        "preset",
        "hidden",
        "train_encoder",
        "objective",
        "objective_parameters",
        "reseed_empty",
        "unlabelled",
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_settings(preset):
    Settings(**PRESETS[preset])


def test_paper_preset_is_the_recipe():
    paper = Settings(**PRESETS["paper"])
    assert paper.hidden == (500, 500, 2000)
    assert (paper.bottleneck, paper.dropout, paper.batch_size) == (10, 0.2, 256)
    assert (paper.layer_wise_steps, paper.fine_tuning_steps) == (50_000, 100_000)
    assert (paper.learning_rate, paper.decay_every, paper.momentum) == (0.1, 20_000, 0.9)
    assert (paper.cluster_learning_rate, paper.tolerance, paper.alpha, paper.kmeans_restarts) == (0.01, 0.001, 1, 20)


def test_clusters_of_named_data_sets():
    assert {name: k for name, k in N_CLUSTERS.items() if k != 10} == {"reuters": 4, "reuters10k": 4}


@pytest.mark.parametrize("objective", ["idec", "dcn", "dkm"])
def test_objectives_that_keep_the_decoder_have_adam_in_the_short_presets(objective):
    fast = changes_of("fast", objective)
    assert fast["cluster_optimizer"] == changes_of("demo", objective)["cluster_optimizer"] == "adam"
    assert fast["max_steps"] > PRESETS["fast"]["max_steps"]
    assert changes_of("paper", objective) == PRESETS["paper"]


@pytest.mark.parametrize("objective", ["dec", "my.module:loss"])
def test_other_objectives_have_the_preset_as_it_is(objective):
    assert changes_of("fast", objective) == PRESETS["fast"]


def test_unknown_preset():
    with pytest.raises(ValueError, match="unknown preset 'fats'"):
        changes_of("fats", "dec")
