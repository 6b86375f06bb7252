import json
import shutil

import numpy as np
import pytest

from experiments import journal
from experiments.journal import Journal

IDENTITY = {"seed": 0, "hidden": (500, 500), "samples": "abc"}
TREE = {"labels": np.arange(4), "inertia": np.float64(0.1)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out" / "unfinished"


def check_entry(found):
    tree, metadata = found
    np.testing.assert_array_equal(tree["labels"], TREE["labels"])
    assert tree["inertia"] == TREE["inertia"]
    assert metadata == {"done": 1}


def test_entries_come_back_to_the_same_run(folder):
    Journal(folder, IDENTITY).save("kmeans", TREE, {"done": 1})
    check_entry(Journal(folder, IDENTITY).load("kmeans"))
    assert Journal(folder, IDENTITY).load("pretraining") is None


def test_the_last_entry_counts(folder):
    kept = Journal(folder, IDENTITY)
    kept.save("kmeans", {"labels": np.zeros(3)}, {"done": 0})
    kept.save("kmeans", TREE, {"done": 1})
    check_entry(kept.load("kmeans"))


def test_another_run_is_refused_by_the_names_of_what_differs(folder):
    Journal(folder, IDENTITY).save("kmeans", TREE, {"done": 1})
    with pytest.raises(ValueError, match=r"unfinished run.*\(seed 0 instead of 1\).*--overwrite") as raised:
        Journal(folder, IDENTITY | {"seed": 1})
    assert "hidden" not in str(raised.value)
    check_entry(Journal(folder, IDENTITY).load("kmeans"))


def test_many_differences_are_cut_short(folder):
    Journal(folder, dict.fromkeys("abcd", 0))
    with pytest.raises(ValueError, match=r"\(a 0 instead of 1, b 0 instead of 1, c 0 instead of 1, …\)"):
        Journal(folder, dict.fromkeys("abcd", 1))


def test_overwrite_throws_another_run_away_but_goes_on_with_its_own(folder):
    Journal(folder, IDENTITY).save("kmeans", TREE, {"done": 1})
    check_entry(Journal(folder, IDENTITY, overwrite=True).load("kmeans"))
    assert Journal(folder, IDENTITY | {"seed": 1}, overwrite=True).load("kmeans") is None


def test_entries_of_nobody_are_thrown_away(folder):
    Journal(folder, IDENTITY).save("kmeans", TREE, {"done": 1})
    (folder / journal.IDENTITY_FILE).unlink()
    assert Journal(folder, IDENTITY).load("kmeans") is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_damaged_identity(folder, content):
    Journal(folder, IDENTITY).save("kmeans", TREE, {"done": 1})
    (folder / journal.IDENTITY_FILE).write_text(content)
    with pytest.raises(ValueError, match="identity.json is damaged.*--overwrite"):
        Journal(folder, IDENTITY)
    assert Journal(folder, IDENTITY, overwrite=True).load("kmeans") is None
    assert json.loads((folder / journal.IDENTITY_FILE).read_text())["seed"] == 0


def damage(entry, how):
    if how == "other metadata":
        path = entry / "metadata.json"
        path.write_text(path.read_text().replace('"done": 1', '"done": 2'))
    elif how == "no metadata":
        (entry / "metadata.json").unlink()
    else:
        shutil.rmtree(entry / "arrays")


@pytest.mark.parametrize("how", ["other metadata", "no metadata", "no arrays"])
def test_a_damaged_entry_counts_as_none(folder, how):
    kept = Journal(folder, IDENTITY)
    kept.save("kmeans", TREE, {"done": 1})
    damage(folder / "kmeans", how)
    with pytest.warns(UserWarning, match="this part of the run starts anew"):
        assert kept.load("kmeans") is None
    kept.save("kmeans", TREE, {"done": 1})
    check_entry(kept.load("kmeans"))


def test_an_entry_of_another_structure_counts_as_none(folder):
    kept = Journal(folder, IDENTITY)
    kept.save("kmeans", TREE, {"done": 1})
    with pytest.warns(UserWarning, match="holds other arrays than expected"):
        assert kept.load("kmeans", {"labels": np.zeros(4)}) is None


def test_due_when_the_time_has_come(folder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    kept = Journal(folder, IDENTITY)
    assert not kept.is_due()
    now[0] += journal.SECONDS_BETWEEN_SAVES
    assert kept.is_due()
    kept.save("kmeans", TREE, {"done": 1})
    assert not kept.is_due()


def test_without_a_folder_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(journal, "SECONDS_BETWEEN_SAVES", 0)
    nothing = Journal(None, IDENTITY)
    nothing.save("kmeans", TREE, {"done": 1})
    assert nothing.load("kmeans") is None
    assert not nothing.is_due()
    nothing.remove()


def test_removed(folder):
    kept = Journal(folder, IDENTITY)
    kept.save("kmeans", TREE, {"done": 1})
    kept.remove()
    assert not folder.exists()
    assert folder.parent.exists()
