import errno
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from dec_jax.data import NAMES, TableOptions, archives, default_rule, from_frame, load

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
        ([[1.0, 5.0], [np.inf, 2.0]], ValueError, "got 1 NaN or infinite values, the first in row 1, column 0"),
        ([[1.0, np.nan], [5.0, 2.0]], ValueError, r"values are missing in the columns '1' \(1\): say what"),
        ([1.0, 2.0], ValueError, r"must be two-dimensional .*got shape \(2,\)"),
        (np.zeros((0, 5)), ValueError, "at least one sample"),
        (np.zeros((5, 0)), ValueError, "at least one sample and one feature"),
        (np.ones((5, 2)), ValueError, "must not be constant"),
        ([["a", "b"], ["c", "d"]], TypeError, "must hold real numbers, got dtype <U1"),
        ([[1j, 2], [3, 4]], TypeError, "must hold real numbers, got dtype complex128"),
        (np.array([[1, None]], object), TypeError, "got Python objects"),
    ],
    ids=["infinity", "nan", "1-D", "no sample", "no feature", "constant", "string", "complex", "object"],
)
def test_content_that_cannot_be_clustered(tmp_path, x, error, problem):
    path = save(tmp_path / "mine.npy", x)
    with pytest.raises(error, match=problem) as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_empty_csv(tmp_path):
    (tmp_path / "mine.csv").write_text("width,height\n")
    with pytest.raises(ValueError, match=r"mine\.csv must hold at least one sample, got a header alone"):
        load(tmp_path / "mine.csv")


def test_nan_in_a_sparse_matrix(tmp_path):
    scipy.sparse.save_npz(tmp_path / "mine.npz", scipy.sparse.csr_array([[0, 1.0], [np.nan, 0]]))
    with pytest.raises(ValueError, match="got 1 NaN or infinite values, the first in row 1, column 0"):
        load(tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("y", "error", "problem"),
    [
        ([0, 1], ValueError, r"one label per sample, shape \(3,\), got shape \(2,\)"),
        ([[0, 2], [1, 0], [0, 1]], ValueError, r"one label per sample, or one-hot .*got shape \(3, 2\)"),
        ([0.5, 1.0, 2.0], TypeError, "must be integers or names, got dtype float64 with 0.5"),
        ([1j, 1.0, 2.0], TypeError, "must be integers or names, got dtype complex128"),
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
    assert all(word in str(raised.value) for word in (*NAMES, ".npy, .npz, .h5ad, .csv"))


def test_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.npy' does not exist"):
        load(tmp_path / "gone.npy")
    with pytest.raises(FileNotFoundError, match=r"gone\.txt' does not exist"):
        load("digits", tmp_path / "gone.txt")


def test_file_of_another_kind(tmp_path):
    (tmp_path / "mine.doc").touch()
    with pytest.raises(ValueError, match=r"unknown kind of data file .*mine\.doc"):
        load(tmp_path / "mine.doc")


@pytest.mark.parametrize("data", [X, None, 3])
def test_data_that_is_no_name_or_path(data):
    with pytest.raises(TypeError, match="data must be a name or a path"):
        load(data)


def test_a_users_own_file_is_not_taken_for_the_data_set_of_its_name(tmp_path):
    assert default_rule(load(save(tmp_path / "mnist.npy", X))).rule == "standardize"


def test_no_permission(tmp_path, monkeypatch):
    path = save(tmp_path / "mine.npy", X)

    def refuse(name, *_):  # chmod would not keep root out
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    monkeypatch.setattr(archives, "open", refuse, raising=False)
    with pytest.raises(PermissionError, match=r"Permission denied.*mine\.npy"):
        load(path)


def test_a_file_of_images_has_their_shape(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8)
    dataset = load(save(tmp_path / "mine.npy", images))
    assert (dataset.image_shape, dataset.x.shape, dataset.x.dtype) == ((8, 8), (9, 64), np.uint8)
    assert "as images of 8 × 8" in dataset.notes[0]
    flat = images.reshape(9, 64)
    assert load(save(tmp_path / "flat.npy", flat)).image_shape is None
    assert load(tmp_path / "flat.npy", options=TableOptions(image_shape="8,8")).image_shape == (8, 8)
    with pytest.raises(ValueError, match=r"image_shape \(8, 9\) needs 72 numbers per sample, got 64"):
        load(tmp_path / "flat.npy", options=TableOptions(image_shape="8,9"))
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csr_array(flat))
    assert load(tmp_path / "sparse.npz", options=TableOptions(image_shape="8,8")).image_shape == (8, 8)
    with pytest.raises(ValueError, match=r"image_shape \(8, 9\) needs 72"):
        load(tmp_path / "sparse.npz", options=TableOptions(image_shape="8,9"))


def test_keras_archive(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8)
    y = np.arange(9)
    np.savez(tmp_path / "mine.npz", x_train=images[:6], y_train=y[:6], x_test=images[6:], y_test=y[6:])
    whole, part = load(tmp_path / "mine.npz"), load(tmp_path / "mine.npz", options=TableOptions(part="test"))
    assert (whole.x.shape, whole.image_shape, whole.y.tolist()) == ((9, 64), (8, 8), y.tolist())
    np.testing.assert_array_equal(part.x, images[6:].reshape(3, 64))
    assert part.y.tolist() == [6, 7, 8]


def write_table(path, gaps=False):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 2))
    second = ["" if gaps and i == 3 else repr(b) for i, b in enumerate(x[:, 1].tolist())]
    lines = [f"C{i},{a!r},{second[i]},{'fm'[i % 2]},{i % 3}" for i, a in enumerate(x[:, 0].tolist())]
    path.write_text("\n".join(["customer id,$ size,größe,sex,label", *lines]), encoding="utf-8")
    return path


