import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from tiny_sweep import DATA, X, make_engine, rows_of, samples_of, trials_of, untimed

from benchmarks import compilations
from dec_jax.data import apply_scaling, fit_scaling
from experiments import journal as journal_module
from experiments import trial
from experiments.journal import Journal
from experiments.progress import PhaseProgress
from experiments.sweeping import capacity, engine, programs, table
from experiments.sweeping.programs import Compiled

LARGEST = {"n_clusters": 5, "bottleneck": 3}
GRID = [
    LARGEST,
    {"n_clusters": 3, "bottleneck": 2},
    {"n_clusters": 4, "bottleneck": 2, "max_steps": 45, "tolerance": 0.06},
    {"n_clusters": 3, "bottleneck": 3, "max_steps": 7},
    {"n_clusters": 5, "bottleneck": 2, "seed": 1, "alpha": 2.0},
]


@pytest.fixture(scope="module", autouse=True)
def short_windows():
    """Windows of 20 steps, half of a pretraining."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "STEPS_A_WINDOW", 1)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep: its engine, trials and rows; its compiled programs serve the other tests."""
    folder = tmp_path_factory.mktemp("finished")
    shared = make_engine(folder)
    trials = trials_of(shared, *GRID)
    with compilations.watch() as seen:
        rows = rows_of(shared, trials)
    return SimpleNamespace(folder=folder, engine=shared, trials=trials, rows=rows, compiled=seen.programs)


@pytest.fixture
def again(finished, tmp_path):
    """A function that makes another engine of the same programs, with the pretrained networks unless `anew`."""

    def make(anew=False, **options):
        if not anew:
            shutil.copytree(finished.folder / "cache", tmp_path / "cache")
        return make_engine(tmp_path, finished.engine.samples, compiled=finished.engine.compiled, **options)

    return make


@pytest.fixture
def no_pretraining(monkeypatch):
    def fail(*_):
        raise AssertionError("pretraining began")

    monkeypatch.setattr(engine, "_pretrain_group", fail)


def row_of(finished, place):
    return finished.rows[finished.trials[place].id]


# Rows


def test_rows_are_whole(finished):
    assert set(finished.rows) == {trial.id for trial in finished.trials}
    unknown = {"labels", "input_dropout", "start_steps", "error"}
    for i, trial_ in enumerate(finished.trials):
        row = finished.rows[trial_.id]
        assert row["trial"] == i
        assert {name for name in table.COLUMNS if row.get(name) is None} == unknown
        assert {name: row[name] for name in vars(trial_.settings)} == vars(trial_.settings)
        assert [name for name, value in row.items() if value != value] == []
        assert 1 / row["n_clusters"] < row["confidence"] <= 1
        assert 0 < row["acc"] <= 1
    table.to_frame(finished.rows.values())


def test_steps_end_where_they_should(finished):
    assert [row_of(finished, i)["steps"] for i in (0, 1, 3, 4)] == [30, 30, 7, 30]  # 7 is no multiple of 10
    assert [row_of(finished, i)["stop_reason"] for i in (0, 1, 3, 4)] == ["max_steps"] * 4
    stopped = row_of(finished, 2)
    assert stopped["label_change"] < 0.06
    assert (stopped["steps"], stopped["stop_reason"]) in [(steps, "tolerance") for steps in (10, 20, 30, 40, 45)]


def test_a_row_equals_a_run_of_its_own(finished):
    settings = replace(finished.trials[2].settings)
    train = finished.engine.samples.train
    scaling = fit_scaling(settings.scaling, train.x)
    with PhaseProgress() as progress:
        own = trial.run(
            trial.Trial(settings, train, scaling, apply_scaling(scaling, train.x), Journal(None, {}), progress)
        )
    row = row_of(finished, 2)
    assert (own.steps, own.stop_reason) == (row["steps"], row["stop_reason"])
    assert own.history[-1]["loss"] == pytest.approx(row["clustering_loss"], rel=1e-3)
    assert own.history[-1]["label_change"] == pytest.approx(row["label_change"])
    sizes = np.bincount(own.labels["final"], minlength=4)
    unseen = 20
    assert 0 <= row["smallest_cluster"] - sizes.min() <= unseen


