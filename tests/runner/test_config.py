import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dec_jax.runner.config import (
    ALIASES,
    FIELDS,
    OPTIONS,
    SECTIONS,
    Config,
    DataConfig,
    NetworkConfig,
    PretrainingConfig,
    describe,
    find,
    parse,
    parse_value,
    show,
)

# One other value for each setting, of a kind that its check accepts.
OTHER = {
    "data.name": "mnist",
    "data.labels": "y.npy",
    "data.scaling": "unit",
    "data.unlabelled": True,
    "network.kind": "convolutional",
    "network.hidden": (5,),
    "network.activation": "tanh",
    "network.embedding_activation": "tanh",
    "network.reconstruction_activation": "tanh",
    "network.weight_init": "he",
    "pretraining.loss": "mse",
    "pretraining.input_dropout": 0.5,
    "pretraining.optimizer": "adam",
    "pretraining.schedule": "cosine",
    "augmentation.auto": True,
    "start.kind": "n2d",
    "start.features": "hog",
    "start.neighbors": 7,
    "clustering.schedule": "cosine",
    "clustering.fade": True,
    "start.steps": 7,
    "clustering.n_clusters": 7,
    "clustering.objective": "idec",
    "clustering.parameters": (("a", 1.0),),
    "clustering.kernel": "gaussian",
    "clustering.update_interval": 7,
    "clustering.train_encoder": False,
    "clustering.optimizer": "adam",
    "clustering.reseed_empty": True,
    "preset": "fast",
}


def others():
    """A value for every setting that is not its default."""
    return {name: OTHER.get(name, 0.4 if one.type is float else 7) for name, one in FIELDS.items()}


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("network.bottleneck=7", {"network.bottleneck": 7}),
        ("bottleneck=7", {"network.bottleneck": 7}),
        ("pretraining.learning_rate=1e-3", {"pretraining.learning_rate": 0.001}),
        ("clustering.learning_rate=1", {"clustering.learning_rate": 1.0}),
        ("pretraining.batch_size=1_000", {"pretraining.batch_size": 1000}),
        ("batch_size=9", {"pretraining.batch_size": 9, "clustering.batch_size": 9}),
        ("train_encoder=False", {"clustering.train_encoder": False}),
        ("scaling=none", {"data.scaling": "none"}),
        ("scaling=auto", {"data.scaling": "auto"}),
        ("hidden=500,20", {"network.hidden": (500, 20)}),
        ("hidden=none", {"network.hidden": ()}),
        ("hidden=", {"network.hidden": ()}),
        ("update_interval=auto", {"clustering.update_interval": None}),
        ("update_interval=160", {"clustering.update_interval": 160}),
        ("input_dropout=None", {"pretraining.input_dropout": None}),
        ("input_dropout=0", {"pretraining.input_dropout": 0.0}),
        ("network.kind=my.networks:small", {"network.kind": "my.networks:small"}),
        ("augmentation.noise=1", {"augmentation.noise": 1.0}),
        ("objective.radius=2", {"objective.radius": 2.0}),
    ],
)
def test_words_become_values_of_the_settings_types(word, values):
    found = parse([word])
    assert found == values
    assert [type(value) for value in found.values()] == [type(value) for value in values.values()]


def test_of_two_words_the_last_one_counts():
    assert parse(["alpha=2", "alpha=0.5"]) == {"clustering.alpha": 0.5}
    words = ["pretraining.batch_size=3", "batch_size=4", "clustering.batch_size=5"]
    assert parse(words) == {"pretraining.batch_size": 4, "clustering.batch_size": 5}


