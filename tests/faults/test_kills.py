"""Commands that are killed, asked to end, or stopped at random moments go on to the same bits and leave nothing."""

import filecmp
import os

import pytest
from runner.tiny_run import check_identical, read

from dec_jax.data.atomic import ORPHAN
from dec_jax.runner import report

from .commands import GRACEFUL, STATUSES, WAYS, draw
from .counts import INJECTED, SCALE
from .wholes import FROM, lines, names, of_two, run_to, sweep_to

MORE = SCALE - 1  # beyond what the normal tests do
N_MOMENTS = {"run": 2 + 4 * MORE, "sweep": 1 + 3 * MORE, "two": MORE, "paper": 2 * MORE}
# A machine that is shared by others has its seconds for them too.
SECONDS_TO_END = 10.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


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


@pytest.mark.parametrize("seed", range(FROM, FROM + N_MOMENTS["run"]))
def test_a_broken_run_goes_on_to_the_same_bits(starter, whole_run, tmp_path, seed):
    words = [*whole_run.words, *run_to(tmp_path)]
    what = broken(starter, "run", words, tmp_path, seed, whole_run.advances)
    check_identical(read(tmp_path / "out"), read(whole_run.folder / "out"))
    assert names(tmp_path) == names(whole_run.folder), what


@pytest.mark.parametrize("seed", range(FROM, FROM + N_MOMENTS["sweep"]))
def test_a_broken_sweep_goes_on_to_the_same_table(starter, whole_sweep, tmp_path, seed):
    words = [*whole_sweep.words, *sweep_to(tmp_path)]
    what = broken(starter, "sweep", words, tmp_path, seed, whole_sweep.advances)
    assert lines(tmp_path / "out") == lines(whole_sweep.folder / "out"), what
    assert names(tmp_path) == names(whole_sweep.folder), what


@pytest.mark.parametrize("seed", range(FROM, FROM + N_MOMENTS["two"]))
def test_of_two_processes_one_is_broken_and_comes_back(starter, second_starter, whole_shared, tmp_path, seed):
    words = [*whole_shared.words, *of_two(tmp_path)]
    first = second_starter.start("sweep", [*words, 0])
    what = broken(starter, "sweep", [*words, 1], tmp_path / "nowhere", seed, whole_shared.advances)
    assert second_starter.finish(first).status == 0, what
    assert lines(tmp_path / "out") == lines(whole_shared.folder / "out"), what
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
