import re

import numpy as np
import pytest

from dec_jax.data.labels import as_labels, read_labels

WORDS = ["trade", "money, fx", "$0 to $25k", "单核细胞", "trade"]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("values", "y", "names"),
    [
        ([2, 0, 2], [2, 0, 2], None),
        (np.array([2.0, 0.0, 2.0]), [2, 0, 2], None),
        (np.array([[2], [0], [2]]), [2, 0, 2], None),
        (np.eye(3)[[2, 0, 2]], [2, 0, 2], None),
        (np.eye(3, dtype=bool)[[2, 0, 2]], [2, 0, 2], None),
        ([True, False, True], [1, 0, 1], ("False", "True")),
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        (np.array([b"b", b"a", b"b"]), [1, 0, 1], ("a", "b")),
        (np.array(["b", "a", "b"], object), [1, 0, 1], ("a", "b")),
        (np.array([3, 1, 3], object), [3, 1, 3], None),
        (["3", "1", "3.0"], [3, 1, 3], None),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        ([-5, 7, 7], [-5, 7, 7], None),
    ],
)
def test_labels_of_every_kind(values, y, names):
    labels = as_labels(values)
    assert labels.y.tolist() == y
    assert labels.y.dtype == np.int64
    assert labels.class_names == names


@pytest.mark.parametrize(
    ("values", "y", "names", "said"),
    [
        ([np.nan, 1.0, 0.0], [-1, 1, 0], None, "1 of 3 .* unlabelled .1 missing"),
        ([-1, 1, 0, -1], [-1, 1, 0, -1], None, "2 of 4 .* unlabelled .2 of -1"),
        (["a", "NA", None, "b", float("nan"), ""], [0, -1, -1, 1, -1, -1], ("a", "b"), "4 of 6"),
        (["1", "NA", "0"], [1, -1, 0], None, "1 of 3"),
        (np.array([1, None, 0], object), [1, -1, 0], None, "1 of 3"),
        ([[0, 1], [0, 0], [1, 0]], [1, -1, 0], None, "1 of 3"),
        ([-1.0, 1.0, np.nan], [0, 1, -1], ("-1", "1"), "1 of 3"),
    ],
)
def test_samples_without_a_label(values, y, names, said):
    labels = as_labels(values, "mine")
    assert labels.y.tolist() == y
    assert labels.class_names == names
    assert re.search(f"mine: {said}", labels.notes[-1])


def test_no_label_at_all_is_none():
    assert as_labels([np.nan, np.nan]).y is None
    assert as_labels(["NA", ""]).y is None
    assert as_labels([-1, -1]).y is None


def test_columns_of_frames():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["b", None, "a"])
    for column in (series, series.astype("category"), series.astype("string")):
        labels = as_labels(column)
        assert (labels.y.tolist(), labels.class_names) == ([1, -1, 0], ("a", "b"))
    assert as_labels(pandas.Series([1, None, 0], dtype="Int64")).y.tolist() == [1, -1, 0]
    assert as_labels(pandas.DataFrame({"y": [1, 2]})).y.tolist() == [1, 2]


def test_columns_of_polars_frames():
    polars = pytest.importorskip("polars")
    assert as_labels(polars.Series(["b", None, "a"])).y.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("values", "error", "problem"),
    [
        ([0.5, 1.0], TypeError, "y must be integers or names, got dtype float64 with 0.5"),
        (["0.5", "1"], TypeError, "y must be integers or names, got dtype float64 with 0.5"),
        ([1e300, 1.0], TypeError, "y must be integers or names"),
        ([1j, 1.0], TypeError, "y must be integers or names, got dtype complex128"),
        ([[1, 1], [0, 1]], ValueError, r"y must hold one label per sample, or one-hot rows .*got shape \(2, 2\)"),
        (np.zeros((2, 2, 2)), ValueError, r"got shape \(2, 2, 2\)"),
        (3, ValueError, r"got shape \(\)"),
    ],
)
def test_what_is_no_label(values, error, problem):
    with pytest.raises(error, match=problem):
        as_labels(values, "y")


@pytest.mark.parametrize("text", ["2\n0\n2\n", "class\n2\n0\n2", "2.0\r\n0.0\r\n2.0\r\n\r\n", '\ufeff"2"\n 0\n2'])
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_text_of_numbers(tmp_path, text, suffix):
    labels = read_labels(write(tmp_path / f"y{suffix}", text), 3)
    assert labels.y.tolist() == [2, 0, 2]
    assert labels.class_names is None


@pytest.mark.parametrize("header", ["", "cell_type\n", "0\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_of_names_keeps_them_as_they_are(tmp_path, header, encoding):
    lines = [f'"{word}"' if "," in word else word for word in WORDS]
    labels = read_labels(write(tmp_path / "y.csv", header + "\n".join(lines) + "\n", encoding), 5)
    assert [labels.class_names[i] for i in labels.y] == WORDS
    assert bool(labels.notes) == bool(header)


def test_a_name_with_a_comma_needs_no_quotes(tmp_path):
    labels = read_labels(write(tmp_path / "y.txt", "trade\nmoney, fx\ntrade\n"), 3)
    assert labels.class_names == ("money, fx", "trade")


def test_an_empty_line_is_a_sample_without_a_label(tmp_path):
    assert read_labels(write(tmp_path / "y.txt", "\n1\n\n2\n"), 4).y.tolist() == [-1, 1, -1, 2]
    assert read_labels(write(tmp_path / "y.txt", "1\n2\n\n"), 3).y.tolist() == [1, 2, -1]
    assert read_labels(write(tmp_path / "y.txt", "1\n2\n\n"), 2).y.tolist() == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        ",label\n0,b\n1,a\n2,b\n",
        "id,label\n10,b\n11,a\n12,b\n",
        "id;class\n10;b\n11;a\n12;b\n",
        "name\tother\tlabel\n10\tx\tb\n11\tx\ta\n12\ty\tb\n",
    ],
)
def test_ids_beside_labels(tmp_path, text):
    pytest.importorskip("pandas")
    labels = read_labels(write(tmp_path / "y.csv", text), 3)
    assert (labels.y.tolist(), labels.class_names) == ([1, 0, 1], ("a", "b"))
    assert "the labels are the column" in labels.notes[-1]


