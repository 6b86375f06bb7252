import numpy as np
import pytest
import scipy.sparse

from dec_jax.data import h5ad, load
from dec_jax.data.options import TableOptions

h5py = pytest.importorskip("h5py")
X = np.array([[0, 2.5, 0], [1, 0, 0], [0, 0, 3], [4, 0, 1]], np.float32)


def write(path, x):
    """Writes what anndata writes: X, the names of rows and columns, and a category of the rows."""
    with h5py.File(path, "w") as file:
        if scipy.sparse.issparse(x):
            group = file.create_group("X")
            group.attrs["encoding-type"] = f"{x.format}_matrix"
            group.attrs["shape"] = x.shape
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(x, name)
        elif x is not None:
            file["X"] = x
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs["_index"] = var.attrs["_index"] = "names"
        obs["names"] = ["cell 1", "cell 2", "cell 3", "细胞"]
        var["names"] = ["gene a", "gene b", "gene c"]
        kind = obs.create_group("cell_type")
        kind["categories"] = ["B", "T"]
        kind["codes"] = np.array([1, 0, -1, 1], np.int8)
        obs["batch"] = [1, 2, 1, 2]
    return path


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_matrix_names_and_labels(tmp_path, make):
    dataset = load(write(tmp_path / "mine.h5ad", make(X)), options=TableOptions(label_column="cell_type"))
    assert scipy.sparse.issparse(dataset.x) == (make is not np.asarray)
    np.testing.assert_array_equal(dataset.x.toarray() if scipy.sparse.issparse(dataset.x) else dataset.x, X)
    assert dataset.ids.tolist() == ["cell 1", "cell 2", "cell 3", "细胞"]
    assert dataset.feature_names == ("gene a", "gene b", "gene c")
    assert (dataset.y.tolist(), dataset.class_names) == ([1, 0, -1, 1], ("B", "T"))


def test_labels_are_those_that_are_named(tmp_path):
    path = write(tmp_path / "mine.h5ad", X)
    assert load(path).y is None
    assert load(path, options=TableOptions(label_column="batch")).y.tolist() == [1, 2, 1, 2]
    with pytest.raises(ValueError, match="unknown column in label_column 'cel_type'; did you mean 'cell_type'"):
        load(path, options=TableOptions(label_column="cel_type"))


def test_columns_of_nullable_types(tmp_path):
    path = write(tmp_path / "mine.h5ad", X)
    with h5py.File(path, "a") as file:
        for group, name, values in (("obs", "age", [3, 1, 3, 0]), ("obs", "names", ["a", "b", "c", "d"])):
            if name in file[group]:
                del file[group][name]
            made = file[group].create_group(name)
            made["values"], made["mask"] = values, np.array([False, False, False, name == "age"])
    dataset = load(path, options=TableOptions(label_column="age"))
    assert (dataset.y.tolist(), dataset.ids.tolist()) == ([3, 1, 3, -1], ["a", "b", "c", "d"])


def test_a_column_that_lacks_a_part_is_damaged(tmp_path):
    path = write(tmp_path / "mine.h5ad", X)
    with h5py.File(path, "a") as file:
        del file["obs/cell_type/categories"]
    with pytest.raises(ValueError, match=r"is damaged.*it lacks 'categories' in /obs/cell_type"):
        load(path, options=TableOptions(label_column="cell_type"))


def test_a_file_without_a_matrix(tmp_path):
    with pytest.raises(ValueError, match="must hold the matrix X, got obs, var"):
        load(write(tmp_path / "mine.h5ad", None))


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_a_matrix_that_would_read_foreign_memory(tmp_path, kind):
    x = scipy.sparse.csr_array(X).asformat(kind)
    x.indptr[-1] = 0
    with pytest.raises(ValueError, match="is damaged.*X must have pointers that rise"):
        load(write(tmp_path / "mine.h5ad", x))


@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_damaged_file(tmp_path, size):
    path = write(tmp_path / "mine.h5ad", X)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"is damaged, or is not a \.h5ad file"):
        load(path)


def test_indices_out_of_range(tmp_path):
    matrix = scipy.sparse.csr_array(X)
    matrix.indices[0] = 99
    with pytest.raises(ValueError, match=r"mine\.h5ad"):
        load(write(tmp_path / "mine.h5ad", matrix))


def test_text_that_leads_the_library_in_a_circle(tmp_path, monkeypatch):
    pytest.importorskip("resource")
    monkeypatch.setattr(h5ad, "SECONDS", 1)
    path = write(tmp_path / "mine.h5ad", X)
    content = bytearray(path.read_bytes())
    first = content.find(b"GCOL") + 16  # where text of any length lies: an object without an index and without a size
    content[first : first + 16] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.h5ad is damaged.*reading its text ended with status"):
        load(path)