@given(st.sampled_from([name for name in FIELDS if name != "clustering.parameters"]))
def test_every_value_is_read_as_it_is_shown(name):
    for value in (FIELDS[name].default, others()[name]):
        if not (value is None and name.startswith("data")):
            assert parse_value(name, show(value), FIELDS[name].type) == value


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("bottleneck", "--set takes KEY=VALUE, got 'bottleneck'"),
        ("bottelneck=3", "unknown setting 'bottelneck'; did you mean 'bottleneck'"),
        ("clustering.alhpa=3", "unknown setting 'clustering.alhpa'; did you mean 'clustering.alpha'"),
        ("learning_rate=3", "learning_rate is ambiguous: pretraining.learning_rate or clustering.learning_rate"),
        ("noise=3", "noise is ambiguous: augmentation.noise or pretraining.noise"),
        ("cluster_learning_rate=3", "cluster_learning_rate has another name now: clustering.learning_rate"),
        ("learning_rate_schedule=step", "another name now: pretraining.schedule"),
        ("augment_rotation=3", "another name now: augmentation.rotation"),
        ("start_steps=3", "another name now: start.steps"),
        ("start=n2d", "another name now: start.kind"),
        ("network=dense", "another name now: network.kind"),
        ("seed=3", "seed is not a key of --set but an option of its own: --seed"),
        ("n_clusters=3", "an option of its own: --n-clusters"),
        ("objective=idec", "an option of its own: --objective"),
        ("data=mnist", "an option of its own: --data"),
        ("data.name=mnist", "an option of its own: --data"),
        ("parameters=3", "clustering.parameters are set one by one, as --set objective.NAME=VALUE"),
        ("bottleneck=many", "network.bottleneck must be an integer, got 'many'"),
        ("bottleneck=none", "network.bottleneck must be an integer, got 'none'"),
        ("alpha=", "clustering.alpha must be a number, got ''"),
        ("train_encoder=1", "clustering.train_encoder must be true or false, got '1'"),
        ("hidden=500;500", "network.hidden must be integers like 500,500, got '500;500'"),
        ("objective.radius=wide", "objective.radius must be a number, got 'wide'"),
    ],
)
def test_words_that_cannot_be_read(word, problem):
    with pytest.raises(ValueError, match=problem):
        parse([word])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("network.bottleneck", 0),
        ("pretraining.batch_size", 0),
        ("pretraining.layer_wise_steps", -1),
        ("pretraining.dropout", 1.0),
        ("pretraining.input_dropout", 1.5),
        ("pretraining.learning_rate", 0.0),
        ("pretraining.learning_rate", float("nan")),
        ("pretraining.bias_factor", 0.0),
        ("start.steps", -1),
        ("clustering.n_clusters", 0),
        ("clustering.learning_rate", float("inf")),
        ("clustering.update_interval", 0),
        ("clustering.tolerance", 1.1),
        ("clustering.gamma", -0.1),
        ("clustering.target_power", 0.0),
        ("clustering.reset_keep", 1.1),
        ("augmentation.rotation", 181.0),
        ("augmentation.shift", 1.1),
        ("augmentation.scale", -0.1),
    ],
)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*got {value}"):
        Config().with_values({name: value})


@pytest.mark.parametrize("name", [name for name, one in FIELDS.items() if one.type in (int, float, int | None)])
def test_numbers_are_checked_in_every_setting(name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Config().with_values({name: -1})
    with pytest.raises(TypeError, match=f"^{name} must be an? (integer|number), got '1'"):
        Config().with_values({name: "1"})


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("clustering.train_encoder", "false", "must be True or False, got 'false'"),
        ("clustering.reseed_empty", 1, "must be True or False, got 1"),
        ("clustering.max_steps", True, "must be an integer, got True"),
        ("network.bottleneck", 2.0, r"must be an integer, got 2.0 \(float\)"),
        ("network.bottleneck", None, "must be an integer, got None"),
        ("network.hidden", "500,10", "must be a tuple of integers, got '500,10'"),
        ("network.hidden", 500, "must be a tuple of integers, got 500"),
        ("data.name", 3, r"must be a name or a path, got 3 \(int\)"),
        ("clustering.parameters", 3, "must be numbers by their names, got 3"),
    ],
)
def test_values_of_another_type_are_refused(name, value, problem):
    with pytest.raises(TypeError, match=f"^{name} {problem}"):
        Config().with_values({name: value})


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("network.activation", "rellu", "relu"),
        ("network.weight_init", "glorrot", "glorot"),
        ("network.kind", "convolutionl", "convolutional"),
        ("pretraining.loss", "mseq", "mse"),
        ("pretraining.schedule", "cosin", "cosine"),
        ("data.scaling", "pixel", "pixels"),
        ("start.kind", "kmean", "kmeans"),
        ("clustering.optimizer", "sdg", "sgd"),
        ("clustering.kernel", "gausian", "gaussian"),
        ("clustering.objective", "dmk", "dkm"),
    ],
)
def test_unknown_names_are_told_their_neighbours(name, value, near):
    with pytest.raises(ValueError, match=f"unknown {name} '{value}'; did you mean '{near}'"):
        Config().with_values({name: value})


