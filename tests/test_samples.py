import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from dec_jax.samples import SparseRows, batch_rows, map_rows, sum_rows, take_rows, to_device

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


def test_rows_without_any_entry():
    x = to_device(scipy.sparse.csr_array((3, 6), dtype=np.float32))
    np.testing.assert_array_equal(take_rows(x, jnp.asarray([2, 0])), np.zeros((2, 6)))


def test_sparse_samples_stay_sparse():
    x = to_device(scipy.sparse.csr_array(DENSE))
    assert isinstance(x, SparseRows)
    assert x.shape == DENSE.shape
    assert x.values.shape == (np.count_nonzero(DENSE),)


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


def stream(key, n, batch, steps):
    """What the first steps draw, one after the other."""
    rows = jax.jit(lambda step: batch_rows(key, step, n, batch))
    return np.concatenate([rows(jnp.int32(step)) for step in range(steps)])


@pytest.mark.parametrize(("n", "batch", "steps"), [(10, 4, 25), (7, 7, 5), (100, 3, 1), (5, 2, 2), (3, 8, 4)])
def test_every_sample_comes_once_an_epoch(n, batch, steps):
    drawn = stream(jax.random.key(0), n, batch, steps)
    assert drawn.shape == (batch * steps,)
    for start in range(0, len(drawn), n):
        epoch = drawn[start : start + n]
        assert len(set(epoch.tolist())) == len(epoch)
        assert set(epoch.tolist()) <= set(range(n))
    if len(drawn) >= 2 * n > 20:
        assert not np.array_equal(drawn[:n], drawn[n : 2 * n])


def test_the_stream_does_not_depend_on_the_batch_size():
    key = jax.random.key(3)
    np.testing.assert_array_equal(stream(key, 10, 4, 30), stream(key, 10, 6, 20))


def temporary_bytes(function, *shapes):
    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def test_a_batch_needs_no_memory_that_grows_with_the_samples():
    key, step = jax.random.key(0), jax.ShapeDtypeStruct((), jnp.int32)
    assert temporary_bytes(lambda step: batch_rows(key, step, 10**6, 256), step) < 100_000


def sparse_shape(n, d, n_entries):
    return SparseRows(
        *(jax.ShapeDtypeStruct((m,), t) for m, t in ((n + 1, "i4"), (n_entries, "i4"), (n_entries, "f4"))), d
    )


def test_chunks_of_wide_sparse_rows_are_bounded_in_bytes():
    def project(x):
        return map_rows(lambda rows: rows @ jnp.ones((rows.shape[1], 10)), x)

    used = [temporary_bytes(project, sparse_shape(8192, d, 10**6)) for d in (2_000, 200_000)]
    assert max(used) < 60e6  # 4096 dense rows of 200,000 features are 3.3 GB


def test_one_full_row_costs_a_batch_without_it_nothing():
    """A batch is filled in rounds of a few entries of each row, as many as its own longest row needs."""
    x = np.zeros((40, 1000), np.float32)
    x[:, 7] = 1
    x[0] = np.arange(1000)
    samples = to_device(scipy.sparse.csr_array(x))
    np.testing.assert_array_equal(take_rows(samples, jnp.arange(40)), x)
    shape = jax.ShapeDtypeStruct((256,), jnp.int32)
    short, long = (sparse_shape(3000, 20_000, n) for n in (150_000, 170_000))
    assert temporary_bytes(take_rows, short, shape) == temporary_bytes(take_rows, long, shape) < 2 * 256 * 20_000 * 4
    (loop,) = [e for e in jax.make_jaxpr(take_rows)(samples, jnp.arange(4)).eqns if e.primitive.name == "while"]
    assert max(np.prod(v.aval.shape) for v in loop.params["body_jaxpr"].jaxpr.eqns for v in v.outvars) <= 4 * 1000


def aligned(n, dtype=np.float32):
    """An array (n, 64) of zeros that a CPU could share with a device."""
    buffer = np.zeros(n * 64 * 8 + 64, np.uint8)
    first = -buffer.ctypes.data % 64
    return buffer[first : first + n * 64 * np.dtype(dtype).itemsize].view(dtype).reshape(n, 64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_samples_on_the_device_do_not_change_with_the_callers(dtype):
    x = aligned(500, dtype)
    samples = to_device(x)
    x += 1
    assert not np.asarray(samples).any()


def test_sparse_samples_on_the_device_do_not_change_with_the_callers():
    values = aligned(500).ravel()
    x = scipy.sparse.csr_array((values, np.arange(len(values)) % 64, np.arange(501) * 64))
    samples = to_device(x)
    values += 1
    assert not np.asarray(samples.values).any()


def test_sparse_samples_of_the_caller_are_not_changed():
    x = scipy.sparse.csr_array((np.array([1.0, 2.0, 4.0]), np.array([2, 2, 0]), np.array([0, 2, 3])))
    to_device(x)
    np.testing.assert_array_equal(x.data, [1, 2, 4])
    assert x.nnz == 3


def test_what_is_read_only_is_not_copied():
    x = aligned(500)
    x.setflags(write=False)
    assert to_device(x).unsafe_buffer_pointer() == x.ctypes.data
