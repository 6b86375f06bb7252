import errno
import os
import time
import uuid

import pytest

from dec_jax import file_lock
from dec_jax.data import atomic
from dec_jax.data.atomic import atomic_write, remove_orphans


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "result.bin"
    path.write_bytes(b"previous")
    return path


def test_replaces_the_file_when_the_block_ends(path):
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"previous"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == [path.name]


def test_writes_text_with_its_own_line_ends(tmp_path):
    with atomic_write(tmp_path / "history.csv", "w") as file:
        file.write("α,1\r\n2,3\n")
    assert (tmp_path / "history.csv").read_bytes() == "α,1\r\n2,3\n".encode()


@pytest.mark.parametrize("error", [RuntimeError("the writer failed"), KeyboardInterrupt()])
def test_previous_file_survives_a_block_that_fails(path, error):
    def fail():
        with atomic_write(path) as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"previous"
    assert os.listdir(path.parent) == [path.name]


def test_previous_file_survives_a_full_disk(path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"previous"
    assert os.listdir(path.parent) == [path.name]


def test_two_writers_at_once_each_write_a_whole_file(path):
    with atomic_write(path) as first:
        first.write(b"first, ")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b"in two parts")
    assert path.read_bytes() == b"first, in two parts"


def test_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_write(tmp_path / "atomic"):
        pass
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "nowhere" / "file"):
        pass


@pytest.mark.parametrize("mode", ["r", "a", "wb+"])
def test_other_modes_are_refused(path, mode):
    with pytest.raises(ValueError, match="mode must be 'wb' or 'w'"), atomic_write(path, mode):
        pass


# What killed writers have left


def test_only_files_of_ended_writers_are_removed_where_others_may_write(tmp_path):
    (tmp_path / f".{uuid.uuid4().hex}.tmp").write_bytes(b"half")
    (tmp_path / f".entry.{uuid.uuid4().hex}.old").mkdir()
    (tmp_path / "mine.tmp").touch()
    with atomic_write(tmp_path / "result.bin") as file:
        file.write(b"new")
        remove_orphans(tmp_path)
        assert len(list(tmp_path.iterdir())) == 3
    assert (tmp_path / "result.bin").read_bytes() == b"new"
    remove_orphans(tmp_path, alone=True)
    assert sorted(os.listdir(tmp_path)) == ["mine.tmp", "result.bin"]


def test_where_there_are_no_locks_an_orphan_is_as_old_as_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(file_lock, "fcntl", None)
    young, old = (tmp_path / f".{uuid.uuid4().hex}.tmp" for _ in range(2))
    for path in (young, old):
        path.touch()
    yesterday = time.time() - 90_000
    os.utime(old, (yesterday, yesterday))
    remove_orphans(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


def test_a_file_that_is_taken_for_an_orphan_before_it_is_locked_is_made_again(path, monkeypatch):
    n_taken = []

    def late(file, **_):
        if not n_taken:
            n_taken.append(1)
            remove_orphans(path.parent)
        return file_lock.try_lock(file)

    monkeypatch.setattr(atomic, "try_lock", late)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_orphans_of_a_folder_that_is_not_there(tmp_path):
    remove_orphans(tmp_path / "nowhere")


def test_a_file_is_written_where_there_are_no_locks(path, monkeypatch):
    monkeypatch.setattr(file_lock, "fcntl", None)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