def test_values_are_kept_in_one_form():
    config = Config(
        DataConfig(name=Path("a/b.npy")),
        NetworkConfig(hidden=[np.int64(5), 10]),
        pretraining=PretrainingConfig(learning_rate=1),
    )
    assert (config.data.name, config.network.hidden) == ("a/b.npy", (5, 10))
    assert type(config.pretraining.learning_rate) is float
    with pytest.raises(ValueError, match=r"network.hidden\[1\] must be at least 1, got 0"):
        NetworkConfig(hidden=(500, 0))
    with pytest.raises(TypeError, match="network must be a NetworkConfig, got {}"):
        Config(network={})
    with pytest.raises(FrozenInstanceError):
        config.seed = 3


def test_unknown_names_of_values_are_refused():
    with pytest.raises(ValueError, match="unknown setting 'clustering.alhpa'; did you mean 'clustering.alpha'"):
        Config().with_values({"clustering.alhpa": 3})


def test_parameters_of_an_objective_are_set_one_by_one():
    config = Config().with_values({"objective.b": 2, "objective.a": 1})
    assert config.clustering.parameters == (("a", 1.0), ("b", 2.0))
    assert config.with_values({"objective.b": 3}).clustering.parameters == (("a", 1.0), ("b", 3.0))
    with pytest.raises(TypeError, match="objective.a must be a number, got 'x'"):
        config.with_values({"objective.a": "x"})


@given(st.sets(st.sampled_from(sorted(FIELDS))))
def test_flat_values_make_the_same_configuration(names):
    changed = {name: others()[name] for name in names}
    config = Config().with_values(changed)
    assert config.flat() == Config().flat() | changed
    assert Config().with_values(config.flat()) == config


def test_a_template_brings_back_what_varies():
    config = Config().with_values(others())
    template = config.template()
    assert hash(template) == hash(config.template())
    free = ("clustering.tolerance", "clustering.max_steps", "clustering.update_interval", "pretraining.warmup")
    host = {name: others()[name] for name in free}
    named = {name: others()[name] for name in ("data.name", "data.labels", "preset")}
    back = template.with_values({name: value.item() for name, value in config.numbers().items()} | host | named).flat()
    for name, value in config.flat().items():
        assert back[name] == (pytest.approx(value, rel=1e-6) if type(value) is float else value)


def test_configurations_that_differ_in_traced_numbers_and_names_have_one_template():
    free = ["seed", "preset", "data.name", "data.labels", "clustering.tolerance", "clustering.max_steps"]
    free += ["pretraining.learning_rate", "pretraining.momentum", "clustering.learning_rate", "clustering.momentum"]
    free += ["clustering.alpha", "clustering.gamma", "clustering.distance_weight", "clustering.balance"]
    free += ["clustering.update_interval", "pretraining.warmup"]
    free += ["clustering.target_power", "clustering.target_balance"]
    found = {name for name in FIELDS if Config().with_values({name: others()[name]}).template() == Config().template()}
    assert found == set(free)
    assert set(Config().numbers()) == {name for name in free if FIELDS[name].metadata.get("traced")}


def test_a_weight_of_zero_leaves_its_term_out_of_the_template():
    weights = [Config().with_values({"clustering.size_balance": value}).template() for value in (0.0, 0.5, 2.0)]
    assert weights[0] != weights[1] == weights[2]
    assert (weights[0].clustering.size_balance, weights[1].clustering.size_balance) == (0, 1)
    assert "clustering.size_balance" not in Config().numbers()
    assert Config().with_values({"clustering.size_balance": 2.0}).numbers()["clustering.size_balance"] == 2


def test_a_template_may_have_the_largest_sizes():
    template = Config().template(n_clusters=20, bottleneck=50)
    assert (template.clustering.n_clusters, template.network.bottleneck) == (20, 50)


