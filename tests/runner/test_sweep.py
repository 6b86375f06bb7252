import os
import random
import re
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dec_jax.data.cache import cache_folder
from dec_jax.runner import capacity, suggestion, sweep, sweep_pictures, table
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.sweep_folder import SweepFolder
from dec_jax.runner.work import Trial
from runner.tiny_sweep import X, Y, make_shop, trials_of

pytestmark = pytest.mark.slow

SET = {
    "hidden": "8",
    "weight_init": "glorot",
    "batch_size": 32,
    "layer_wise_steps": 0,
    "fine_tuning_steps": 40,
    "pretraining.learning_rate": 0.05,
    "kmeans_restarts": 2,
    "clustering.learning_rate": 0.03,
    "update_interval": 10,
    "max_steps": 40,
    "tolerance": 0,
}
FILES = ("digests.jsonl", "pictures", "report.html", "report.json", *table.FILES, "rows", "sweep.json")


def command(data, *words, **settings):
    """The command line of a tiny sweep of eight trials."""
    pairs = [f"{name}={value}" for name, value in (SET | settings).items()]
    grid = ["--n-clusters", "3,5", "--bottleneck", "2:4", "--seeds", "2", "--preset", "paper"]
    return [str(word) for word in ("--data", data, *grid, "--set", *pairs, *words)]


@pytest.fixture(scope="module", autouse=True)
def two_slots():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity, "SLOTS_ON_CPU", 2)
        yield


@pytest.fixture
def no_pictures(monkeypatch):
    """Leaves the pictures out, which take longer than the rest."""
    monkeypatch.setattr(sweep_pictures, "draw", lambda frame, swept, folder: [])


