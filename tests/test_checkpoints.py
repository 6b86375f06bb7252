import errno
import json
import os
import resource
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from dec_jax import autoencoder, checkpoints
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.checkpoints import load_model, load_tree, read_metadata, save_model, save_tree
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.data import fit_scaling
from dec_jax.trained_model import TrainedModel, assign

RANDOM = np.random.default_rng(0)


class Pair(NamedTuple):
    first: np.ndarray
    second: np.ndarray


def tree():
    return {
        "params": {"encoder_0": {"kernel": RANDOM.normal(size=(3, 2)).astype(np.float32)}},
        "state": (Pair(np.int32(7), np.zeros((1, 3))), (), jax.numpy.arange(4)),
        "exact": np.array([0.1, -0.0, np.inf, np.nan]),
    }


def trained(scaling="standardize"):
    x = RANDOM.normal(size=(20, 6))
    model = Autoencoder((6, 5, 2), "tanh", "sigmoid", "gelu", "he")
    params = autoencoder.init(jax.random.key(0), model, 6)
    return TrainedModel(
        model, params, jax.numpy.asarray(RANDOM.normal(size=(3, 2))), fit_scaling(scaling, x), Assignment(2.5)
    )


def check_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for leaf, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(leaf, other)
        assert np.asarray(leaf).dtype == np.asarray(other).dtype


def test_round_trip_of_any_tree(tmp_path):
    saved = tree()
    save_tree(tmp_path / "deep" / "folder", saved, {"step": 3, "history": [{"loss": 0.1}]})
    found, metadata = load_tree(tmp_path / "deep" / "folder", saved)
    check_equal(found, saved)
    assert isinstance(found["state"][0], Pair)
    assert metadata == {"step": 3, "history": [{"loss": 0.1}]}


def test_without_a_template_the_tree_is_one_of_dicts(tmp_path):
    saved = {"a": {"b": np.arange(3), "c": np.ones(2)}, "d": np.zeros(1)}
    save_tree(tmp_path / "folder", saved, {})
    check_equal(load_tree(tmp_path / "folder")[0], saved)


def test_folder_as_a_string_and_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tree("folder", {"a": np.arange(3)}, {})
    check_equal(load_tree("folder")[0], {"a": np.arange(3)})


