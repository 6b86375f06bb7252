"""What a stranger's file can do: be read, or be refused. It is never run, and never fills the memory."""

import ast
import gzip
import json
import os
import stat
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

import dec_jax
from dec_jax import DEC, assign, load_model, networks
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.checkpoints import save_model
from dec_jax.data import Scaling, load
from dec_jax.data.labels import read_labels
from dec_jax.storage import Store, read_tree
from dec_jax.trained_model import TrainedModel

MODEL = Autoencoder((4, 3, 2))
TRAINED = TrainedModel(MODEL, networks.init(jax.random.key(0), MODEL, 4), np.eye(2), Scaling("rms"), Assignment())
RAN = []


class Runs:
    """What is unpickled runs code."""

    def __reduce__(self):
        return RAN.append, ("an object of the file",)


@pytest.fixture(autouse=True)
def nothing_runs():
    RAN.clear()
    yield
    assert RAN == []


# --------------------------------------------------------------------------------------------------------- the source

SOURCE = sorted(Path(dec_jax.__file__).parent.rglob("*.py"))
# Only what the command line, a configuration that the user names or the library itself says is imported.
IMPORTERS = {"__init__.py", "build.py", "command.py", "completion.py", "extras.py", "identity.py"}
FORBIDDEN = {"eval", "exec", "compile", "__import__"}
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            yield getattr(function, "id", getattr(function, "attr", "")), node, isinstance(function, ast.Name)


@pytest.mark.parametrize("path", SOURCE, ids=lambda path: path.name)
def test_the_source_neither_unpickles_nor_evaluates(path):
    tree = ast.parse(path.read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & UNSAFE
    for name, node, is_plain in calls(tree):
        assert not (is_plain and name in FORBIDDEN), f"line {node.lineno}"
        assert name not in ("read_pickle", "extractall", "extract"), f"line {node.lineno}"
        if name == "load" and getattr(getattr(node.func, "value", None), "id", "") in ("np", "numpy"):
            words = {word.arg: word.value for word in node.keywords}
            assert words["allow_pickle"].value is False, f"line {node.lineno}"
        if name == "import_module":
            assert path.name in IMPORTERS, f"line {node.lineno}"


# --------------------------------------------------------------------------------------------------- a stranger's model


def forged(folder, **changes):
    """A model whose digests are right and whose metadata say something else."""
    save_model(folder, TRAINED)
    tree, metadata = read_tree(folder / "model.npz")
    Store(folder).put("model", tree, metadata | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "os:system"},
        {"network": "Runs"},
        {"network": "__class__"},
        {"network": ["Autoencoder"]},
        {"network": None},
        {"kernel": "os:system"},
        {"kernel": "__import__('os').system('true')"},
        {"model": {"dims": [4, 3, 2], "__class__": "os"}},
        {"model": {"dims": [4, 3, 2], "activation": "os:system"}},
        {"model": {"dims": [4, 3, 2], "kernel_init": "subprocess.run"}},
        {"model": {"dims": [10**9, 10**9]}},
        {"model": "os.system"},
        {"scaling": {"rule": "os:system", "shift": 0, "scale": 1}},
        {"scaling": {"rule": "rms", "shift": [[0]], "scale": 1}},
        {"encoding": {"columns": [{"name": "a", "kind": "os:system"}], "missing": None, "missing_values": []}},
        {"encoding": "os.system('true')"},
        {"alpha": "1.0; import os"},
        {"kind": "something else"},
    ],
    ids=str,
)
def test_a_model_of_a_stranger_names_nothing_that_is_run(tmp_path, monkeypatch, changes):
    monkeypatch.setattr(os, "system", RAN.append)
    forged(tmp_path, **changes)
    with pytest.raises((ValueError, TypeError)):
        assign(load_model(tmp_path), np.ones((3, 4)))


def test_objects_in_place_of_arrays_are_not_unpickled(tmp_path):
    save_model(tmp_path, TRAINED)
    with np.load(tmp_path / "model.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "model.npz", **arrays | {"0": np.array([Runs()], object)})
    with pytest.raises(ValueError, match="is damaged"):
        load_model(tmp_path)


def test_a_model_of_version_0_1_is_not_unpickled_either(tmp_path):
    content = {"format": 1, "digest": "0", "metadata": {"kind": "model"}}
    (tmp_path / "metadata.json").write_text(json.dumps(content))
    np.savez(tmp_path / "arrays.npz", x=np.array([Runs()], object))
    with pytest.raises(ValueError, match="is damaged"):
        load_model(tmp_path)


def test_an_estimator_of_a_stranger_names_no_function_that_fit_would_import(tmp_path):
    estimator = DEC(n_clusters=2, objective="os:system")
    estimator.model_, estimator.n_features_in_ = TRAINED, 4
    estimator.save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"functions that fit would import \(os:system\).*own_functions=True"):
        DEC.load(tmp_path / "a")
    assert DEC.load(tmp_path / "a", own_functions=True).objective == "os:system"
    estimator.set_params(objective="dec", settings={"network.kind": "os:system"})
    estimator.save(tmp_path / "b")
    with pytest.raises(ValueError, match="os:system"):
        DEC.load(tmp_path / "b")


