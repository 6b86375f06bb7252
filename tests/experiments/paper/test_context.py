import dataclasses

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from dec_jax import metrics, networks, pretraining
from dec_jax.runner import runs
from dec_jax.runner.presets import config_of
from experiments.paper import context, scores
from experiments.paper.context import Context, Unavailable

pytestmark = pytest.mark.slow


def test_a_part_is_drawn_at_laptop_scale_and_all_of_it_at_the_others(tiny):
    part, whole = tiny.load("digits"), tiny.load("digits", whole=True)
    assert part.x.shape == (150, 64)
    assert whole.x.shape == (1797, 64)
    for scale in ("fast", "full"):
        assert dataclasses.replace(tiny, scale=scale).load("digits").x.shape == (1797, 64)
    rows = [np.flatnonzero((whole.x == row).all(axis=1))[0] for row in part.x]
    assert len(set(rows)) == 150
    np.testing.assert_array_equal(whole.y[rows], part.y)
    np.testing.assert_array_equal(part.x, tiny.load("digits").x)


def test_scaled_samples_have_unit_mean_square(tiny):
    assert np.mean(np.square(tiny.scaled("digits"))) == pytest.approx(1, rel=1e-5)


def test_settings_of_the_scales(tiny):
    laptop = tiny.config("digits", 3, {"clustering.tolerance": 0.5})
    assert (laptop.preset, laptop.seed, laptop.clustering.tolerance) == ("fast", 3, 0.5)
    assert laptop.network.hidden == (16,)
    fast = dataclasses.replace(tiny, scale="fast").config("digits")
    assert (fast.preset, fast.network) == ("fast", config_of("fast").network)
    full = dataclasses.replace(tiny, scale="full").config("digits")
    assert (full.preset, full.pretraining) == ("paper", config_of("paper").pretraining)


def test_the_released_interval_is_that_of_full_scale(tiny):
    digits = tiny.load("digits")
    for scale, interval in (("full", 160), ("fast", 20)):
        changed = dataclasses.replace(tiny, scale=scale)
        assert changed.config("mnist", dataset=digits).clustering.update_interval == interval


def test_a_run_is_trained_once_and_equals_a_trial_of_its_own(tiny, monkeypatch):
    config = tiny.config("digits")
    first = tiny.run(config)
    monkeypatch.setattr(runs, "run", lambda *_: pytest.fail("trained again"))
    again = tiny.run(config)
    np.testing.assert_array_equal(first.q, again.q)
    assert again.q.shape == (150, 10)
    assert again.z.shape == (150, 10)
    assert first.result["final"]["acc"] == pytest.approx(metrics.accuracy(tiny.load("digits").y, first.labels))
    assert {row["phase"] for row in first.history} == {"fine-tuning", "clustering"}
    assert not (first.folder / "unfinished").exists()


def test_pretraining_is_shared(tiny, monkeypatch):
    model, params, x = tiny.pretrained(tiny.config("digits"))
    monkeypatch.setattr(pretraining, "run", lambda *_, **__: pytest.fail("pretrained again"))
    run = tiny.run(tiny.config("digits", changes={"clustering.max_steps": 10}))
    frozen = tiny.run(tiny.config("digits", changes={"clustering.train_encoder": False}))
    np.testing.assert_allclose(frozen.z, networks.embed(model, params, x), atol=1e-6)
    assert run.result["seconds"]["pretraining"] > 0
    assert [row["phase"] for row in frozen.history].count("fine-tuning") >= 1


def test_what_is_remembered_is_computed_once(tiny, monkeypatch):
    calls = []

    def compute():
        calls.append(1)
        return np.arange(3, dtype=np.int32), {"modularity": 0.1 + 0.2}

    for _ in range(2):
        labels, more = tiny.remember(compute, method="sec", value=0.1)
        np.testing.assert_array_equal(labels, np.arange(3))
        assert more == {"modularity": 0.1 + 0.2}
    assert len(calls) == 1
    tiny.remember(compute, method="sec", value=np.nextafter(0.1, 1))
    assert len(calls) == 2
    monkeypatch.setattr(context, "versions", lambda: {"jax": "another"})
    tiny.remember(compute, method="sec", value=0.1)
    assert len(calls) == 3


