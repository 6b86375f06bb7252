import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from benchmarks import frontier, frontier_picture, frontier_worker
from dec_jax import metrics

pytestmark = pytest.mark.slow

X = np.repeat(np.eye(3), 10, axis=0) * 9 + np.linspace(0, 1, 30)[:, None]
Y = np.repeat([0, 1, 2], 10)


@pytest.fixture
def samples(tmp_path):
    np.savez(tmp_path / "three.npz", x=X, y=Y)
    return f"{tmp_path / 'three.npz'},k=3"


@pytest.fixture
def answers(monkeypatch):
    """Takes the place of the processes: method → the labels that it finds."""
    found = {"kmeans": Y, "auto": np.roll(Y, 3)}
    asked = []

    def ask(contest, method, seed):
        asked.append((method, seed))
        if method not in found:
            raise subprocess.CalledProcessError(1, method, stderr="Traceback\nValueError: no such thing")
        return {method: {"seconds": seed + 1.0, "labels": found[method].tolist()}}

    monkeypatch.setattr(frontier, "ask", ask)
    return asked


def test_figures_are_means_over_seeds_and_what_was_measured_is_kept(samples, answers, tmp_path, capsys):
    words = ["--data", samples, "--methods", "kmeans", "auto", "--folder", str(tmp_path / "found"), "--seeds"]
    assert frontier.main([*words, "1"]) == 0
    assert frontier.main([*words, "3", "--out", str(tmp_path / "out.json")]) == 0
    assert answers == [("kmeans", 0), ("auto", 0), ("kmeans", 1), ("auto", 1), ("kmeans", 2), ("auto", 2)]
    kmeans, auto = json.loads((tmp_path / "out.json").read_text())
    assert kmeans["seconds"] == {"mean": 2.0, "deviation": 1.0, "values": [1.0, 2.0, 3.0]}
    assert kmeans["acc"] == {"mean": 1.0, "deviation": 0.0, "values": [1.0, 1.0, 1.0]}
    assert auto["acc"]["mean"] == pytest.approx(0.7)
    assert frontier.cells(kmeans)[:5] == ["three", "kmeans", "3", "2.0", "1.0000 ± 0.0000"]
    assert "three" in capsys.readouterr().out


@pytest.mark.parametrize("changed", ["k", "samples", "labels"])
def test_what_was_measured_of_something_else_is_measured_again(changed, samples, answers, tmp_path, capsys):
    words = ["--methods", "kmeans", "--seeds", "1", "--folder", str(tmp_path / "found"), "--data"]
    assert frontier.main([*words, samples]) == 0
    if changed != "k":
        x, y = (X + 1, Y) if changed == "samples" else (X, Y[::-1])
        np.savez(tmp_path / "three.npz", x=x, y=y)
    assert frontier.main([*words, samples.replace("k=3", "k=4") if changed == "k" else samples]) == 0
    assert answers == [("kmeans", 0)] * 2
    assert "is of other samples, labels or another k: measured again" in capsys.readouterr().err


def test_a_worker_computes_where_its_parent_does(monkeypatch):
    assert frontier._platform() == {}
    chosen = SimpleNamespace(config=SimpleNamespace(jax_default_device=SimpleNamespace(platform="gpu")))
    monkeypatch.setattr(frontier, "jax", chosen)
    assert frontier._platform() == {"JAX_PLATFORMS": "cuda"}


def test_a_method_that_fails_is_named_and_the_others_are_measured(samples, answers, tmp_path, capsys):
    words = ["--data", samples, "--methods", "umap", "kmeans", "--folder", str(tmp_path / "found"), "--seeds", "1"]
    assert frontier.main(words) == 2
    assert "umap on three, seed 0 was not measured: ValueError: no such thing" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "found").iterdir()] == ["three-kmeans-seed0.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda word: word.removesuffix(",k=3"), "must say how many clusters to look for"),
        (lambda word: f"{word},size=3", "unknown part of --data 'size'"),
        (lambda word: f"{word},shape=2x2", "image_shape"),
        (lambda word: "gone.npz,k=3", "gone.npz"),
    ],
    ids=["no k", "unknown", "shape", "gone"],
)
def test_data_that_cannot_be_measured_are_refused_in_one_line(samples, change, message, error_line):
    assert frontier.main(["--data", change(samples), "--seeds", "1"]) == 2
    assert message in error_line()


def test_the_front_holds_what_no_quicker_method_equals():
    figures = [(1, 0.5), (2, 0.4), (3, 0.7), (4, 0.7), (5, 0.9)]
    records = [{"seconds": {"mean": seconds}, "nmi": {"mean": nmi}} for seconds, nmi in figures]
    assert frontier_picture.front(records, "nmi") == [records[0], records[2], records[4]]


@pytest.mark.parametrize("convert", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_a_worker_reads_samples_and_sees_no_label(convert, tmp_path):
    contest = frontier.Contest(SimpleNamespace(x=convert(X), image_shape=None, y=Y), 3)
    rows = frontier.ask(contest, "kmeans", 0)
    assert list(rows) == ["k-means"]
    assert rows["k-means"]["seconds"] > 0
    assert metrics.accuracy(Y, np.asarray(rows["k-means"]["labels"])) == 1


def test_unit_rows_and_sparse_samples_are_directions():
    assert frontier_worker.has_directions(X / np.linalg.norm(X, axis=1, keepdims=True))
    assert frontier_worker.has_directions(scipy.sparse.csr_array(X))
    assert not frontier_worker.has_directions(X)
