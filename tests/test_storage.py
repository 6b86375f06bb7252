import errno
import json
import os
import subprocess
import sys
import warnings
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax import storage
from dec_jax.storage import Store

RANDOM = np.random.default_rng(0)


class Pair(NamedTuple):
    first: np.ndarray
    second: np.ndarray


TREE = {
    "params": {"encoder_0": {"kernel": RANDOM.normal(size=(3, 2)).astype(np.float32)}},
    "state": (Pair(np.int32(7), np.zeros((0, 3))), (), jnp.arange(4)),
    "exact": np.array([0.1, -0.0, np.inf, np.nan]),
    "file": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "half": jnp.arange(5, dtype=jnp.bfloat16).reshape(1, 5),
    "names": np.array(["ü", "$"]),
    "big": np.arange(3, dtype=">i2"),
}
METADATA = {"done": 1, "loss": 0.1 + 0.2, "names": ["a", None], "nan": np.inf}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "store"


def check_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for leaf, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(leaf, other)
        assert np.asarray(leaf).dtype == np.asarray(other).dtype
        assert np.shape(leaf) == np.shape(other)


def check_silent(function):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function()


# What is put is got


def test_any_tree_comes_back(folder):
    Store(folder).put("entry", TREE, METADATA)
    found, metadata = Store(folder).get("entry", TREE)
    check_equal(found, TREE)
    assert isinstance(found["state"][0], Pair)
    assert metadata == METADATA


def test_without_a_template_the_tree_is_one_of_dicts(folder):
    saved = {"a": {"b": np.arange(3), "c": np.ones(2)}, "d": np.zeros(1)}
    Store(folder).put("entry", saved, {})
    check_equal(Store(folder).get("entry")[0], saved)


@pytest.mark.parametrize("saved", [np.arange(3), {}, np.float64(1.5)])
def test_the_smallest_trees(folder, saved):
    Store(folder).put("entry", saved, {})
    check_equal(Store(folder).get("entry")[0], saved)


def test_metadata_come_back_as_plain_values_and_can_be_read_alone(folder, monkeypatch):
    Store(folder).put("entry", TREE, {"scalar": np.float32(0.1), "count": np.int64(3), "tuple": (1, 2)})
    monkeypatch.setattr(storage, "_digest", lambda _: pytest.fail("the arrays were read"))
    assert Store(folder).metadata("entry") == {"scalar": float(np.float32(0.1)), "count": 3, "tuple": [1, 2]}


def test_names_and_removal(folder):
    store = Store(folder)
    assert store.names() == []
    for name in ("b", "a.1", "a"):
        store.put(name, {}, {})
    assert store.names() == ["a", "a.1", "b"]
    store.remove("a")
    store.remove("a")
    assert Store(folder).names() == ["a.1", "b"]
    assert check_silent(lambda: store.get("a")) is None
    assert check_silent(lambda: store.metadata("a")) is None


def test_the_last_entry_of_a_name_counts_and_leaves_nothing_behind(folder):
    store = Store(folder)
    for number in range(3):
        store.put("entry", {"a": np.full(number + 1, number)}, {"number": number})
    check_equal(store.get("entry")[0], {"a": np.full(3, 2)})
    assert os.listdir(folder) == ["entry.npz"]


def test_folder_as_a_string_and_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Store("folder").put("entry", np.arange(3), {})
    assert (tmp_path / "folder" / "entry.npz").exists()


def test_without_a_folder_entries_are_copies_in_memory():
    store = Store(None)
    array = np.arange(3)
    store.put("entry", {"a": array}, {"b": 1})
    array[0] = 7
    tree, metadata = store.get("entry")
    assert (tree["a"].tolist(), metadata, store.names()) == ([0, 1, 2], {"b": 1}, ["entry"])
    store.remove("entry")
    assert (store.get("entry"), store.names()) == (None, [])
    assert Store(None).get("entry") is None


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\\b", "a\0"])
def test_names_that_are_not_names_of_files(folder, name):
    for use in (lambda: Store(folder).put(name, {}, {}), lambda: Store(folder).get(name)):
        with pytest.raises(ValueError, match="name must be the name of a file"):
            use()


def test_what_cannot_be_kept_is_refused_and_leaves_the_entry_before(folder):
    store = Store(folder)
    store.put("entry", np.arange(3), {})
    with pytest.raises(TypeError, match="plain dtype, got object for 'a'"):
        store.put("entry", {"a": np.array([{}], object)}, {})
    with pytest.raises(TypeError, match="JSON values or numpy scalars, got set"):
        store.put("entry", {}, {"a": {1}})
    with pytest.raises(ValueError, match="same name"):
        store.put("entry", {"a/b": np.zeros(1), "a": {"b": np.ones(1)}}, {})
    check_equal(store.get("entry")[0], np.arange(3))
    assert os.listdir(folder) == ["entry.npz"]