def test_a_grid_of_sizes_and_seeds_needs_four_programs(finished, again):
    assert finished.engine.compiled.count == 4
    assert finished.compiled == ["jit(run)"] * 4
    shared = again(anew=True)
    more = trials_of(shared, {"n_clusters": 2, "seed": 7}, {"n_clusters": 4, "bottleneck": 2, "gamma": 0.2})
    with compilations.watch() as seen:
        rows_of(shared, [*finished.trials, *more], more)
    assert seen.programs == []


# Pretraining


@pytest.mark.usefixtures("no_pretraining")
def test_a_second_sweep_pretrains_nothing(finished, again):
    shared = again()
    assert engine.missing_pretrainings(shared, finished.trials) == {}
    assert untimed(rows_of(shared, finished.trials)) == untimed(finished.rows)


def test_trials_share_their_pretraining(finished, again, monkeypatch):
    begun = []
    group = engine._pretrain_group
    monkeypatch.setattr(engine, "_pretrain_group", lambda *words: begun.extend(words[3]) or group(*words))
    rows = rows_of(again(anew=True), finished.trials)
    assert sorted((settings.bottleneck, settings.seed) for _, settings in begun) == [(2, 0), (2, 1), (3, 0)]
    assert untimed(rows) == untimed(finished.rows)


def test_a_damaged_pretraining_is_done_anew(finished, again, tmp_path):
    shared = again()
    key = engine.pretraining_key(shared, finished.trials[0].settings)
    for path in (tmp_path / "cache" / key).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="pretraining anew, a cache entry is damaged"):
        rows = rows_of(shared, finished.trials)
    assert untimed(rows) == untimed(finished.rows)


def test_a_pretraining_that_becomes_nan_fails_its_own_trials_alone(finished, again):
    shared = again()
    trials = [*finished.trials, *trials_of(shared, LARGEST | {"learning_rate": 1e30})]
    rows = rows_of(shared, trials)
    broken = rows.pop(trials[-1].id)
    assert (broken["stop_reason"], broken["steps"]) == ("failed", 0)
    assert broken["error"] == "the loss of pretraining became NaN or infinite"
    assert untimed(rows) == untimed(finished.rows)
    assert engine.missing_pretrainings(shared, trials).keys() == {engine.pretraining_key(shared, trials[-1].settings)}
    table.to_frame([broken])


# Clustering


@pytest.mark.parametrize("max_steps", [1, 60])
def test_a_trial_that_becomes_nan_fails_alone(finished, again, max_steps):
    shared = again()
    extra = trials_of(shared, LARGEST | {"cluster_learning_rate": 1e30, "max_steps": max_steps})
    trials = [*extra, *finished.trials]
    rows = rows_of(shared, trials)
    broken = rows.pop(extra[0].id)
    assert broken["stop_reason"] == "failed"
    assert ("the embedding became NaN" if max_steps == 1 else "the clustering loss became") in broken["error"]
    assert untimed(rows) == untimed(finished.rows)
    table.to_frame([broken])


def test_a_trial_yields_the_same_whichever_are_left(finished, again):
    shared = again()
    for trial_ in (finished.trials[4], finished.trials[0]):
        rows = rows_of(shared, finished.trials, [trial_])
        assert untimed(rows) == untimed({trial_.id: finished.rows[trial_.id]})


def test_a_lane_that_has_finished_takes_the_next_trial(finished, again, monkeypatch):
    running = []
    advance = engine._advance

    def note(work, held_out):
        running.append([lane and lane.trial.index for lane in work.lanes])
        return advance(work, held_out)

    monkeypatch.setattr(engine, "_advance", note)
    rows_of(again(), finished.trials)
    assert running[0] == [0, 1]
    assert {lane for lanes in running for lane in lanes} >= {0, 1, 2, 3, 4}
    last = next(i for i, lanes in enumerate(running) if 4 in lanes)
    assert all(None not in lanes for lanes in running[: last + 1])


# Journal


class StoppedError(Exception):
    pass


def stop_after(rounds):
    """A progress that dies after some rounds."""
    progress = PhaseProgress()
    advance, done = progress.advance, []

    def die(*words, **figures):
        done.append(words)
        if len(done) > rounds:
            raise StoppedError
        advance(*words, **figures)

    progress.advance = die
    return progress


