import errno
import os

import pytest

from dec_jax.data.atomic import atomic_write


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
