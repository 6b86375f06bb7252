"""Every system call of writing fails once, in every way; the process and the power end there, too."""

import errno
import os
import shutil
import warnings

import numpy as np
import pytest

from dec_jax.data.atomic import ORPHAN, atomic_write
from dec_jax.row_log import RowLog
from dec_jax.storage import Store

from .broken_disk import BrokenDisk, Dies, faults_of
from .counts import INJECTED, SCALE
from .scenarios import SCENARIOS, quietly

EVERY = 1 if SCALE > 1 else 7  # of how many faults one is tried


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Waits for no real disk: what is on it is noted by the broken one."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def handles():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def left_behind(folder):
    """Temporary and lock files."""
    return [path for path in folder.rglob("*") if ORPHAN.fullmatch(path.name) or path.name.endswith((".lock", "lock"))]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_failing_call_leaves_the_previous_or_the_new(scenario, tmp_path):
    base, work = tmp_path / "base", tmp_path / "work"
    base.mkdir()
    scenario.set_up(base)

    def fresh():
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(base, work)

    fresh()
    before = quietly(scenario.read, work)
    with BrokenDisk(work) as disk:
        quietly(scenario.write, work, 2)
    after = scenario.read(work)
    faults = [(at, fault) for at, call in enumerate(disk.calls) for fault in faults_of(call)]
    assert len(faults) > 20
    for at, fault in faults[SCENARIOS.index(scenario) % EVERY :: EVERY]:
        fresh()
        _check(scenario, work, (before, after), (at, disk.calls[at], fault))
        INJECTED[f"of {fault}"] += 1


def _check(scenario, work, states, injected):
    at, call, fault = injected
    what = f"{scenario}: {fault} at call {at}, {call.name} {call.path.name}"
    open_before, outcome = handles(), None
    with BrokenDisk(work, at, fault), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            scenario.write(work, 2)
        except (OSError, Dies) as error:
            outcome = error
    assert handles() == open_before, what
    found = quietly(scenario.read, work)
    if isinstance(outcome, Dies):
        assert found in states or (scenario.may_be_absent and found is None), what
    elif outcome is None:
        assert found == states[1] or (scenario.goes_on and found == states[0]), what
        if found != states[1]:
            assert any("cannot be written" in str(one.message) for one in said), what
    else:
        assert not scenario.goes_on, what
        assert fault.kind != "short", what
        assert found in states, what
        assert str(work) in str(outcome), f"{what}: {outcome}"
    if not isinstance(outcome, Dies):
        kept = {call.path} if call.name == "unlink" else set()  # what could not be removed
        assert set(left_behind(work)) <= kept, what
    quietly(scenario.write, work, 2)
    assert quietly(scenario.read, work) == states[1], what


# ------------------------------------------------------------------------------------------------ what is synced when


def calls(disk):
    return [(call.name, "temporary" if ORPHAN.fullmatch(call.path.name) else call.path.name) for call in disk.calls]


def without_repeats(items):
    return [item for i, item in enumerate(items) if i == 0 or item != items[i - 1]]


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path):
    with BrokenDisk(tmp_path) as disk, atomic_write(tmp_path / "file") as file:
        file.write(b"new" * 9999)
    expected = [("open", "temporary"), ("write", "temporary"), ("fsync", "temporary"), ("replace", "file")]
    assert without_repeats(calls(disk)) == [*expected, ("fsync", tmp_path.name)]
    assert not disk.unsynced
    assert not disk.unsynced_names


def test_an_entry_is_on_the_disk_when_put_returns(tmp_path):
    with BrokenDisk(tmp_path) as disk:
        Store(tmp_path / "store").put("entry", {"a": np.arange(9)}, {})
    assert not disk.unsynced
    assert not disk.unsynced_names
    names = [name for name, _ in calls(disk)]
    assert names.index("fsync") > max(i for i, name in enumerate(names) if name == "write")
    assert names.index("replace") > names.index("fsync")


def test_a_row_is_on_the_disk_when_append_returns(tmp_path):
    with BrokenDisk(tmp_path) as disk:
        RowLog(tmp_path / "rows.jsonl").append("a", {"n": 1})
    expected = [("open", "rows.jsonl"), ("write", "rows.jsonl"), ("fsync", "rows.jsonl"), ("fsync", tmp_path.name)]
    assert calls(disk) == expected
    assert not disk.unsynced


def test_the_error_of_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised, atomic_write(tmp_path / "file"):
        pass
    assert raised.value.filename == str(tmp_path / "file")
