import csv
import dataclasses

import numpy as np
import pytest

from dec_jax import metrics
from experiments import baselines, spectral
from experiments.paper import accuracy, autoencoder, datasets, published, scores
from experiments.paper.context import Unavailable

pytestmark = pytest.mark.slow


def rows(context, name):
    with open(context.out / f"{name}.csv", newline="") as file:
        return {(row["row"], row["column"]): row for row in csv.DictReader(file)}


@pytest.fixture
def few_values(monkeypatch):
    monkeypatch.setattr(spectral, "SEC_VALUES", (1e-2, 1.0))
    monkeypatch.setattr(spectral, "LDMGI_VALUES", (1e-2, 1.0))


def test_data_sets(tiny, monkeypatch):
    def load(self, name, *, whole=False):
        if name == "mnist":
            raise Unavailable("mnist: ask somebody")
        return original(self, name, whole=whole)

    original = type(tiny).load
    monkeypatch.setattr(type(tiny), "load", load)
    datasets.run(dataclasses.replace(tiny, names=("digits", "mnist")))
    found = rows(tiny, "datasets")
    cells = [found["digits", column]["text"] for column in datasets.COLUMNS]
    assert cells == ["1,797", "64", "10", "10 %", "1.00"]
    assert found["mnist", "samples"]["text"] == "– (published 70,000)"
    assert found["mnist", "‖x‖²/d"]["text"] == "mnist: ask somebody"


@pytest.mark.usefixtures("few_values")
def test_accuracy_of_all_methods(tiny, monkeypatch):
    monkeypatch.setitem(published.ACCURACY["DEC"], "digits", 99.0)
    accuracy.run(tiny)
    found = rows(tiny, "accuracy")
    assert [row for row, _ in found] == [
        "k-means",
        "LDMGI",
        "LDMGI, value chosen by modularity",
        "SEC",
        "SEC, value chosen by modularity",
        "spectral clustering",
        "Gaussian mixture",
        "PCA + k-means",
        "DEC without back-propagation",
        "DEC",
    ]
    y, x = tiny.load("digits").y, tiny.scaled("digits")
    for seed in (0, 1):
        expected = 100 * metrics.accuracy(y, baselines.pca_kmeans(x, 10, seed=seed))
        assert float(found["PCA + k-means", "digits"][f"seed {seed}"]) == pytest.approx(expected)
        swept = [100 * metrics.accuracy(y, spectral.sec(x, 10, mu, seed=seed)) for mu in (1e-2, 1.0)]
        assert float(found["SEC", "digits"][f"seed {seed}"]) == pytest.approx(max(swept))
        frozen = tiny.run(tiny.config("digits", seed, {"clustering.train_encoder": False})).result["final"]["acc"]
        assert float(found["DEC without back-propagation", "digits"][f"seed {seed}"]) == pytest.approx(100 * frozen)
    assert found["DEC", "digits"]["published"] == "99.0"


@pytest.mark.usefixtures("few_values")
def test_a_table_that_was_made_is_not_computed_again(tiny, monkeypatch):
    accuracy.run(tiny)
    first = (tiny.out / "accuracy.csv").read_bytes()
    monkeypatch.setattr(spectral, "solver", lambda *_, **__: pytest.fail("computed again"))
    accuracy.run(tiny)
    assert (tiny.out / "accuracy.csv").read_bytes() == first


@pytest.mark.usefixtures("few_values")
def test_nine_values_that_were_stopped_go_on_with_the_next(tiny, monkeypatch):
    def counted(*arguments, **options):
        solve = solver(*arguments, **options)

        def solve_once(value):
            solved.append(value)
            if len(solved) == 2:
                raise KeyboardInterrupt
            return solve(value)

        return solve_once

    solver, solved = spectral.solver, []
    monkeypatch.setattr(spectral, "solver", counted)
    y, x = tiny.load("digits").y, tiny.scaled("digits")
    with pytest.raises(KeyboardInterrupt):
        scores.nine_values(tiny, "sec", lambda _: x, y, 10, 0)
    found = scores.nine_values(tiny, "sec", lambda _: x, y, 10, 0)
    assert solved == [1e-2, 1.0, 1.0]
    swept = spectral.sweep("sec", x, 10)
    assert found["acc"] == pytest.approx([metrics.accuracy(y, labels) for labels in swept.labels])
    assert found["modularity"] == pytest.approx(swept.modularity)
    assert found["chosen"] == swept.chosen


@pytest.mark.usefixtures("few_values")
def test_methods_on_the_embedding(tiny):
    autoencoder.run(tiny)
    found = rows(tiny, "autoencoder")
    frozen = tiny.run(tiny.config("digits", changes={"clustering.train_encoder": False}))
    y = tiny.load("digits").y
    swept = [100 * metrics.accuracy(y, spectral.ldmgi(frozen.z, 10, lam, seed=0)) for lam in (1e-2, 1.0)]
    assert float(found["AE + LDMGI", "digits"]["seed 0"]) == pytest.approx(max(swept))
    expected = 100 * frozen.result["autoencoder_kmeans"]["acc"]
    assert float(found["AE + k-means", "digits"]["seed 0"]) == pytest.approx(expected)


@pytest.mark.parametrize("target", [accuracy, autoencoder])
def test_data_that_cannot_be_had_leave_their_column_empty(tiny, monkeypatch, target):
    def load(*_, **__):
        raise Unavailable("mnist: ask somebody")

    monkeypatch.setattr(type(tiny), "load", load)
    target.run(dataclasses.replace(tiny, names=("mnist",)))
    name = target.__name__.rpartition(".")[2]
    found = rows(tiny, name)
    assert {row["text"] for row in found.values()} == {"mnist: ask somebody"}
    assert found["DEC", "mnist"]["published"] == "84.3"
    assert (tiny.out / f"{name}.md").read_text().count("ask somebody") == 1


def test_too_little_memory_leaves_the_cell_empty(tiny, monkeypatch):
    monkeypatch.setattr(scores, "memory_limit", lambda _: 1000)
    y, x = tiny.load("digits").y, tiny.scaled("digits")
    best, chosen = scores.of_sweep(tiny, "sec", lambda _: x, y, 10, 80.0)
    assert (best.values, best.published) == ((), 80.0)
    assert "sec on 150 × 64 needs about" in best.note
    assert chosen.note == best.note
    assert scores.of_baseline(tiny, "gaussian_mixture", lambda _: x, y, 10).values == ()


def test_published_figures_are_those_of_the_paper():
    assert published.ACCURACY["DEC"] == {"mnist": 84.3, "stl10-hog": 35.9, "reuters10k": 72.17, "reuters": 75.63}
    assert np.diff([figures[0.9] for figures in published.IMBALANCE.values()]).min() > 0
