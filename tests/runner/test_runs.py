"""One run in its folder: the same bits wherever it was interrupted, one process at a time, and every setting felt."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import scipy.sparse

from benchmarks import compilations
from dec_jax import assign, embed, load_model, n2d, pretraining, resets
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.folder_lock import lock
from dec_jax.runner import build, fitting, report, run, runs
from dec_jax.runner.clustering_slots import ClusteringSlots
from dec_jax.runner.programs import Compiled
from dec_jax.runner.progress import PhaseProgress
from dec_jax.storage import Store

from .test_run import own_losses  # noqa: F401 - a fixture
from .tiny_run import SMALL, X, check_identical, cluster, command, read

pytestmark = pytest.mark.slow

slow = partial(pytest.param, marks=pytest.mark.slow)
FEW = SMALL | {"clustering.max_steps": 20}


@pytest.fixture
def interrupt(monkeypatch):
    """A function that runs a command and interrupts it where a phase first reaches a number of steps."""

    def until(phase, n_steps, words):
        advance = PhaseProgress.advance

        def stop(self, done, **figures):
            if self._phase == phase and done >= n_steps:
                raise KeyboardInterrupt
            advance(self, done, **figures)

        with monkeypatch.context() as patch:
            patch.setattr(PhaseProgress, "advance", stop)
            assert run.main(words) == 130

    return until


# ------------------------------------------------------------------------------------------- interrupted and resumed


@pytest.mark.usefixtures("no_pictures", "eager_saves")
@pytest.mark.parametrize(
    ("phase", "n_steps"),
    [
        ("k-means on the input", 2),
        slow("pretraining", 400),  # in layer 1
        ("pretraining", 600),  # in layer 2, with layer 1 whole
        slow("pretraining", 1200),  # in fine-tuning
        slow("k-means on embedding", 1),
        slow("clustering", 20),
        ("clustering", 60),
        slow("clustering", 100),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_bits(files, finished, tmp_path, interrupt, capsys, phase, n_steps):
    words = command(files.x, "--out", tmp_path / "out", "--labels", files.y)
    interrupt(phase, n_steps, words)
    assert "the same command goes on" in capsys.readouterr().err
    assert run.main(words) == 0
    assert f"{phase}: 0/" not in capsys.readouterr().err or n_steps in (1, 20, 400)
    resumed = read(tmp_path / "out")
    check_identical(resumed, finished.outcome)
    assert resumed.history == finished.outcome.history
    assert not (tmp_path / "out" / runs.UNFINISHED).exists()


KILLED = """
import sys
from dec_jax.runner import checkpoint, progress, run
checkpoint.SECONDS_BETWEEN_SAVES = progress.SECONDS_BETWEEN_LINES = 0
run.main(sys.argv[1:])
"""


@pytest.mark.usefixtures("no_pictures")
def test_a_killed_run_goes_on_to_the_same_end(files, tmp_path):
    out = tmp_path / "out"
    settings = {"pretraining.layer_wise_steps": 0, "clustering.max_steps": 2000}
    words = command(files.x, "--out", out, settings=settings)
    with subprocess.Popen([sys.executable, "-c", KILLED, *words], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("clustering: 100/"):
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    store = Store(out / runs.UNFINISHED)
    (name,) = (name for name in store.names() if name.startswith("clustering-"))
    assert store.metadata(name)["courses"][0]["steps"] >= 80

    assert run.main(words) == 0
    left = ["assignments.npz", "digests.jsonl", "history.csv", "model", "result.json"]
    assert sorted(path.name for path in out.iterdir()) == left
    whole = cluster(files.x, tmp_path / "whole", settings=settings)
    check_identical(read(out), whole)
    assert whole.result["steps"] == 2000


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures", "eager_saves")
def test_an_interrupted_run_goes_on_from_its_partition(files, tmp_path, monkeypatch):
    settings = SMALL | {"start.kind": "n2d", "start.steps": 30}
    words = command(files.x, "--out", tmp_path / "out", settings=settings)
    whole = cluster(files.x, tmp_path / "whole", settings=settings)
    assert set(whole.result["n2d"]) == {"acc", "nmi", "ari", "cluster_sizes"}
    assert whole.result["seconds"]["n2d"] > 0
    parts = ((n2d, "neighbors"), (n2d, "layout"), (n2d, "mixture"), (ClusteringSlots, "start_from_labels"))
    for place, name in parts:  # each time a step further
        with monkeypatch.context() as patch:
            patch.setattr(place, name, Mock(side_effect=KeyboardInterrupt))
            assert run.main(words) == 130
    for name in ("neighbors", "layout", "mixture"):  # none of which is done again
        monkeypatch.delattr(n2d, name)
    assert run.main(words) == 0
    check_identical(read(tmp_path / "out"), whole)
    assert read(tmp_path / "out").result["n2d"] == whole.result["n2d"]


@pytest.mark.usefixtures("no_pictures", "eager_saves")
def test_an_interrupted_run_goes_on_to_its_last_reset(files, tmp_path, interrupt):
    settings = FEW | {
        "clustering.update_interval": 10,
        "clustering.tolerance": 1,
        "clustering.max_steps": 100,
        "clustering.resets": 2,
        "clustering.reset_every": 5,
    }
    words = command(files.x, "--out", tmp_path / "out", settings=settings)
    interrupt("clustering", 20, words)
    assert run.main(words) == 0
    whole = cluster(files.x, tmp_path / "whole", settings=settings)
    assert read(tmp_path / "out").result["steps"] == whole.result["steps"]
    check_identical(read(tmp_path / "out"), whole)


# ------------------------------------------------------------------------------------------------- whose is a folder


@pytest.mark.usefixtures("no_pictures", "eager_saves")
def test_an_unfinished_run_with_other_settings_is_kept_unless_overwritten(files, tmp_path, interrupt, capsys):
    out = tmp_path / "out"
    interrupt("k-means on the input", 2, command(files.x, "--out", out, settings=SMALL))
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run.main(command(files.x, "--out", out, settings=FEW)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: {out} holds an unfinished run with other settings (clustering.max_steps 60 instead of 20)" in line
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == kept

    assert cluster(files.x, out, "--overwrite", settings=FEW).result["steps"] == 20
    assert "k-means on the input: 0/3" in capsys.readouterr().err
    assert not (out / runs.UNFINISHED).exists()


def test_other_samples_or_labels_under_the_same_name_are_another_run(files, tmp_path, interrupt, capsys):
    np.save(tmp_path / "x.npy", X)
    words = command(tmp_path / "x.npy", "--out", tmp_path / "out")
    interrupt("k-means on the input", 1, words)
    capsys.readouterr()
    assert run.main([*words, "--labels", str(files.y)]) == 2
    assert "(labels None instead of " in capsys.readouterr().err
    np.save(tmp_path / "x.npy", X[::-1])
    assert run.main(words) == 2
    assert "(samples " in capsys.readouterr().err


def test_a_run_whose_objective_was_edited_is_another_one(files, tmp_path, interrupt, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "own_terms.py"
    source.write_text("from dec_jax.objectives import dec as mine\n")
    words = command(files.x, "--out", tmp_path / "out", "--objective", "own_terms:mine")
    interrupt("k-means on the input", 1, words)
    source.write_text("from dec_jax.objectives import idec as mine\n")
    capsys.readouterr()
    assert run.main(words) == 2
    assert "(source of own_terms:mine " in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
def test_two_runs_into_one_folder_at_once(files, tmp_path, capsys):
    out = tmp_path / "out"
    with lock(out):
        assert run.main(command(files.x, "--out", out, "--overwrite")) == 2
    assert capsys.readouterr().err == (
        f"error: {out} is in use by process {os.getpid()} on host {socket.gethostname()}\n"
    )
    assert list(out.iterdir()) == []
    assert cluster(files.x, out, settings=FEW).result


# --------------------------------------------------------------------------------------------------------- the cache


@pytest.mark.usefixtures("no_pictures")
def test_runs_with_one_cache_pretrain_once(files, tmp_path, monkeypatch, capsys):
    words = ("--cache", tmp_path / "cache")
    settings = FEW | {"pretraining.fine_tuning_steps": 400}
    first = cluster(files.x, tmp_path / "first", *words, settings=settings)
    monkeypatch.delattr(pretraining, "run")
    capsys.readouterr()
    second = cluster(files.x, tmp_path / "second", *words, settings=settings | {"clustering.alpha": 2})
    assert "pretraining: from cache" in capsys.readouterr().out
    assert second.result["autoencoder_kmeans"] == first.result["autoencoder_kmeans"]
    assert (first.result["pretraining"], second.result["pretraining"]) == ("trained", "from cache")
    of_pretraining = [[row for row in run.history if row["phase"] == "fine-tuning"] for run in (first, second)]
    assert of_pretraining[0] == of_pretraining[1] != []
    assert list(second.result["steps_per_second"]) == ["clustering"]


@pytest.mark.usefixtures("no_pictures", "eager_saves")
def test_a_run_that_goes_on_has_not_its_own_network_from_the_cache(files, tmp_path, monkeypatch):
    words = command(files.x, "--out", tmp_path / "out", "--cache", tmp_path / "cache", settings=FEW)
    with monkeypatch.context() as patch:
        patch.setattr(report, "write", Mock(side_effect=KeyboardInterrupt))
        assert run.main(words) == 130
    assert run.main(words) == 0
    result = read(tmp_path / "out").result
    assert result["pretraining"] == "trained"
    assert set(result["steps_per_second"]) == {"pretraining", "clustering"}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("damage", [b"", b"{}"])
def test_a_damaged_entry_of_the_cache_is_trained_again(files, tmp_path, damage, capsys):
    words = ("--cache", tmp_path / "cache")
    first = cluster(files.x, tmp_path / "first", *words, settings=FEW)
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(damage)
    second = cluster(files.x, tmp_path / "second", *words, settings=FEW)
    assert f"{entry} is damaged" in capsys.readouterr().err
    assert second.result["pretraining"] == "trained"
    check_identical(first, second)


# --------------------------------------------------------------------------------------------- what reaches a run


def test_nothing_is_compiled_twice(tmp_path, no_pictures):
    np.save(tmp_path / "x.npy", X[:150])  # of a size that no other test has compiled for
    with compilations.watch() as compiled:
        cluster(tmp_path / "x.npy", tmp_path / "out", settings=FEW | {"network.hidden": 17})
    count = Counter(compiled.programs)
    names = ("start", "advance", "finish")
    assert [count[f"jit({name})"] for name in names] == [1] * len(names), count
    assert count["jit(<lambda>)"] == 2, count  # the beginning and a window of fine-tuning


@pytest.mark.usefixtures("no_pictures")
def test_sparse_rows_are_scaled_as_text(tmp_path):
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_array(X.astype(float)))
    outcome = cluster(tmp_path / "x.npz", tmp_path / "out", settings=FEW)
    assert outcome.result["settings"]["data.scaling"] == "tfidf"
    assert outcome.assignments["labels"].shape == (200,)


def phases(outcome):
    """Losses of fine-tuning and of clustering."""
    return [
        [row["loss"] for row in outcome.history if row["phase"] == phase] for phase in ("fine-tuning", "clustering")
    ]


@pytest.mark.usefixtures("no_pictures")
def test_augmentation_changes_pretraining_and_clustering(files, small, tmp_path, monkeypatch):
    augment = ("--augment", "noise=0.3", "dropout=0.2")
    augmented = cluster(files.x, tmp_path / "augmented", *augment, settings=SMALL)
    recipe = build.recipe
    monkeypatch.setattr(build, "recipe", lambda *given: recipe(*given).replace(augmentation=None))
    monkeypatch.setattr(fitting, "COMPILED", Compiled())  # programs are not known by what a test puts into them
    pretraining_alone = cluster(files.x, tmp_path / "alone", *augment, settings=SMALL)
    assert augmented.result["settings"]["augmentation.noise"] == 0.3
    assert phases(small)[0] != phases(augmented)[0] == phases(pretraining_alone)[0]
    assert phases(augmented)[1][0] != phases(pretraining_alone)[1][0]


@pytest.mark.usefixtures("no_pictures")
def test_convolutional_network_on_augmented_images(tmp_path, monkeypatch):
    tiny = partial(ConvolutionalAutoencoder, channels=(4,), kernels=(3,))
    monkeypatch.setattr(build, "ConvolutionalAutoencoder", tiny)
    few = FEW | {"network.kind": "convolutional", "pretraining.fine_tuning_steps": 4}
    few |= {"clustering.update_interval": 2, "clustering.max_steps": 4}
    np.save(tmp_path / "x.npy", X.reshape(-1, 8, 8))
    outcome = cluster(tmp_path / "x.npy", tmp_path / "out", "--augment", settings=few)
    trained = load_model(tmp_path / "out" / "model")
    assert (trained.model.image_shape, trained.model.channels) == ((8, 8), (4,))
    np.testing.assert_array_equal(assign(trained, X), outcome.assignments["labels"])
    np.testing.assert_allclose(embed(trained, X), outcome.assignments["z"], rtol=1e-4, atol=1e-5)
    assert outcome.assignments["z"].std() > 0


@pytest.mark.usefixtures("no_pictures", "own_losses")
@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (("--objective", "idec", "--set", "size_balance=0.5"), {"reconstruction", "kl", "size_balance"}),
        slow(("--objective", "dcn"), {"reconstruction", "distance"}),
        slow(("--objective", "dkm"), {"reconstruction", "distance"}),
        slow(("--objective", "own_losses:spread", "--set", "objective.radius=0.1"), {"spread"}),
        (("--objective", "own_losses:compact", "--set", "objective.radius=0.1"), {"kl", "spread"}),
    ],
    ids=["idec", "dcn", "dkm", "function of inputs", "function that makes an objective"],
)
def test_history_holds_the_terms_of_every_objective(files, tmp_path, words, terms):
    outcome = cluster(files.x, tmp_path / "out", *words, settings=SMALL)
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


@pytest.mark.usefixtures("no_pictures")
def test_tolerance_and_resets_reach_the_run(files, tmp_path):
    eager = SMALL | {"clustering.tolerance": 1, "clustering.max_steps": 100}
    assert cluster(files.x, tmp_path / "a", settings=eager).result["steps"] == 20
    # 5 epochs are 16 steps: resets at 20 and 40, and one interval after the last.
    result = cluster(
        files.x, tmp_path / "b", settings=eager | {"clustering.resets": 2, "clustering.reset_every": 5}
    ).result
    assert (result["steps"], result["stop_reason"]) == (60, "tolerance")


@pytest.mark.usefixtures("no_pictures")
def test_reseeding_reaches_the_run(files, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(resets.ReseedEmpty, "is_due", lambda self, before, *_: bool(seen.append(before)))
    cluster(files.x, tmp_path / "out", settings=SMALL | {"clustering.reseed_empty": "true"})
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
@pytest.mark.parametrize("kind", ["duplicates", *map(slow, ("imbalanced", "two samples", "constant features"))])
def test_ten_clusters_where_there_are_fewer(tmp_path, kind):
    np.save(tmp_path / "x.npy", COLLAPSING[kind])
    alive = SMALL | {"clustering.reseed_empty": "true", "clustering.size_balance": 0.5}
    outcome = cluster(tmp_path / "x.npy", tmp_path / "out", settings=alive)
    for name in ("q", "z"):
        assert np.isfinite(outcome.assignments[name]).all()
    np.testing.assert_allclose(outcome.assignments["q"].sum(axis=1), 1, rtol=1e-4)
    assert all(np.isfinite(float(row["loss"])) for row in outcome.history)
    assert all(np.isfinite(leaf).all() for leaf in outcome.model)
    assert sum(outcome.result["final"]["cluster_sizes"]) == 200


@pytest.mark.usefixtures("no_pictures")
def test_a_table_has_a_row_for_the_partition(files, tmp_path, capsys):
    cluster(files.x, tmp_path / "out", settings=FEW | {"start.kind": "n2d"})
    table = capsys.readouterr().out
    assert table.index("k-means on the embedding") < table.index("N2D on the embedding") < table.index("DEC")
    settings = read(tmp_path / "out").result["settings"]
    assert (settings["start.kind"], settings["start.steps"]) == ("n2d", 200)