@pytest.mark.parametrize("anew", [False, True], ids=["clustering", "pretraining"])
def test_what_died_goes_on_to_the_same_rows(finished, again, tmp_path, monkeypatch, anew):
    monkeypatch.setattr(journal_module, "SECONDS_BETWEEN_SAVES", 0)

    def keep(name, identity):
        return Journal(tmp_path / "journal" / name, dict(identity), overwrite=True)

    kept, resumed = {}, []
    shared = again(anew=anew, journal=keep)
    load = Journal.load
    monkeypatch.setattr(Journal, "load", lambda *words: resumed.append(load(*words)) or resumed[-1])
    for rounds in (1, 2, 1, 3, 100):
        shared.progress = stop_after(rounds)
        left = [trial_ for trial_ in finished.trials if trial_.id not in kept]
        try:
            for row in engine.run(shared, left, engine.sizes_of(finished.trials)):
                kept[row["id"]] = row
        except StoppedError:
            assert rounds < 100
    assert untimed(kept) == untimed(finished.rows)
    assert sum(entry is not None for entry in resumed) >= 3


# Samples


def test_held_out_samples_never_reach_training(finished, again, monkeypatch):
    """Others in their place change nothing that training sees."""
    held_out = finished.engine.samples.held_out
    assert held_out.sum() == 20
    others = np.where(held_out[:, None], X[::-1], X)
    shared = again()
    shared.samples = samples_of(replace(DATA, x=others))
    assert shared.samples.fingerprint == finished.engine.samples.fingerprint
    centroids = []
    finish = engine._finish

    def note(work, place, *words):
        centroids.append((work.lanes[place].trial.id, np.array(work.states.centroids[place])))
        return finish(work, place, *words)

    monkeypatch.setattr(engine, "_finish", note)
    found = []
    for each in (finished.engine, shared):
        centroids.clear()
        rows = rows_of(each, finished.trials)
        found.append((dict(centroids), rows))
    for name, value in found[0][0].items():
        np.testing.assert_array_equal(value, found[1][0][name])
    for name, row in finished.rows.items():
        other = found[1][1][name]
        for column in ("clustering_loss", "label_change", "steps", "loss_train", "kmeans_acc"):
            assert other[column] == row[column]
        assert other["loss_held_out"] != row["loss_held_out"]


def test_nothing_held_out():
    whole = samples_of(held_out=0)
    assert whole.scaled("rms")[1] is None
    assert whole.train is DATA
    assert not whole.held_out.any()
    z = np.arange(3)
    assert whole.joined(z, None) is z


def test_rows_are_joined_in_the_order_of_the_whole():
    split = samples_of(held_out=0.2)
    np.testing.assert_array_equal(split.joined(split.train.x, split.rest), X)
    assert split.held_out.sum() == 40


def test_the_same_samples_are_held_out_whatever_their_values():
    np.testing.assert_array_equal(samples_of().held_out, samples_of(replace(DATA, x=X[::-1])).held_out)


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (-0.1, "held_out must be at least 0 and at most 0.9, got -0.1"),
        (1, "held_out must be at least 0 and at most 0.9, got 1"),
        (math.nan, "held_out must be"),
    ],
)
def test_fractions_that_cannot_be_held_out(fraction, message):
    with pytest.raises(ValueError, match=message):
        samples_of(held_out=fraction)


def test_too_few_are_left():
    with pytest.raises(ValueError, match="held_out must leave at least two of the 3 samples, got 0.5"):
        samples_of(replace(DATA, x=X[:3], y=None), held_out=0.5)


def test_samples_that_do_not_divide():
    layout = SimpleNamespace(data_shards=3)
    with pytest.raises(ValueError, match="data_shards must divide the 200 samples, which must be dense, got 3"):
        samples_of(held_out=0, layout=layout)
    divided = samples_of(held_out=0.1, layout=layout)
    assert (len(divided.train.x), divided.held_out.sum()) == (180, 20)
    assert len(samples_of(held_out=0.2, layout=layout).train.x) == 159
    sparse = replace(DATA, x=scipy.sparse.csr_array(X))
    with pytest.raises(ValueError, match="which must be dense"):
        samples_of(sparse, layout=layout)


