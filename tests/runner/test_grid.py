import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dec_jax.runner.config import FIELDS, show
from dec_jax.runner.grid import Grid, add_arguments, describe, parse_values, read
from dec_jax.runner.presets import PRESETS, config_of


def grid(*words):
    cli = argparse.ArgumentParser()
    add_arguments(cli)
    return read(cli.parse_args([str(word) for word in words]))


@pytest.fixture
def config(tmp_path):
    """A function that writes a TOML file and returns the words that name it."""

    def write(text):
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return "--config", path

    return write


def values_of(trials, name):
    return [config.flat()[name] for config in trials]


def kind(name):
    (found,) = (one.type for full, one in FIELDS.items() if full == name)
    return int if name == "clustering.n_clusters" else found


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("clustering.n_clusters", "2,5,10", (2, 5, 10)),
        ("clustering.n_clusters", "7", (7,)),
        ("clustering.n_clusters", "2:21", tuple(range(2, 21))),
        ("clustering.n_clusters", "2:21:3", (2, 5, 8, 11, 14, 17, 20)),
        ("clustering.n_clusters", "2:5,10", (2, 3, 4, 10)),
        ("clustering.n_clusters", " 2 , 5:7 ", (2, 5, 6)),
        ("clustering.n_clusters", "10,2:4", (10, 2, 3)),
        ("clustering.update_interval", "none,10:12", (None, 10, 11)),
        ("clustering.update_interval", "10,None", (10, None)),
        ("pretraining.input_dropout", "none,0,0.2", (None, 0.0, 0.2)),
        ("clustering.learning_rate", "0.003,1e-2,1", (0.003, 0.01, 1.0)),
        ("clustering.train_encoder", "true,false", (True, False)),
        ("network.activation", "relu,tanh", ("relu", "tanh")),
        ("network.hidden", "500,500,2000/100,100", ((500, 500, 2000), (100, 100))),
        ("network.hidden", "64", ((64,),)),
        ("network.hidden", "none / 64", ((), (64,))),
    ],
)
def test_texts_become_values_of_the_settings_types(name, text, values):
    found = parse_values(name, text, kind(name))
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@given(st.lists(st.integers(2, 10**6), min_size=1, unique=True))
def test_a_list_of_integers_is_read_as_it_is_written(values):
    assert parse_values("clustering.n_clusters", ",".join(map(str, values)), int) == tuple(values)


@given(st.lists(st.floats(allow_nan=False), min_size=1, unique=True))
def test_a_list_of_numbers_is_read_as_it_is_written(values):
    assert parse_values("alpha", ",".join(map(show, values)), float) == tuple(values)


@given(st.lists(st.lists(st.integers(1, 9999)).map(tuple), min_size=1, unique=True))
def test_a_list_of_layer_sizes_is_read_as_it_is_written(values):
    assert parse_values("network.hidden", "/".join(map(show, values)), kind("network.hidden")) == tuple(values)