def test_the_template_of_a_phase_leaves_out_the_other_phase():
    config = Config().with_values(others())
    for name, one in FIELDS.items():
        section = name.partition(".")[0]
        changed = config.with_values({name: one.default})
        if section in ("start", "clustering"):
            assert changed.template("pretraining") == config.template("pretraining")
        if section == "pretraining":
            same = changed.template("clustering") == config.template("clustering")
            assert same == (name != "pretraining.loss")


def test_numbers_have_the_types_that_programs_compute_in():
    numbers = Config(seed=2**32 - 1).numbers()
    assert numbers["seed"].dtype == np.uint32
    assert {value.dtype for name, value in numbers.items() if name != "seed"} == {np.dtype(np.float32)}


def test_numbers_of_one_phase():
    config = Config().with_values({"clustering.size_balance": 2.0})
    pretraining, clustering = config.numbers("pretraining"), config.numbers("clustering")
    assert set(pretraining) == {"seed", *(f"pretraining.{name}" for name in ("learning_rate", "momentum", "warmup"))}
    assert pretraining | clustering == config.numbers()
    assert pretraining.keys() & clustering.keys() == {"seed"}


def test_traced_values_are_not_checked():
    template = Config().template()

    @jax.jit
    def product(numbers):
        config = template.with_values(numbers)
        return config.clustering.alpha * config.pretraining.learning_rate + config.seed

    numbers = Config(seed=3).with_values({"clustering.alpha": 2.0}).numbers()
    assert float(product(numbers)) == pytest.approx(3.2)
    assert product._cache_size() == 1
    product(Config(seed=4).numbers())
    assert product._cache_size() == 1
    assert replace(template, seed=jnp.uint32(7)).seed == 7


@pytest.mark.parametrize("name", FIELDS)
def test_a_change_of_a_setting_changes_the_identities_that_depend_on_it(name):
    changed = Config().with_values({name: others()[name]})
    assert changed != Config()
    named = name in ("data.name", "data.labels", "preset")
    pretrains = name.partition(".")[0] in ("data", "network", "augmentation", "pretraining", "seed")
    assert (changed.pretraining_identity() != Config().pretraining_identity()) == (pretrains and not named)
    assert (changed.clustering_identity() != Config().clustering_identity()) == (not named)


def test_identities_hold_the_source_of_the_users_own_functions(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    own = Config().with_values({"network.kind": "own_parts:network", "clustering.objective": "own_parts:loss"})
    with pytest.raises(ValueError, match="own_parts:network must name a module that has a file"):
        own.pretraining_identity()
    (tmp_path / "own_parts.py").write_text("network = 1")
    before = own.pretraining_identity(), own.clustering_identity()
    assert (own.pretraining_identity(), own.clustering_identity()) == before
    assert list(before[0]["sources"]) == ["own_parts:network"]
    (tmp_path / "own_parts.py").write_text("network = 2")
    assert own.pretraining_identity() != before[0]
    assert own.clustering_identity() != before[1]


def test_identities_are_as_json_has_them():
    identity = Config().with_values(others()).clustering_identity()
    assert json.loads(json.dumps(identity)) == identity


def test_the_help_explains_every_key_with_its_choices_and_default():
    lines = {line.split()[0]: line for line in describe().splitlines()}
    hidden = {*OPTIONS.values(), "clustering.parameters"}
    assert lines.keys() == (FIELDS.keys() - hidden) | {"objective.NAME", *ALIASES}
    assert lines["pretraining.learning_rate"].endswith("at the first step (default: 0.1)")
    assert lines["pretraining.schedule"].endswith(": constant, step, cosine (default: step)")


def test_bare_names_stand_for_the_one_setting_that_has_them():
    for name in FIELDS.keys() - OPTIONS.values():
        assert find(name) == (name,)
    assert find("alpha") == ("clustering.alpha",)
    assert find("lr") == ("clustering.learning_rate",)
    assert find("batch_size") == ("pretraining.batch_size", "clustering.batch_size")
    assert set(SECTIONS) == {"data", "network", "augmentation", "pretraining", "start", "clustering"}