def test_sparse_samples_yield_what_dense_ones_do(finished, tmp_path):
    sparse = samples_of(replace(DATA, x=scipy.sparse.csr_array(X.astype(np.float32))))
    shared = make_engine(tmp_path, sparse)
    trials = trials_of(shared, *GRID[:2])
    dense = finished.rows
    for row, trial_ in zip(rows_of(shared, trials).values(), trials, strict=True):
        other = dense[finished.trials[trial_.index].id]
        assert row["clustering_loss"] == pytest.approx(other["clustering_loss"], rel=1e-3)
        assert (row["steps"], row["stop_reason"]) == (other["steps"], other["stop_reason"])


# Memory


def fake(needed):
    """A program that needs this many bytes a lane, and the numbers of lanes it was built for."""
    compiled, built = Compiled(), []

    def build(lanes):
        analysis = SimpleNamespace(
            argument_size_in_bytes=needed * lanes,
            output_size_in_bytes=100,
            alias_size_in_bytes=100,
            temp_size_in_bytes=0,
        )
        built.append(lanes)
        compiled.programs[lanes] = SimpleNamespace(memory_analysis=lambda: analysis)
        return {lanes: compiled.programs[lanes]}

    return compiled, built, build


@pytest.mark.parametrize(
    ("wanted", "step", "limit", "tried"),
    [(8, 1, 800, [8]), (8, 1, 799, [8, 4]), (8, 1, 100, [8, 4, 2, 1]), (12, 4, 500, [12, 4]), (2, 4, 400, [4])],
)
def test_lanes_are_halved_until_they_fit(wanted, step, limit, tried):
    compiled, built, build = fake(100)
    assert capacity.fitting(compiled, wanted, step, limit, build) == tried[-1]
    assert built == tried
    assert list(compiled.programs) == tried[-1:]


def test_a_trial_that_does_not_fit_is_refused():
    compiled, _, build = fake(3 * 2**20)
    with pytest.raises(ValueError, match="memory must hold at least one trial, which needs 3 MB, got 2 MB"):
        capacity.fitting(compiled, 4, 1, 2 * 2**20, build)
    assert not compiled.programs


def test_less_memory_makes_fewer_lanes(finished, again):
    shared = again()
    shared.compiled = Compiled(dict(finished.engine.compiled.programs))
    settings = finished.trials[0].settings
    template, longest = programs.clustering_template(settings, 5, 3)
    params = engine._padded(shared, template, settings)
    assert engine._clustering_lanes(shared, template, longest, params, 5) == 2
    (needed,) = [programs.memory_of(each) for key, each in shared.compiled.programs.items() if key[0] == "advance"]
    shared.limit = needed - 1
    assert engine._clustering_lanes(shared, template, longest, params, 5) == 1
    shared.limit = 1000
    with pytest.raises(ValueError, match="memory must hold at least one trial, which needs"):
        engine._clustering_lanes(shared, template, longest, params, 1)


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("800M", 800 * 2**20), ("8GB", 2**33), ("8 GiB", 2**33), ("0.5g", 2**29), ("4096", 4096), ("1TB", 2**40)],
)
def test_sizes_of_memory(text, bytes_):
    assert capacity.memory_limit(text) == bytes_


@pytest.mark.parametrize("text", ["", "0", "0GB", "-1G", "8X", "eight", "1e9", "nan"])
def test_words_that_are_no_size(text):
    with pytest.raises(ValueError, match=f"memory must be a size like 800M or 8GB, got '{text}'"):
        capacity.memory_limit(text)


def test_without_a_size_a_part_of_what_there_is_may_be_used():
    assert 2**20 < capacity.memory_limit(None) < 2**50


def test_windows_are_equal_parts_of_a_stage_where_they_can_be(monkeypatch):
    monkeypatch.setattr(engine, "STEPS_A_WINDOW", 1000)
    assert [engine._window(n_steps, lanes) for n_steps, lanes in ((1000, 1), (1000, 4), (400, 2))] == [1000, 250, 400]
    assert engine._window(997, 4) == 250  # a prime number of steps has no parts
    assert engine._window(7, 64) == 7
