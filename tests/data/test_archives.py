import numpy as np
import pytest
import scipy.sparse

from dec_jax.data import archives
from dec_jax.data.files import read_samples
from dec_jax.data.labels import read_labels

X = np.array([[1.5, 2.0], [0.0, -4.0], [5.0, 6.25]])
SPARSE = scipy.sparse.csr_array(np.array([[0, 2, 0], [1, 0, 0], [0, 0, 3]], np.float32))
DIGITS = np.arange(5 * 6 * 6, dtype=np.uint8).reshape(5, 6, 6)


def save_sparse(path, matrix=SPARSE):
    scipy.sparse.save_npz(path, matrix)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, ">f8", bool])
def test_npy_keeps_its_dtype(tmp_path, dtype):
    x = np.array([[0, 1], [1, 0]], dtype)
    np.save(tmp_path / "x.npy", x)
    read, labels, *_ = read_samples(tmp_path / "x.npy")
    np.testing.assert_array_equal(read, x)
    assert read.dtype == x.dtype
    assert labels is None


@pytest.mark.parametrize("key", ["x", "X", "data", "features"])
def test_npz_with_one_array(tmp_path, key):
    np.savez(tmp_path / "x.npz", **{key: X})
    read, labels, *_ = read_samples(tmp_path / "x.npz")
    np.testing.assert_array_equal(read, X)
    assert labels is None


@pytest.mark.parametrize("key", ["x", "X", "data"])
@pytest.mark.parametrize("label_key", ["y", "labels"])
def test_npz_with_samples_labels_and_more(tmp_path, key, label_key):
    np.savez_compressed(tmp_path / "x.npz", **{key: X, label_key: [2, 0, 2], "more": [1]})
    read, labels, *_ = read_samples(tmp_path / "x.npz")
    np.testing.assert_array_equal(read, X)
    assert labels.tolist() == [2, 0, 2]


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_sparse_npz_becomes_csr(tmp_path, layout):
    read, labels, *_ = read_samples(save_sparse(tmp_path / "x.npz", SPARSE.asformat(layout)))
    assert isinstance(read, scipy.sparse.csr_array)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.toarray(), SPARSE.toarray())
    assert labels is None


def test_entries_given_twice_are_added(tmp_path):
    twice = scipy.sparse.coo_array(([1.0, 2.0, 5.0], ([0, 0, 1], [1, 1, 0])), (2, 2))
    read, *_ = read_samples(save_sparse(tmp_path / "x.npz", twice))
    assert read.nnz == 2
    assert read.toarray().tolist() == [[0, 3], [5, 0]]


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
    with pytest.raises(ValueError, match=rf"x\{suffix} is damaged, or is not a \{suffix} file"):
        read(path)


@pytest.mark.parametrize("read", [read_samples, read_labels])
def test_unknown_kind_of_file(tmp_path, read):
    (tmp_path / "x.doc").touch()
    with pytest.raises(ValueError, match=r"unknown kind of .*x\.doc.*accepted: \.npy, \.npz, .*\.csv.*\.parquet"):
        read(tmp_path / "x.doc")


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


@pytest.mark.parametrize(("part", "place", "value"), [("indices", 0, 99), ("indptr", -1, 0)])
def test_sparse_matrix_that_would_read_foreign_memory(tmp_path, part, place, value):
    path = save_sparse(tmp_path / "x.npz")
    with np.load(path) as archive:
        content = dict(archive)
    content[part][place] = value
    np.savez(path, **content)
    with pytest.raises(ValueError, match="is damaged"):
        read_samples(path)


@pytest.mark.parametrize("read", [read_samples, read_labels])
def test_python_objects_are_not_loaded(tmp_path, read):
    objects = np.array([[1, "a"], [{}, None]], object)
    np.save(tmp_path / "x.npy", objects)
    np.savez(tmp_path / "x.npz", x=objects)
    for path in tmp_path.glob("x.np?"):
        with pytest.raises(TypeError, match="must hold numbers.*got Python objects.*not loaded"):
            read(path)


