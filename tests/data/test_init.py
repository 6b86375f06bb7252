import errno
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from dec_jax.data import NAMES, default_rule, files, load

from .conftest import write_prepared

X = np.array([[1.5, 2.0], [0.0, -4.0], [5.0, 6.25]])


def save(path, x):
    np.save(path, x)
    return path


def test_named_data_set():
    assert load("digits").name == "digits"


def test_data_dir_reaches_the_named_data_set(tmp_path):
    content = write_prepared(tmp_path)
    np.testing.assert_array_equal(load("mnist-test", data_dir=tmp_path).x, content["test"][0])


@pytest.mark.parametrize("kind", [str, Path])
def test_file(tmp_path, kind):
    dataset = load(kind(save(tmp_path / "mine.npy", X)))
    np.testing.assert_array_equal(dataset.x, X)
    assert dataset.name == "mine.npy"
    assert (dataset.y, dataset.image_shape, dataset.class_names) == (None, None, None)


def test_file_in_the_users_home(tmp_path, monkeypatch):
    save(tmp_path / "mine.npy", X)
    monkeypatch.setenv("HOME", str(tmp_path))
    np.testing.assert_array_equal(load("~/mine.npy").x, X)


def test_labels_inside_a_file(tmp_path):
    np.savez(tmp_path / "mine.npz", x=X, y=["b", "a", "b"])
    dataset = load(tmp_path / "mine.npz")
    assert dataset.y.tolist() == [1, 0, 1]
    assert dataset.class_names == ("a", "b")


def test_given_labels_take_the_place_of_those_inside(tmp_path):
    np.savez(tmp_path / "mine.npz", x=X, y=["b", "a", "b"])
    dataset = load(tmp_path / "mine.npz", save(tmp_path / "y.npy", np.array([4, 5, 6], np.int32)))
    assert dataset.y.tolist() == [4, 5, 6]
    assert dataset.y.dtype == np.int64
    assert dataset.class_names is None


def test_sparse_file_with_labels_stays_sparse(tmp_path):
    scipy.sparse.save_npz(tmp_path / "mine.npz", scipy.sparse.csr_matrix(X))
    (tmp_path / "y.txt").write_text("0\n1\n0\n")
    dataset = load(tmp_path / "mine.npz", tmp_path / "y.txt")
    assert scipy.sparse.issparse(dataset.x)
    assert dataset.y.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("x", "error", "problem"),
    [
        (
            [[1.0, np.nan], [np.inf, 2.0]],
            ValueError,
            "got 2 NaN or infinite values, the first in row 0, column 1",
        ),
        ([1.0, 2.0], ValueError, r"must be two-dimensional .*got shape \(2,\)"),
        (np.zeros((4, 8, 8)), ValueError, r"must be two-dimensional .*got shape \(4, 8, 8\)"),
        (np.zeros((4, 8, 8, 3)), ValueError, r"must be two-dimensional .*got shape \(4, 8, 8, 3\)"),
        (np.zeros((0, 5)), ValueError, "at least one sample"),
        (np.zeros((5, 0)), ValueError, "at least one sample and one feature"),
        (np.ones((5, 2)), ValueError, "must not be constant"),
        ([["a", "b"], ["c", "d"]], TypeError, "must hold real numbers, got dtype <U1"),
        ([[1j, 2], [3, 4]], TypeError, "must hold real numbers, got dtype complex128"),
        (np.array([[1, None]], object), TypeError, "got Python objects"),
    ],
    ids=["nan", "1-D", "3-D", "4-D", "no sample", "no feature", "constant", "string", "complex", "object"],
)
def test_content_that_cannot_be_clustered(tmp_path, x, error, problem):
    path = save(tmp_path / "mine.npy", x)
    with pytest.raises(error, match=problem) as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_empty_csv(tmp_path):
    (tmp_path / "mine.csv").write_text("width,height\n")
    with pytest.raises(ValueError, match=r"mine\.csv must hold at least one sample"):
        load(tmp_path / "mine.csv")


def test_nan_in_a_sparse_matrix(tmp_path):
    scipy.sparse.save_npz(tmp_path / "mine.npz", scipy.sparse.csr_array([[0, 1.0], [np.nan, 0]]))
    with pytest.raises(ValueError, match="got 1 NaN or infinite values, the first in row 1, column 0"):
        load(tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("y", "error", "problem"),
    [
        ([0, 1], ValueError, r"one label per sample, shape \(3,\), got shape \(2,\)"),
        ([[0], [1], [0]], ValueError, r"one label per sample, shape \(3,\), got shape \(3, 1\)"),
        ([0.5, 1.0, 2.0], TypeError, "must be integers, got dtype float64"),
        ([np.nan, 1.0, 2.0], TypeError, "must be integers, got dtype float64"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, y, error, problem):
    labels = save(tmp_path / "y.npy", y)
    with pytest.raises(error, match=problem) as raised:
        load(save(tmp_path / "mine.npy", X), labels)
    assert str(labels) in str(raised.value)
    np.savez(tmp_path / "both.npz", x=X, y=y)
    with pytest.raises(error, match=problem) as raised:
        load(tmp_path / "both.npz")
    assert "both.npz" in str(raised.value)


def test_unknown_name_says_what_is_accepted():
    with pytest.raises(ValueError, match="unknown data set 'digist'; did you mean 'digits'") as raised:
        load("digist")
    assert all(word in str(raised.value) for word in (*NAMES, ".npy, .npz, .csv file"))


def test_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.npy' does not exist"):
        load(tmp_path / "gone.npy")
    with pytest.raises(FileNotFoundError, match=r"gone\.txt' does not exist"):
        load("digits", tmp_path / "gone.txt")


def test_file_of_another_kind(tmp_path):
    (tmp_path / "mine.xlsx").touch()
    with pytest.raises(ValueError, match=r"unknown kind of data file .*mine\.xlsx"):
        load(tmp_path / "mine.xlsx")


@pytest.mark.parametrize("data", [X, None, 3])
def test_data_that_is_no_name_or_path(data):
    with pytest.raises(TypeError, match="data must be a name or a path"):
        load(data)


def test_a_users_own_file_is_not_taken_for_the_data_set_of_its_name(tmp_path):
    assert default_rule(load(save(tmp_path / "mnist.npy", X))) == "rms"


def test_no_permission(tmp_path, monkeypatch):
    path = save(tmp_path / "mine.npy", X)

    def refuse(name, *_):  # chmod would not keep root out
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    monkeypatch.setattr(files, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match=r"Permission denied.*mine\.npy"):
        load(path)
