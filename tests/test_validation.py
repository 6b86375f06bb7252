import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse

from dec_jax.validation import as_csr, check_choice, check_integer, check_labels, check_number, check_samples

X = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
FORMATS = ("csr", "csc", "coo", "lil", "dok", "dia")


@pytest.mark.parametrize("value", [2, 5, np.int32(3), np.uint8(2)])
def test_integers(value):
    found = check_integer("k", value, 2, 5)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize("value", [2.0, "2", None, True, np.float32(2), np.array([2])])
def test_what_is_no_integer(value):
    with pytest.raises(TypeError, match=r"k must be an integer, got .* \("):
        check_integer("k", value, 1)


def test_integers_out_of_range():
    with pytest.raises(ValueError, match="^k must be at least 2, got 1$"):
        check_integer("k", 1, 2)
    with pytest.raises(ValueError, match=r"^k must be between 2 and 5 \(the number of samples\), got 6$"):
        check_integer("k", 6, 2, 5, why="the number of samples")


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.5), np.int64(1), Fraction(1, 2)])
def test_numbers(value):
    found = check_number("rate", value, 0, 1)
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize("value", ["0.5", None, True, 1j, np.array(0.5)])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="rate must be a number, got"):
        check_number("rate", value)


@pytest.mark.parametrize(
    ("value", "bounds", "accepted"),
    [
        (-0.1, {"minimum": 0}, "at least 0"),
        (0, {"minimum": 0, "exclusive": True}, "above 0"),
        (1.5, {"minimum": 0, "maximum": 1}, "at least 0 and at most 1"),
        (2, {"maximum": 1}, "at most 1"),
        (math.nan, {"minimum": 0, "maximum": 1}, "at least 0 and at most 1"),
        (math.nan, {}, "finite"),
        (math.inf, {"minimum": 0}, "at least 0"),
        (-math.inf, {}, "finite"),
    ],
)
def test_numbers_out_of_range(value, bounds, accepted):
    with pytest.raises(ValueError, match=f"^rate must be {accepted}, got {value}$"):
        check_number("rate", value, **bounds)


def test_choices():
    assert check_choice("loss", "mse", ["mse", "mae"]) == "mse"
    with pytest.raises(ValueError, match="unknown loss 'mseq'; did you mean 'mse'"):
        check_choice("loss", "mseq", {"mse": 1, "mae": 2})
    with pytest.raises(ValueError, match=r"^unknown loss 'hinge' \(accepted: mse, mae\)$"):
        check_choice("loss", "hinge", ["mse", "mae"])
    with pytest.raises(ValueError, match=r"unknown loss None"):
        check_choice("loss", None, ["mse", "mae"])


def test_dense_samples_are_not_copied():
    assert check_samples(X) is X


def test_sparse_samples_become_rows_without_a_copy():
    x = scipy.sparse.csr_matrix(X)
    assert np.shares_memory(check_samples(x).data, x.data)


@pytest.mark.parametrize("kind", FORMATS)
def test_sparse_samples_of_every_format(kind):
    np.testing.assert_array_equal(check_samples(scipy.sparse.csr_array(X).asformat(kind)).toarray(), X)


def test_lists():
    np.testing.assert_array_equal(check_samples(X.tolist()), X)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32])
def test_real_numbers_of_any_dtype(dtype):
    assert check_samples(X.astype(dtype)).dtype == dtype


def test_number_objects_become_numbers():
    objects = np.array([[1, 2.5], [True, np.float32(4)]], object)
    np.testing.assert_array_equal(check_samples(objects), [[1, 2.5], [1, 4]])


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "bool", "boolean", "float32"])
def test_frames_of_nullable_numbers(dtype):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0, 1, 1], "b": [1, 0, 1]}).astype({"a": dtype, "b": "boolean"})
    np.testing.assert_array_equal(check_samples(frame), [[0, 1], [1, 0], [1, 1]])
    frame.loc[1, "b"] = None
    with pytest.raises(ValueError, match="must be finite, got 1 NaN or infinite values, the first in row 1, column 1"):
        check_samples(frame)


