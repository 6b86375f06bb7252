import csv
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pandas import DataFrame

from dec_jax import losses, metrics, networks
from experiments import spectral
from experiments.paper import clusters, gradient, imbalance, lambdas, scores, top
from experiments.paper.context import Unavailable

pytestmark = pytest.mark.long

SCORES = ("nmi", "acc", *clusters.CRITERIA)


def rows(context, name):
    with open(context.out / f"{name}.csv", newline="") as file:
        return {(row["row"], row["column"]): row for row in csv.DictReader(file)}


def check_picture(context, name):
    assert (context.out / f"{name}.png").stat().st_size > 3000
    assert (context.out / f"{name}.svg").read_text().startswith("<?xml")
    assert "Scale laptop" in (context.out / f"{name}.md").read_text()


def test_lambdas(tiny, monkeypatch):
    monkeypatch.setattr(lambdas, "INTERVALS", (5, 10))
    monkeypatch.setattr(spectral, "SEC_VALUES", (1e-2, 1.0))
    monkeypatch.setattr(spectral, "LDMGI_VALUES", (1e-2, 1.0))
    lambdas.run(dataclasses.replace(tiny, seeds=(1,)))
    found = rows(tiny, "lambda-digits-values")
    assert list(dict.fromkeys(row for row, _ in found)) == [
        "DEC, λ = 5", "DEC, λ = 10", "LDMGI, λ = 0.01", "LDMGI, λ = 1", "SEC, μ = 0.01", "SEC, μ = 1",
    ]  # fmt: skip
    result = tiny.run(tiny.config("digits", 1, {"clustering.update_interval": 5}))
    assert float(found["DEC, λ = 5", "NMI"]["seed 1"]) == pytest.approx(100 * result.result["final"]["nmi"])
    labels = spectral.sec(tiny.scaled("digits"), 10, 1.0, seed=1)
    expected = 100 * metrics.accuracy(tiny.load("digits").y, labels)
    assert float(found["SEC, μ = 1", "ACC"]["seed 1"]) == pytest.approx(expected)
    check_picture(tiny, "lambda-digits")


def test_lambdas_without_the_memory_for_the_baselines(tiny, monkeypatch):
    def nine_values(*_):
        raise Unavailable("too small")

    monkeypatch.setattr(lambdas, "INTERVALS", (5, 10))
    monkeypatch.setattr(scores, "nine_values", nine_values)
    lambdas.run(dataclasses.replace(tiny, seeds=(1,)))
    assert {row for row, _ in rows(tiny, "lambda-digits-values")} == {"DEC, λ = 5", "DEC, λ = 10"}
    assert "SEC is left out: too small" in tiny.console.file.getvalue()


def test_classes_are_thinned_out(tiny):
    whole = tiny.load("digits", whole=True)
    thin = imbalance.thin_out(whole, 0.1, seed=0)
    kept = np.bincount(thin.y) / np.bincount(whole.y)
    np.testing.assert_allclose(kept, np.linspace(0.1, 1, 10), atol=0.12)
    assert kept[9] == 1
    assert kept[0] < 0.2
    assert len(imbalance.thin_out(whole, 1, seed=0).y) == len(whole.y)
    assert len(imbalance.thin_out(whole, 0.1, seed=1).y) != len(thin.y)
    with pytest.raises(ValueError, match="rate must be"):
        imbalance.thin_out(whole, 0, seed=0)


def test_imbalance(tiny, monkeypatch):
    monkeypatch.setattr(imbalance, "RATES", (0.1,))
    imbalance.run(dataclasses.replace(tiny, seeds=(1,)))
    found = rows(tiny, "imbalance-digits")
    assert len(found) == 3
    data = imbalance.thin_out(tiny.load("digits"), 0.1, 1)
    expected = 100 * tiny.run(tiny.config("digits", 1, dataset=data), data).result["final"]["acc"]
    assert float(found["DEC", "r_min 0.1"]["seed 1"]) == pytest.approx(expected)
    assert found["DEC", "r_min 0.1"]["published"] == ""


def test_number_of_clusters(tiny, monkeypatch):
    monkeypatch.setattr(clusters, "N_CLUSTERS", range(3, 6))
    clusters.run(tiny)
    found = rows(tiny, "clusters-digits-values")
    assert list(dict.fromkeys(row for row, _ in found)) == ["k = 3", "k = 4", "k = 5"]
    assert 0 < float(found["k = 3", "NMI"]["mean"]) < 100
    check_picture(tiny, "clusters-digits")
    first = (tiny.out / "clusters-digits-values.csv").read_bytes()
    monkeypatch.setattr(clusters, "train", lambda *_: pytest.fail("trained again"))
    clusters.run(tiny)
    assert (tiny.out / "clusters-digits-values.csv").read_bytes() == first
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        clusters.run(dataclasses.replace(tiny, seeds=(2,)))


def test_number_of_clusters_by_one_seed(tiny, monkeypatch):
    frame = DataFrame({"clustering.n_clusters": [3, 4], "seed": [0, 0]} | {key: [0.5, 0.25] for key in SCORES})
    monkeypatch.setattr(clusters, "_trials", lambda *_: frame)
    clusters.run(dataclasses.replace(tiny, seeds=(0,)))
    text = (tiny.out / "clusters-digits-values.md").read_text()
    assert "| k = 3 | 50.0 | 50.0 | 0.500 | 0.500 |" in text


def test_top_samples(tiny):
    top.run(tiny)
    check_picture(tiny, "top-digits")
    accuracy = 100 * tiny.run(tiny.config("digits", 0)).result["final"]["acc"]
    assert f"ACC {accuracy:.1f} %" in (tiny.out / "top-digits.md").read_text()


def test_magnitudes_are_those_of_the_closed_form():
    keys = jax.random.split(jax.random.key(0), 3)
    z, centroids = jax.random.normal(keys[0], (6, 2)), jax.random.normal(keys[1], (3, 2))
    q = losses.soft_assignment(z, centroids)
    p = losses.target_distribution(q)
    weight = (p - q) / (1 + jnp.sum((z[:, None] - centroids) ** 2, axis=-1))
    expected = 2 * jnp.sum(weight[..., None] * (z[:, None] - centroids), axis=1)
    found = gradient.magnitudes(z, centroids, p)
    np.testing.assert_allclose(found, np.linalg.norm(expected, axis=1), rtol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8), None])
def test_gradient(tiny, monkeypatch, shape):
    seen = []
    draw = gradient._draw
    monkeypatch.setattr(gradient, "_draw", lambda *arguments: seen.append(arguments) or draw(*arguments))
    dataset = dataclasses.replace(tiny.load("digits"), image_shape=shape)
    monkeypatch.setattr(type(tiny), "load", lambda *_, **__: dataset)
    gradient.run(tiny)
    check_picture(tiny, "gradient-digits")
    _, _, q, pull, own = seen[0]
    model, params, x = tiny.pretrained(tiny.config("digits"))
    frozen = tiny.run(tiny.config("digits", changes={"clustering.train_encoder": False}))
    np.testing.assert_allclose(np.asarray(networks.embed(model, params, x)), frozen.z, atol=1e-5)
    assert q.shape == pull.shape == (150,)
    sizes = frozen.result["autoencoder_kmeans"]["cluster_sizes"]
    assert own.sum() == max(sizes)
    assert q[own].min() > 0.1  # the largest of ten