@given(st.integers(-1000, 1000), st.integers(1, 1000), st.integers(1, 100))
def test_a_range_is_pythons(start, length, step):
    values = tuple(range(start, start + length, step))
    assert parse_values("seeds", f"{start}:{start + length}:{step}", int) == values


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "clustering.n_clusters",
            "21:2",
            "clustering.n_clusters must be a range that goes upwards and holds a number, got '21:2'",
        ),
        (
            "clustering.n_clusters",
            "5:5",
            "clustering.n_clusters must be a range that goes upwards and holds a number, got '5:5'",
        ),
        (
            "clustering.n_clusters",
            "2:",
            "clustering.n_clusters must be a range START:STOP or START:STOP:STEP of integers, got '2:'",
        ),
        (
            "clustering.n_clusters",
            "2:3:4:5",
            "clustering.n_clusters must be a range START:STOP or START:STOP:STEP of integers, got '2:3:4:5'",
        ),
        (
            "clustering.n_clusters",
            "2:5.5",
            "clustering.n_clusters must be a range START:STOP or START:STOP:STEP of integers, got '2:5.5'",
        ),
        ("clustering.n_clusters", "2:9:0", "the step of clustering.n_clusters must be at least 1, got 0"),
        ("clustering.n_clusters", "9:2:-1", "the step of clustering.n_clusters must be at least 1, got -1"),
        (
            "clustering.n_clusters",
            f"2:{10**30}",
            f"clustering.n_clusters must have at most 100,000 values, got '2:{10**30}'",
        ),
        ("clustering.n_clusters", "", "clustering.n_clusters must have a value in every place of its list, got ''"),
        (
            "clustering.n_clusters",
            "2,,5",
            "clustering.n_clusters must have a value in every place of its list, got '2,,5'",
        ),
        (
            "clustering.n_clusters",
            "2,5,",
            "clustering.n_clusters must have a value in every place of its list, got '2,5,'",
        ),
        ("network.hidden", "500//100", "network.hidden must have a value in every place of its list, got '500//100'"),
        (
            "clustering.n_clusters",
            "2,2",
            "clustering.n_clusters must list no value twice, got 2 more than once in '2,2'",
        ),
        ("clustering.n_clusters", "2:6,5", "clustering.n_clusters must list no value twice, got 5 more than once"),
        (
            "clustering.learning_rate",
            "0.1,1e-1",
            "clustering.learning_rate must list no value twice, got 0.1 more than once",
        ),
        (
            "clustering.update_interval",
            "none,None",
            "clustering.update_interval must list no value twice, got none more than once",
        ),
        ("network.hidden", "64,64/64,64", "network.hidden must list no value twice, got 64,64 more than once"),
        (
            "clustering.train_encoder",
            "true,True",
            "clustering.train_encoder must list no value twice, got true more than once",
        ),
        ("clustering.n_clusters", "2,many", "clustering.n_clusters must be an integer, got 'many'"),
        ("clustering.n_clusters", "none", "clustering.n_clusters must be an integer, got 'none'"),
        ("clustering.n_clusters", "2.5", "clustering.n_clusters must be an integer, got '2.5'"),
        ("clustering.learning_rate", "fast", "clustering.learning_rate must be a number, got 'fast'"),
        (
            "clustering.learning_rate",
            "0.1:0.5",
            "clustering.learning_rate must be a list like 0.01,0.1 .only integers have ranges., got '0.1:0.5'",
        ),
        (
            "pretraining.input_dropout",
            "0:1",
            "pretraining.input_dropout must be a list like 0.01,0.1 .only integers have ranges., got '0:1'",
        ),
        ("clustering.train_encoder", "true,1", "clustering.train_encoder must be true or false, got '1'"),
        ("network.hidden", "500;500", "network.hidden must be integers like 500,500, got '500;500'"),
        ("network.hidden", "2:5", "network.hidden must be integers like 500,500, got '2:5'"),
    ],
)
def test_texts_that_cannot_be_read(name, text, problem):
    with pytest.raises(ValueError, match=problem):
        parse_values(name, text, kind(name))


def test_the_papers_grid_has_285_trials():
    sweep = grid("--n-clusters", "2:21", "--bottleneck", "2,5,10,20,50", "--seeds", 3)
    trials = sweep.trials()
    assert sweep.size == len(trials) == len(set(trials)) == 285
    assert sweep.swept == ("network.bottleneck", "clustering.n_clusters", "seed")
    first, last = ((one.network.bottleneck, one.clustering.n_clusters, one.seed) for one in (trials[0], trials[-1]))
    assert (first, last) == ((2, 2, 0), (50, 20, 2))


def test_the_seed_varies_fastest_then_the_clusters_then_the_bottleneck():
    settings = ("--set", "lr=0.1,0.2", "hidden=8/9", "--preset", "fast,demo")
    sweep = grid("--seeds", "2", *settings, "--bottleneck", "5,3", "--n-clusters", "4,2")
    order = ("preset", "network.hidden", "clustering.learning_rate")
    order += ("network.bottleneck", "clustering.n_clusters", "seed")
    assert tuple(sweep.axes) == sweep.swept == order
    trials = sweep.trials()
    for i, name in enumerate(reversed(order)):
        first, second = sweep.axes[name]
        assert values_of(trials, name) == ([first] * 2**i + [second] * 2**i) * 2 ** (len(order) - 1 - i)