def test_archive_without_a_known_array_lists_what_it_holds(tmp_path):
    np.savez(tmp_path / "x.npz", train=X, test=X)
    with pytest.raises(ValueError, match="one named x or X or data or images or features, got the arrays train, test"):
        read_samples(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="one named y or Y or labels or .*, got the arrays train, test"):
        read_labels(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="got the arrays none"):
        read_samples(tmp_path / "x.npz")


def test_an_array_of_objects_does_not_matter_beside_others(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, names=np.array(["a", None], object))
    np.testing.assert_array_equal(read_samples(tmp_path / "x.npz").x, X)
    np.savez(tmp_path / "x.npz", samples=X, names=np.array(["a", None], object))
    np.testing.assert_array_equal(read_samples(tmp_path / "x.npz").x, X)


def test_a_large_array_is_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAPPED_BYTES", 10)
    np.save(tmp_path / "x.npy", X)
    read = read_samples(tmp_path / "x.npy").x
    assert isinstance(read, np.memmap)
    np.testing.assert_array_equal(read, X)


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("data-train", "target-train", "data-test", "target-test"),
    ],
)
@pytest.mark.parametrize(("part", "rows"), [("all", range(5)), ("train", range(3)), ("test", range(3, 5))])
def test_parts_of_an_archive(tmp_path, keys, part, rows):
    y = np.array([3, 1, 4, 1, 5])
    np.savez(tmp_path / "x.npz", **dict(zip(keys, (DIGITS[:3], y[:3], DIGITS[3:], y[3:]), strict=True)))
    archive = archives.read_archive(tmp_path / "x.npz", part)
    np.testing.assert_array_equal(archive.x, DIGITS[list(rows)])
    np.testing.assert_array_equal(archive.y, y[list(rows)])
    (note,) = archive.notes
    assert (keys[0] in note, keys[2] in note) == (part != "test", part != "train")


def test_labels_of_one_part_alone_are_not_used(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=X, y_train=[0, 1, 0], x_test=X)
    archive = archives.read_archive(tmp_path / "x.npz")
    assert (archive.x.shape, archive.y) == ((6, 2), None)


def test_samples_beside_a_test_part_are_the_samples(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, y=[0, 1, 0], x_test=X[:1], y_test=[1])
    archive = archives.read_archive(tmp_path / "x.npz")
    np.testing.assert_array_equal(archive.x, X)
    assert archive.y.tolist() == [0, 1, 0]


@pytest.mark.parametrize(("key", "label_key"), [("data", "target"), ("images", "labels"), ("features", "label")])
def test_samples_and_labels_of_any_name(tmp_path, key, label_key):
    np.savez(tmp_path / "x.npz", **{key: X, label_key: [0, 1, 0]})
    assert archives.read_archive(tmp_path / "x.npz").y.tolist() == [0, 1, 0]


def test_labels_that_do_not_fit_their_part(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=X, y_train=[0, 1, 0, 1], x_test=X, y_test=[1, 0])
    with pytest.raises(ValueError, match=r"one label per sample, got x_train \(3, 2\), y_train \(4,\)"):
        read_samples(tmp_path / "x.npz")
    for y in (np.array([[1], [0], [1]]), np.array(["a", "b", "a"])):
        np.savez(tmp_path / "x.npz", x_train=X, y_train=[0, 1, 0], x_test=X, y_test=y)
        with pytest.raises(ValueError, match="labels of one kind in all parts"):
            read_samples(tmp_path / "x.npz")


def test_python_objects_are_not_mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}, None]), allow_pickle=True)
    with pytest.raises(TypeError, match="must hold numbers, got Python objects"):
        archives.read_archive(tmp_path / "x.npy", mapped=True)


def test_parts_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=X, x_test=X[:, :1])
    with pytest.raises(ValueError, match=r"samples of one shape, got x_train \(3, 2\), x_test \(3, 1\)"):
        read_samples(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", x_train=X)
    with pytest.raises(ValueError, match=r"part=test is not in .*accepted: all, train"):
        archives.read_archive(tmp_path / "x.npz", "test")
    np.savez(tmp_path / "x.npz", x=X)
    with pytest.raises(ValueError, match=r"part=test needs an archive with x_train and x_test"):
        archives.read_archive(tmp_path / "x.npz", "test")
