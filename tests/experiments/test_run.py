import errno
import json
import os
import signal
import subprocess
import sys
from collections import Counter, namedtuple
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import scipy.sparse
from tiny_run import X, Y, check_identical, cluster, command, read

from benchmarks import compilations
from dec_jax import assign, embed, load_model, n2d, partition, pretraining, resets
from dec_jax.convolutional import ConvolutionalAutoencoder
from experiments import plan, report, run, sweep, trial
from experiments.progress import PhaseProgress
from experiments.settings import HELP
from experiments.sweeping.folder import SweepFolder

SMALL = {"layer_wise_steps": 0, "fine_tuning_steps": 20, "max_steps": 60}


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

    def fail(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(trial, "run", fail)

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


def test_no_function_is_compiled_twice(tmp_path, no_pictures):
    np.save(tmp_path / "x.npy", X[:150])  # of a size that no other test has compiled for
    with compilations.watch() as compiled:
        cluster(tmp_path / "x.npy", tmp_path / "out", hidden="17", layer_wise_steps=0)
    ours = ("init", "_begin", "run_steps", "_reconstruct_rows", "embed", "_kmeans", "_start", "interval")
    count = Counter(compiled.programs)
    assert [count[f"jit({name})"] for name in ours] == [1] * len(ours)
    assert compiled.count < 30


def test_digits_from_the_command_to_the_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = command("digits", layer_wise_steps=0, fine_tuning_steps=200, max_steps=40, kmeans_restarts=1)
    assert run.main(words) == 0
    captured = capsys.readouterr()
    out = Path("runs/digits-paper-seed0")
    assert sorted(path.name for path in out.iterdir()) == sorted(report.FILES)
    assert "digits: 1,797 samples × 64 features" in captured.out
    assert captured.out.splitlines()[-1] == f"result, model and pictures are in {out}"
    lines = captured.err.splitlines()
    assert lines[0] == "k-means on the input: 0/1"
    assert "fine-tuning: 0/200" in lines
    assert lines[-1].endswith("40 steps, stopped by max_steps")
    result = read(out).result
    assert result["settings"]["n_clusters"] == 10
    assert result["kmeans"]["acc"] > 0.6


def settings_of(*words):
    return run.read_settings(run.parser().parse_args([str(word) for word in words]))


def test_options_come_after_the_presets_values():
    settings = settings_of("--preset", "demo", "--seed", 7, "--set", "max_steps=5", "hidden=9", "--bottleneck", 4)
    assert (settings.data, settings.preset, settings.seed, settings.n_clusters) == ("digits", "demo", 7, 10)
    assert (settings.max_steps, settings.hidden, settings.bottleneck) == (5, (9,), 4)
    assert (settings.optimizer, settings.fine_tuning_steps) == ("adam", 1000)


def test_set_can_be_given_more_than_once():
    settings = settings_of("--set", "alpha=2", "--set", "noise=0.5", "max_steps=5")
    assert (settings.alpha, settings.noise, settings.max_steps) == (2, 0.5, 5)


AUGMENTED = ("augment_rotation", "augment_shift", "augment_flip", "augment_noise")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), (0, 0, 0, 0)),
        (("--augment",), (10, 0.1, 0, 0)),
        (("--augment", "rotation=20", "flip=0.5"), (20, 0, 0.5, 0)),
        (("--augment", "noise=0.3"), (0, 0, 0, 0.3)),
        (("--augment", "--set", "augment_rotation=5"), (5, 0.1, 0, 0)),
        (("--set", "augment_noise=0.2", "--augment"), (10, 0.1, 0, 0.2)),
    ],
)
def test_augmentations_are_settings(words, expected):
    settings = settings_of(*words)
    assert tuple(getattr(settings, name) for name in AUGMENTED) == expected


def test_number_of_clusters():
    assert settings_of("--data", "mnist").n_clusters == 10
    assert settings_of("--data", "mnist", "--n-clusters", 7).n_clusters == 7
    assert settings_of("--data", "x.npy").n_clusters is None


