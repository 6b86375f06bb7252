import errno
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from dec_jax.data.cache import cache_folder, cached

IDENTITY = "a" * 64
ARRAYS = {"x": np.arange(12, dtype=np.uint8).reshape(3, 4), "y": np.array([2, 0, 1])}


def build():
    return {key: array.copy() for key, array in ARRAYS.items()}


def never():
    raise AssertionError("built again")


def assert_sound(arrays):
    assert arrays.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[key], array, strict=True)


@pytest.fixture
def path(cache):
    cached("some", IDENTITY, build)
    (path,) = cache.iterdir()
    return path


def test_folder_is_the_set_one_or_in_the_users_cache(monkeypatch):
    monkeypatch.setenv("DEC_JAX_CACHE", "/some/where")
    assert cache_folder() == Path("/some/where")
    monkeypatch.delenv("DEC_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/users/cache")
    assert cache_folder() == Path("/users/cache/dec_jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/users")
    assert cache_folder() == Path("/users/.cache/dec_jax")


def test_builds_once(cache):
    assert_sound(cached("some", IDENTITY, build))
    assert_sound(cached("some", IDENTITY, never))
    assert len(list(cache.iterdir())) == 1


def test_another_source_has_another_file(path):
    other = cached("some", "b" * 64, lambda: {"x": np.zeros(2)})
    assert other["x"].shape == (2,)
    assert_sound(cached("some", IDENTITY, never))


def test_flipped_bytes_never_yield_other_content(path):
    sound = path.read_bytes()
    for position in range(0, len(sound), 5):
        damaged = bytearray(sound)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a byte that belongs to no content does no damage
            assert_sound(cached("some", IDENTITY, build))


def test_flipped_byte_of_the_content_is_rebuilt_with_a_warning(path):
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(ARRAYS["x"].tobytes()) + 5] ^= 1
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match="damaged or stale .* rebuilding"):
        assert_sound(cached("some", IDENTITY, build))
    assert_sound(cached("some", IDENTITY, never))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_truncated_file_is_rebuilt_with_a_warning(path, kept):
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.warns(UserWarning, match="damaged or stale .* rebuilding"):
        assert_sound(cached("some", IDENTITY, build))
    assert_sound(cached("some", IDENTITY, never))


def test_sound_archive_of_other_content_is_rebuilt(path):
    with np.load(path) as archive:
        content = dict(archive)
    np.savez(path, **{**content, "x": content["x"] + 1})
    with pytest.warns(UserWarning, match="does not match its checksum"):
        assert_sound(cached("some", IDENTITY, build))


def test_file_of_another_source_under_the_same_name_is_stale(path):
    other = IDENTITY[:16] + "b" * 48
    with pytest.warns(UserWarning, match="damaged or stale"):
        assert cached("some", other, lambda: {"x": np.zeros(2)})["x"].shape == (2,)


def test_pickles_are_not_loaded(path):
    np.savez(path, x=np.array([{}], object), sha256="")
    with pytest.warns(UserWarning, match="damaged or stale"):
        assert_sound(cached("some", IDENTITY, build))


def test_folder_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEC_JAX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="without a cache"):
        assert_sound(cached("some", IDENTITY, build))


def test_full_disk_leaves_no_part_of_a_file(cache, monkeypatch):
    def full(file, **_):
        file.write(b"the first part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="without a cache: .*No space left"):
        assert_sound(cached("some", IDENTITY, build))
    assert list(cache.iterdir()) == []