@given(st.data())
def test_trials_are_the_product_of_the_axes(data):
    axes = {
        "preset": data.draw(st.lists(st.sampled_from(sorted(PRESETS)), min_size=1, unique=True)),
        "clustering.alpha": data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, unique=True)),
        "clustering.n_clusters": data.draw(st.lists(st.integers(2, 50), min_size=1, max_size=4, unique=True)),
        "seed": data.draw(st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True)),
    }
    trials = Grid({"data.name": "digits"}, {name: tuple(values) for name, values in axes.items()}).trials()
    expected = [
        config_of(preset).with_values({"clustering.alpha": alpha, "clustering.n_clusters": k, "seed": seed})
        for preset in axes["preset"]
        for alpha in axes["clustering.alpha"]
        for k in axes["clustering.n_clusters"]
        for seed in axes["seed"]
    ]
    assert trials == expected


def test_no_words_are_one_run_of_the_digits_as_the_runner_has_it():
    (config,) = grid().trials()
    assert config == config_of("auto").with_values({"clustering.n_clusters": 10})


@pytest.mark.parametrize(
    ("words", "preset"),
    [
        (("--n-clusters", "2:9", "--seeds", "3"), "auto"),
        (("--set", "start.neighbors=5,11"), "auto"),
        (("--bottleneck", "5,10"), "fast"),
        (("--objective", "dec,idec"), "fast"),
        (("--set", "batch_size=64,128"), "fast"),
        (("--set", "alpha=1,2"), "fast"),
        (("--bottleneck", "5,10", "--preset", "demo"), "demo"),
    ],
)
def test_settings_of_training_are_those_of_a_preset_that_has_them(words, preset):
    assert grid(*words).axes["preset"] == (preset,)


def test_presets_are_an_axis_and_explicit_settings_override_them_all():
    trials = grid("--preset", "demo,fast", "--set", "max_steps=7").trials()
    assert values_of(trials, "preset") == ["demo", "fast"]
    assert values_of(trials, "pretraining.fine_tuning_steps") == [1000, 6000]
    assert values_of(trials, "clustering.max_steps") == [7, 7]


def test_trials_that_differ_in_the_presets_name_alone_are_one():
    sweep = grid("--preset", "demo,fast", "--set", "max_steps=7", "fine_tuning_steps=1000,6000")
    assert sweep.size == 2
    assert values_of(sweep.trials(), "preset") == ["demo", "demo"]


@pytest.mark.parametrize(
    ("seeds", "values"),
    [("5", (0, 1, 2, 3, 4)), ("1", (0,)), ("0,3,7", (0, 3, 7)), ("2:5", (2, 3, 4)), ("5:6", (5,))],
)
def test_seeds_are_a_number_of_them_or_themselves(seeds, values):
    assert grid("--seeds", seeds).axes["seed"] == values


def test_n_clusters_is_known_for_named_data_and_left_open_for_files():
    assert grid("--data", "mnist").axes["clustering.n_clusters"] == (10,)
    assert grid("--data", "mnist", "--n-clusters", "3").axes["clustering.n_clusters"] == (3,)
    sweep = grid("--data", "mine.npy", "--labels", "y.npy")
    assert sweep.fixed == {"data.name": "mine.npy", "data.labels": "y.npy"}
    assert values_of(sweep.trials(), "clustering.n_clusters") == [None]


def test_short_names():
    sweep = grid("--set", "lr=0.003,0.01", "lambda=none,40")
    assert sweep.axes["clustering.learning_rate"] == (0.003, 0.01)
    assert sweep.axes["clustering.update_interval"] == (None, 40)


def test_a_setting_that_two_sections_share_is_one_axis():
    sweep = grid("--set", "batch_size=64,128", "--preset", "fast,augmented")
    assert sweep.swept == ("preset", "batch_size")
    assert values_of(sweep.trials(), "pretraining.batch_size") == [64, 128, 64, 128]
    assert values_of(sweep.trials(), "clustering.batch_size") == [64, 128, 64, 128]
    assert grid("--set", "pretraining.batch_size=64,128").swept == ("pretraining.batch_size",)