@pytest.mark.parametrize("data", ["folder/x.npy", "x.csv"])
def test_default_folder_is_named_after_the_run(data):
    settings = settings_of("--data", data, "--seed", 3, "--preset", "demo")
    assert run.default_out(settings) == Path("runs/x-demo-seed3")


def test_help_explains_every_key(capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in HELP)


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
    assert outcome.result["data"] == {"name": name, "n_samples": 200, "n_features": 64}
    check_identical(outcome, finished.outcome)
    assert (outcome.result["final"]["acc"] is None) == (name == "mine.csv")  # the .npz holds labels


@pytest.mark.usefixtures("no_pictures")
def test_sparse_rows_are_scaled_as_text(tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(X.astype(float)))
    outcome = cluster(tmp_path / "x.npz", tmp_path / "out", layer_wise_steps=0)
    assert outcome.result["settings"]["scaling"] == "tfidf"
    assert outcome.assignments["labels"].shape == (200,)


def test_a_batch_larger_than_the_data_becomes_the_data(files, tmp_path, monkeypatch, capsys):
    begun = []

    def stop(trial):
        begun.append(trial)
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "run", stop)
    assert run.main(command(files.x, "--out", tmp_path / "out", batch_size=256)) == 130
    assert begun[0].settings.batch_size == 200
    warning = capsys.readouterr().err.splitlines()[0]
    assert warning == "warning: batch_size 256 is more than the 200 samples: it is 200 now"


BAD_SAMPLES = {
    "NaN": (
        np.where(np.arange(200)[:, None] == 7, np.nan, X),
        "64 NaN or infinite values, the first in row 7, column 0",
    ),
    "infinity": (np.where(np.eye(200, 64) > 0, np.inf, -np.inf), "got 12800 NaN or infinite values"),
    "one dimension": (X[0], r"two-dimensional (samples, features), got shape (64,)"),
    "no samples": (X[:0], "at least one sample and one feature, got shape (0, 64)"),
    "no features": (X[:, :0], "at least one sample and one feature, got shape (200, 0)"),
    "objects": (np.array([[1, None]], object), "got Python objects (dtype object)"),
    "strings": (X.astype(str), "must hold real numbers, got dtype <U"),
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
        (("--n-clusters", 1798), "n_clusters must be between 2 and 1797 (the number of samples), got 1798"),
        (("--bottleneck", 0), "bottleneck must be at least 1, got 0"),
        (("--set", "hidden=500,-1"), "hidden[1] must be at least 1, got -1"),
        (("--seed", -1), "seed must be between 0 and 4294967295, got -1"),
        (("--set", "learning_rate=-0.1"), "learning_rate must be above 0, got -0.1"),
        (("--set", "cluster_learning_rate=-1"), "cluster_learning_rate must be above 0, got -1.0"),
        (("--set", "dropout=-0.2"), "dropout must be at least 0 and at most 0.999, got -0.2"),
        (("--set", "tolerance=-1"), "tolerance must be at least 0 and at most 1, got -1.0"),
        (("--set", "update_interval=-160"), "update_interval must be at least 1, got -160"),
        (("--set", "alpha=-1"), "alpha must be above 0, got -1.0"),
        (("--set", "batch_size=0"), "batch_size must be at least 1, got 0"),
        (("--data", "mnits"), "unknown data set 'mnits'; did you mean 'mnist'"),
        (("--preset", "papper"), "unknown preset 'papper'; did you mean 'paper'"),
        (("--set", "activation=rellu"), "unknown activation 'rellu'; did you mean 'relu'"),
        (("--set", "loss=mseq"), "unknown loss 'mseq'; did you mean 'mse'"),
        (("--set", "bottelneck=3"), "unknown setting 'bottelneck'; did you mean 'bottleneck'"),
        (("--set", "bottleneck"), "--set takes KEY=VALUE, got 'bottleneck'"),
        (("--augment", "rotatoin=3"), "unknown augmentation 'rotatoin'; did you mean 'rotation'"),
        (("--augment", "rotation=200"), "augment_rotation must be at least 0 and at most 180, got 200.0"),
        (("--augment", "shift=far"), "augment_shift must be a number, got 'far'"),
        (("--objective", "idecc"), "unknown objective 'idecc'; did you mean 'idec'"),
        (("--set", "objective.radius=3"), "objective.radius needs an objective package.module:function, got dec"),
        (("--objective", "own_losses:spread"), "missing a required argument: 'radius'"),
        (("--objective", "own_losses:compact", "--set", "objective.radios=3"), "unexpected keyword argument 'radios'"),
        (("--objective", "own_losses:nothing"), "has no attribute 'nothing'"),
        (("--set", "kernel=gauss"), "unknown kernel 'gauss'; did you mean 'gaussian'"),
        (("--set", "resets=-1"), "resets must be at least 0, got -1"),
        (("--set", "reset_keep=2"), "reset_keep must be at least 0 and at most 1, got 2.0"),
        (("--set", "loss=bce"), "loss=bce needs scaling=unit"),
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


@pytest.mark.parametrize("words", [("--augment",), ("--set", "network=convolutional")])
def test_samples_that_are_no_images(refused, tmp_path, words):
    np.save(tmp_path / "x.npy", X[:, 20:27])
    line = refused("--data", "x.npy", "--n-clusters", 3, "--out", "out", *words)
    assert "needs images: square images have s·s or s·s·3 features, got 7" in line


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("network=convolutional", "network must be dense in a sweep, got convolutional"),
        ("start=n2d", "start must be kmeans in a sweep, got n2d"),
        ("resets=2", "resets must be 0 in a sweep, got 2"),
        ("reseed_empty=true", "reseed_empty must be False in a sweep, got True"),
    ],
)
def test_a_sweep_says_what_only_a_run_of_its_own_has(tmp_path, capsys, word, problem):
    assert sweep.main(["--data", "digits", "--preset", "demo", "--out", str(tmp_path / "out"), "--set", word]) == 2
    assert capsys.readouterr().err == f"error: {problem}: experiments.run has it\n"
    assert not (tmp_path / "out").exists()


