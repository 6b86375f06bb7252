import numpy as np
import pytest
import scipy.sparse

from dec_jax.data.files import read_labels, read_samples

X = np.array([[1.5, 2.0], [0.0, -4.0], [5.0, 6.25]])
SPARSE = scipy.sparse.csr_array(np.array([[0, 2, 0], [1, 0, 0], [0, 0, 3]], np.float32))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def save_sparse(path, matrix=SPARSE):
    scipy.sparse.save_npz(path, matrix)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, ">f8", bool])
def test_npy_keeps_its_dtype(tmp_path, dtype):
    x = np.array([[0, 1], [1, 0]], dtype)
    np.save(tmp_path / "x.npy", x)
    read, labels = read_samples(tmp_path / "x.npy")
    np.testing.assert_array_equal(read, x)
    assert read.dtype == x.dtype
    assert labels is None


@pytest.mark.parametrize("key", ["x", "X", "data", "features"])
def test_npz_with_one_array(tmp_path, key):
    np.savez(tmp_path / "x.npz", **{key: X})
    read, labels = read_samples(tmp_path / "x.npz")
    np.testing.assert_array_equal(read, X)
    assert labels is None


@pytest.mark.parametrize("key", ["x", "X", "data"])
@pytest.mark.parametrize("label_key", ["y", "labels"])
def test_npz_with_samples_labels_and_more(tmp_path, key, label_key):
    np.savez_compressed(tmp_path / "x.npz", **{key: X, label_key: [2, 0, 2], "more": [1]})
    read, labels = read_samples(tmp_path / "x.npz")
    np.testing.assert_array_equal(read, X)
    assert labels.y.tolist() == [2, 0, 2]
    assert labels.class_names is None


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_sparse_npz_becomes_csr(tmp_path, layout):
    read, labels = read_samples(save_sparse(tmp_path / "x.npz", SPARSE.asformat(layout)))
    assert isinstance(read, scipy.sparse.csr_array)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.toarray(), SPARSE.toarray())
    assert labels is None


def test_entries_given_twice_are_added(tmp_path):
    twice = scipy.sparse.coo_array(([1.0, 2.0, 5.0], ([0, 0, 1], [1, 1, 0])), (2, 2))
    read, _ = read_samples(save_sparse(tmp_path / "x.npz", twice))
    assert read.nnz == 2
    assert read.toarray().tolist() == [[0, 3], [5, 0]]


@pytest.mark.parametrize(
    "text",
    [
        "1.5,2\n0,-4\n5,6.25",
        "width,height\n1.5,2\n0,-4\n5,6.25\n",
        '"width","height"\r\n"1.5","2"\r\n0,-4\r\n5,6.25\r\n',
        "\ufeff1.5, 2\n\n0, -4e0\n5, 6.25\n\n",
        "\ufeffwidth,height\n1.5,2\n0,-4\n5,6.25",
    ],
    ids=["plain", "header", "quoted", "mark, spaces and empty lines", "mark and header"],
)
def test_csv(tmp_path, text):
    read, labels = read_samples(write(tmp_path / "x.CSV", text))
    np.testing.assert_array_equal(read, X)
    assert labels is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1,2\n3\n", "line 2 holds 1, the lines above hold 2"),
        ("a,b\n1,2\n\n3,4\n5,6,7\n", "line 5 holds 3, the lines above hold 2"),
        ("1,2\n3,four\n", "line 2 holds 'four'"),
        ("1,2\n3,\n", "line 2 holds ''"),
        ("a;b\n1;2\n", "line 2 holds '1;2'"),
        (",0,1\n0,5,6\n", "line 1 holds ''"),
    ],
    ids=["short", "long", "word", "missing", "semicolons", "half a header"],
)
def test_csv_that_is_no_table_of_numbers(tmp_path, text, problem):
    path = write(tmp_path / "x.csv", text)
    with pytest.raises(ValueError, match="must hold comma-separated numbers") as raised:
        read_samples(path)
    assert problem in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["", "\n\n", "width,height\n"])
def test_csv_without_samples_reads_as_empty(tmp_path, text):
    assert read_samples(write(tmp_path / "x.csv", text))[0].size == 0


@pytest.mark.parametrize("read", [read_samples, read_labels])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_files_that_are_missing_or_something_else(tmp_path, read, suffix):
    path = tmp_path / f"x{suffix}"
    with pytest.raises(FileNotFoundError, match=rf"x\{suffix}' does not exist"):
        read(path)
    path.mkdir()
    with pytest.raises(FileNotFoundError, match=rf"x\{suffix}' does not exist"):
        read(path)
    path.rmdir()
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe" * 50)
    with pytest.raises(ValueError, match=rf"x\{suffix} is damaged, or no \{suffix} file"):
        read(path)


