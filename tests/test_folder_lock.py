import errno
import os
import socket
import subprocess
import sys
import uuid
import warnings

import pytest

from dec_jax import file_lock, folder_lock
from dec_jax.folder_lock import lock

ME = f"process {os.getpid()} on host {socket.gethostname()}"
HOLDER = """
import sys
from dec_jax.folder_lock import lock
with lock(sys.argv[1], shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "out"


@pytest.fixture
def holder(folder):
    """A function that starts another process that holds the folder."""
    started = []

    def start(kind="alone"):
        command = [sys.executable, "-c", HOLDER, folder, kind]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(params=["with locks", "without locks"])
def system(request, monkeypatch):
    if request.param == "without locks":
        monkeypatch.setattr(file_lock, "fcntl", None)


@pytest.mark.usefixtures("system")
def test_one_at_a_time(folder):
    with lock(folder), pytest.raises(ValueError, match=rf"^.*/runs/out is in use by {ME}"):
        lock(folder).__enter__()
    with lock(folder):
        pass
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("system")
def test_a_block_that_fails_frees_the_folder(folder):
    with pytest.raises(KeyboardInterrupt), lock(folder):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), lock(folder, set_up=lambda: (_ for _ in ()).throw(RuntimeError)):
        pass
    with lock(folder):
        pass


@pytest.mark.slow
def test_another_process_is_named_and_a_killed_one_frees_the_folder(folder, holder):
    process = holder()
    with pytest.raises(ValueError, match=rf"in use by process {process.pid} on host {socket.gethostname()}$"):
        lock(folder).__enter__()
    process.kill()
    process.wait()
    with lock(folder):
        pass


@pytest.mark.slow
def test_processes_share_a_folder_but_not_with_one_that_does_not(folder, holder, monkeypatch):
    process = holder("shared")
    with lock(folder, shared=True, set_up=lambda: pytest.fail("it has been set up")):
        with pytest.raises(ValueError, match=f"in use by process {process.pid}"):
            lock(folder).__enter__()
        process.communicate("done\n")
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(folder_lock, "SECONDS_TO_WAIT", 0.1)
    with lock(folder), pytest.raises(ValueError, match=f"in use by {ME}"):
        lock(folder, shared=True).__enter__()


def test_the_first_of_those_that_share_sets_up_alone(folder, monkeypatch):
    monkeypatch.setattr(folder_lock, "SECONDS_TO_WAIT", 0.1)

    def set_up():
        with pytest.raises(ValueError, match="in use"):
            lock(folder, shared=True).__enter__()
        (folder / "ready").touch()

    with lock(folder, shared=True, set_up=set_up), lock(folder, shared=True):
        assert (folder / "ready").exists()


def test_locks_of_other_names_do_not_exclude_each_other(folder):
    with lock(folder), lock(folder, name=".0.lock"), lock(folder, name=".1.lock"):
        with pytest.raises(ValueError, match=f"in use by {ME}"):
            lock(folder, name=".1.lock").__enter__()
        make_orphans(folder)
        with lock(folder, name=".2.lock"):  # which does not make anybody alone with the folder
            assert sum(path.is_dir() for path in folder.iterdir()) == 2


@pytest.mark.slow
def test_many_processes_hold_the_folder_in_turn(folder):
    script = """
import sys, time
from pathlib import Path
from dec_jax.folder_lock import lock
folder, n_held = Path(sys.argv[1]), 0
while n_held < 15:
    try:
        with lock(folder):
            (folder / "held").touch(exist_ok=False)
            (folder / "held").unlink()
            n_held += 1
    except ValueError:
        time.sleep(0.001)
"""
    processes = [subprocess.Popen([sys.executable, "-c", script, folder]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert list(folder.iterdir()) == []


def test_sharing_without_locks_is_warned_of(folder, monkeypatch):
    monkeypatch.setattr(file_lock, "fcntl", None)
    with (
        pytest.warns(UserWarning, match="out has no locks: make sure that nobody else uses it"),
        lock(folder, shared=True, set_up=(folder / "ready").touch),
    ):
        assert (folder / "ready").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_network_folder_without_locks(folder, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_lock.fcntl, "flock", fail)
    with lock(folder), pytest.raises(ValueError, match=rf"in use by {ME}; if it has ended, remove .*\.lock-holder"):
        lock(folder).__enter__()


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_without_locks_a_dead_holder_is_noticed_on_its_own_host(folder, monkeypatch):
    monkeypatch.setattr(file_lock, "fcntl", None)
    folder.mkdir(parents=True)
    path = folder / ".lock-holder"
    path.write_text(f"process {dead_process()} on host {socket.gethostname()}")
    with lock(folder):
        assert path.read_text() == ME
    for text in (f"process {dead_process()} on host elsewhere", "", "process x on host", "process 1 on host a b"):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"in use by {text or 'another process'}; if it has ended, remove "):
            lock(folder).__enter__()
        assert path.read_text() == text


def test_other_errors_of_the_system_are_told(folder, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(file_lock.fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"):
        lock(folder).__enter__()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        lock(tmp_path / "file" / "out").__enter__()


# What killed writers have left


def make_orphans(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f".{uuid.uuid4().hex}.tmp", f".kmeans.{uuid.uuid4().hex}.new"):
        (folder / name).write_text("half")
    for ending in ("tmp", "old"):
        (folder / f".kmeans.{uuid.uuid4().hex}.{ending}" / "arrays").mkdir(parents=True)


def test_the_holder_removes_what_killed_writers_left_and_nothing_else(folder):
    make_orphans(folder)
    mine = [".gitignore", "a.tmp", f"{uuid.uuid4().hex}.tmp", ".short.tmp", f".{uuid.uuid4().hex}.txt"]
    for name in mine:
        (folder / name).write_text("mine")
    with lock(folder):
        assert {path.name for path in folder.iterdir()} == {*mine, folder_lock.LOCK_FILE}


def test_whoever_is_refused_removes_nothing(folder):
    with lock(folder):
        make_orphans(folder)
        with pytest.raises(ValueError, match="in use"):
            lock(folder).__enter__()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(list(folder.iterdir())) == 5