def test_labels_of_another_length(refused, files, tmp_path):
    np.save(tmp_path / "y.npy", Y[:199])
    line = refused("--data", files.x, "--labels", "y.npy", "--n-clusters", 10, "--out", "out")
    assert line == "error: y.npy must hold one label per sample, shape (200,), got shape (199,)"


def test_a_scaling_that_would_make_sparse_data_dense(refused, tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(X.astype(float)))
    line = refused("--data", "x.npz", "--n-clusters", 10, "--out", "out", "--set", "scaling=unit")
    assert "scaling 'unit' would make a sparse matrix dense (accepted: none, pixels, rms, tfidf)" in line


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_truncated_file(refused, tmp_path, suffix):
    path = write(tmp_path / f"x{suffix}", X)
    path.write_bytes(path.read_bytes()[:-100])
    assert f"x{suffix} is damaged" in refused("--data", path, "--n-clusters", 10, "--out", "out")


@pytest.mark.parametrize("word", ["--n-clusters=abc", "--n-clusters=2.5", "--bottleneck=x", "--seed=1e3"])
def test_words_that_are_no_integers(tmp_path, monkeypatch, capsys, word):
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
    with SweepFolder(tmp_path / "out", {}):
        pass
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


@pytest.mark.usefixtures("no_pictures", "eager_journal")
def test_an_unfinished_run_with_other_settings_is_kept_unless_overwritten(files, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PhaseProgress, "advance", interrupt)
        assert run.main(command(files.x, "--out", out)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run.main(command(files.x, "--out", out, max_steps=40)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: {out} holds an unfinished run with other settings (max_steps 100 instead of 40)" in line
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == kept

    assert cluster(files.x, out, "--overwrite", max_steps=40).result["steps"] == 40
    assert "k-means on the input: 0/3" in capsys.readouterr().err
    assert not (out / run.UNFINISHED).exists()


@pytest.mark.usefixtures("no_pictures")
def test_other_samples_under_the_same_name_are_another_run(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    np.save(tmp_path / "x.npy", X)
    with monkeypatch.context() as patch:
        patch.setattr(PhaseProgress, "advance", interrupt)
        assert run.main(command(tmp_path / "x.npy", "--out", tmp_path / "out")) == 130
    np.save(tmp_path / "x.npy", X[::-1])
    capsys.readouterr()
    assert run.main(command(tmp_path / "x.npy", "--out", tmp_path / "out")) == 2
    assert "(samples " in capsys.readouterr().err


def phases(outcome):
    """Losses of fine-tuning and of clustering."""
    return [
        [row["loss"] for row in outcome.history if row["phase"] == phase] for phase in ("fine-tuning", "clustering")
    ]


@pytest.mark.usefixtures("no_pictures")
def test_augmentation_changes_pretraining_and_clustering(files, tmp_path, monkeypatch):
    augment = ("--augment", "noise=0.3", "dropout=0.2")
    plain = cluster(files.x, tmp_path / "plain", **SMALL)
    augmented = cluster(files.x, tmp_path / "augmented", *augment, **SMALL)
    monkeypatch.setattr(plan, "clustering_augmentation", lambda *_: None)
    pretraining_alone = cluster(files.x, tmp_path / "alone", *augment, **SMALL)
    assert augmented.result["settings"]["augment_noise"] == 0.3
    assert phases(plain)[0] != phases(augmented)[0] == phases(pretraining_alone)[0]
    assert phases(augmented)[1][0] != phases(pretraining_alone)[1][0]


@pytest.mark.usefixtures("no_pictures")
def test_convolutional_network_on_augmented_images(files, tmp_path, monkeypatch):
    monkeypatch.setattr(
        plan, "ConvolutionalAutoencoder", partial(ConvolutionalAutoencoder, channels=(4,), kernels=(3,))
    )
    few = {"layer_wise_steps": 0, "fine_tuning_steps": 4, "update_interval": 2, "max_steps": 4}
    outcome = cluster(files.x, tmp_path / "out", "--augment", network="convolutional", **few)
    trained = load_model(tmp_path / "out" / "model")
    assert (trained.model.image_shape, trained.model.channels) == ((8, 8), (4,))
    np.testing.assert_array_equal(assign(trained, X), outcome.assignments["labels"])
    np.testing.assert_allclose(embed(trained, X), outcome.assignments["z"], rtol=1e-4, atol=1e-5)
    assert outcome.assignments["z"].std() > 0


@pytest.mark.usefixtures("no_pictures", "own_losses")
@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (("--objective", "dec"), {"kl"}),
        (("--objective", "idec", "--set", "size_balance=0.5"), {"reconstruction", "kl", "size_balance"}),
        (("--objective", "dcn"), {"reconstruction", "distance"}),
        (("--objective", "dkm"), {"reconstruction", "distance"}),
        (("--objective", "own_losses:spread", "--set", "objective.radius=0.1"), {"spread"}),
        (("--objective", "own_losses:compact", "--set", "objective.radius=0.1"), {"kl", "spread"}),
    ],
    ids=["dec", "idec", "dcn", "dkm", "function of inputs", "function that makes an objective"],
)
def test_history_holds_the_terms_of_every_objective(files, tmp_path, words, terms):
    outcome = cluster(files.x, tmp_path / "out", *words, **SMALL)
    columns = [name for name in outcome.history[0] if name.startswith("term_")]
    assert set(columns) == {f"term_{name}" for name in terms}
    rows = [row for row in outcome.history if row["phase"] == "clustering"]
    assert [int(row["step"]) for row in rows] == [20, 40, 60]
    assert all(np.isfinite(float(row[name])) for row in rows for name in columns)
    assert all(row[name] == "" for row in outcome.history[: -len(rows)] for name in columns)
    if terms == {"spread"}:
        assert rows[0]["loss"] == rows[0]["term_spread"]
        radii = np.linalg.norm(outcome.assignments["z"], axis=1)
        assert float(rows[-1]["loss"]) == pytest.approx(np.maximum(radii - 0.1, 0).mean(), abs=0.05)
    assert np.isfinite(outcome.assignments["q"]).all()


def few_labels_change(files, tmp_path, **settings):
    """Steps of a run that the tolerance stops at the first refresh where it may."""
    settings = SMALL | {"tolerance": 1, "max_steps": 100} | settings
    return cluster(files.x, tmp_path / "out", "--overwrite", **settings).result


@pytest.mark.usefixtures("no_pictures")
def test_resets_reach_the_run(files, tmp_path):
    assert few_labels_change(files, tmp_path)["steps"] == 20
    # 5 epochs are 16 steps: resets at 20 and 40, and one interval after the last.
    result = few_labels_change(files, tmp_path, resets=2, reset_every=5)
    assert (result["steps"], result["stop_reason"]) == (60, "tolerance")


@pytest.mark.usefixtures("no_pictures")
def test_reseeding_reaches_the_run(files, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        resets.ReseedEmpty, "__call__", lambda self, key, before, state, *_, **__: seen.append(before) or state
    )
    cluster(files.x, tmp_path / "out", reseed_empty="true", **SMALL)
    assert seen == [0, 20]


SPREAD = np.random.default_rng(0).normal(size=(200, 64))
COLLAPSING = {
    "imbalanced": np.where(np.arange(200)[:, None] < 190, 0.01 * SPREAD, 5 + SPREAD),
    "duplicates": np.repeat(SPREAD[:4], 50, axis=0),
    "two samples": np.repeat(SPREAD[:2], [199, 1], axis=0),
    "constant features": np.where(np.arange(64) < 60, 7.0, SPREAD),
}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("kind", COLLAPSING)
def test_ten_clusters_where_there_are_fewer(tmp_path, kind):
    np.save(tmp_path / "x.npy", COLLAPSING[kind])
    outcome = cluster(tmp_path / "x.npy", tmp_path / "out", reseed_empty="true", size_balance=0.5, **SMALL)
    for name in ("q", "z"):
        assert np.isfinite(outcome.assignments[name]).all()
    np.testing.assert_allclose(outcome.assignments["q"].sum(axis=1), 1, rtol=1e-4)
    assert all(np.isfinite(float(row["loss"])) for row in outcome.history)
    assert all(np.isfinite(leaf).all() for leaf in outcome.model)
    assert sum(outcome.result["final"]["cluster_sizes"]) == 200


KILLED = """
import sys
from experiments import journal, progress, run
journal.SECONDS_BETWEEN_SAVES = progress.SECONDS_BETWEEN_LINES = 0
run.main(sys.argv[1:])
"""


@pytest.mark.usefixtures("no_pictures")
def test_a_killed_run_goes_on_to_the_same_end(files, tmp_path):
    out = tmp_path / "out"
    words = command(files.x, "--out", out, layer_wise_steps=0, max_steps=2000)
    with subprocess.Popen([sys.executable, "-c", KILLED, *words], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("clustering: 100/"):
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    entry = json.loads((out / run.UNFINISHED / "clustering" / "metadata.json").read_text())
    assert entry["metadata"]["history"][-1]["step"] >= 80

    assert run.main(words) == 0
    assert sorted(path.name for path in out.iterdir()) == ["assignments.npz", "history.csv", "model", "result.json"]
    whole = cluster(files.x, tmp_path / "whole", layer_wise_steps=0, max_steps=2000)
    check_identical(read(out), whole)
    assert whole.result["steps"] == 2000


@pytest.mark.usefixtures("no_pictures", "eager_journal")
def test_an_interrupted_run_goes_on_from_its_partition(files, tmp_path, monkeypatch):
    settings = {"layer_wise_steps": 0, "start": "n2d", "start_steps": 30}
    words = command(files.x, "--out", tmp_path / "out", **settings)
    whole = cluster(files.x, tmp_path / "whole", **settings)
    assert set(whole.result["n2d"]) == {"acc", "nmi", "ari", "cluster_sizes"}
    assert whole.result["seconds"]["n2d"] > 0
    parts = ((n2d, "neighbors"), (n2d, "layout"), (n2d, "mixture"), (partition, "start"))
    for place, name in parts:  # each time a step further
        with monkeypatch.context() as patch:
            patch.setattr(place, name, Mock(side_effect=KeyboardInterrupt))
            assert run.main(words) == 130
    for name in ("neighbors", "layout", "mixture"):  # none of which is done again
        monkeypatch.delattr(n2d, name)
    assert run.main(words) == 0
    check_identical(read(tmp_path / "out"), whole)
    assert read(tmp_path / "out").result["n2d"] == whole.result["n2d"]


@pytest.mark.usefixtures("no_pictures")
def test_a_table_has_a_row_for_the_partition(files, tmp_path, capsys):
    cluster(files.x, tmp_path / "out", layer_wise_steps=0, fine_tuning_steps=20, max_steps=20, start="n2d")
    table = capsys.readouterr().out
    assert table.index("k-means on the embedding") < table.index("N2D on the embedding") < table.index("DEC")
    settings = read(tmp_path / "out").result["settings"]
    assert (settings["start"], settings["start_steps"]) == ("n2d", 200)


@pytest.mark.usefixtures("no_pictures")
def test_runs_with_one_cache_pretrain_once(files, tmp_path, monkeypatch):
    words = ("--cache", tmp_path / "cache")
    first = cluster(files.x, tmp_path / "first", *words, layer_wise_steps=0, max_steps=20)
    monkeypatch.delattr(pretraining, "pretrain")
    second = cluster(files.x, tmp_path / "second", *words, layer_wise_steps=0, max_steps=20, start="n2d")
    alone = first.result["autoencoder_kmeans"], first.result["seconds"]["pretraining"]
    assert (second.result["autoencoder_kmeans"], second.result["seconds"]["pretraining"]) == alone


@pytest.mark.real_data
@pytest.mark.usefixtures("no_pictures")
def test_real_mnist_test_images(real_data, tmp_path):
    real_data("mnist")
    small = {"hidden": 32, "layer_wise_steps": 0, "fine_tuning_steps": 200, "kmeans_restarts": 1, "max_steps": 40}
    outcome = cluster("mnist-test", tmp_path / "out", "--n-clusters", 10, batch_size=256, **small)
    assert outcome.result["data"] == {"name": "mnist-test", "n_samples": 10_000, "n_features": 784}
    assert outcome.result["settings"]["scaling"] == "pixels"
    assert 0.45 < outcome.result["kmeans"]["acc"] < 0.65  # published: 0.53
    assert outcome.result["final"]["acc"] > 0.3


@pytest.mark.real_data
@pytest.mark.usefixtures("no_pictures")
def test_real_text(real_data_dir, tmp_path):
    folder = real_data_dir.parent
    small = {"hidden": 32, "layer_wise_steps": 0, "fine_tuning_steps": 200, "kmeans_restarts": 1, "max_steps": 40}
    labels = ("--labels", folder / "r8_labels.npy")
    outcome = cluster(folder / "r8_tfidf.npz", tmp_path / "out", *labels, "--n-clusters", 8, batch_size=256, **small)
    assert outcome.result["settings"]["scaling"] == "tfidf"
    assert outcome.result["kmeans"]["nmi"] > 0.2
    assert outcome.result["final"]["nmi"] > 0.2


@pytest.mark.usefixtures("no_pictures", "eager_journal")
def test_an_interrupted_run_goes_on_to_its_last_reset(files, tmp_path, monkeypatch):
    settings = {
        "layer_wise_steps": 0,
        "fine_tuning_steps": 20,
        "kmeans_restarts": 2,
        "update_interval": 10,
        "tolerance": 1,
        "max_steps": 100,
        "resets": 2,
        "reset_every": 5,
    }
    words, advance = command(files.x, "--out", tmp_path / "out", **settings), PhaseProgress.advance

    def stop(self, done, **values):
        if done == 20 and "label_change" in values:
            raise KeyboardInterrupt
        advance(self, done, **values)

    with monkeypatch.context() as patch:
        patch.setattr(PhaseProgress, "advance", stop)
        assert run.main(words) == 130
    assert run.main(words) == 0
    whole = cluster(files.x, tmp_path / "whole", **settings)
    assert read(tmp_path / "out").result["steps"] == whole.result["steps"]
    check_identical(read(tmp_path / "out"), whole)