@pytest.mark.parametrize("read", [read_samples, read_labels])
def test_unknown_kind_of_file(tmp_path, read):
    with pytest.raises(ValueError, match=r"unknown kind of .*x\.parquet.*accepted: \.npy, \.npz, \.csv"):
        read(write(tmp_path / "x.parquet", ""))


@pytest.mark.parametrize("read", [read_samples, read_labels])
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["x.npy", "x.npz", "sparse.npz"])
def test_truncated(tmp_path, read, kept, kind):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X)
    save_sparse(tmp_path / "sparse.npz")
    path = tmp_path / kind
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match="is damaged"):
        read(path)


@pytest.mark.parametrize("read", [read_samples, read_labels])
def test_flipped_byte_in_an_archive(tmp_path, read):
    path = tmp_path / "x.npz"
    np.savez(path, x=X)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(X.tobytes())] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="is damaged"):
        read(path)


def test_sparse_matrix_with_an_index_out_of_range(tmp_path):
    path = save_sparse(tmp_path / "x.npz")
    with np.load(path) as archive:
        content = dict(archive)
    content["indices"][0] = 99
    np.savez(path, **content)
    with pytest.raises(ValueError, match="is damaged"):
        read_samples(path)


@pytest.mark.parametrize("read", [read_samples, read_labels])
def test_python_objects_are_not_loaded(tmp_path, read):
    objects = np.array([[1, "a"], [{}, None]], object)
    np.save(tmp_path / "x.npy", objects)
    np.savez(tmp_path / "x.npz", x=objects)
    for path in tmp_path.glob("x.np?"):
        with pytest.raises(TypeError, match="must hold numbers, got Python objects"):
            read(path)


def test_archive_without_a_known_array_lists_what_it_holds(tmp_path):
    np.savez(tmp_path / "x.npz", train=X, test=X)
    with pytest.raises(ValueError, match="one named x or X or data, got the arrays train, test"):
        read_samples(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="one named y or labels, got the arrays train, test"):
        read_labels(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="got the arrays none"):
        read_samples(tmp_path / "x.npz")


@pytest.mark.parametrize("text", ["2\n0\n2\n", "class\n2\n0\n2", "2.0\r\n0.0\r\n2.0\r\n\r\n", '\ufeff"2"\n 0\n2'])
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_text_of_numbers(tmp_path, text, suffix):
    labels = read_labels(write(tmp_path / f"y{suffix}", text))
    assert labels.y.tolist() == [2, 0, 2]
    assert labels.class_names is None


@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_text_of_names(tmp_path, suffix):
    labels = read_labels(write(tmp_path / f"y{suffix}", 'trade\n"money, fx"\ntrade\nähre\n'))
    assert labels.class_names == ("money, fx", "trade", "ähre")
    assert labels.y.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(("text", "problem"), [("1\n\n2\n", "line 2 holds ''"), ("1,5\n2,6\n", "line 1 holds '1,5'")])
def test_text_with_more_or_less_than_one_label_a_line(tmp_path, text, problem):
    with pytest.raises(ValueError, match="must hold one label a line") as raised:
        read_labels(write(tmp_path / "y.csv", text))
    assert problem in str(raised.value)


@pytest.mark.parametrize("y", [[3, 1, 2], [3.0, 1.0, 2.0], [[1], [2]]])
def test_npy_of_numbers_is_left_as_it_is(tmp_path, y):
    np.save(tmp_path / "y.npy", y)
    labels = read_labels(tmp_path / "y.npy")
    assert labels.y.tolist() == y
    assert labels.class_names is None


@pytest.mark.parametrize("dtype", [str, bytes])
def test_npy_of_names(tmp_path, dtype):
    np.save(tmp_path / "y.npy", np.array(["ship", "acq", "ship"], dtype))
    labels = read_labels(tmp_path / "y.npy")
    assert labels.class_names == ("acq", "ship")
    assert labels.y.tolist() == [1, 0, 1]


@pytest.mark.parametrize("arrays", [{"y": [1, 0]}, {"labels": [1, 0], "x": [[1.0], [2.0]]}, {"any": [1, 0]}])
def test_npz_of_labels(tmp_path, arrays):
    np.savez(tmp_path / "y.npz", **arrays)
    assert read_labels(tmp_path / "y.npz").y.tolist() == [1, 0]
