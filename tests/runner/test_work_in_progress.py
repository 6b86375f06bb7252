import json

import numpy as np
import pytest

from dec_jax.data import Dataset
from dec_jax.runner import checkpoint, runs
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.config import Config
from dec_jax.runner.resolving import resolve
from dec_jax.storage import Store

DATA = Dataset("made", np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3)
TREE = {"labels": np.arange(4)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def claim(folder, overwrite=False, **changes):
    """Claims the folder for a run, and returns the store of its work in progress."""
    values = {name.replace("__", "."): value for name, value in changes.items()}
    config = resolve(Config().with_values({"clustering.n_clusters": 3} | values), DATA)
    runs.claim(config, DATA, folder, overwrite=overwrite)
    return Store(folder / runs.UNFINISHED)


def test_a_run_finds_its_own_work_again(folder):
    claim(folder).put("kmeans", TREE, {"done": 1})
    tree, metadata = claim(folder).get("kmeans")
    np.testing.assert_array_equal(tree["labels"], TREE["labels"])
    assert metadata == {"done": 1}


def test_another_run_is_refused_by_the_names_of_what_differs(folder):
    claim(folder).put("kmeans", TREE, {"done": 1})
    with pytest.raises(ValueError, match=r"unfinished run.*\(seed 0 instead of 1\).*--overwrite"):
        claim(folder, seed=1)
    assert claim(folder).names() == ["kmeans"]


def test_many_differences_are_cut_short(folder):
    claim(folder)
    with pytest.raises(ValueError, match=r"\(.* instead of .*, .* instead of .*, .* instead of .*, …\)"):
        claim(folder, seed=1, network__bottleneck=2, clustering__alpha=2.0, clustering__max_steps=7)


def test_overwrite_throws_another_run_away_but_goes_on_with_its_own(folder):
    claim(folder).put("kmeans", TREE, {"done": 1})
    assert claim(folder, overwrite=True).names() == ["kmeans"]
    assert claim(folder, overwrite=True, seed=1).names() == []


def test_work_of_nobody_is_thrown_away(folder):
    claim(folder).put("kmeans", TREE, {"done": 1})
    (folder / runs.UNFINISHED / runs.IDENTITY_FILE).unlink()
    assert claim(folder).names() == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_damaged_identity_is_not_taken_for_ones_own(folder, content):
    claim(folder).put("kmeans", TREE, {"done": 1})
    path = folder / runs.UNFINISHED / runs.IDENTITY_FILE
    path.write_text(content)
    with pytest.raises(ValueError, match="identity.json is damaged.*--overwrite"):
        claim(folder)
    assert claim(folder, overwrite=True).names() == []
    assert json.loads(path.read_text())["seed"] == 0


def test_forgotten_work_leaves_the_folder(folder):
    claim(folder).put("kmeans", TREE, {"done": 1})
    (folder / "result.json").write_text("{}")
    runs.forget(folder)
    assert [path.name for path in folder.iterdir()] == ["result.json"]


def test_a_checkpoint_is_due_when_the_time_has_come(folder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    kept = Checkpoint(Store(folder), "kmeans")
    assert not kept.is_due()
    now[0] += checkpoint.SECONDS_BETWEEN_SAVES
    assert kept.is_due()
    kept.save(TREE, {"done": 1})
    assert not kept.is_due()
    assert kept.metadata() == {"done": 1}
    kept.remove()
    assert kept.load() is None


def test_a_checkpoint_without_a_folder_is_never_due(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0)
    kept = Checkpoint(Store(None), "kmeans")
    kept.save(TREE, {"done": 1})
    assert not kept.is_due()