def test_a_table_with_ids_categories_and_labels(tmp_path):
    dataset = load(write_table(tmp_path / "my 'table' #1 ü.csv"), options=TableOptions(label_column="label"))
    assert dataset.name == "my 'table' #1 ü.csv"
    assert dataset.feature_names == ("$ size", "größe", "sex=f", "sex=m")
    assert (dataset.x.shape, dataset.x.dtype) == ((20, 4), np.float64)
    assert dataset.ids[:3].tolist() == ["C0", "C1", "C2"]
    assert dataset.y.tolist() == [i % 3 for i in range(20)]
    assert [column.action for column in dataset.encoding.columns] == ["ids", "kept", "kept", "one-hot", "labels"]
    assert all("\n" not in note for note in dataset.notes)


def test_rows_that_are_left_out_take_their_labels_with_them(tmp_path):
    path = write_table(tmp_path / "mine.csv", gaps=True)
    options = TableOptions(drop="label", missing="drop")
    with pytest.raises(ValueError, match=r"mine\.csv: values are missing in the columns 'größe' \(1\)"):
        load(path, options=TableOptions(drop="label"))
    (tmp_path / "y.txt").write_text("\n".join(map(str, range(20))))
    dataset = load(path, tmp_path / "y.txt", options=options)
    assert dataset.y.tolist() == [i for i in range(20) if i != 3]
    assert dataset.ids[3] == "C4"
    assert load(path, options=TableOptions(label_column="label", missing="drop")).y.tolist()[3] == 1


def test_labels_follow_the_ids_of_a_table(tmp_path):
    path = write_table(tmp_path / "mine.csv")
    (tmp_path / "y.csv").write_text("id,label\n" + "\n".join(f"C{i},{i}" for i in reversed(range(20))))
    assert load(path, tmp_path / "y.csv", options=TableOptions(drop="label")).y.tolist() == list(range(20))


def test_labels_follow_the_ids_where_rows_are_dropped(tmp_path):
    path = write_table(tmp_path / "mine.csv", gaps=True)
    (tmp_path / "y.csv").write_text("id,label\n" + "\n".join(f"C{i},{i}" for i in reversed(range(20))))
    dataset = load(path, tmp_path / "y.csv", options=TableOptions(drop="label", missing="drop"))
    assert dataset.y.tolist() == [i for i in range(20) if i != 3]