def test_the_file_is_one_that_numpy_reads(folder):
    Store(folder).put("entry", {"a": np.arange(3)}, {"done": 1})
    with np.load(folder / "entry.npz", allow_pickle=False) as archive:
        assert json.loads(archive["header"].tobytes())["metadata"] == {"done": 1}
        np.testing.assert_array_equal(archive["0"], np.arange(3))


# What is damaged counts as absent, and stays


def check_absent_and_kept(folder, content, match):
    path = folder / "entry.npz"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=match):
        assert Store(folder).get("entry") is None
    assert path.read_bytes() == content
    assert Store(folder).names() == ["entry"]
    Store(folder).put("entry", {"a": np.arange(3)}, {})
    check_equal(check_silent(lambda: Store(folder).get("entry"))[0], {"a": np.arange(3)})


def test_no_flipped_bit_yields_other_content_or_costs_the_file(folder):
    saved = {"a": RANDOM.normal(size=(6, 5)), "b": np.arange(9)}
    Store(folder).put("entry", saved, METADATA)
    path = folder / "entry.npz"
    sound = path.read_bytes()
    n_noticed = 0
    for position in range(0, len(sound), 3):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found, metadata = Store(folder).get("entry"), Store(folder).metadata("entry")
        assert path.read_bytes() == damaged
        if found is None:
            n_noticed += 1
            assert "is damaged" in str(said[0].message)
        else:  # a bit that belongs to no content does no damage
            check_equal(found[0], saved)
            assert found[1] == METADATA
        assert metadata in (None, METADATA)
    assert n_noticed > len(sound) / 3 / 2


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_truncated_entry(folder, kept):
    Store(folder).put("entry", TREE, METADATA)
    content = (folder / "entry.npz").read_bytes()
    check_absent_and_kept(folder, content[: int(kept * len(content))], r"entry\.npz is damaged.*; it counts as absent")


@pytest.mark.parametrize("content", [b"", b"{", b"\x80\x04N.", b"\x93NUMPY", b"PK\x03\x04", bytes(1000)])
def test_a_file_of_something_else(folder, content):
    Store(folder).put("entry", TREE, METADATA)
    check_absent_and_kept(folder, content, r"entry\.npz is damaged")


def rewrite(path, **changes):
    with np.load(path) as archive:
        np.savez(path, **(dict(archive) | changes))


def test_sound_archives_of_other_content(folder):
    path = folder / "entry.npz"
    for changes, match in (
        ({"0": np.arange(4)}, "its arrays do not match their digest"),
        ({"header": np.frombuffer(b"{}", np.uint8)}, "its metadata do not match their digest"),
        ({"digest": np.zeros(32, np.uint8)}, "its metadata do not match their digest"),
    ):
        Store(folder).put("entry", {"a": np.arange(3)}, METADATA)
        rewrite(path, **changes)
        check_absent_and_kept(folder, path.read_bytes(), match)


def test_pickles_are_not_loaded(folder):
    Store(folder).put("entry", {"a": np.arange(3)}, METADATA)
    rewrite(folder / "entry.npz", **{"0": np.array([{}], object)})
    check_absent_and_kept(folder, (folder / "entry.npz").read_bytes(), "allow_pickle=False")


def test_a_small_file_does_not_unfold_to_a_large_one(folder):
    Store(folder).put("entry", {"a": np.arange(3)}, METADATA)
    path = folder / "entry.npz"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10**6))
    check_absent_and_kept(folder, path.read_bytes(), "it is compressed")


