from dataclasses import fields

import pytest

from experiments.presets import N_CLUSTERS, PRESETS
from experiments.settings import CHECKS, HELP, Settings, parse


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
    ],
)
def test_words_become_values_of_the_settings_types(word, value):
    (found,) = parse([word]).values()
    assert found == value
    assert type(found) is type(value)


def test_of_two_words_the_last_one_counts():
    assert parse(["alpha=2", "bottleneck=3", "alpha=0.5"]) == {"alpha": 0.5, "bottleneck": 3}


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
        ("alpha", 0.0),
        ("alpha", -1.0),
        ("update_interval", 0),
        ("update_interval", -160),
        ("tolerance", -0.001),
        ("tolerance", 1.1),
        ("max_steps", 0),
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
    assert names - set(HELP) == {"data", "labels", "n_clusters", "preset", "seed", "objective"}
    assert set(HELP) < names
    assert names - set(CHECKS) == {"data", "labels", "preset", "hidden", "train_encoder", "objective"}


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


def test_named_data_sets_have_ten_clusters():
    assert set(N_CLUSTERS.values()) == {10}