def test_labels_follow_the_ids_of_the_samples(tmp_path):
    pytest.importorskip("pandas")
    path = write(tmp_path / "y.csv", "id,label\nC3,2\nC1,0\nC2,1\n")
    assert read_labels(path, 3, np.array(["C1", "C2", "C3"])).y.tolist() == [0, 1, 2]
    with pytest.raises(
        ValueError, match=r"y\.csv, column 'id', must name every sample, got none for 'C4' and 0 others"
    ):
        read_labels(path, 3, np.array(["C1", "C2", "C4"]))
    labels = read_labels(path, 3, np.array(["a", "b", "c"]))
    assert labels.y.tolist() == [2, 0, 1]
    assert "labels are taken in the order of the file" in labels.notes[-1]


def test_labels_follow_the_numbers_of_the_rows(tmp_path):
    pytest.importorskip("pandas")
    path = write(tmp_path / "y.csv", "id,label\n2,2\n0,0\n1,1\n")
    labels = read_labels(path, 3)
    assert labels.y.tolist() == [0, 1, 2]
    assert "in the order of the samples by the column 'id'" in labels.notes[-1]


def test_labels_of_more_samples_than_there_are(tmp_path):
    pytest.importorskip("pandas")
    path = write(tmp_path / "y.csv", "id,label\nC3,2\nC1,0\nC2,1\n")
    assert read_labels(path, 2, np.array(["C1", "C2"])).y.tolist() == [0, 1]


@pytest.mark.parametrize("separator", [" ", "|", "\t"])
def test_ids_beside_labels_with_any_separator(tmp_path, separator):
    pytest.importorskip("pandas")
    text = "id label\n2 1\n0 0\n1 1\n".replace(" ", separator)
    assert read_labels(write(tmp_path / "y.txt", text), 3).y.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="one label a line, or one column of labels beside ids"):
        read_labels(write(tmp_path / "y.txt", text.partition("\n")[2]), 3)


@pytest.mark.parametrize(
    "ids", [["1", "2", "3", "4"], ["John 1", "John 2", "John 3", "John 4"], ["a.png", "b.png", "c.png", "d.png"]]
)
def test_any_column_that_names_the_samples_orders_the_labels(tmp_path, ids):
    pytest.importorskip("pandas")
    lines = [f"{ids[i]},{i}" for i in (2, 0, 3, 1)]
    path = write(tmp_path / "y.csv", "\n".join(["who,label", *lines]))
    assert read_labels(path, 4, np.array(ids, object)).y.tolist() == [0, 1, 2, 3]


def test_an_id_twice_is_refused(tmp_path):
    pytest.importorskip("pandas")
    path = write(tmp_path / "y.csv", "who,label\ns1,0\ns1,1\ns3,2\n")
    with pytest.raises(ValueError, match="column 'who', must name every sample once"):
        read_labels(path, 3, np.array(["s1", "s2", "s3"]))


def test_a_header_above_a_missing_last_label(tmp_path):
    labels = read_labels(write(tmp_path / "y.csv", 'label\ncat\ndog\ncat\n""\n'), 4)
    assert (labels.y.tolist(), labels.class_names) == ([0, 1, 0, -1], ("cat", "dog"))


def test_masked_labels_are_missing():
    assert as_labels(np.ma.masked_equal([0, 1, 7, 1], 7)).y.tolist() == [0, 1, -1, 1]


def test_names_of_two_words_are_names(tmp_path):
    labels = read_labels(write(tmp_path / "y.txt", "T cell\nB cell\nT cell\n"), 3)
    assert labels.class_names == ("B cell", "T cell")


def test_two_columns_that_could_be_labels(tmp_path):
    pytest.importorskip("pandas")
    path = write(tmp_path / "y.csv", "sex,age_group\nf,old\nm,old\nf,young\n")
    with pytest.raises(ValueError, match="one column of labels beside ids, got the columns 'sex', 'age_group'"):
        read_labels(path, 3)


@pytest.mark.parametrize("dtype", [str, bytes])
def test_npy_of_names(tmp_path, dtype):
    np.save(tmp_path / "y.npy", np.array(["ship", "acq", "ship"], dtype))
    labels = read_labels(tmp_path / "y.npy")
    assert (labels.y.tolist(), labels.class_names) == ([1, 0, 1], ("acq", "ship"))


@pytest.mark.parametrize("arrays", [{"y": [1, 0]}, {"labels": [1, 0], "x": [[1.0], [2.0]]}, {"any": [1, 0]}])
def test_npz_of_labels(tmp_path, arrays):
    np.savez(tmp_path / "y.npz", **arrays)
    assert read_labels(tmp_path / "y.npz").y.tolist() == [1, 0]


@pytest.mark.parametrize("header", ["", "cat,dog,bird\n"])
def test_a_table_of_one_hot_rows(tmp_path, header):
    pytest.importorskip("pandas")
    labels = read_labels(write(tmp_path / "y.csv", header + "1,0,0\n0,0,1\n0,1,0\n0,0,1\n"), 4)
    assert labels.y.tolist() == [0, 2, 1, 2]
    assert "one-hot rows of 3 classes" in labels.notes[-1]
