"""A wall clock that jumps changes nothing: neither what is computed nor what is kept, waited for, removed or said."""

import json
import os
import re
import uuid
from pathlib import Path

import pytest
from runner.tiny_run import check_identical, read

from dec_jax.data.atomic import atomic_write, remove_orphans
from dec_jax.row_log import RowLog
from dec_jax.runner import table

from .clocks import CLOCKS, DAY, YEAR, Clock, dated
from .commands import KILL
from .counts import INJECTED, SCALE
from .wholes import FROM, lines, names, of_two, run_to, sweep_to

ROOT = Path(__file__).parents[2]
WALL_CLOCK = re.compile(r"\btime\.time(_ns)?\(|datetime|st_[mac]time|getmtime|localtime|gmtime|strftime")
# What orders the lines of several logs, and what takes a file for an orphan where there are no locks.
READ_IT = ["dec_jax/data/atomic.py", "dec_jax/row_log.py"]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_nothing_but_orphans_and_rows_reads_the_wall_clock():
    paths = [path for folder in ("dec_jax", "experiments") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [str(path.relative_to(ROOT)) for path in paths if WALL_CLOCK.search(path.read_text())] == READ_IT


@pytest.fixture(params=CLOCKS)
def jumped(request, monkeypatch):
    """Lets the clock of this process jump when the test calls it."""

    def jump():
        monkeypatch.setattr("time.time", Clock(request.param, after=0).now)
        INJECTED["clocks that jump"] += 1

    return jump


@pytest.mark.parametrize("written", [-YEAR, -2 * DAY, 0.0, YEAR])
def test_a_file_that_is_being_written_stays_whatever_the_time_is(tmp_path, jumped, written):
    (tmp_path / f".{uuid.uuid4().hex}.tmp").touch()  # of a killed writer
    with atomic_write(tmp_path / "file") as file:
        file.write(b"new")
        file.flush()
        dated(tmp_path, written)
        jumped()
        remove_orphans(tmp_path)
        assert len(names(tmp_path)) == 1
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_the_later_row_counts_whatever_the_time_is(tmp_path, jumped):
    log = RowLog(tmp_path / "rows.jsonl")
    log.append("a", {"n": 1})
    jumped()
    log.append("a", {"n": 2})
    log.append("b", {"n": 3})
    assert log.rows() == {"a": {"n": 2}, "b": {"n": 3}}


def moments(command):
    """Seeds: some in the normal tests, each clock at least once at length."""
    n = {"run": 1 + 2 * (SCALE - 1), "sweep": 1 + 2 * (SCALE - 1), "two": SCALE - 1}[command]
    return pytest.mark.parametrize("seed", range(FROM, FROM + n))


def broken(starter, command, words, seed, advances):
    """Lets the clock jump, kills the command later, and continues it in a folder of the past or the future."""
    kind, folder = list(CLOCKS)[seed % len(CLOCKS)], Path(words[words.index("--out") + 1]).parent
    first = starter.start(command, words, 0.05, (kind, advances // 4))
    ended = starter.finish(first, (KILL,), after=advances * 3 // 4)
    assert ended.status == -9, ended.log
    dated(folder, (YEAR, -YEAR, DAY)[seed % 3])
    again = starter.finish(starter.start(command, words, 0.05, (kind, advances // 8)))
    INJECTED[f"{command}: clock {kind}"] += 2
    what = f"{command}, seed {seed}: {kind}\n{ended}\nthen\n{again}"
    assert again.status == 0, what
    assert again.advances < advances * 3 // 4, what  # it has saved what it did after the jump
    for log in (ended.log, again.log):
        assert not re.search(r"Traceback|warning|\bnan\b|\binf\b|ETA -|in -", log), what
    return what


def check_seconds(seconds):
    assert all(0 <= one < 3600 for one in seconds), list(seconds)


@needs_fork
@pytest.mark.long
@moments("run")
def test_a_run_whose_clock_jumps_goes_on_to_the_same_bits(starter, whole_run, tmp_path, seed):
    what = broken(starter, "run", [*whole_run.words, *run_to(tmp_path)], seed, whole_run.advances)
    check_identical(read(tmp_path / "out"), read(whole_run.folder / "out"))
    assert names(tmp_path) == names(whole_run.folder), what
    check_seconds(json.loads((tmp_path / "out" / "result.json").read_text())["seconds"].values())


@needs_fork
@pytest.mark.long
@moments("sweep")
def test_a_sweep_whose_clock_jumps_goes_on_to_the_same_table(starter, whole_sweep, tmp_path, seed):
    what = broken(starter, "sweep", [*whole_sweep.words, *sweep_to(tmp_path)], seed, whole_sweep.advances)
    assert lines(tmp_path / "out") == lines(whole_sweep.folder / "out"), what
    assert names(tmp_path) == names(whole_sweep.folder), what
    check_seconds(table.read(tmp_path / "out")[list(table.TIME_COLUMNS)].to_numpy().ravel())


@needs_fork
@pytest.mark.long
@moments("two")
def test_processes_whose_clocks_differ_share_a_sweep(starter, second_starter, whole_shared, tmp_path, seed):
    words = [*whole_shared.words, *of_two(tmp_path)]
    first = second_starter.start("sweep", [*words, 0])
    what = broken(starter, "sweep", [*words, 1], seed, whole_shared.advances)
    ended = second_starter.finish(first)
    assert ended.status == 0, what
    assert "warning" not in ended.log, f"{what}\nand\n{ended}"
    assert lines(tmp_path / "out") == lines(whole_shared.folder / "out"), what
    assert [name for name in names(tmp_path / "out") if name.startswith(".")] == [], what
