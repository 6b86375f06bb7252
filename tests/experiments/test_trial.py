import numpy as np
import pytest
import scipy.sparse
from tiny_run import SETTINGS, X, Y, check_identical, cluster, command, read

from dec_jax import clustering, pretraining
from dec_jax.data import Dataset
from experiments import report, run
from experiments.progress import PhaseProgress
from experiments.trial import fingerprint

PHASES = ("layer 1", "layer 2", "fine-tuning")

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_same_seed_same_bits(files, finished, tmp_path):
    again = cluster(files.x, tmp_path / "out", "--labels", files.y)
    check_identical(finished.outcome, again)
    assert again.history == finished.outcome.history
    for method in report.methods(again.result):
        assert again.result[method] == finished.outcome.result[method]


def test_other_seed_other_model(files, finished, tmp_path):
    other = cluster(files.x, tmp_path / "out", "--seed", 1)
    assert not np.array_equal(other.assignments["z"], finished.outcome.assignments["z"])
    assert all(not np.array_equal(a, b) for a, b in zip(other.model, finished.outcome.model, strict=True))


def test_labels_never_reach_training(files, finished, tmp_path):
    np.save(tmp_path / "shuffled.npy", np.random.default_rng(0).permutation(Y))
    shuffled = cluster(files.x, tmp_path / "shuffled", "--labels", tmp_path / "shuffled.npy")
    without = cluster(files.x, tmp_path / "without")
    check_identical(finished.outcome, shuffled)
    check_identical(finished.outcome, without)
    assert shuffled.result["final"]["acc"] != finished.outcome.result["final"]["acc"]
    assert without.result["final"]["acc"] is None


def test_assignments_belong_together(finished):
    labels, q, z = (finished.outcome.assignments[name] for name in ("labels", "q", "z"))
    assert (labels.dtype, q.dtype, z.dtype) == (np.int32, np.float32, np.float32)
    assert (labels.shape, q.shape, z.shape) == ((200,), (200, 10), (200, 3))
    np.testing.assert_array_equal(labels, q.argmax(axis=1))
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-5)
    assert finished.outcome.result["final"]["cluster_sizes"] == np.bincount(labels, minlength=10).tolist()


def test_history_has_each_phase_from_its_first_steps_to_its_last(finished):
    steps = {}
    for row in finished.outcome.history:
        steps.setdefault(row["phase"], []).append(int(row["step"]))
        assert np.isfinite(float(row["loss"]))
    assert steps == {phase: [200, 400] for phase in PHASES} | {"clustering": [20, 40, 60, 80, 100]}


def test_losses_fall(finished):
    for phase in PHASES:
        first, last = [float(row["loss"]) for row in finished.outcome.history if row["phase"] == phase]
        assert last < first


def test_frozen_encoder_moves_the_centroids_alone(files, finished, tmp_path):
    moved = finished.outcome
    frozen = cluster(files.x, tmp_path / "out", train_encoder="false", cluster_learning_rate=1)
    *params, centroids = moved.model
    *frozen_params, frozen_centroids = frozen.model
    assert any(not np.array_equal(a, b) for a, b in zip(params, frozen_params, strict=True))
    start = cluster(files.x, tmp_path / "start", train_encoder="false", cluster_learning_rate=1, max_steps=20)
    for leaf, other in zip(frozen_params, start.model[:-1], strict=True):
        np.testing.assert_array_equal(leaf, other)
    assert not np.array_equal(frozen_centroids, start.model[-1])
    assert not np.array_equal(frozen_centroids, centroids)
    np.testing.assert_array_equal(frozen.assignments["z"], start.assignments["z"])


