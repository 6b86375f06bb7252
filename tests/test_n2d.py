import sys

import numpy as np
import pytest
import scipy.sparse
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from dec_jax import n2d

pytestmark = pytest.mark.slow


def rings(n=300):
    """Two rings, one in the other: no two balls part them."""
    rng = np.random.default_rng(0)
    angle, inner = rng.uniform(0, 2 * np.pi, n), np.arange(n) < n // 2
    radius = np.where(inner, 1.0, 3.0) + rng.normal(0, 0.05, n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]).astype(np.float32), inner.astype(int)


def test_neighbors_are_the_nearest_samples_and_begin_with_oneself():
    z = np.random.default_rng(0).normal(size=(50, 3))
    z[7] = z[3]  # an equal sample may stand before oneself where all samples are searched
    indices, distances = n2d.neighbors(z, 5)
    every = np.linalg.norm(z[:, None] - z, axis=-1)
    np.testing.assert_array_equal(indices[:, 0], np.arange(50))
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :5], atol=1e-7)
    np.testing.assert_allclose(np.take_along_axis(every, indices, axis=1), distances, atol=1e-7)


def test_few_samples_are_all_neighbors():
    assert n2d.neighbors(rings(8)[0]).indices.shape == (8, 8)


@pytest.mark.long
def test_a_manifold_is_found_where_clusters_are_no_balls():
    z, y = rings()
    labels = n2d.n2d(z, 2)
    assert (labels.shape, labels.dtype) == ((300,), np.int32)
    assert adjusted_rand_score(y, labels) == 1


def test_a_seed_fixes_the_partition():
    z = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)  # which no partition suits best
    labels = n2d.n2d(z, 4, seed=3)
    np.testing.assert_array_equal(n2d.n2d(z, 4, seed=3), labels)
    assert adjusted_rand_score(n2d.n2d(z, 4, seed=4), labels) < 1


def test_the_best_of_many_mixtures_is_nearer_the_truth_than_one():
    rng, y = np.random.default_rng(0), np.repeat(np.arange(8), 60)
    stripes = np.column_stack([rng.uniform(0, 4, len(y)), 2 * y + rng.normal(0, 0.1, len(y))])
    near = n2d.neighbors(stripes)
    one, many = (
        [adjusted_rand_score(y, n2d.mixture(stripes, near, 8, n_restarts=n, seed=s)) for s in (1, 2)] for n in (1, 20)
    )
    assert min(many) > max(one) + 0.05


def test_of_many_mixtures_the_one_that_keeps_neighbors_together_counts(monkeypatch):
    z, y = rings()
    halves = (z[:, 0] > 0).astype(int)
    found = iter([halves, y, np.zeros_like(y)])
    monkeypatch.setattr(n2d, "_mixture", lambda *_: next(found))
    np.testing.assert_array_equal(n2d.mixture(z, n2d.neighbors(z), 2, n_restarts=3), y)


def test_no_more_mixtures_are_fitted_once_many_in_turn_are_not_better(monkeypatch):
    z, y = rings()
    halves, fitted = (z[:, 0] > 0).astype(int), []
    monkeypatch.setattr(n2d, "PATIENCE", 3)
    monkeypatch.setattr(n2d, "_mixture", lambda *_: fitted.append(1) or (y if len(fitted) == 3 else halves))
    np.testing.assert_array_equal(n2d.mixture(z, n2d.neighbors(z), 2), y)
    assert len(fitted) == 6


def test_samples_can_be_sparse_and_compared_by_the_cosine():
    rng, y = np.random.default_rng(0), np.repeat(np.arange(3), 40)
    x = np.eye(3)[y].repeat(4, axis=1) * (rng.random((120, 12)) < 0.7) * rng.uniform(1, 5, (120, 1))
    labels = n2d.n2d(scipy.sparse.csr_array(x), 3, metric="cosine")
    assert adjusted_rand_score(y, labels) > 0.95


def test_a_mixture_is_fitted_to_some_samples_and_parts_all(monkeypatch):
    monkeypatch.setattr(n2d, "FITTED_TO", 40)
    z, y = rings()
    near = n2d.neighbors(z)
    assert adjusted_rand_score(y, n2d.mixture(n2d.layout(z, 2, near), near, 2)) == 1


def test_digits_lie_on_manifolds_rather_than_in_balls():
    z, y = load_digits(return_X_y=True)
    balls = KMeans(10, n_init=5, random_state=0).fit_predict(z)
    assert adjusted_rand_score(y, n2d.n2d(z, 10)) > adjusted_rand_score(y, balls) + 0.05


def test_equal_samples_are_no_obstacle():
    z = np.repeat(rings(30)[0], 4, axis=0)
    assert set(n2d.n2d(z, 3)) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((rings()[0], 1), {}, "n_clusters must be between 2 and 299"),
        ((rings()[0], 300), {}, "n_clusters must be between 2 and 299"),
        ((np.full((9, 2), np.nan), 2), {}, "z "),
        ((rings()[0], 2), {"seed": -1}, "seed must be"),
    ],
)
def test_bad_input_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        n2d.n2d(*arguments, **options)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (n2d.neighbors, {"n_neighbors": 1}, "n_neighbors must be at least 2, got 1"),
        (n2d.layout, {"n_dimensions": 0, "near": n2d.neighbors(rings(9)[0])}, "n_dimensions must be at least 1, got 0"),
        (
            n2d.mixture,
            {"n_clusters": 10, "near": n2d.neighbors(rings(9)[0])},
            r"n_clusters must be between 1 and 9 \(the number of samples\), got 10",
        ),
        (
            n2d.mixture,
            {"n_clusters": 2, "n_restarts": 0, "near": n2d.neighbors(rings(9)[0])},
            "n_restarts must be at least 1, got 0",
        ),
    ],
)
def test_the_parts_refuse_bad_input_too(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(rings(9)[0], **arguments)


def test_without_umap_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r'pip install "dec_jax\[n2d\]"'):
        n2d.n2d(rings()[0], 2)
