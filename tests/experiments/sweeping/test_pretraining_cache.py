import shutil
import subprocess
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path

import jax
import numpy as np
import pytest

from dec_jax import autoencoder, checkpoints
from dec_jax.autoencoder import Autoencoder
from experiments.settings import Settings
from experiments.sweeping import pretraining_cache
from experiments.sweeping.pretraining_cache import PRETRAINING_FIELDS, PretrainingCache, key_of

# Every other field: pretraining is the same whatever their values are.
CLUSTERING_FIELDS = {
    "objective",
    "objective_parameters",
    "distance_weight",
    "kernel",
    "target_power",
    "target_balance",
    "resets",
    "reset_every",
    "reset_keep",
    "reseed_empty",
    "gamma",
    "size_balance",
    "data",
    "labels",
    "n_clusters",
    "preset",
    "kmeans_restarts",
    "start",
    "start_steps",
    "cluster_optimizer",
    "cluster_learning_rate",
    "cluster_momentum",
    "alpha",
    "update_interval",
    "tolerance",
    "max_steps",
    "train_encoder",
}
CHANGED = {
    "network": "convolutional",
    "seed": 1,
    "scaling": "unit",
    "hidden": (16,),
    "activation": "tanh",
    "embedding_activation": "tanh",
    "reconstruction_activation": "tanh",
    "weight_init": "glorot",
    "loss": "bce",
    "input_dropout": 0.1,
    "optimizer": "adam",
    "learning_rate_schedule": "cosine",
}
KEY = "a" * 64
PARAMS = {"encoder_0": {"kernel": np.arange(6, dtype=np.float32).reshape(3, 2) / 7, "bias": np.zeros(2, np.float32)}}


@pytest.fixture
def cache(tmp_path):
    return PretrainingCache(tmp_path / "cache")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def check_sound(params):
    assert jax.tree.structure(params) == jax.tree.structure(PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), params, PARAMS)


# Keys


def test_every_setting_is_decided_on():
    known = {field.name for field in fields(Settings)}
    assert set(PRETRAINING_FIELDS) | CLUSTERING_FIELDS == known
    assert not set(PRETRAINING_FIELDS) & CLUSTERING_FIELDS


@pytest.mark.parametrize("name", PRETRAINING_FIELDS)
def test_what_pretraining_depends_on_changes_the_key(name):
    settings = Settings()
    value = CHANGED[name] if name in CHANGED else getattr(settings, name) / 2 + 0.01
    value = int(value + 1) if isinstance(getattr(settings, name), int) else value
    changed = replace(settings, **{name: value})
    assert changed != settings
    assert key_of(changed, "abc") != key_of(settings, "abc")


def test_what_clustering_depends_on_does_not_change_the_key():
    settings = replace(Settings(), n_clusters=7, update_interval=3, alpha=2.0, cluster_learning_rate=1.0)
    assert key_of(settings, "abc") == key_of(Settings(), "abc")


@pytest.mark.parametrize(("place", "name"), [(pretraining_cache, "FORMAT"), (jax, "__version__")])
def test_other_code_has_another_key(monkeypatch, place, name):
    before = key_of(Settings(), "abc")
    monkeypatch.setattr(place, name, "other")
    assert key_of(Settings(), "abc") != before


def test_other_data_and_other_devices_have_other_keys(monkeypatch):
    before = key_of(Settings(), "abc")
    assert len(before) == 64
    assert key_of(Settings(), "abd") != before
    monkeypatch.setattr(jax, "devices", lambda: [type("Device", (), {"device_kind": "other"})])
    assert key_of(Settings(), "abc") != before


# Entries


def test_the_folder_is_the_named_one_or_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DEC_JAX_CACHE", str(tmp_path / "everything"))
    PretrainingCache().save(KEY, PARAMS, {})
    assert names(tmp_path / "everything" / "pretraining") == [KEY]
    PretrainingCache(tmp_path / "named").save(KEY, PARAMS, {})
    assert names(tmp_path / "named") == [KEY]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    PretrainingCache(Path("~/mine")).save(KEY, PARAMS, {})
    assert names(tmp_path / "home" / "mine") == [KEY]