def test_parameters_of_the_objective_are_axes():
    sweep = grid("--objective", "dkm", "--set", "objective.start=0.1,1", "objective.steps_per_value=5", "--seeds", "2")
    assert sweep.swept == ("objective.start", "seed")
    parameters = values_of(sweep.trials(), "clustering.parameters")
    assert parameters == [(("start", start), ("steps_per_value", 5.0)) for start in (0.1, 0.1, 1.0, 1.0)]


def test_objectives_are_an_axis():
    sweep = grid("--objective", "dec,idec", "--seeds", "2")
    assert values_of(sweep.trials(), "clustering.objective") == ["dec", "dec", "idec", "idec"]
    assert grid("--objective", "dec,mine.losses:balanced").axes["clustering.objective"] == (
        "dec",
        "mine.losses:balanced",
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--set alpha", "--set takes KEY=VALUE, got 'alpha'"),
        ("--set bottelneck=3", "unknown setting 'bottelneck'; did you mean 'bottleneck'"),
        ("--set lamda=3", "unknown setting 'lamda'; did you mean 'lambda'"),
        ("--set learning_rate=3", "ambiguous: pretraining.learning_rate or clustering.learning_rate"),
        ("--set cluster_learning_rate=3", "cluster_learning_rate has another name now: clustering.learning_rate"),
        ("--set seed=3", "seed is not a key of --set but an option of its own: --seed"),
        ("--set seeds=3", "unknown setting 'seeds'"),
        ("--set n_clusters=3", "n_clusters is not a key of --set but an option of its own: --n-clusters"),
        ("--set data=mnist", "data is not a key of --set but an option of its own: --data"),
        ("--set preset=fast", "preset is not a key of --set but an option of its own: --preset"),
        (
            "--bottleneck 3 --set bottleneck=5",
            "network.bottleneck is given twice: as --bottleneck and as --set bottleneck",
        ),
        ("--set alpha=1 --set alpha=2", "clustering.alpha is given twice: as --set alpha and as --set alpha"),
        ("--set lr=1 clustering.learning_rate=2", "is given twice: as --set lr and as --set clustering.learning_rate"),
        ("--set batch_size=1 pretraining.batch_size=2", "as --set batch_size and as --set pretraining.batch_size"),
        ("--seeds 0", "seeds must be between 1 and 100000, got 0"),
        ("--seeds 999999999", "seeds must be between 1 and 100000, got 999999999"),
        ("--seeds 2.5", "seeds must be an integer, got '2.5'"),
        ("--seeds 1,1", "seeds must list no value twice"),
        ("--seeds 1,4294967296", "seed must be between 0 and 4294967295, got 4294967296"),
        ("--n-clusters 1:5", "n_clusters must be at least 2, got 1: one cluster holds all samples"),
        ("--n-clusters 5,1", "n_clusters must be at least 2, got 1: one cluster holds all samples"),
        ("--bottleneck 0", "network.bottleneck must be at least 1, got 0"),
        ("--objective dec,idc", "unknown clustering.objective 'idc'; did you mean 'idec'"),
        ("--set objective=idec", "objective is not a key of --set but an option of its own: --objective"),
        ("--preset fats", "unknown preset 'fats'; did you mean 'fast'"),
        ("--set activation=relu,rellu", "unknown network.activation 'rellu'; did you mean 'relu'"),
        ("--n-clusters 2:1002 --bottleneck 1:102", "a sweep must have at most 100,000 trials, got 101,000"),
    ],
)
def test_words_that_make_no_grid(words, problem):
    with pytest.raises(ValueError, match=problem):
        grid(*words.split())


def test_a_grid_without_trials():
    with pytest.raises(ValueError, match="the number of trials must be at least 1, got 0"):
        Grid({"data.name": "digits"}, {"preset": ("demo",), "seed": ()})


def test_a_file_says_what_the_command_line_says(config):
    words = ["--data", "mnist", "--labels", "y.npy", "--n-clusters", "2:5,10", "--bottleneck", "2,5", "--seeds", "5"]
    words += ["--preset", "demo,fast", "--set", "lr=0.003,0.01", "hidden=500,500/100"]
    words += ["--set", "update_interval=none,40", "train_encoder=true,false"]
    file = config("""
        data = "mnist"
        labels = "y.npy"
        n_clusters = "2:5,10"
        bottleneck = [2, 5]
        seeds = 5
        preset = ["demo", "fast"]
        [set]
        lr = [0.003, 0.01]
        hidden = [[500, 500], [100]]
        update_interval = ["none", 40]
        train_encoder = [true, false]
    """)
    assert grid(*file) == grid(*words)
    assert grid(*file).identity() == grid(*words).identity()