def test_masked_values_are_missing():
    x = np.ma.masked_equal([[1, -5], [2, 3], [3, 4], [-5, 6]], -5)
    dataset = from_frame(x, options=TableOptions(missing="median"))
    np.testing.assert_array_equal(dataset.x, [[1, 4], [2, 3], [3, 4], [2, 6]])


def test_missing_values_of_an_array(tmp_path):
    path = save(tmp_path / "mine.npy", np.array([[1, np.nan], [5, 2], [3, 999.0]]))
    dataset = load(path, options=TableOptions(missing="median", missing_values=999))
    np.testing.assert_array_equal(dataset.x, [[1, 2], [5, 2], [3, 2]])
    assert dataset.feature_names == ("0", "1")


def test_named_data_sets_take_no_options():
    with pytest.raises(ValueError, match="options of tables need a file of your own, got the data set 'digits'"):
        load("digits", options=TableOptions(drop="a"))
    assert load("digits", options=TableOptions()).name == "digits"


def test_a_sparse_matrix_has_no_columns_to_choose(tmp_path):
    scipy.sparse.save_npz(tmp_path / "mine.npz", scipy.sparse.csr_array(X))
    with pytest.raises(ValueError, match="need a table or a dense array, got a sparse matrix"):
        load(tmp_path / "mine.npz", options=TableOptions(drop="0"))


def test_structured_arrays_are_tables(tmp_path):
    x = np.array([(1.5, 2), (0, 7), (5, 6)], [("a", "f4"), ("b c", ">i2")])
    dataset = load(save(tmp_path / "mine.npy", x))
    assert dataset.feature_names == ("a", "b c")
    np.testing.assert_array_equal(dataset.x, [[1.5, 2], [0, 7], [5, 6]])


@pytest.mark.parametrize(
    "make",
    [
        np.array,
        list,
        np.asfortranarray,
        scipy.sparse.csr_matrix,
        scipy.sparse.coo_array,
        lambda x: np.array(x, object),
        lambda x: np.array(x, ">f8"),
        lambda x: np.array(x, np.longdouble),
    ],
)
def test_arrays_in_memory(make):
    dataset = from_frame(make(X.tolist()), ["b", "a", None])
    x = dataset.x.toarray() if scipy.sparse.issparse(dataset.x) else dataset.x
    np.testing.assert_array_equal(x, X)
    assert (dataset.y.tolist(), dataset.class_names) == ([1, 0, -1], ("a", "b"))


def test_frames_in_memory():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], 7: X[:, 1], "ok": [True, False, True]}, index=["p", "q", "r"])
    for kind in (frame, frame.convert_dtypes()):
        dataset = from_frame(kind, frame.index == "q")
        np.testing.assert_array_equal(dataset.x, np.column_stack([X, [1, 0, 1]]))
        assert (dataset.feature_names, dataset.ids.tolist()) == (("a", "7", "ok"), ["p", "q", "r"])
        assert dataset.y.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="a name of its own for each column, got 'a' 2 times"):
        from_frame(pandas.DataFrame(X, columns=["a", "a"]))


def test_polars_frames_in_memory():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": X[:, 0], "b": X[:, 1], "sex": ["f", "m", "f"], "ok": [True, False, True]})
    dataset = from_frame(frame, polars.Series([1, None, 0]))
    np.testing.assert_array_equal(dataset.x, np.column_stack([X, [1, 0, 1], [0, 1, 0], [1, 0, 1]]))
    assert dataset.y.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("x", "error", "problem"),
    [
        ([["a", "b"], ["c", "d"]], TypeError, "data must hold real numbers"),
        ([1.0, 2.0], ValueError, "data must be two-dimensional"),
        ([], ValueError, "data must"),
        ({"a": 1}, ValueError, "data must"),
        (None, ValueError, "data must"),
    ],
)
def test_what_is_no_data(x, error, problem):
    with pytest.raises((error, TypeError), match=problem):
        from_frame(x)
