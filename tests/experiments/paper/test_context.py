import dataclasses

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from dec_jax import clustering, metrics, pretraining
from experiments import trial
from experiments.paper.context import Context, Unavailable
from experiments.presets import PRESETS


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
    laptop = tiny.settings("digits", 3, tolerance=0.5)
    assert (laptop.preset, laptop.seed, laptop.tolerance, laptop.hidden) == ("fast", 3, 0.5, (16,))
    fast = dataclasses.replace(tiny, scale="fast").settings("digits")
    assert (fast.preset, fast.hidden) == ("fast", (500, 500, 2000))
    assert vars(fast).items() >= PRESETS["fast"].items()
    full = dataclasses.replace(tiny, scale="full").settings("digits")
    assert (full.preset, full.layer_wise_steps, full.fine_tuning_steps) == ("paper", 50_000, 100_000)


def test_a_run_is_trained_once_and_equals_a_trial_of_its_own(tiny, monkeypatch):
    settings = tiny.settings("digits")
    first = tiny.run(settings)
    monkeypatch.setattr(trial, "run", lambda *_: pytest.fail("trained again"))
    again = tiny.run(settings)
    np.testing.assert_array_equal(first.q, again.q)
    assert again.q.shape == (150, 10)
    assert again.z.shape == (150, 10)
    assert first.result["final"]["acc"] == pytest.approx(metrics.accuracy(tiny.load("digits").y, first.labels))
    assert {row["phase"] for row in first.history} == {"fine-tuning", "clustering"}
    assert not (first.folder / "unfinished").exists()


def test_pretraining_is_shared(tiny, monkeypatch):
    model, params, x = tiny.pretrained(tiny.settings("digits"))
    monkeypatch.setattr(pretraining, "pretrain", lambda *_, **__: pytest.fail("pretrained again"))
    run = tiny.run(tiny.settings("digits", max_steps=10))
    frozen = tiny.run(tiny.settings("digits", train_encoder=False))
    np.testing.assert_array_equal(frozen.z, np.asarray(clustering.embed(model, params, x)))
    assert run.result["seconds"]["pretraining"] > 0
    assert [row["phase"] for row in frozen.history].count("fine-tuning") >= 1


def test_what_is_remembered_is_computed_once(tiny):
    calls = []
    for _ in range(2):
        assert tiny.remember("a", lambda: calls.append(1) or [1.5, None]) == [1.5, None]
    assert tiny.remember("b", lambda: 2) == 2
    assert len(calls) == 1


def test_data_that_cannot_be_had(tiny, monkeypatch, tmp_path):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    context = dataclasses.replace(tiny, data_dir=str(tmp_path))
    with pytest.raises(Unavailable, match="mnist: .*tensorflow"):
        context.load("mnist")


def test_files_of_the_users_own(tiny, tmp_path):
    np.save(tmp_path / "x.npy", load_digits().data[:60])
    np.save(tmp_path / "y.npy", load_digits().target[:60])
    context = dataclasses.replace(tiny, labels=str(tmp_path / "y.npy"), n_clusters=7)
    assert context.settings(str(tmp_path / "x.npy")).n_clusters == 7
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
