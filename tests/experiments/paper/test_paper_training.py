import csv
import dataclasses

import numpy as np
import pytest

from experiments.paper import autoencoders, embedding, highdim

pytestmark = pytest.mark.long


def rows(context, name):
    with open(context.out / f"{name}.csv", newline="") as file:
        return {(row["row"], row["column"]): row for row in csv.DictReader(file)}


def check_picture(context, name):
    assert (context.out / f"{name}.png").stat().st_size > 3000
    assert (context.out / f"{name}.md").read_text().startswith(f"![{name}]")


@pytest.fixture
def one_seed(tiny):
    return dataclasses.replace(tiny, seeds=(1,))


def test_embedding_at_moments_of_the_trial(one_seed, monkeypatch):
    seen = []
    original = embedding.layouts
    monkeypatch.setattr(embedding, "layouts", lambda z: seen.append(z) or original(z))
    embedding.run(one_seed)
    check_picture(one_seed, "embedding-digits")
    trained = one_seed.run(one_seed.config("digits", 1))
    frozen = one_seed.run(one_seed.config("digits", 1, {"clustering.train_encoder": False}))
    z = seen[0]
    assert z.shape == (3, 150, 10)  # before the first update, and after two intervals
    np.testing.assert_allclose(z[0], frozen.z, atol=1e-5)
    np.testing.assert_allclose(z[-1], trained.z, atol=1e-5)
    text = (one_seed.out / "embedding-digits.svg").read_text()
    found = rows(one_seed, "embedding-digits-values")
    assert list(found) == [("0", "ACC"), ("10", "ACC"), ("20", "ACC")]
    for step, phase in ((0, "autoencoder_kmeans"), (20, "final")):
        accuracy = 100 * trained.result[phase]["acc"]
        assert f"step {step}: ACC {accuracy:.1f} %" in text
        assert float(found[f"{step}", "ACC"]["mean"]) == pytest.approx(accuracy)
    monkeypatch.setattr(embedding.clustering, "fit", lambda *_, **__: pytest.fail("trained again"))
    dataset = one_seed.load("digits")
    shuffled = dataclasses.replace(dataset, y=np.random.default_rng(0).permutation(dataset.y))
    monkeypatch.setattr(type(one_seed), "load", lambda *_, **__: shuffled)
    monkeypatch.setattr(embedding, "layouts", lambda z: z[..., :2])
    embedding.run(one_seed)
    assert float(rows(one_seed, "embedding-digits-values")["20", "ACC"]["mean"]) < accuracy  # of the labels of today


def test_layouts_of_equal_embeddings_are_equal():
    z = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    first, second, other = embedding.layouts(np.stack([z, z, z[::-1]]))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1


def test_autoencoders(one_seed):
    autoencoders.run(one_seed)
    for name in ("bottleneck-digits", "denoising-digits", "pretraining-digits"):
        check_picture(one_seed, name)
    found = rows(one_seed, "pretraining-digits-values")
    assert list(dict.fromkeys(row for row, _ in found)) == ["joint", "layer-wise, then joint"]
    joint = one_seed.run(one_seed.config("digits", 1, autoencoders.JOINT))
    loss = [float(row["loss"]) for row in joint.history if row["phase"] == "fine-tuning"][-1]
    assert found["joint", "reconstruction loss"]["text"] == f"{loss:.4g}"
    assert float(found["joint", "DEC"]["seed 1"]) == pytest.approx(100 * joint.result["final"]["acc"])
    assert found["layer-wise, then joint", "DEC"]["seed 1"] != ""


def test_samples_that_are_no_images_are_not_drawn(one_seed, monkeypatch):
    dataset = dataclasses.replace(one_seed.load("digits"), image_shape=None)
    monkeypatch.setattr(type(one_seed), "load", lambda *_, **__: dataset)
    autoencoders.run(one_seed)
    assert "no images" in one_seed.console.file.getvalue()
    assert not (one_seed.out / "bottleneck-digits.png").exists()
    check_picture(one_seed, "pretraining-digits")


def test_made_data_are_clusters_and_noise():
    dataset = highdim.made_data(500, 40, seed=0)
    assert dataset.x.shape == (500, 40)
    means = np.stack([dataset.x[dataset.y == label].mean(axis=0) for label in range(10)])
    assert np.ptp(means[:, :10], axis=0).min() > 1.5
    assert np.ptp(means[:, 10:], axis=0).max() < 1.2
    np.testing.assert_array_equal(dataset.x, highdim.made_data(500, 40, seed=0).x)


def test_distances_concentrate():
    low, high = (highdim.contrast(highdim.made_data(300, d, seed=0).x) for d in (10, 1000))
    assert low > 3 * high > 0
    assert highdim.contrast(np.array([[0.0], [1.0], [3.0]])) == pytest.approx((2 / 1 + 1 / 1 + 1 / 2) / 3)


def test_irrelevant_features(one_seed, monkeypatch):
    monkeypatch.setattr(highdim, "DIMENSIONS", (10, 20))
    monkeypatch.setattr(highdim, "N_SAMPLES", {"laptop": 150})
    less = {"network.hidden": (16,), "pretraining.fine_tuning_steps": 40, "clustering.max_steps": 20}
    monkeypatch.setattr(highdim, "CHANGES", highdim.CHANGES | less)
    highdim.run(one_seed)
    check_picture(one_seed, "highdim")
    found = rows(one_seed, "highdim-values")
    assert float(found["d = 10", "k-means"]["seed 1"]) > 60
    assert float(found["d = 20", "contrast"]["text"]) < float(found["d = 10", "contrast"]["text"])
