import importlib.util
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist

from dec_jax.data import prepared
from dec_jax.data.prepared import load_pictures

from .conftest import SIZES, to_png, write_prepared

BOTH = ("train", "test")


def never(*_):
    raise AssertionError("decoded again")


def assert_holds(pictures, content, splits=BOTH):
    np.testing.assert_array_equal(pictures.x, np.concatenate([content[split][0] for split in splits]))
    np.testing.assert_array_equal(pictures.y, np.concatenate([content[split][1] for split in splits]))


def test_splits_follow_each_other(tmp_path):
    content = write_prepared(tmp_path)
    pictures = load_pictures("mnist", BOTH, tmp_path)
    assert_holds(pictures, content)
    assert (pictures.x.dtype, pictures.y.dtype) == (np.uint8, np.int64)
    assert pictures.shape == (28, 28)
    assert pictures.class_names == tuple("0123456789")
    assert_holds(load_pictures("mnist", ("test",), tmp_path), content, ("test",))


def test_folder_is_the_argument_or_the_variable(tmp_path, monkeypatch):
    content = write_prepared(tmp_path / "set", seed=1)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "set"))
    assert_holds(load_pictures("mnist", BOTH), content)
    other = write_prepared(tmp_path / "given", seed=2)
    assert_holds(load_pictures("mnist", BOTH, tmp_path / "given"), other)


def test_folder_is_in_the_users_home_by_default(tmp_path, monkeypatch):
    content = write_prepared(tmp_path / "tensorflow_datasets")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_holds(load_pictures("mnist", BOTH), content)


def test_decodes_once_and_shows_it(tmp_path, monkeypatch, capsys):
    content = write_prepared(tmp_path)
    load_pictures("mnist", BOTH, tmp_path)
    assert capsys.readouterr().err == "mnist train: decoding: 7 of 7\nmnist test: decoding: 3 of 3\n"
    monkeypatch.setattr(prepared, "_decode", never)
    assert_holds(load_pictures("mnist", BOTH, tmp_path), content)
    assert_holds(load_pictures("mnist", ("test",), tmp_path), content, ("test",))
    assert capsys.readouterr().err == ""


def test_cache_follows_the_content_and_not_the_folder(tmp_path, monkeypatch):
    content = write_prepared(tmp_path / "one", seed=1)
    load_pictures("mnist", BOTH, tmp_path / "one")
    other = write_prepared(tmp_path / "two", seed=2)
    assert_holds(load_pictures("mnist", BOTH, tmp_path / "two"), other)
    shutil.move(tmp_path / "one", tmp_path / "moved")
    monkeypatch.setattr(prepared, "_decode", never)
    assert_holds(load_pictures("mnist", BOTH, tmp_path / "moved"), content)


def test_changed_source_is_decoded_again(tmp_path):
    write_prepared(tmp_path, seed=1)
    load_pictures("mnist", BOTH, tmp_path)
    changed = write_prepared(tmp_path, seed=2)
    assert_holds(load_pictures("mnist", BOTH, tmp_path), changed)


def test_damaged_cache_is_decoded_again(tmp_path, cache):
    content = write_prepared(tmp_path)
    load_pictures("mnist", BOTH, tmp_path)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged or stale"):
        assert_holds(load_pictures("mnist", BOTH, tmp_path), content)


def test_not_prepared_and_no_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError) as raised:
        load_pictures("mnist", BOTH, tmp_path)
    for word in (str(tmp_path), "TFDS_DATA_DIR", 'pip install "dec_jax[tensorflow]"'):
        assert word in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_prepared_where_tensorflow_is_installed(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)

    def split_generators(*_):
        files = [io.BytesIO(to_png(image)) for image in images]
        examples = [(str(i), {"image": file, "label": i}) for i, file in enumerate(files)]
        return {"train": examples[:3], "test": examples[3:]}

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(mnist.MNIST, "_split_generators", split_generators)
    pictures = load_pictures("mnist", BOTH, tmp_path)
    np.testing.assert_array_equal(pictures.x, images.reshape(5, -1)[pictures.y])
    assert sorted(pictures.y) == list(range(5))


def test_failed_download(tmp_path, monkeypatch):
    def download_and_prepare(builder, **_):
        raise ConnectionError("no route to host\nand a long story")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download_and_prepare)
    with pytest.raises(OSError, match=r"could not be downloaded .*no route to host") as raised:
        load_pictures("mnist", BOTH, tmp_path)
    assert isinstance(raised.value.__cause__, ConnectionError)
    assert "\n" not in str(raised.value)


def truncate(folder):
    shard = folder / "mnist-train.array_record-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:70_000])


def flip(folder):
    shard = folder / "mnist-train.array_record-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[content.index(b"PNG")] ^= 0xFF
    shard.write_bytes(content)


def remove(folder):
    (folder / "mnist-test.array_record-00000-of-00001").unlink()


def break_info(folder):
    (folder / "dataset_info.json").write_text("{")


def claim_tfrecord(folder):
    path = folder / "dataset_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fileFormat": "tfrecord"}))


@pytest.mark.parametrize("damage", [truncate, flip, remove, break_info, claim_tfrecord])
def test_prepared_files_that_cannot_be_read(tmp_path, cache, damage):
    write_prepared(tmp_path)
    damage(tmp_path / "mnist" / "3.0.1")
    with pytest.raises(ValueError, match=r"mnist in .* cannot be read.*array_record") as raised:
        load_pictures("mnist", BOTH, tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_tensorflow_is_not_imported(tmp_path):
    write_prepared(tmp_path)
    code = """if True:
        import sys
        import dec_jax.data
        assert "tensorflow_datasets" not in sys.modules
        print(dec_jax.data.load("mnist", data_dir=sys.argv[1]).x.shape)
        assert not [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]
    """
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"({sum(SIZES.values())}, 784)\n"
    assert "WARNING" not in run.stderr
