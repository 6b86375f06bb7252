import hashlib
import json
import os
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dec_jax import networks
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.checkpoints import load_model, save_model
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.data import fit_scaling
from dec_jax.storage import Store, named_leaves
from dec_jax.trained_model import TrainedModel, assign

RANDOM = np.random.default_rng(0)


def trained(scaling="standardize"):
    x = RANDOM.normal(size=(20, 6))
    model = Autoencoder((6, 5, 2), "tanh", "sigmoid", "gelu", "he")
    params = networks.init(jax.random.key(0), model, 6)
    return TrainedModel(
        model, params, jax.numpy.asarray(RANDOM.normal(size=(3, 2))), fit_scaling(scaling, x), Assignment(2.5)
    )


def check_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for leaf, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(leaf, other)
        assert np.asarray(leaf).dtype == np.asarray(other).dtype


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
    assert Store(tmp_path / "model").metadata("model")["versions"]["jax"] == jax.__version__
    assert os.listdir(tmp_path / "model") == ["model.npz"]


def test_round_trip_of_a_convolutional_model(tmp_path):
    x = RANDOM.normal(size=(20, 30))
    model = ConvolutionalAutoencoder((6, 5), channels=(4, 3), kernels=(3, 3), bottleneck=2)
    params = networks.init(jax.random.key(0), model, 30)
    saved = TrainedModel(model, params, jax.numpy.asarray(RANDOM.normal(size=(3, 2))), fit_scaling("rms", x))
    save_model(tmp_path / "model", saved)
    loaded = load_model(tmp_path / "model")
    assert loaded.model == model
    np.testing.assert_array_equal(assign(loaded, x), assign(saved, x))


def test_a_model_that_cannot_be_made_again_is_not_saved(tmp_path):
    saved = TrainedModel(networks.Identity(), {}, jax.numpy.zeros((3, 2)), fit_scaling("rms", np.eye(2)))
    with pytest.raises(TypeError, match="model must be one of Autoencoder, .*, got Identity"):
        save_model(tmp_path / "model", saved)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("exists", [True, False])
def test_no_model_there(tmp_path, exists):
    if exists:
        (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no model in .*folder: model\.npz is missing"):
        load_model(tmp_path / "folder")


@pytest.mark.parametrize("metadata", [{}, {"kind": "run"}, []])
def test_something_else_than_a_model(tmp_path, metadata):
    Store(tmp_path).put("model", {"a": np.zeros(2)}, metadata)
    with pytest.raises(ValueError, match="does not hold a model but something else"):
        load_model(tmp_path)


def test_saving_again_replaces_the_model(tmp_path):
    for scaling in ("standardize", "rms"):
        save_model(tmp_path / "model", trained(scaling))
    assert load_model(tmp_path / "model").scaling.rule == "rms"
    assert os.listdir(tmp_path / "model") == ["model.npz"]


def test_a_damaged_model(tmp_path):
    save_model(tmp_path / "model", trained())
    path = tmp_path / "model" / "model.npz"
    sound = path.read_bytes()
    for damaged in (b"", sound[:-1], sound.replace(b'"alpha": 2.5', b'"alpha": 3.5')):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.npz is damaged"):
            load_model(tmp_path / "model")
        assert path.read_bytes() == damaged


def rewritten(folder, **changes):
    """A model of a stranger's, whose digests are right and whose metadata are not."""
    store = Store(folder)
    tree, metadata = store.get("model")
    store.put("model", tree, metadata | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "os.system"},
        {"network": "subprocess:run"},
        {"kernel": "builtins.eval"},
        {"model": {"dims": [6, 5, 2], "encode": "x"}},
        {"model": None},
        {"scaling": {"rule": "__import__('os')"}},
    ],
    ids=str,
)
def test_nothing_that_a_strangers_model_names_is_imported_or_executed(tmp_path, changes):
    save_model(tmp_path, trained())
    rewritten(tmp_path, **changes)
    before = set(sys.modules)
    with pytest.raises(ValueError):  # noqa: PT011 - each has a message of its own
        load_model(tmp_path)
    assert set(sys.modules) == before


# Models of version 0.1


def save_as_before(folder, tree, metadata, version=1):
    """What version 0.1 wrote: arrays by orbax beside metadata with one digest of both."""
    folder.mkdir()
    arrays = named_leaves(tree)
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    content = {"format": version, "digest": digest.hexdigest(), "metadata": metadata}
    (folder / "metadata.json").write_text(json.dumps(content))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "arrays", arrays)


@pytest.fixture
def old(tmp_path):
    """A model and the folder of version 0.1 that holds it."""
    model = trained()
    save_model(tmp_path / "new", model)
    tree, metadata = Store(tmp_path / "new").get("model")
    save_as_before(tmp_path / "old", tree, metadata)
    return model, tmp_path / "old"


def test_a_model_of_version_0_1(old):
    saved, folder = old
    found = load_model(folder)
    assert found.model == saved.model
    check_equal(found.params, saved.params)
    check_equal(found.centroids, saved.centroids)
    np.testing.assert_array_equal(found.scaling.shift, saved.scaling.shift)


def test_one_process_of_many_wrote_its_arrays_as_npz(old, tmp_path):
    saved, folder = old
    arrays = named_leaves({"params": saved.params, "centroids": saved.centroids})
    (folder / "arrays").rename(tmp_path / "elsewhere")
    np.savez(folder / "arrays.npz", **arrays)
    check_equal(load_model(folder).params, saved.params)


def test_a_damaged_model_of_version_0_1(old, capfd):
    _, folder = old
    path = folder / "metadata.json"
    sound = path.read_text()
    for damaged, message in (
        (sound.replace('"alpha": 2.5', '"alpha": 3.5'), "does not match its digest"),
        (sound.replace('"format": 1', '"format": 99'), "has format 99, this version reads format 1"),
        ("{", r"metadata\.json is damaged"),
        ("[]", r"metadata\.json is damaged"),
    ):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=message):
            load_model(folder)
    path.write_text(sound)
    for file in (folder / "arrays").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(ValueError, match="its arrays cannot be read"):
        load_model(folder)
    assert capfd.readouterr() == ("", "")  # the error says it, not a log