def test_metadata_can_be_read_alone(tmp_path):
    save_tree(tmp_path / "folder", {"a": np.arange(3)}, {"kind": "mine"})
    content = read_metadata(tmp_path / "folder")
    assert (content["format"], content["metadata"]) == (checkpoints.FORMAT, {"kind": "mine"})


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path):
    for number in range(3):
        save_tree(tmp_path / "folder", {"a": np.full(number + 1, number)}, {"number": number})
    found, metadata = load_tree(tmp_path / "folder")
    check_equal(found, {"a": np.full(3, 2)})
    assert metadata == {"number": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_template_of_another_structure(tmp_path):
    save_tree(tmp_path / "folder", {"a": np.arange(3), "b": np.arange(3)}, {})
    with pytest.raises(ValueError, match=r"holds other arrays than expected: \['b', 'c'\]"):
        load_tree(tmp_path / "folder", {"a": np.arange(3), "c": np.arange(3)})


@pytest.mark.parametrize("scaling", ["standardize", "rms"])
def test_round_trip_of_a_model(tmp_path, scaling):
    saved = trained(scaling)
    save_model(tmp_path / "model", saved)
    found = load_model(tmp_path / "model")
    assert found.model == saved.model
    check_equal(found.params, saved.params)
    check_equal(found.centroids, saved.centroids)
    assert (found.scaling.rule, found.assignment.alpha) == (scaling, 2.5)
    np.testing.assert_array_equal(found.scaling.shift, saved.scaling.shift)
    np.testing.assert_array_equal(found.scaling.scale, saved.scaling.scale)
    versions = read_metadata(tmp_path / "model")["metadata"]["versions"]
    assert versions["jax"] == jax.__version__


def test_round_trip_of_a_convolutional_model(tmp_path):
    x = RANDOM.normal(size=(20, 30))
    model = ConvolutionalAutoencoder((6, 5), channels=(4, 3), kernels=(3, 3), bottleneck=2)
    params = autoencoder.init(jax.random.key(0), model, 30)
    saved = TrainedModel(model, params, jax.numpy.asarray(RANDOM.normal(size=(3, 2))), fit_scaling("rms", x))
    save_model(tmp_path / "model", saved)
    loaded = load_model(tmp_path / "model")
    assert loaded.model == model
    np.testing.assert_array_equal(assign(loaded, x), assign(saved, x))


def test_a_model_that_cannot_be_made_again_is_not_saved(tmp_path):
    saved = TrainedModel(autoencoder.Identity(), {}, jax.numpy.zeros((3, 2)), fit_scaling("rms", np.eye(2)))
    with pytest.raises(TypeError, match="model must be one of Autoencoder, ConvolutionalAutoencoder .*, got Identity"):
        save_model(tmp_path / "model", saved)
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_is_no_model(tmp_path):
    save_tree(tmp_path / "folder", tree(), {"step": 3})
    with pytest.raises(ValueError, match="holds no model but a checkpoint of an unfinished run"):
        load_model(tmp_path / "folder")


@pytest.mark.parametrize("exists", [True, False])
def test_no_model_there(tmp_path, exists):
    if exists:
        (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no model or checkpoint in .*folder: metadata.json is missing"):
        load_model(tmp_path / "folder")


def test_another_format(tmp_path):
    save_model(tmp_path / "model", trained())
    path = tmp_path / "model" / checkpoints.METADATA_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ValueError, match="has format 99, this version reads format 1"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe"])
def test_metadata_that_are_none(tmp_path, content):
    save_model(tmp_path / "model", trained())
    (tmp_path / "model" / checkpoints.METADATA_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"metadata\.json is damaged"):
        load_model(tmp_path / "model")


def test_changed_metadata(tmp_path):
    save_model(tmp_path / "model", trained())
    path = tmp_path / "model" / checkpoints.METADATA_FILE
    path.write_text(path.read_text().replace('"alpha": 2.5', '"alpha": 3.5'))
    with pytest.raises(ValueError, match="is damaged: its content does not match its digest"):
        load_model(tmp_path / "model")


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the reader's own threads
@pytest.mark.parametrize(
    "damage",
    [flip, lambda content: content[: len(content) // 2], lambda content: b"", lambda content: None],
    ids=["flipped", "truncated", "empty", "missing"],
)
def test_a_damaged_file_never_yields_other_arrays(tmp_path, capfd, damage):
    saved = {"a": RANDOM.normal(size=(50, 50)), "b": np.arange(9)}
    whole = tmp_path / "whole"
    save_tree(whole, saved, {})
    refused = {}
    for path in [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]:
        folder = Path(shutil.copytree(whole, tmp_path / "damaged"))
        content = damage((folder / path).read_bytes())
        (folder / path).unlink() if content is None else (folder / path).write_bytes(content)
        try:
            check_equal(load_tree(folder)[0], saved)
        except (ValueError, FileNotFoundError) as error:
            refused[path.parts[0]] = str(error)
        shutil.rmtree(folder)
    assert set(refused) == {checkpoints.METADATA_FILE, checkpoints.ARRAYS_FOLDER}
    assert all(str(tmp_path / "damaged") in message for message in refused.values())
    assert capfd.readouterr() == ("", "")  # the error says it, not a log


def test_a_full_disk_leaves_the_folder_before(tmp_path, capfd):
    save_tree(tmp_path / "folder", {"a": np.arange(3)}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="cannot be written: File too large"):
            save_tree(tmp_path / "folder", {"a": RANDOM.normal(size=(300, 300))}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_equal(load_tree(tmp_path / "folder")[0], {"a": np.arange(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("step", ["mkdir", "write_text", "rename"])
def test_any_failing_step_leaves_the_folder_before(tmp_path, monkeypatch, step):
    save_tree(tmp_path / "folder", {"a": np.arange(3)}, {})
    original = getattr(Path, step)

    def fail(path, *args, **kwargs):
        if path.suffix == ".tmp" or path.parent.suffix == ".tmp":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, fail)
        with pytest.raises(OSError, match="No space left"):
            save_tree(tmp_path / "folder", {"a": np.zeros(5)}, {})
    check_equal(load_tree(tmp_path / "folder")[0], {"a": np.arange(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
