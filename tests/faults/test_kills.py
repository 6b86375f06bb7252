"""Commands that are killed, asked to end, or stopped at random moments go on to the same bits and leave nothing."""

import filecmp
import os

import numpy as np
import pytest
from runner.tiny_run import X, Y, check_identical, read
from runner.tiny_run import command as words_of_run

from dec_jax.data.atomic import ORPHAN
from dec_jax.runner import report, table

from .commands import GRACEFUL, STATUSES, WAYS, Starter, draw
from .counts import INJECTED, SCALE

MORE = SCALE - 1  # beyond what the normal tests do
N_MOMENTS = {"run": 2 + 4 * MORE, "sweep": 1 + 3 * MORE, "two": MORE, "paper": 2 * MORE}
FROM = int(os.environ.get("DEC_JAX_FAULTS_FROM", "0"))  # the seed of the first moment
# A machine that is shared by others has its seconds for them too.
SECONDS_TO_END = 10.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
RUN = {"pretraining.layer_wise_steps": 0, "pretraining.fine_tuning_steps": 300, "clustering.max_steps": 200}
SWEEP = "hidden=8 weight_init=glorot batch_size=32 layer_wise_steps=0 fine_tuning_steps=40 kmeans_restarts=2"
SWEEP += " pretraining.learning_rate=0.05 clustering.learning_rate=0.03 update_interval=10 max_steps=40 tolerance=0"
pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "x.npy", X[:120])
    np.save(folder / "y.npy", Y[:120])
    return folder


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    starter = Starter(tmp_path_factory.mktemp("compiled"), tmp_path_factory.mktemp("logs"))
    yield starter
    starter.close()


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def broken(starter, command, words, folder, seed, advances):
    """Breaks a command at a moment that the seed draws, as often as it goes on, and lets it finish."""
    way, after, delay = draw(seed, advances)
    pid = starter.start(command, words, seconds_between_saves=(0.0, 0.05, 30.0)[seed % 3])
    ended = starter.finish(pid, WAYS[way], after, delay)
    INJECTED[f"{command}: {way}"] += 1
    what = f"{command}, seed {seed}: {way} after {after} advances and {delay:.3f} s\n{ended}"
    # A command that has not begun is ended by the system itself, and one that is at its end may finish.
    by_system = [-15, -2, 1] if after == 0 else []
    assert ended.status in (0, STATUSES.get(way, 0), *by_system), what
    if way in GRACEFUL and ended.status == STATUSES[way]:
        assert ended.seconds < SECONDS_TO_END, what
    if "the same command goes on" in ended.log:  # it was not ended by force
        left = [name for name in names(folder) if ORPHAN.fullmatch(os.path.basename(name)) or name.endswith("lock")]
        assert left == [], what
        assert "Traceback" not in ended.log, what
    if ended.status != 0:
        ended = starter.finish(starter.start(command, words, seconds_between_saves=0.05))
        assert ended.status == 0, f"{what}\nthen\n{ended}"
    return what


@pytest.fixture(scope="module")
def whole_run(starter, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    words = words_of_run(files / "x.npy", "--labels", files / "y.npy", settings=RUN)
    ended = starter.finish(starter.start("run", [*words, "--out", out]))
    assert ended.status == 0, ended.log
    return words, out, ended.advances


@pytest.mark.parametrize("seed", range(FROM, FROM + N_MOMENTS["run"]))
def test_a_broken_run_goes_on_to_the_same_bits(starter, whole_run, tmp_path, seed):
    words, out, advances = whole_run
    what = broken(starter, "run", [*words, "--out", tmp_path / "out"], tmp_path, seed, advances)
    check_identical(read(tmp_path / "out"), read(out))
    assert names(tmp_path / "out") == names(out), what


@pytest.fixture(scope="module")
def whole_sweep(starter, files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    words = ["--data", files / "x.npy", "--labels", files / "y.npy", "--n-clusters", "3,5", "--bottleneck", "2:3"]
    words += ["--seeds", "2", "--preset", "paper", "--set", *SWEEP.split()]
    ended = starter.finish(starter.start("sweep", [*words, "--out", folder / "out", "--cache", folder / "cache"]))
    assert ended.status == 0, ended.log
    return words, folder, ended.advances


def lines(out):
    return table.read(out).drop(columns=list(table.TIME_COLUMNS)).to_csv()


@pytest.mark.parametrize("seed", range(FROM, FROM + N_MOMENTS["sweep"]))
def test_a_broken_sweep_goes_on_to_the_same_table(starter, whole_sweep, tmp_path, seed):
    words, whole, advances = whole_sweep
    words = [*words, "--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    what = broken(starter, "sweep", words, tmp_path, seed, advances)
    assert lines(tmp_path / "out") == lines(whole / "out"), what
    assert names(tmp_path) == names(whole), what


@pytest.fixture(scope="module")
def second_starter(tmp_path_factory):
    starter = Starter(tmp_path_factory.mktemp("compiled"), tmp_path_factory.mktemp("logs"))
    yield starter
    starter.close()


def of_two(words, folder):
    """The command lines of two processes that share a sweep, but for their numbers."""
    return [*words, "--out", folder / "out", "--cache", folder / "cache", "--n-processes", 2, "--process-id"]


@pytest.fixture(scope="module")
def whole_shared(starter, second_starter, whole_sweep, tmp_path_factory):
    """What two processes leave: side by side lie other trials than in one, which may change the last bits."""
    folder = tmp_path_factory.mktemp("shared")
    words = of_two(whole_sweep[0], folder)
    first = second_starter.start("sweep", [*words, 0])
    assert starter.finish(starter.start("sweep", [*words, 1])).status == 0
    assert second_starter.finish(first).status == 0
    return folder / "out"


@pytest.mark.parametrize("seed", range(FROM, FROM + N_MOMENTS["two"]))
def test_of_two_processes_one_is_broken_and_comes_back(
    starter, second_starter, whole_sweep, whole_shared, tmp_path, seed
):
    words = of_two(whole_sweep[0], tmp_path)
    first = second_starter.start("sweep", [*words, 0])
    what = broken(starter, "sweep", [*words, 1], tmp_path / "nowhere", seed, whole_sweep[2] // 2)
    assert second_starter.finish(first).status == 0, what
    assert lines(tmp_path / "out") == lines(whole_shared), what
    assert [name for name in names(tmp_path / "out") if name.startswith(".")] == [], what


@pytest.fixture(scope="module")
def whole_paper(starter, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("paper") / "out"
    words = ["imbalance", "--data", files / "x.npy", "--labels", files / "y.npy", "--n-clusters", "5", "--seeds", "1"]
    ended = starter.finish(starter.start("paper", [*words, "--out", out]))
    assert ended.status == 0, ended.log
    return words, out, ended.advances


@pytest.mark.parametrize("seed", range(FROM, FROM + N_MOMENTS["paper"]))
def test_a_broken_target_of_the_paper_goes_on_to_the_same_files(starter, whole_paper, tmp_path, seed):
    words, out, advances = whole_paper
    what = broken(starter, "paper", [*words, "--out", tmp_path / "out"], tmp_path, seed, advances)
    tables = [name for name in names(out) if name.endswith((".csv", ".md")) and "/" not in name]
    assert tables
    for name in tables:
        assert filecmp.cmp(out / name, tmp_path / "out" / name, shallow=False), f"{what}: {name}"
    assert names(tmp_path / "out") == names(out), what
    assert report.RESULT_FILE in {os.path.basename(name) for name in names(out)}
