import numpy as np
import pytest

from dec_jax.runner import plane
from dec_jax.runner.plane import lay_out

N, K = 60, 4
RANDOM = np.random.default_rng(0)
LABELS = np.arange(N) % K


def embedding(n_dimensions):
    return RANDOM.normal(size=(N, n_dimensions)) + 5 * RANDOM.normal(size=(K, n_dimensions))[LABELS]


def test_two_dimensions_stay_as_they_are():
    z = embedding(2)
    found = lay_out(z, LABELS, centroids=z[:K])
    assert sorted(found.rows) == list(range(N))
    np.testing.assert_array_equal(found.points, z[found.rows])
    np.testing.assert_array_equal(found.centres, z[:K])


def test_the_same_arguments_give_the_same_plane():
    z = embedding(5)
    a, b = lay_out(z, LABELS, seed=3), lay_out(z, LABELS, seed=3)
    np.testing.assert_array_equal(a.rows, b.rows)
    np.testing.assert_array_equal(a.points, b.points)


@pytest.mark.parametrize("size", [1, 4, 5, 8])
def test_a_thinned_plane_keeps_every_cluster(size):
    labels = np.zeros(1000, int)
    labels[-3 * size :] = np.repeat([7, 8, 9], size)
    found = lay_out(np.arange(2000.0).reshape(1000, 2), labels, max_samples=30)
    counts = {label: int((labels[found.rows] == label).sum()) for label in (0, 7, 8, 9)}
    assert len(set(found.rows.tolist())) == len(found.rows) == 30
    assert all(counts[label] >= min(size, plane.SURE) for label in (7, 8, 9))
    assert sum(counts.values()) == 30


def test_samples_beyond_those_of_the_layout_lie_among_their_neighbours(monkeypatch):
    monkeypatch.setattr(plane, "MAX_LAID_OUT", 40)
    z = embedding(5)
    found = lay_out(z, LABELS)
    known, rest = found.rows[:40], found.rows[40:]
    for row, point in zip(rest, found.points[40:], strict=True):
        nearest = np.argsort(np.linalg.norm(z[known] - z[row], axis=1))[: plane.N_NEIGHBORS]
        low, high = found.points[nearest].min(axis=0), found.points[nearest].max(axis=0)
        assert (low - 1e-4 <= point).all()
        assert (point <= high + 1e-4).all()


@pytest.mark.parametrize(
    ("z", "labels", "message"),
    [
        (np.full((N, 2), np.nan), LABELS, "z must be a finite matrix"),
        (np.zeros(N), LABELS, "z must be a finite matrix"),
        (np.zeros((N, 2)), LABELS[1:], "labels must hold one label per sample"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(z, labels, message):
    with pytest.raises(ValueError, match=message):
        lay_out(z, labels)