@pytest.mark.parametrize(
    ("line", "name", "values"),
    [
        ("n_clusters = [2, 3, 4]", "clustering.n_clusters", (2, 3, 4)),
        ("n_clusters = 7", "clustering.n_clusters", (7,)),
        ('n_clusters = ["2:4", 9]', "clustering.n_clusters", (2, 3, 9)),
        ("seeds = 3", "seed", (0, 1, 2)),
        ('seeds = "3"', "seed", (0, 1, 2)),
        ("seeds = [3]", "seed", (3,)),
        ("seeds = [0, 7]", "seed", (0, 7)),
        ('preset = "demo"', "preset", ("demo",)),
        ("set.alpha = 2", "clustering.alpha", (2.0,)),
        ("set.alpha = [0.5, 1]", "clustering.alpha", (0.5, 1.0)),
        ("set.lr = 1e-05", "clustering.learning_rate", (1e-05,)),
        ("set.hidden = [500, 100]", "network.hidden", ((500, 100),)),
        ('set.hidden = "500,100/none"', "network.hidden", ((500, 100), ())),
        ('set.hidden = ["500", "100"]', "network.hidden", ((500,), (100,))),
        ('set.hidden = [["500", "100"], [8]]', "network.hidden", ((500, 100), (8,))),
        ('set.hidden = ["none", [500, 100]]', "network.hidden", ((), (500, 100))),
        ("set.train_encoder = false", "clustering.train_encoder", (False,)),
        ("set.clustering.alpha = [0.5, 1]", "clustering.alpha", (0.5, 1.0)),
        ("[set.clustering]\nalpha = 2", "clustering.alpha", (2.0,)),
        ('set."clustering.alpha" = 2', "clustering.alpha", (2.0,)),
    ],
)
def test_values_of_a_file(config, line, name, values):
    assert grid(*config(line)).axes[name] == values