def test_other_labels_of_the_same_samples_are_scored_anew(tiny, monkeypatch):
    config = tiny.config("digits")
    first = tiny.run(config)
    monkeypatch.setattr(runs, "run", lambda *_: pytest.fail("trained again"))
    dataset = tiny.load("digits")
    shuffled = dataclasses.replace(dataset, y=np.random.default_rng(0).permutation(dataset.y))
    again = tiny.run(config, shuffled)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert again.result["final"]["acc"] == metrics.accuracy(shuffled.y, first.labels)
    for method in ("kmeans", "autoencoder_kmeans", "final"):
        assert again.result[method]["acc"] < first.result[method]["acc"]
        assert again.result[method]["cluster_sizes"] == first.result[method]["cluster_sizes"]


@pytest.mark.parametrize("method", ["kmeans", "pca_kmeans"])
def test_a_baseline_is_scored_by_the_labels_of_today(tiny, method):
    x, y = tiny.scaled("digits"), tiny.load("digits").y
    shuffled = np.random.default_rng(0).permutation(y)
    before, after = (scores.of_baseline(tiny, method, lambda _: x, labels, 10).values for labels in (y, shuffled))
    fresh = scores.of_baseline(dataclasses.replace(tiny, out=tiny.out / "fresh"), method, lambda _: x, shuffled, 10)
    assert after == fresh.values
    assert max(after) < min(before)


def test_a_table_says_which_code_has_computed_its_figures(tiny, monkeypatch):
    def compute():
        return np.zeros(3, np.int32), {}

    with monkeypatch.context() as patch:
        patch.setattr(context, "git_commit", lambda: "older")
        tiny.remember(compute, method="a")
    tiny.commits.clear()
    monkeypatch.setattr(context, "git_commit", lambda: "today")
    assert "commit today;" in tiny.provenance()  # nothing that is shown was computed before
    tiny.remember(compute, method="a")
    assert "commit older;" in tiny.provenance()
    monkeypatch.setattr(context, "git_commit", lambda: "newer")
    tiny.remember(compute, method="b")
    assert "commit newer, older;" in tiny.provenance()


def test_data_that_cannot_be_had(tiny, monkeypatch, tmp_path):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    changed = dataclasses.replace(tiny, data_dir=str(tmp_path))
    with pytest.raises(Unavailable, match="mnist: .*tensorflow"):
        changed.load("mnist")


def test_files_of_the_users_own(tiny, tmp_path):
    np.save(tmp_path / "x.npy", load_digits().data[:60])
    np.save(tmp_path / "y.npy", load_digits().target[:60])
    changed = dataclasses.replace(tiny, labels=str(tmp_path / "y.npy"), n_clusters=7)
    assert changed.config(str(tmp_path / "x.npy")).clustering.n_clusters == 7
    with pytest.raises(ValueError, match="must have classes for scoring"):
        tiny.load(str(tmp_path / "x.npy"))


def test_bad_contexts(tmp_path):
    with pytest.raises(ValueError, match="scale"):
        Context(tmp_path, scale="huge")
    with pytest.raises(ValueError, match="at least one seed"):
        Context(tmp_path, seeds=())


def test_provenance_says_what_was_run(tiny):
    text = tiny.provenance()
    assert "at most 150 samples" in text
    assert "fine_tuning_steps=40" in text
    assert "seeds 0, 1" in text
    assert jax.devices()[0].device_kind in text


def test_a_data_set_that_cannot_be_had_does_not_stop_the_others(tiny):
    made = []

    def make(context, name):
        if name == "mnist":
            raise Unavailable("mnist: ask somebody")
        made.append(name)

    with pytest.raises(Unavailable, match="^mnist: ask somebody$"):
        dataclasses.replace(tiny, names=("mnist", "digits")).each(("stl10-hog",), make)
    dataclasses.replace(tiny, names=()).each(("stl10-hog",), make)
    assert made == ["digits", "stl10-hog"]