@pytest.fixture
def no_training(monkeypatch):
    def fail(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(sweep, "train", fail)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep with labels and pictures: its data, its cache, its folder and its table."""
    folder = tmp_path_factory.mktemp("finished")
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    words = command(folder / "x.npy", "--labels", folder / "y.npy", "--cache", folder / "cache")
    assert sweep.main([*words, "--out", str(folder / "out")]) == 0
    return SimpleNamespace(
        x=folder / "x.npy", words=words, cache=folder / "cache", out=folder / "out", table=table.read(folder / "out")
    )


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of its folder."""
    return shutil.copytree(finished.out, tmp_path / "copy")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys, no_training):
    """A function that checks that a command is refused before any training, by one line, and leaves no trace."""
    monkeypatch.chdir(tmp_path)

    def check(*words):
        before = contents(tmp_path)
        assert sweep.main([str(word) for word in words]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        *plan, line = captured.err.splitlines()
        assert line.startswith("error: ")
        assert all(re.match(PLAN, line) for line in plan)
        assert contents(tmp_path) == before
        return line

    return check


PLAN = r"clustering.n_clusters: |network.bottleneck: |seed: |\d+ trials, |memory: |time: "


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_identical(out, other):
    """Checks that two tables are the same in all but the times, to the last digit that is written."""
    left, right = (table.read(folder).drop(columns=list(table.TIME_COLUMNS)) for folder in (out, other))
    assert left.to_csv() == right.to_csv()


# From the command to the pictures


def test_a_sweep_from_the_command_to_the_pictures(finished):
    assert sorted(path.name for path in finished.out.iterdir()) == sorted(FILES)
    names = sorted(path.name for path in (finished.out / "pictures").iterdir())
    assert "heatmap_acc.png" in names
    assert "n_clusters.png" in names
    rows = finished.table
    assert len(rows) == 8
    assert list(rows["clustering.n_clusters"]) == [3, 3, 5, 5] * 2
    assert list(rows["seed"]) == [0, 1] * 4
    assert set(rows["stop_reason"]) == {"max_steps"}
    assert (rows["acc"] > 0.2).all()
    assert len(list(finished.cache.iterdir())) == 4  # of two bottlenecks and two seeds


@pytest.mark.usefixtures("no_pictures")
def test_a_second_call_runs_nothing(finished, copy, monkeypatch, capsys):
    begun = []
    train = sweep.train
    monkeypatch.setattr(sweep, "train", lambda shop, trials, sizes: begun.extend(trials) or train(shop, trials, sizes))
    before = (copy / table.CSV_FILE).read_bytes()
    assert sweep.main([*finished.words, "--out", str(copy)]) == 0
    assert begun == []
    assert (copy / table.CSV_FILE).read_bytes() == before
    captured = capsys.readouterr()
    assert "8 trials, 4 distinct pretrainings (4 in the cache)" in captured.err
    assert f"are in {copy}" in captured.out


@pytest.mark.usefixtures("no_pictures")
def test_other_labels_in_the_same_file_give_other_scores_of_the_same_rows(finished, copy, monkeypatch):
    labels = finished.x.parent / "y.npy"
    monkeypatch.setattr(sweep, "train", lambda *_: iter(()))
    y = np.load(labels)
    try:
        np.save(labels, np.random.default_rng(0).permutation(y))
        assert sweep.main([*finished.words, "--out", str(copy)]) == 0
    finally:
        np.save(labels, y)
    frame = table.read(copy)
    for name in table.SCORES:
        assert frame[f"kmeans_{name}"].mean() < finished.table[f"kmeans_{name}"].mean()
    assert frame["ari"].max() < 0.1
    unscored = [name for name in frame if name.removeprefix("kmeans_") not in table.SCORES]
    pd.testing.assert_frame_equal(frame[unscored], finished.table[unscored])


@pytest.mark.usefixtures("no_training")
def test_a_dry_run_writes_nothing(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sweep.main([*finished.words, "--cache", "cache", "--dry-run"]) == 0
    assert list(tmp_path.rglob("*")) == []
    text = capsys.readouterr().err
    assert "clustering.n_clusters: 3, 5 (2 values)" in text
    assert "8 trials, 4 distinct pretrainings (0 in the cache), at most 7 compiled programs" in text


@pytest.mark.usefixtures("no_training")
def test_a_report_draws_the_pictures_again(finished, copy, capsys):
    shutil.rmtree(copy / "pictures")
    assert sweep.main(["--report", str(copy)]) == 0
    before, after = contents(finished.out / "pictures"), contents(copy / "pictures")
    assert {path.name for path in before} == {path.name for path in after}
    printed = capsys.readouterr().out
    assert f"are in {copy}" in printed
    suggested = suggestion.suggest_n_clusters(finished.table, "silhouette").n_clusters
    assert f"silhouette suggests {suggested} clusters" in printed


@pytest.mark.usefixtures("no_pictures")
def test_more_trials_leave_those_of_before_as_they_were(finished, tmp_path):
    """Another sweep that shares the cache, without labels and in another order."""
    words = command(finished.x, "--cache", finished.cache, "--n-clusters", "5,3", "--seeds", "1,0")
    assert sweep.main([*words, "--out", str(tmp_path / "out")]) == 0
    rows = table.read(tmp_path / "out")
    assert rows["acc"].isna().all()
    order = ["network.bottleneck", "clustering.n_clusters", "seed"]
    for column in ("clustering_loss", "silhouette", "generalisability"):
        same = [frame.sort_values(order)[column].to_numpy() for frame in (rows, finished.table)]
        np.testing.assert_array_equal(*same)


@pytest.mark.usefixtures("no_pictures")
def test_trials_that_the_data_make_equal_are_run_once(finished, tmp_path):
    """A batch of more samples than there are is one of all samples."""
    words = command(finished.x, "--cache", tmp_path / "cache", max_steps=10, batch_size="500,600")
    grid = ["--n-clusters", "3", "--bottleneck", "2", "--seeds", "1", "--out", str(tmp_path / "out")]
    assert sweep.main([*words, *grid]) == 0
    frame = table.read(tmp_path / "out")
    assert frame["trial"].tolist() == [0, 1]
    assert frame["id"].nunique() == 1


def test_pretrained_networks_are_in_the_named_folder_or_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEC_JAX_CACHE", str(tmp_path))
    assert sweep.cache_of(None) == cache_folder() / "pretraining" == tmp_path / "pretraining"
    assert sweep.cache_of(tmp_path / "mine") == tmp_path / "mine"


# Several processes


@pytest.mark.usefixtures("no_pictures")
def test_two_processes_make_the_table_of_one(finished, tmp_path):
    shared = [*finished.words, "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--n-processes", "2"]
    assert sweep.main([*shared, "--process-id", "1"]) == 0
    assert len(list((tmp_path / "cache").iterdir())) == 2  # its half of the pretrainings
    assert not (tmp_path / "out" / table.CSV_FILE).exists()
    assert sweep.main([*shared, "--process-id", "0"]) == 0
    found = table.read(tmp_path / "out")
    for name in ("trial", "id", "steps", "stop_reason"):
        assert found[name].tolist() == finished.table[name].tolist()
    np.testing.assert_allclose(found["clustering_loss"], finished.table["clustering_loss"], rtol=1e-3)
    assert not (tmp_path / "out" / "unfinished").exists()


def test_shares_are_whole_pretrainings_and_make_up_the_sweep(tmp_path):
    shop = make_shop(tmp_path)
    changes = [{"seed": seed, "clustering.n_clusters": k} for k in (3, 5) for seed in (0, 1)]
    trials = trials_of(shop, *changes)
    shares = sweep._shares(shop, trials, 3)
    assert [[trial.index for trial in share] for share in shares] == [[0, 2], [1, 3], []]


def test_the_first_process_waits_for_the_rows_of_the_others(tmp_path, monkeypatch):
    """And says for what where nothing changes for long."""
    shares = [[Trial(0, "a", None), Trial(1, "b", None)], [Trial(2, "c", None)]]
    monkeypatch.setattr(sweep, "SECONDS_OF_SILENCE", -1.0)
    with SweepFolder(tmp_path, {}, process=0) as kept, SweepFolder(tmp_path, {}, process=1) as other:
        for trial in shares[0]:
            kept.save_row(trial.id, {"trial": trial.index})
        looks = []

        def sleep(seconds):
            looks.append(seconds)
            if len(looks) == 3:
                other.save_row("c", {"trial": 2})

        monkeypatch.setattr(sweep.time, "sleep", sleep)
        with PhaseProgress(silent=True) as progress, pytest.warns(UserWarning, match="waiting for 1 of process 1"):
            rows = sweep._wait(kept, shares, progress)
    assert {name: row["trial"] for name, row in rows.items()} == {"a": 0, "b": 1, "c": 2}
    assert len(looks) == 3


# Bad input


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--n-clusters", "3,181"), "n_clusters must be between 1 and 108 (the number of samples), got 181"),
        (
            ("--n-clusters", "5:5"),
            "clustering.n_clusters must be a range that goes upwards and holds a number, got '5:5'",
        ),
        (
            ("--n-clusters", "5:3"),
            "clustering.n_clusters must be a range that goes upwards and holds a number, got '5:3'",
        ),
        (("--n-clusters", "3,,5"), "n_clusters must have a value in every place of its list, got '3,,5'"),
        (("--set", "bottelneck=3"), "unknown setting 'bottelneck'; did you mean 'bottleneck'"),
        (("--set", "objective=dec"), "objective"),
        (("--objective", "idek"), "idek"),
        (("--held-out", "-0.1"), "held_out must be at least 0 and at most 0.9, got -0.1"),
        (("--held-out", "0.95"), "held_out must be at least 0 and at most 0.9, got 0.95"),
        (("--memory", "8X"), "memory must be a size like 800M or 8GB, got '8X'"),
        (("--data-shards", 0), "data_shards must be"),
        (("--data-shards", 2), "data_shards must be"),
        (("--data", "gone.npy"), "data file 'gone.npy' does not exist"),
        (("--config", "gone.toml"), "config gone.toml cannot be read"),
        (("--n-processes", 2), "n_processes and process_id must be given together"),
        (
            ("--n-processes", 2, "--process-id", 2),
            "process_id must be between 0 and 1 (the last of n_processes), got 2",
        ),
        (("--n-processes", 0, "--process-id", 0), "n_processes must be at least 1, got 0"),
        (("--report", "gone"), "no results of a sweep in gone"),
        (("--out", "file"), "out must be a folder, file is a file"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_options_that_cannot_be_used(refused, finished, tmp_path, words, problem):
    (tmp_path / "file").write_text("mine")
    assert problem in refused(*command(finished.x, "--cache", "cache", "--out", "out", *words))


def test_memory_that_holds_no_trial(finished, tmp_path, capsys):
    words = [*finished.words, "--out", str(tmp_path / "out"), "--memory", "10K"]
    assert sweep.main(words) == 2
    assert "error: memory must hold at least one trial, which needs" in capsys.readouterr().err.splitlines()[-1]


def test_another_sweeps_folder(refused, finished, copy):
    line = refused(*finished.words, "--out", copy, "--seeds", "3")
    assert line == (
        f"error: out {copy} holds another sweep (other seed); "
        "choose another folder, or add --overwrite to throw it away"
    )


def test_a_folder_of_other_data(refused, finished, copy, tmp_path):
    np.save(tmp_path / "x.npy", X[::-1])
    line = refused(*finished.words, "--out", copy, "--data", tmp_path / "x.npy")
    assert "holds another sweep (other " in line
    assert "samples" in line


# Interruptions


@pytest.mark.usefixtures("no_pictures")
def test_ctrl_c(finished, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    words = [*finished.words, "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(PhaseProgress, "advance", interrupt)
        assert sweep.main(words) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert sweep.main(words) == 0
    check_identical(tmp_path / "out", finished.out)


KILLED = """
import sys, time
from dec_jax.runner import capacity, checkpoint, pretraining_phase, progress, sweep, sweep_pictures
checkpoint.SECONDS_BETWEEN_SAVES = progress.SECONDS_BETWEEN_LINES = 0
capacity.SLOTS_ON_CPU = 2
pretraining_phase.STEPS_PER_WINDOW = 1
sweep_pictures.draw = lambda *_: []
advance = progress.PhaseProgress.advance
def slowly(*words, **figures):
    advance(*words, **figures)
    time.sleep(0.1)
progress.PhaseProgress.advance = slowly
sys.exit(sweep.main(sys.argv[1:]))
"""


def kill(words, lines, seconds, **environment):
    """Runs a sweep that is killed some seconds after so many lines of progress; whether it was."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *words], stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )
    with process:
        for line in process.stderr:
            lines -= "ETA" in line
            if lines <= 0:
                break
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stderr.read()
    return process.returncode == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures")
def test_a_killed_sweep_goes_on_to_the_same_table(finished, tmp_path, compiled_programs):
    words = [*finished.words, "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    draw = random.Random(0)
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(compiled_programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for lines in (3, 9):
        assert kill(words, lines, draw.uniform(0, 0.1), **environment)
        assert not (tmp_path / "out" / table.CSV_FILE).exists()
    assert (tmp_path / "out" / "unfinished").exists()
    orphan = tmp_path / "out" / ".results.csv.0123456789abcdef0123456789abcdef.tmp"
    orphan.write_text("of a killed writer")
    assert sweep.main(words) == 0
    check_identical(tmp_path / "out", finished.out)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