def test_a_sparse_file_is_clustered_like_its_dense_one(files, tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(X.astype(float)))
    sparse = cluster(tmp_path / "x.npz", tmp_path / "sparse", scaling="rms", layer_wise_steps=0)
    dense = cluster(files.x, tmp_path / "dense", layer_wise_steps=0)
    losses = [
        [float(row["loss"]) for row in outcome.history if row["phase"] == "fine-tuning"] for outcome in (sparse, dense)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert sparse.result["kmeans"]["cluster_sizes"] == dense.result["kmeans"]["cluster_sizes"]


def test_a_loss_that_explodes_ends_the_run(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert run.main(command(files.x, "--out", out, learning_rate=1e30)) == 2
    assert "the loss of layer 1 became nan" in capsys.readouterr().err
    assert not (out / report.RESULT_FILE).exists()


def test_a_network_whose_units_have_all_died_is_reported(files, tmp_path, capsys):
    shared = {"layer_wise_steps": 0, "loss": "mse", "weight_init": "fan_in", "scaling": "unit"}
    for name, rate in (("dead", 10.0), ("alive", 0.1)):
        cluster(files.x, tmp_path / name, learning_rate=rate, **shared)
        reported = "every unit has died" in capsys.readouterr().err
        assert reported == (name == "dead")


# Interruptions: what is kept after a window, and what was lost with the window in which the run died.


def interrupt_at(monkeypatch, phase, step):
    """Interrupts the run when it shows that a phase has come to a step."""
    advance = PhaseProgress.advance

    def advance_until(progress, done, **figures):
        advance(progress, done, **figures)
        if (progress._phase, done) == (phase, step):
            raise KeyboardInterrupt

    monkeypatch.setattr(PhaseProgress, "advance", advance_until)


def interrupt_before_writing(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write", stop)


def check_resumed(words, out, finished, capsys, goes_on):
    """Repeats the command of an interrupted run, which ends as one that was never interrupted."""
    assert not (out / report.RESULT_FILE).exists()
    assert (out / run.UNFINISHED).is_dir()
    capsys.readouterr()
    assert run.main(words) == 0
    lines = capsys.readouterr().err.splitlines()
    assert goes_on in lines
    assert not any("warning" in line for line in lines)
    assert sorted(path.name for path in out.iterdir()) == ["assignments.npz", "history.csv", "model", "result.json"]
    resumed = read(out)
    check_identical(resumed, finished.outcome)
    assert resumed.history == finished.outcome.history
    assert resumed.result["stop_reason"] == finished.outcome.result["stop_reason"]
    assert resumed.result["steps"] == finished.outcome.result["steps"]


@pytest.mark.usefixtures("eager_journal")
@pytest.mark.parametrize(
    ("phase", "step", "goes_on"),
    [
        ("k-means on the input", 1, "k-means on the input: 1/3"),
        ("k-means on the input", 3, "layer 1: 0/400"),
        ("layer 1", 200, "layer 1: 0/400"),
        ("layer 1", 400, "layer 1: 200/400"),
        ("layer 2", 200, "layer 2: 0/400"),
        ("fine-tuning", 400, "fine-tuning: 200/400"),
        ("clustering", 20, "clustering: 0/100"),
        ("clustering", 80, "clustering: 60/100"),
    ],
)
def test_interrupted_and_repeated(files, finished, tmp_path, capsys, phase, step, goes_on):
    out = tmp_path / "out"
    words = command(files.x, "--out", out, "--labels", files.y)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, phase, step)
        assert run.main(words) == 130
    check_resumed(words, out, finished, capsys, goes_on)


def test_interrupted_time_and_again(files, finished, tmp_path, capsys, eager_journal):
    out = tmp_path / "out"
    words = command(files.x, "--out", out, "--labels", files.y)
    for phase, step in [("k-means on the input", 2), ("layer 1", 400), ("layer 2", 400), ("clustering", 40)]:
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(patch, phase, step)
            assert run.main(words) == 130
    check_resumed(words, out, finished, capsys, "clustering: 20/100")


def test_interrupted_before_the_first_save(files, finished, tmp_path, capsys):
    out = tmp_path / "out"
    words = command(files.x, "--out", out, "--labels", files.y)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, "k-means on the input", 1)
        assert run.main(words) == 130
    check_resumed(words, out, finished, capsys, "k-means on the input: 0/3")


@pytest.mark.parametrize(("tolerance", "steps", "reason"), [(1, 20, "tolerance"), (0, 100, "max_steps")])
def test_a_run_that_had_converged_is_not_trained_further(
    files, tmp_path, monkeypatch, eager_journal, tolerance, steps, reason
):
    expected = cluster(files.x, tmp_path / "whole", tolerance=tolerance)
    assert (expected.result["steps"], expected.result["stop_reason"]) == (steps, reason)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_before_writing(patch)
        assert run.main(command(files.x, "--out", out, tolerance=tolerance)) == 130

    def fail(*_, **__):
        raise AssertionError("a step was trained that had been trained before")

    monkeypatch.setattr(clustering, "advance", fail)
    monkeypatch.setattr(pretraining, "run_steps", fail)
    resumed = cluster(files.x, out, tolerance=tolerance)
    check_identical(resumed, expected)
    assert (resumed.result["steps"], resumed.result["stop_reason"]) == (steps, reason)


@pytest.mark.usefixtures("eager_journal")
@pytest.mark.parametrize("entry", ["kmeans", "pretraining", "clustering"])
def test_a_damaged_entry_restarts_its_phase(files, finished, tmp_path, capsys, entry):
    out = tmp_path / "out"
    words = command(files.x, "--out", out, "--labels", files.y)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, "clustering", 80)
        assert run.main(words) == 130
    metadata = out / run.UNFINISHED / entry / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"seconds": ', '"seconds": 1'))
    capsys.readouterr()
    assert run.main(words) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("warning: this part of the run starts anew") for line in lines) == 1
    start = {"kmeans": "k-means on the input: 0/3", "pretraining": "layer 1: 0/400", "clustering": "clustering: 0/100"}
    for name, line in start.items():
        assert (line in lines) == (name == entry)
    check_identical(read(out), finished.outcome)


def test_time_before_the_interruption_counts(files, tmp_path, eager_journal):
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, "clustering", 80)
        assert run.main(command(files.x, "--out", out)) == 130
    metadata = out / run.UNFINISHED / "pretraining" / "metadata.json"
    before = float(metadata.read_text().split('"seconds": ')[1].split("\n")[0].rstrip(",}"))
    assert cluster(files.x, out).result["seconds"]["pretraining"] >= before > 0


def test_fingerprint_tells_data_apart():
    x = np.arange(6.0).reshape(2, 3)
    same = Dataset("other name", x.copy(order="F"), y=np.array([0, 1]))
    assert fingerprint(Dataset("name", x)) == fingerprint(same)
    others = [x.reshape(3, 2), x.astype(np.float32), x + 1, scipy.sparse.csr_array(x), scipy.sparse.csr_array(x + 1)]
    assert len({fingerprint(Dataset("name", other)) for other in [x, *others]}) == 6


def test_tiny_settings_are_those_of_the_runs(finished):
    settings = finished.outcome.result["settings"]
    assert settings["hidden"] == [16]
    assert {name: settings[name] for name in SETTINGS if name != "hidden"} == {
        name: value for name, value in SETTINGS.items() if name != "hidden"
    }
