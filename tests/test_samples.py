import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from dec_jax.samples import SparseRows, batch_indices, map_rows, sum_rows, take_rows, to_device

DENSE = np.random.default_rng(0).normal(size=(23, 7)).astype(np.float32) * (
    np.random.default_rng(1).uniform(size=(23, 7)) < 0.4
)
DENSE[3] = 0  # a row without entries


@pytest.fixture(params=["dense", "csr", "coo", "csr with explicit zeros"])
def x(request):
    kinds = {"dense": np.asarray, "csr": scipy.sparse.csr_array, "coo": scipy.sparse.coo_array}
    if request.param in kinds:
        return to_device(kinds[request.param](DENSE))
    stored = scipy.sparse.csr_array(np.ones_like(DENSE))
    stored.data = DENSE.ravel().copy()
    return to_device(stored)


def test_rows_come_back(x):
    rows = np.array([3, 0, 22, 22, 5])
    np.testing.assert_array_equal(take_rows(x, jnp.asarray(rows)), DENSE[rows])
    np.testing.assert_array_equal(jax.jit(take_rows)(x, jnp.asarray(rows)), DENSE[rows])


def test_sparse_samples_stay_sparse():
    x = to_device(scipy.sparse.csr_array(DENSE))
    assert isinstance(x, SparseRows)
    assert x.shape == DENSE.shape
    assert x.values.shape == (np.count_nonzero(DENSE),)
    assert x.longest_row == np.count_nonzero(DENSE, axis=1).max()


def test_duplicate_entries_add_up():
    x = scipy.sparse.coo_array(([1.0, 2.0, 4.0], ([0, 0, 1], [2, 2, 0])), shape=(2, 3))
    np.testing.assert_array_equal(take_rows(to_device(x), jnp.arange(2)), [[0, 0, 3], [4, 0, 0]])


def test_integers_become_float32():
    assert to_device(np.arange(6, dtype=np.uint8).reshape(2, 3)).dtype == jnp.float32


@pytest.mark.parametrize("chunk_size", [1, 4, 22, 23, 100])
def test_map_and_sum_do_not_depend_on_the_chunk(x, chunk_size):
    mapped = map_rows(lambda rows: {"sum": rows.sum(axis=1), "twice": 2 * rows}, x, chunk_size)
    np.testing.assert_allclose(mapped["sum"], DENSE.sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(mapped["twice"], 2 * DENSE)
    np.testing.assert_allclose(sum_rows(lambda rows: rows.sum(axis=0), x, chunk_size), DENSE.sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize(("n", "batch", "steps"), [(10, 4, 25), (7, 7, 5), (100, 3, 1), (5, 2, 2)])
def test_every_sample_comes_once_an_epoch(n, batch, steps):
    stream = np.asarray(batch_indices(jax.random.key(0), jnp.int32(0), n, batch, steps)).ravel()
    for start in range(0, len(stream), n):
        epoch = stream[start : start + n]
        assert len(set(epoch.tolist())) == len(epoch)
        assert set(epoch.tolist()) <= set(range(n))
    if len(stream) >= 2 * n > 20:
        assert not np.array_equal(stream[:n], stream[n : 2 * n])


def test_stream_does_not_depend_on_where_it_is_cut():
    key = jax.random.key(3)
    whole = batch_indices(key, jnp.int32(0), 10, 4, 30)
    parts = [batch_indices(key, jnp.int32(start), 10, 4, 6) for start in range(0, 30, 6)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))