@pytest.mark.parametrize("x", [[[1, None], [2, 3]], [[1, "a"], [2, 3]], [["1", "2"], ["3", "4"]]])
def test_objects_that_are_no_numbers(x):
    with pytest.raises(TypeError, match="data must hold real numbers, got dtype object"):
        check_samples(np.array(x, object), "data")


@pytest.mark.parametrize("dtype", [str, bytes, complex])
def test_what_is_no_real_number(dtype):
    with pytest.raises(TypeError, match="data must hold real numbers, got dtype"):
        check_samples(X.astype(dtype), "data")


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 1)])
def test_shapes_that_are_no_table(shape):
    with pytest.raises(ValueError, match="x must be two-dimensional"):
        check_samples(np.ones(shape))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("make", [np.zeros, scipy.sparse.csr_array])
def test_nothing(make, shape):
    with pytest.raises(ValueError, match="at least one sample and one feature"):
        check_samples(make(shape))


@pytest.mark.parametrize("kind", ["dense", *FORMATS])
@pytest.mark.parametrize("values", [(np.nan, 1), (np.inf, 1), (-np.inf, np.inf)])
def test_not_finite(kind, values):
    x = X.copy()
    x[1, 1], x[2, 0] = values
    count = int((~np.isfinite(x)).sum())
    x = x if kind == "dense" else scipy.sparse.csr_array(x).asformat(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=f"got {count} NaN or infinite values, the first in row 1, column 1$"):
            check_samples(x)


def test_a_sum_that_overflows_is_no_infinity():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_samples(np.array([[1e308, 1e308], [1e308, 0.0]]))


@pytest.mark.parametrize(
    "x",
    [
        np.full((3, 2), 7),
        np.zeros((3, 2)),
        scipy.sparse.csr_array((3, 2)),
        scipy.sparse.csr_array(np.full((3, 2), 7.0)),
        scipy.sparse.csr_array((np.zeros(2), ([0, 1], [0, 1])), (3, 2)),
    ],
    ids=["sevens", "zeros", "no entries", "sparse sevens", "explicit zeros"],
)
def test_constant(x):
    with pytest.raises(ValueError, match="x must not be constant, got the same value in all of its 3 samples"):
        check_samples(x)
    check_samples(x, varying=False)


def test_sparse_entries_that_are_alike_differ_from_the_zeros():
    check_samples(scipy.sparse.csr_array(np.eye(3)))


@pytest.mark.parametrize("y", [[0, 1, 2], [0.0, 1.0, 2.0], [False, True, True], np.array([5, 0, 255], np.uint8)])
def test_labels(y):
    found = check_labels(y, 3)
    np.testing.assert_array_equal(found, y)
    assert found.dtype == np.int64


@pytest.mark.parametrize("y", [[0, 1], [[0], [1], [2]], 0, []])
def test_labels_of_another_shape(y):
    with pytest.raises(ValueError, match=r"y must hold one label per sample, shape \(3,\), got shape"):
        check_labels(y, 3, "y")


@pytest.mark.parametrize("y", [[0, 1, 0.5], [0, 1, np.nan], [0, 1, 1e300], ["a", "b", "c"], [0, 1, None]])
def test_labels_that_are_no_integers(y):
    with pytest.raises(TypeError, match="labels must be integers, got dtype"):
        check_labels(y, 3)


DAMAGE = {
    "pointers that fall": ("indptr", -1, 0, "pointers that rise from 0 to its entries"),
    "pointers behind the entries": ("indptr", -1, 99, "pointers that rise from 0 to its entries"),
    "a first pointer that is not 0": ("indptr", 0, 1, "pointers that rise from 0 to its entries"),
    "an index that is too large": ("indices", 0, 99, "indices from 0 to"),
    "an index below 0": ("indices", 0, -1, "indices from 0 to"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["csr", "csc", "bsr"])
def test_sparse_samples_that_would_read_foreign_memory(kind, damage):
    part, place, value, problem = DAMAGE[damage]
    x = scipy.sparse.csr_array(np.arange(24.0).reshape(6, 4)).asformat(kind)
    np.testing.assert_array_equal(as_csr(x).toarray(), x.toarray())
    getattr(x, part)[place] = value
    with pytest.raises(ValueError, match=f"mine must have {problem}"):
        check_samples(x, "mine")