def test_parameters_come_back(cache, tmp_path):
    assert cache.load(KEY, PARAMS) is None
    cache.save(KEY, PARAMS, {"seconds": 1.5})
    check_sound(cache.load(KEY, PARAMS))
    check_sound(PretrainingCache(tmp_path / "cache").load(KEY, PARAMS))
    assert checkpoints.read_metadata(tmp_path / "cache" / KEY)["metadata"] == {"seconds": 1.5}
    assert names(tmp_path / "cache") == [KEY]
    assert cache.load("b" * 64, PARAMS) is None


def test_parameters_of_a_network_come_back(cache):
    params = autoencoder.init(jax.random.key(0), Autoencoder((5, 4, 2)), 5)
    cache.save(KEY, params, {})
    found = cache.load(KEY, autoencoder.init(jax.random.key(1), Autoencoder((5, 4, 2)), 5))
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)


def damage(entry, how):
    if how == "no metadata":
        (entry / "metadata.json").unlink()
    elif how == "no arrays":
        shutil.rmtree(entry / "arrays")
    elif how == "other metadata":
        path = entry / "metadata.json"
        path.write_text(path.read_text().replace("1.5", "2.5"))
    else:
        for path in (path for path in (entry / "arrays").rglob("*") if path.is_file()):
            path.write_bytes(path.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize("how", ["no metadata", "no arrays", "other metadata", "flipped bytes"])
def test_a_damaged_entry_is_rebuilt(cache, tmp_path, how):
    cache.save(KEY, PARAMS, {"seconds": 1.5})
    damage(tmp_path / "cache" / KEY, how)
    with pytest.warns(UserWarning, match="pretraining anew, a cache entry is damaged"):
        assert cache.load(KEY, PARAMS) is None
    assert names(tmp_path / "cache") == []
    cache.save(KEY, PARAMS, {"seconds": 1.5})
    check_sound(cache.load(KEY, PARAMS))


def test_an_entry_of_another_network_counts_as_damaged(cache):
    cache.save(KEY, PARAMS, {})
    with pytest.warns(UserWarning, match="holds other arrays than expected"):
        assert cache.load(KEY, {"other": np.zeros(2)}) is None


def test_an_unwritable_folder_is_done_without_after_one_warning(tmp_path):
    (tmp_path / "file").write_text("")
    cache = PretrainingCache(tmp_path / "file" / "cache")
    assert cache.load(KEY, PARAMS) is None
    with pytest.warns(UserWarning, match=r"going on without a cache: .*file/cache cannot be written"):
        cache.save(KEY, PARAMS, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.save("b" * 64, PARAMS, {})
    assert cache.load(KEY, PARAMS) is PARAMS  # in memory


# Two sweeps at once


def test_the_first_of_two_writers_wins(cache, tmp_path, monkeypatch):
    save_tree = checkpoints.save_tree

    def be_overtaken(folder, tree, metadata):
        save_tree(folder, tree, metadata)
        save_tree(tmp_path / "cache" / KEY, PARAMS, {"writer": "other"})

    monkeypatch.setattr(pretraining_cache, "save_tree", be_overtaken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.save(KEY, PARAMS, {"writer": "this"})
        check_sound(cache.load(KEY, PARAMS))
    assert checkpoints.read_metadata(tmp_path / "cache" / KEY)["metadata"] == {"writer": "other"}
    assert names(tmp_path / "cache") == [KEY]


OTHER = """
import sys
from pathlib import Path
import numpy as np
from experiments.sweeping.pretraining_cache import PretrainingCache
cache = PretrainingCache(Path(sys.argv[1]))
cache.save("warm", {"x": np.zeros(2)}, {})
for line in sys.stdin:
    print("begin", flush=True)
    cache.save(line.strip(), {"x": np.full(2, 1.5)}, {"writer": "other"})
    print("done", flush=True)
"""


def test_two_processes_write_the_same_entries(cache, tmp_path):
    command = [sys.executable, "-W", "error::UserWarning", "-c", OTHER, tmp_path / "cache"]
    template = {"x": np.zeros(2)}
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", UserWarning)
        for key in "abcdef":
            print(key, file=process.stdin, flush=True)
            assert process.stdout.readline() == "begin\n"
            cache.save(key, {"x": np.full(2, 1.5)}, {"writer": "this"})
            np.testing.assert_array_equal(cache.load(key, template)["x"], 1.5)
            assert process.stdout.readline() == "done\n"
            np.testing.assert_array_equal(cache.load(key, template)["x"], 1.5)
        process.stdin.close()
    assert process.returncode == 0
    assert names(tmp_path / "cache") == [*"abcdef", "warm"]
