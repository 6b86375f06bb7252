import numpy as np
import pytest
import scipy.sparse

from dec_jax.runner.webpage import features
from dec_jax.runner.webpage.features import contrast

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 50)
X = RANDOM.normal(size=(50, 4)) + LABELS[:, None] * [0, 1, 2, 3]


def expected(x, labels, cluster):
    inside, outside = x[labels == cluster], x[labels != cluster]
    spread = np.sqrt((inside.var(axis=0) + outside.var(axis=0)) / 2)
    return (inside.mean(axis=0) - outside.mean(axis=0)) / spread


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("values", [3, 28, 1000])
def test_it_is_cohens_d(monkeypatch, kind, values):
    monkeypatch.setattr(features, "VALUES_AT_A_TIME", values)
    found = contrast(kind(X), LABELS, 3)
    for cluster in range(3):
        np.testing.assert_allclose(found.difference[cluster], expected(X, LABELS, cluster))
        np.testing.assert_allclose(found.mean[cluster], X[cluster == LABELS].mean(axis=0))
        np.testing.assert_allclose(found.rest[cluster], X[cluster != LABELS].mean(axis=0))


def test_an_offset_does_not_eat_the_difference():
    found = contrast(X + 1e9, LABELS, 3)
    np.testing.assert_allclose(found.difference[1], expected(X, LABELS, 1), rtol=1e-5)


def test_integers_do_not_overflow():
    x = np.full((40, 1), 200, np.uint8)
    x[:20] = 100
    x[0] = 0
    labels = np.repeat([0, 1], 20)
    np.testing.assert_allclose(contrast(x, labels, 2).difference[0], expected(x.astype(float), labels, 0))


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.3, -1 / 3])
def test_rounding_sets_nothing_apart(value):
    x = np.full((999, 1), value)
    assert (contrast(x, np.arange(999) % 7, 7).difference == 0).all()


def test_what_does_not_vary_sets_nothing_apart():
    x = np.column_stack([np.ones(6), [0, 0, 0, 1, 1, 1]])
    found = contrast(x, np.repeat([0, 1], 3), 3).difference
    assert found[0].tolist() == [0, -np.inf]
    assert np.isnan(found[2]).all()  # it is empty