def test_another_format(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(storage, "FORMAT", 99)
        Store(folder).put("entry", {"a": np.arange(3)}, METADATA)
    check_absent_and_kept(folder, (folder / "entry.npz").read_bytes(), "format 99, this version reads format 2")


def test_an_entry_that_does_not_fit_the_template(folder):
    Store(folder).put("entry", {"a": np.arange(3), "b": np.arange(3)}, {})
    with pytest.warns(UserWarning, match=r"holds other arrays than expected: \['b', 'c'\]; it counts as absent"):
        assert Store(folder).get("entry", {"a": np.arange(3), "c": np.arange(3)}) is None
    assert Store(folder).names() == ["entry"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_an_entry_that_cannot_be_read_for_a_while(folder, monkeypatch, number):
    Store(folder).put("entry", {"a": np.arange(3)}, METADATA)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(storage, "open", fail, raising=False)
        with pytest.warns(UserWarning, match=rf"entry\.npz cannot be read: {os.strerror(number)}; it counts as absent"):
            assert Store(folder).get("entry") is None
    check_equal(Store(folder).get("entry")[0], {"a": np.arange(3)})


def test_a_disk_that_fails_in_the_middle_of_reading_is_not_called_damage(folder, monkeypatch):
    Store(folder).put("entry", {"a": np.arange(3)}, METADATA)

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    with pytest.warns(UserWarning, match="cannot be read: Input/output error"):
        assert Store(folder).get("entry") is None


# What cannot be written


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "store")
    assert check_silent(lambda: store.get("entry")) is None
    with pytest.raises(OSError, match=r"Not a directory: '.*file/store'$"):
        store.put("entry", TREE, {})


def test_what_need_not_reach_the_disk_stays_in_memory_after_one_warning(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "store")
    with pytest.warns(UserWarning, match="going on without a store: .*file/store cannot be written"):
        store.put("entry", TREE, {"pair": (1, 2)}, required=False)
    check_silent(lambda: store.put("other", {"a": np.arange(3)}, {}, required=False))
    check_equal(store.get("entry", TREE)[0], TREE)
    check_equal(store.get("other")[0], {"a": np.arange(3)})
    assert store.metadata("entry") == {"pair": [1, 2]}
    assert store.names() == ["entry", "other"]
    store.remove("other")
    assert store.get("other") is None


STEPS = ("np.savez", "os.fsync", "os.replace")


@pytest.mark.parametrize("step", STEPS)
def test_any_failing_step_leaves_the_entry_before(folder, monkeypatch, step):
    store = Store(folder)
    store.put("entry", {"a": np.arange(3)}, {})

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr({"np": np, "os": os}[step[:2]], step[3:], fail)
        with pytest.raises(OSError, match="No space left on device: '.*store'$"):
            store.put("entry", {"a": np.zeros(5)}, {})
    check_equal(store.get("entry")[0], {"a": np.arange(3)})
    assert os.listdir(folder) == ["entry.npz"]


KILLED = """
import os, sys
import numpy as np
from dec_jax.storage import Store
folder, step, when = sys.argv[1:]
module = {"np": np, "os": os}[step[:2]]
original = getattr(module, step[3:])
def die(*arguments, **named):
    if when == "after":
        original(*arguments, **named)
    os._exit(9)
setattr(module, step[3:], die)
Store(folder).put("entry", {"a": np.arange(1000)}, {"new": True})
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_the_entry_before_or_the_new_one(tmp_path):
    moments = [("np.savez", "after"), ("os.fsync", "before"), ("os.replace", "after")]
    writers = []
    for step, when in moments:
        Store(tmp_path / step).put("entry", {"a": np.arange(3)}, {"new": False})
        writers.append(subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / step, step, when]))
    for (step, _), writer in zip(moments, writers, strict=True):
        assert writer.wait() == 9
        is_new = step == "os.replace"
        tree, metadata = check_silent(lambda folder=tmp_path / step: Store(folder).get("entry"))
        assert metadata == {"new": is_new}
        check_equal(tree["a"], np.arange(1000) if is_new else np.arange(3))
        assert len(os.listdir(tmp_path / step)) == (1 if is_new else 2)
        Store(tmp_path / step).put("other", {}, {})  # the next writer tidies up
        assert sorted(os.listdir(tmp_path / step)) == ["entry.npz", "other.npz"]


OTHER = """
import sys
import numpy as np
from dec_jax.storage import Store
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    store.put("entry", {"a": np.full(2000, number)}, {"number": number})
    Store(sys.argv[1]).put("own", {}, {})
"""


@pytest.mark.slow
def test_readers_and_writers_of_one_entry_see_it_whole(folder):
    command = [sys.executable, "-W", "error", "-c", OTHER, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        print(file=process.stdin, flush=True)
        n_read = 0
        while process.poll() is None:
            if found := check_silent(lambda: Store(folder).get("entry")):
                check_equal(found[0]["a"], np.full(2000, found[1]["number"]))
                n_read += 1
            check_silent(lambda: Store(folder).put("mine", {}, {}))
    assert process.returncode == 0
    assert n_read
    assert sorted(os.listdir(folder)) == ["entry.npz", "mine.npz", "own.npz"]