def test_the_command_line_wins_over_the_file(config):
    file = config("""
        data = "mnist"
        n_clusters = [5]
        bottleneck = 2
        seeds = 3
        [set]
        lr = [0.003, 0.01]
        alpha = 2
    """)
    words = ("--set", "clustering.learning_rate=0.1", "bottleneck=7", "--n-clusters", "3", "--data", "digits")
    sweep = grid(*words, *file)
    assert sweep.fixed["data.name"] == "digits"
    assert sweep.axes == {
        "preset": ("fast",),
        "clustering.alpha": (2.0,),
        "clustering.learning_rate": (0.1,),
        "network.bottleneck": (7,),
        "clustering.n_clusters": (3,),
        "seed": (0, 1, 2),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("n_cluster = 3", "unknown option 'n_cluster'; did you mean 'n_clusters'"),
        ("n-clusters = 3", "unknown option 'n-clusters'; did you mean 'n_clusters'"),
        ("seed = 3", "unknown option 'seed'; did you mean 'seeds'"),
        ("lr = 0.1", r"lr is not an option but a key of --set: it belongs into the table \[set\]"),
        ("[set]\nalhpa = 1", "unknown setting 'alhpa'; did you mean 'alpha'"),
        ("[set]\nseed = 3", "seed is not a key of --set but an option of its own: --seed"),
        (
            "bottleneck = 3\nset.bottleneck = 4",
            r"network.bottleneck is given twice: as bottleneck and as \[set\] bottleneck",
        ),
        ("set.lr = 3\nset.clustering.learning_rate = 4", r"as \[set\] lr and as \[set\] clustering.learning_rate"),
        ("set = 3", "set must be a table of settings, got 3"),
        ("data = 3", r"data.name must be one name or file, got 3 \(int\)"),
        ('data = ["mnist"]', r"data.name must be one name or file, got \['mnist'\] \(list\)"),
        ("labels = true", r"data.labels must be one name or file, got True \(bool\)"),
        ("n_clusters = 2.5", "n_clusters must be an integer, got '2.5'"),
        ("n_clusters = [2, true]", "n_clusters must be an integer, got 'True'"),
        ("n_clusters = [[2, 3], [4]]", "n_clusters must be an integer, got '3/4'"),
        ("n_clusters = []", "n_clusters must have a value in every place of its list, got ''"),
        ("n_clusters = [2, 2]", "n_clusters must list no value twice"),
        ("n_clusters.from = 2", "n_clusters must be a value or a list of values, got a table"),
        ("set.alpha = [{}]", "alpha must be a value or a list of values, got a table"),
        ("set.alpha = true", "alpha must be a number, got 'True'"),
        ("set.alpha = 1979-05-27", "alpha must be a number, got '1979-05-27'"),
        ("set.train_encoder = 1", "train_encoder must be true or false, got '1'"),
        ("set.hidden = [500.5]", "hidden must be integers like 500,500, got '500.5'"),
        ("set.hidden = []", "hidden must have a value in every place of its list, got ''"),
        ("seeds = 0", "seeds must be between 1 and 100000, got 0"),
        ("n_clusters = ", "Invalid value"),
        ("n_clusters = 2\nn_clusters = 3", "Cannot overwrite a value"),
    ],
)
def test_files_that_make_no_grid(config, text, problem):
    option, path = config(text)
    with pytest.raises(ValueError, match=f"^config {path}: .*{problem}") as caught:
        grid(option, path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ValueError, match=f"config {tmp_path}/none.toml cannot be read: No such file"):
        grid("--config", tmp_path / "none.toml")
    with pytest.raises(ValueError, match=f"config {tmp_path} cannot be read: Is a directory"):
        grid("--config", tmp_path)
    Path(tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=f"config {tmp_path}/bytes.toml: .*can't decode"):
        grid("--config", tmp_path / "bytes.toml")


def test_identity_tells_sweeps_apart_and_is_json():
    words = ("--n-clusters", "2:5", "--set", "hidden=none/64,8", "update_interval=none,9")
    identity = grid(*words).identity()
    assert json.loads(json.dumps(identity)) == identity == grid(*words).identity()
    others = [("--data", "mnist"), ("--labels", "y.npy"), ("--seeds", "2"), ("--set", "alpha=2"), ("--preset", "demo")]
    identities = [identity] + [grid(*words, *other).identity() for other in others]
    assert len({json.dumps(found) for found in identities}) == len(identities)


def test_identity_knows_what_the_presets_hold(monkeypatch):
    before = grid().identity()
    monkeypatch.setitem(PRESETS["auto"], "clustering.max_steps", 7)
    assert grid().identity() != before


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ((), []),
        (("--n-clusters", "2:21"), ["clustering.n_clusters: 2…20 (19 values)"]),
        (("--n-clusters", "2,3"), ["clustering.n_clusters: 2, 3 (2 values)"]),
        (("--n-clusters", "2:21:2"), ["clustering.n_clusters: 2, 4, 6, 8, …, 20 (10 values)"]),
        (("--n-clusters", "2,4,3"), ["clustering.n_clusters: 2, 4, 3 (3 values)"]),
        (("--set", "lambda=10,none,12"), ["clustering.update_interval: 10, none, 12 (3 values)"]),
        (("--set", "hidden=500,100/none/8"), ["network.hidden: 500,100 / none / 8 (3 values)"]),
        (("--set", "train_encoder=true,false"), ["clustering.train_encoder: true, false (2 values)"]),
        (
            ("--seeds", "3", "--preset", "demo,fast", "--set", "alpha=1e-5,1"),
            ["preset: demo, fast (2 values)", "clustering.alpha: 1e-05, 1.0 (2 values)", "seed: 0…2 (3 values)"],
        ),
    ],
)
def test_the_lines_that_describe_a_grid(words, lines):
    assert describe(grid(*words)) == lines


def test_the_list_of_trials_belongs_to_who_asked_for_it():
    sweep = grid("--seeds", "2")
    sweep.trials().clear()
    assert sweep.size == len(sweep.trials()) == 2
