"""The command line of a run: options, what is refused before any work, and what the folder may hold."""

import errno
import os
import sys
from collections import namedtuple
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import scipy.sparse

from dec_jax.runner import report, run, runs
from dec_jax.runner.config import FIELDS, OPTIONS
from dec_jax.runner.run import SWEEP_FILE

from .tiny_run import X, Y, check_identical, cluster, command, read

pytestmark = pytest.mark.slow


@pytest.fixture
def own_losses(tmp_path_factory, monkeypatch):
    """Makes the module `own_losses`, of the user's own, importable."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_losses.py").write_text(OWN_LOSSES)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("own_losses", None)


OWN_LOSSES = """
import jax.numpy as jnp
from dec_jax.objectives import kl, objective

def spread(inputs, radius):
    return jnp.mean(jnp.maximum(jnp.linalg.norm(inputs.z, axis=-1) - radius, 0))

def compact(radius=3.0):
    return kl() + 0.1 * objective(spread, radius=radius)
"""


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """A function that checks that a command is refused before any training, by one line, and leaves no trace."""
    monkeypatch.chdir(tmp_path)

    def fail(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr(runs, "run", fail)

    def check(*words):
        before = sorted(tmp_path.rglob("*"))
        assert run.main([str(word) for word in words]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith("error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return line

    return check


def test_digits_from_the_command_to_the_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = {"layer_wise_steps": 0, "fine_tuning_steps": 200, "max_steps": 40, "kmeans_restarts": 1}
    assert run.main(command("digits", "--set", *(f"{name}={value}" for name, value in few.items()))) == 0
    captured = capsys.readouterr()
    out = Path("runs/digits-paper-seed0")
    assert sorted(path.name for path in out.iterdir()) == sorted(report.FILES)
    assert "digits: 1,797 samples × 64 features" in captured.out
    assert captured.out.splitlines()[-2:] == [
        f"result, model and pictures are in {out}",
        f"to look at it, open {out / 'report.html'}",
    ]
    lines = captured.err.splitlines()
    assert lines[0] == "k-means on the input: 0/1"
    assert "fine-tuning: 0/200" in lines
    assert lines[-1].endswith("40 steps, stopped by max_steps")
    result = read(out).result
    assert result["settings"]["clustering.n_clusters"] == 10
    assert result["kmeans"]["acc"] > 0.6


def config_of(*words):
    return run.read_config(run.parser().parse_args([str(word) for word in words]))


def test_options_come_after_the_presets_values():
    config = config_of("--preset", "demo", "--seed", 7, "--set", "max_steps=5", "hidden=9", "--bottleneck", 4)
    assert (config.data.name, config.preset, config.seed, config.clustering.n_clusters) == ("digits", "demo", 7, 10)
    assert (config.clustering.max_steps, config.network.hidden, config.network.bottleneck) == (5, (9,), 4)
    assert (config.pretraining.optimizer, config.pretraining.fine_tuning_steps) == ("adam", 1000)


def test_set_can_be_given_more_than_once():
    config = config_of("--set", "alpha=2", "--set", "pretraining.noise=0.5", "max_steps=5")
    assert (config.clustering.alpha, config.pretraining.noise, config.clustering.max_steps) == (2, 0.5, 5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), (0, 0, 0, 0)),
        (("--augment",), (10, 0.1, 0, 0)),
        (("--augment", "rotation=20", "flip=0.5"), (20, 0, 0.5, 0)),
        (("--augment", "noise=0.3"), (0, 0, 0, 0.3)),
        (("--augment", "--set", "augmentation.rotation=5"), (5, 0.1, 0, 0)),
        (("--set", "augmentation.noise=0.2", "--augment"), (10, 0.1, 0, 0.2)),
    ],
)
def test_augmentations_are_settings(words, expected):
    found = config_of(*words).augmentation
    assert (found.rotation, found.shift, found.flip, found.noise) == expected


def test_number_of_clusters():
    assert config_of("--data", "mnist").clustering.n_clusters == 10
    assert config_of("--data", "mnist", "--n-clusters", 7).clustering.n_clusters == 7
    assert config_of("--data", "x.npy").clustering.n_clusters is None


@pytest.mark.parametrize("data", ["folder/x.npy", "x.csv"])
def test_default_folder_is_named_after_the_run(data):
    config = config_of("--data", data, "--seed", 3, "--preset", "demo")
    assert run.default_out(config) == Path("runs/x-demo-seed3")


def test_help_explains_every_setting(capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(["--help-all"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{option} " in text for option in OPTIONS)
    assert all(f"  {name} " in text for name in FIELDS.keys() - set(OPTIONS.values()) - {"clustering.parameters"})
    assert "  objective.NAME " in text


def write(path, x):
    if path.suffix == ".csv":
        np.savetxt(path, x, delimiter=",")
    elif path.suffix == ".npy":
        np.save(path, x)
    else:
        np.savez(path, x=x, y=Y)
    return path


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ["mine.csv", "mine.npz"])
def test_files_of_the_users_own(finished, tmp_path, name):
    outcome = cluster(write(tmp_path / name, X.astype(float)), tmp_path / "out")
    data = outcome.result["data"]
    assert (data["name"], data["n_samples"], data["n_features"]) == (name, 200, 64)
    check_identical(outcome, finished.outcome)
    assert (outcome.result["final"]["acc"] is None) == (name == "mine.csv")  # the .npz holds labels


def test_a_batch_larger_than_the_data_becomes_the_data(files, tmp_path, monkeypatch, capsys):
    begun = []

    def stop(config, *_):
        begun.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run", stop)
    sizes = {"batch_size": 256, "pretraining.batch_size": 300}
    assert run.main(command(files.x, "--out", tmp_path / "out", settings=sizes)) == 130
    assert (begun[0].pretraining.batch_size, begun[0].clustering.batch_size) == (200, 200)
    assert capsys.readouterr().err.splitlines()[:2] == [
        f"warning: batch_size {size} is more than the 200 samples: it is 200 now" for size in (256, 300)
    ]


def test_what_a_table_was_taken_for_is_said_before_training(tmp_path, monkeypatch, capsys):
    rows = [f"{i},{i % 7},{i % 3}.5,{'abc'[i % 3]}" for i in range(40)]
    (tmp_path / "x.csv").write_text("\n".join(["id,first,second,class", *rows]) + "\n")
    monkeypatch.setattr(runs, "run", Mock(side_effect=KeyboardInterrupt))
    words = ["--data", tmp_path / "x.csv", "--label-column", "class", "--id-column", "id", "--drop", "second"]
    assert run.main([*map(str, words), "--n-clusters", "3", "--out", str(tmp_path / "out")]) == 130
    dataset = runs.run.call_args.args[1]
    assert dataset.feature_names == ("first",)
    np.testing.assert_array_equal(dataset.y, np.arange(40) % 3)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == [f"note: {note}" for note in dataset.notes]


BAD_SAMPLES = {
    "infinity": (np.where(np.eye(200, 64) > 0, np.inf, -np.inf), "got 12800 NaN or infinite values"),
    "one dimension": (X[0], r"two-dimensional (samples, features), got shape (64,)"),
    "no samples": (X[:0], "at least one sample and one feature, got shape (0, 64)"),
    "constant": (np.full_like(X, 3), "must not be constant, got the same value in all of its 200 samples"),
    "too large": (X * 1e300, "must be finite in float32 after scaling 'none'"),
}


@pytest.mark.parametrize("kind", BAD_SAMPLES)
def test_samples_that_cannot_be_clustered(refused, tmp_path, kind):
    x, problem = BAD_SAMPLES[kind]
    np.save(tmp_path / "x.npy", x)
    line = refused("--data", "x.npy", "--n-clusters", 10, "--out", "out", "--set", "scaling=none")
    assert problem in line
    assert kind == "too large" or "x.npy" in line


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--n-clusters", 1), "n_clusters must be at least 2, got 1"),
        (("--n-clusters", 1798), "1797 (the number of samples), got 1798"),
        (("--bottleneck", 0), "network.bottleneck must be at least 1, got 0"),
        (("--set", "hidden=500,-1"), "network.hidden[1] must be at least 1, got -1"),
        (("--seed", -1), "seed must be between 0 and 4294967295, got -1"),
        (("--set", "pretraining.learning_rate=-0.1"), "pretraining.learning_rate must be above 0, got -0.1"),
        (("--set", "lr=-1"), "clustering.learning_rate must be above 0, got -1.0"),
        (("--set", "learning_rate=1"), "ambiguous: pretraining.learning_rate or clustering.learning_rate"),
        (("--set", "pretraining.dropout=-0.2"), "pretraining.dropout must be at least 0 and at most 0.999, got -0.2"),
        (("--set", "tolerance=-1"), "clustering.tolerance must be at least 0 and at most 1, got -1.0"),
        (("--set", "update_interval=-160"), "clustering.update_interval must be at least 1, got -160"),
        (("--set", "batch_size=0"), "batch_size must be at least 1, got 0"),
        (("--data", "mnits"), "unknown data set 'mnits'; did you mean 'mnist'"),
        (("--preset", "papper"), "unknown preset 'papper'; did you mean 'paper'"),
        (("--set", "activation=rellu"), "unknown network.activation 'rellu'; did you mean 'relu'"),
        (("--set", "bottelneck=3"), "unknown setting 'bottelneck'; did you mean 'bottleneck'"),
        (("--set", "bottleneck"), "--set takes KEY=VALUE, got 'bottleneck'"),
        (("--image-shape", "8,8", "--data", "mnist"), "options of tables need a file of your own"),
        (("--missing", "guess"), "unknown missing 'guess'"),
        (("--augment", "rotatoin=3"), "unknown augmentation 'rotatoin'; did you mean 'rotation'"),
        (("--augment", "rotation=200"), "augmentation.rotation must be at least 0 and at most 180, got 200.0"),
        (("--augment", "shift=far"), "augmentation.shift must be a number, got 'far'"),
        (("--augment", "shift"), "--augment takes RANGE=VALUE, got 'shift'"),
        (("--objective", "idecc"), "unknown clustering.objective 'idecc'; did you mean 'idec'"),
        (("--objective", "dec", "--set", "objective.radius=3"), "objective.radius is not a parameter of objective=dec"),
        (("--objective", "own_losses:spread"), "missing a required argument: 'radius'"),
        (("--objective", "own_losses:compact", "--set", "objective.radios=3"), "unexpected keyword argument 'radios'"),
        (("--objective", "own_losses:nothing"), "has no attribute 'nothing'"),
        (("--set", "resets=-1"), "clustering.resets must be at least 0, got -1"),
        (("--set", "pretraining.loss=bce"), "pretraining.loss=bce needs network.reconstruction_activation=sigmoid"),
        (("--data", "gone.npy", "--n-clusters", 3), "data file 'gone.npy' does not exist"),
        (("--labels", "gone.txt"), "labels file 'gone.txt' does not exist"),
        (("--data-dir", "nowhere", "--data", "mnist"), "nowhere"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("own_losses")
def test_options_that_cannot_be_used(refused, words, problem):
    assert problem in refused("--out", "out", *words)


def test_a_file_does_not_say_how_many_clusters(refused, files):
    assert "n_clusters is missing" in refused("--data", files.x, "--out", "out")


@pytest.mark.parametrize("words", [("--augment",), ("--set", "network.kind=convolutional")])
def test_samples_that_are_not_images(refused, tmp_path, words):
    np.save(tmp_path / "x.npy", X[:, 20:27])
    line = refused("--data", "x.npy", "--n-clusters", 3, "--out", "out", *words)
    assert "needs images, and the data do not say their shape" in line


def test_labels_of_another_length(refused, files, tmp_path):
    np.save(tmp_path / "y.npy", Y[:199])
    line = refused("--data", files.x, "--labels", "y.npy", "--n-clusters", 10, "--out", "out")
    assert line == "error: y.npy must hold one label per sample, shape (200,), got shape (199,)"


def test_a_scaling_that_would_make_sparse_data_dense(refused, tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(X.astype(float)))
    line = refused("--data", "x.npz", "--n-clusters", 10, "--out", "out", "--set", "scaling=unit")
    assert "scaling 'unit' would make a sparse matrix dense (accepted: " in line


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_truncated_file(refused, tmp_path, suffix):
    path = write(tmp_path / f"x{suffix}", X)
    path.write_bytes(path.read_bytes()[:-100])
    assert f"x{suffix} is damaged" in refused("--data", path, "--n-clusters", 10, "--out", "out")


@pytest.mark.parametrize("word", ["--n-clusters=abc", "--n-clusters=2.5", "--bottleneck=x", "--seed=1e3"])
def test_words_that_are_not_integers(tmp_path, monkeypatch, capsys, word):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run.main([word, "--out", "out"])
    assert stopped.value.code == 2
    name, value = word.split("=")
    assert f"argument {name}: invalid int value: '{value}'" in capsys.readouterr().err.splitlines()[-1]
    assert not Path("out").exists()


def test_a_folder_with_a_result_is_refused(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / report.RESULT_FILE).write_text("{}")
    line = refused("--out", "out")
    assert line == "error: out out already holds a result; choose another folder, or add --overwrite"
    assert (tmp_path / "out" / report.RESULT_FILE).read_text() == "{}"


def test_a_folder_of_a_sweep_is_refused(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SWEEP_FILE).write_text("{}")
    assert refused("--out", "out", "--overwrite") == "error: out out holds a sweep; choose another folder"


def test_a_folder_that_is_a_file(refused, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert refused("--out", "out", "--overwrite") == "error: out must be a folder, out is a file"
    line = refused("--out", "out/inside", "--overwrite")
    assert line == "error: out out/inside cannot be written: Not a directory"
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_without_permission(refused, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()

    def deny(*_, **__):  # chmod would not keep root out
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", deny)
        assert refused("--out", "new") == "error: out new cannot be written: Permission denied"
    monkeypatch.setattr(run.tempfile, "TemporaryFile", deny)
    assert refused("--out", "out") == "error: out out cannot be written: Permission denied"


def test_a_disk_that_is_nearly_full(refused, monkeypatch):
    usage = namedtuple("Usage", "free")
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: usage(50 * 2**20))
    line = refused("--out", "new/out")
    assert line == "error: out new/out cannot be written: about 100 MB of free disk space are needed"


def test_a_loss_that_becomes_nan_is_one_line_and_leaves_no_result(files, tmp_path, capsys):
    words = command(files.x, "--out", tmp_path / "out", settings={"pretraining.learning_rate": 1e30})
    assert run.main(words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: pretraining (layer 1) failed in step ")
    assert not (tmp_path / "out" / report.RESULT_FILE).exists()


@pytest.mark.real_data
@pytest.mark.usefixtures("no_pictures")
def test_real_mnist_test_images(real_data, tmp_path):
    real_data("mnist")
    outcome = cluster("mnist-test", tmp_path / "out", "--n-clusters", 10, "--baselines", "kmeans", settings=FEW)
    said = {"name": "mnist-test", "n_samples": 10_000, "n_features": 784}
    assert said.items() <= outcome.result["data"].items()
    assert outcome.result["settings"]["data.scaling"] == "pixels"
    assert 0.45 < outcome.result["kmeans"]["acc"] < 0.65  # published: 0.53
    assert outcome.result["final"]["acc"] > 0.3


FEW = {
    "network.hidden": 32,
    "batch_size": 256,
    "pretraining.layer_wise_steps": 0,
    "pretraining.fine_tuning_steps": 200,
    "start.kmeans_restarts": 1,
    "clustering.max_steps": 40,
}


@pytest.mark.long
@pytest.mark.real_data
@pytest.mark.usefixtures("no_pictures")
def test_real_text(real_data_dir, tmp_path):
    folder = real_data_dir.parent
    words = ("--labels", folder / "r8_labels.npy", "--n-clusters", 8, "--baselines", "kmeans")
    outcome = cluster(folder / "r8_tfidf.npz", tmp_path / "out", *words, settings=FEW)
    assert outcome.result["settings"]["data.scaling"] == "tfidf"
    assert outcome.result["kmeans"]["nmi"] > 0.2
    assert outcome.result["final"]["nmi"] > 0.2