def test_parameters_that_an_estimator_does_not_have_are_refused(tmp_path):
    save_model(tmp_path, TRAINED)
    Store(tmp_path).put("estimator", {}, {"parameters": {"__class__": "os"}, "n_features_in_": 4})
    with pytest.raises(ValueError, match="does not hold the parameters of an estimator"):
        DEC.load(tmp_path)


# --------------------------------------------------------------------------------------------------- a stranger's data


@pytest.mark.parametrize("read", [load, read_labels])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_objects_in_data_are_not_unpickled(tmp_path, name, read):
    array = np.array([Runs(), Runs()], object)
    if name.endswith(".npy"):
        np.save(tmp_path / name, array, allow_pickle=True)
    else:
        np.savez(tmp_path / name, array)
    with pytest.raises(TypeError, match="Python objects"):
        read(tmp_path / name)


def bomb(path, n_bytes=2**29):
    """A small .npz that unpacks to half a gigabyte of zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as file,
    ):
        file.write(
            b"\x93NUMPY\x01\x00v\x00"
            + str({"descr": "<f8", "fortran_order": False, "shape": (n_bytes // 8,)}).ljust(117).encode()
            + b"\n"
        )
        for _ in range(n_bytes // 2**24):
            file.write(bytes(2**24))


@pytest.mark.slow
def test_an_archive_that_would_fill_the_memory(tmp_path):
    bomb(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="unpacks to more than"):
        load(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x.npz", "x.xlsx"])
def test_an_archive_that_says_that_it_is_large(tmp_path, monkeypatch, name):
    monkeypatch.setattr("dec_jax.data.packed.LIMIT", 0)
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(10**6))
    with pytest.raises(ValueError, match="unpacks to more than"):
        load(tmp_path / name)


def test_a_table_that_would_fill_the_memory(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setattr("dec_jax.data.packed.LIMIT", 0)
    table = pyarrow.table({"a": pyarrow.array(np.zeros(10**6))})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(ValueError, match="unpacks to more than"):
        load(tmp_path / "x.parquet")


def test_a_folder_of_images_that_would_fill_the_memory(tmp_path, monkeypatch):
    pillow = pytest.importorskip("PIL.Image")
    monkeypatch.setattr("dec_jax.data.packed.LIMIT", 0)
    for i in range(2):
        pillow.new("L", (3000, 3000)).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match="too large for a file of its size"):
        load(tmp_path)


def test_a_packed_text_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("dec_jax.data.packed.LIMIT", 0)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"0" * 10**7))
    with pytest.raises(ValueError, match="unpacks to more than"):
        load(tmp_path / "x.csv.gz")


@pytest.mark.parametrize("name", ["/etc/x.npy", "../x.npy", "a/../../x.npy", "..\\x.npy"])
def test_paths_out_of_an_archive_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(ValueError, match="a link or a path out of the archive"):
        load(tmp_path / "x.npz")


def test_links_in_an_archive_are_refused(tmp_path):
    member = zipfile.ZipInfo("x.npy")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr(member, b"/etc/passwd")
    with pytest.raises(ValueError, match="a link or a path out of the archive"):
        load(tmp_path / "x.npz")


def external(file, folder):
    (folder / "secret").write_bytes(bytes(range(64)))
    file.create_dataset("X", (8, 8), np.uint8, external=[(str(folder / "secret"), 0, 64)])


def linked(file, folder):
    import h5py

    with h5py.File(folder / "other.h5", "w") as other:
        other["X"] = np.eye(4)
    file["X"] = h5py.ExternalLink(str(folder / "other.h5"), "X")


def dangling(file, _):
    import h5py

    file["X"] = h5py.SoftLink("/nowhere")


def virtual(file, folder):
    import h5py

    with h5py.File(folder / "other.h5", "w") as other:
        other["X"] = np.eye(4)
    layout = h5py.VirtualLayout((4, 4), np.float64)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "X", (4, 4))
    file.create_virtual_dataset("X", layout)


@pytest.mark.parametrize("put", [external, linked, dangling, virtual])
def test_parts_of_other_files_are_not_read(tmp_path, put):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        put(file, tmp_path)
    with pytest.raises(ValueError, match="a link or a part of another file"):
        load(tmp_path / "x.h5ad")


def test_a_matrix_that_is_larger_than_its_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file.create_dataset("X", (10**6, 10**6), np.float64, chunks=(100, 100))
    with pytest.raises(ValueError, match="unpacks to more than"):
        load(tmp_path / "x.h5ad")
