import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from dec_jax import neighbors
from dec_jax.neighbors import METRICS, metric_of, nearest
from dec_jax.samples import to_device


def distances(x, metric="euclidean"):
    """All pairs (n, n), float64, by a loop over the rows."""
    x = np.asarray(x, np.float64)
    if metric == "cosine":
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        x = x / np.where(norms > 0, norms, 1)
        return np.array([1 - x @ row for row in x])
    return np.array([np.linalg.norm(x - row, axis=1) for row in x])


def assert_nearest(found, every, n_neighbors, atol):
    n = len(every)
    every = every.copy()
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(n))
    assert all(len(set(row)) == n_neighbors for row in found.indices.tolist())
    measured = np.take_along_axis(every, found.indices, axis=1)
    np.testing.assert_allclose(found.distances[:, 1:], measured[:, 1:], atol=atol, rtol=1e-5)
    np.fill_diagonal(every, -1)
    np.testing.assert_allclose(found.distances[:, 1:], np.sort(every, axis=1)[:, 1:n_neighbors], atol=atol, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["dense", "sparse", "on the device", "sparse on the device"])
def test_neighbors_are_the_nearest_and_begin_with_oneself(kind, metric):
    rng = np.random.default_rng(0)
    x = (rng.random((300, 20)) * (rng.random((300, 20)) < 0.5)).astype(np.float32)
    x[7] = x[3]
    given = scipy.sparse.csr_array(x) if "sparse" in kind else x
    found = nearest(to_device(given) if "device" in kind else given, 6, metric=metric)
    assert (found.indices.dtype, found.distances.dtype) == (np.int32, np.float32)
    assert_nearest(found, distances(x, metric), 6, 1e-6)


def test_blocks_of_rows_and_columns_leave_no_sample_out(monkeypatch):
    x = np.random.default_rng(1).normal(size=(1003, 5))
    every = distances(x)
    monkeypatch.setattr(neighbors, "ROWS", 64)
    monkeypatch.setattr(neighbors, "BLOCK_BYTES", 4 * 64 * 300)
    neighbors._candidates.clear_cache()
    assert_nearest(nearest(x, 4), every, 4, 1e-6)
    neighbors._candidates.clear_cache()


def test_the_lowest_scores_of_groups_are_the_lowest_of_all():
    scores = np.random.default_rng(2).normal(size=(7, 640)).astype(np.float32)
    lowest, at = neighbors._lowest(jnp.asarray(scores), 9, 64)
    np.testing.assert_array_equal(lowest, np.sort(scores, axis=1)[:, :9])
    np.testing.assert_array_equal(np.take_along_axis(scores, np.asarray(at), axis=1), lowest)


def test_neighbors_far_from_the_origin_keep_their_digits():
    x = np.random.default_rng(3).integers(0, 50, (200, 3)) + 100_000.0  # exact in float32, and their squares are not
    assert_nearest(nearest(x, 5), distances(x), 5, 1e-6)


def test_samples_of_64_bits_far_from_the_origin_keep_their_digits():
    x = np.random.default_rng(3).integers(0, 50, (200, 3)) + 1e8  # not exact in float32
    assert_nearest(nearest(x, 5), distances(x - 1e8), 5, 1e-6)


def test_many_samples_are_projected_to_as_few_components_as_find_the_same_neighbors(monkeypatch):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(600, 12)) @ rng.normal(size=(12, 200)) + 0.01 * rng.normal(size=(600, 200))
    monkeypatch.setattr(neighbors, "PROJECTED_FROM", 0)
    monkeypatch.setattr(neighbors, "PROJECTIONS", (2, 16, 32))
    monkeypatch.setattr(neighbors.jax, "default_backend", lambda: "cpu")
    seen, _ = neighbors._seen(to_device(x), jnp.zeros(600), 10, 30)
    assert seen.shape == (600, 16)
    assert_nearest(nearest(x, 10), distances(x), 10, 1e-4)


def test_all_samples_can_be_neighbors():
    x = np.arange(8.0)[:, None]
    assert_nearest(nearest(x, 8), distances(x), 8, 1e-6)


def test_equal_samples_begin_with_themselves():
    found = nearest(np.repeat(np.eye(3), 20, axis=0), 10)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(60))
    np.testing.assert_array_equal(found.distances, 0)


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_a_row_of_zeros_has_cosine_distance_one(kind):
    x = np.random.default_rng(6).uniform(size=(40, 30)) * (np.random.default_rng(7).uniform(size=(40, 30)) < 0.1)
    x[[3, 20, 21]] = 0
    found = nearest(kind(x), 8, metric="cosine")
    assert_nearest(found, distances(x, "cosine"), 8, 1e-6)
    np.testing.assert_allclose(found.distances[3, 1:], 1, rtol=1e-6)


def test_many_rows_of_zeros_hide_no_neighbor():
    x = np.random.default_rng(6).uniform(size=(60, 80)) < 0.1  # whose cosines are small, and not 0
    x[:30] = False
    found = nearest(scipy.sparse.csr_array(x.astype(float)), 4, metric="cosine")
    assert (found.indices[30:] >= 30).all()


def test_samples_of_one_length_are_directions():
    x = np.random.default_rng(0).normal(size=(50, 4))
    assert metric_of(x) == "euclidean"
    assert metric_of(x / np.linalg.norm(x, axis=1, keepdims=True)) == "cosine"
    assert metric_of((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)) == "cosine"
    assert metric_of(scipy.sparse.csr_array(x)) == "cosine"


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e8])
def test_samples_far_from_the_origin_are_not_directions(offset):
    assert metric_of(np.random.default_rng(0).normal(size=(50, 4)) + offset) == "euclidean"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: nearest(x, 1), "n_neighbors must be between 2 and 9"),
        (lambda x: nearest(x, 10), r"between 2 and 9 \(the number of samples; .*\), got 10"),
        (lambda x: nearest(x, 3, metric="cosin"), "unknown metric 'cosin'; did you mean 'cosine'"),
        (lambda x: nearest(np.full((9, 2), np.nan), 3), "x must be finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0).normal(size=(9, 2)))
