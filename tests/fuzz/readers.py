"""Every reader of files, with small sound files to begin with."""

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse

from dec_jax import load_model
from dec_jax.checkpoints import save_model
from dec_jax.data import load
from dec_jax.data.labels import read_labels
from dec_jax.digests import DIGESTS_FILE
from dec_jax.row_log import RowLog, read_rows
from dec_jax.runner import grid, table
from dec_jax.storage import Store, read_metadata, read_tree

X = np.random.default_rng(0).normal(size=(12, 4)).round(3)
CSV = "id,höhe,size,kind\n" + "".join(f"{i},{row[0]},{row[1]:.2f},{'ab'[i % 2]}\n" for i, row in enumerate(X))
PLAIN = "\n".join(";".join(f"{value:.3f}".replace(".", ",") for value in row) for row in X) + "\n"


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name: of the file, in a folder of its own.
        write: path → None, writes a sound file.
        read: path → anything, what a user's command does with it.
    """

    name: str
    write: object
    read: object


def _text(content, encoding="utf-8", pack=bytes):
    return lambda path: path.write_bytes(pack(content.encode(encoding)))


def _frame(suffix):
    import pandas

    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(np.float32), "c": list("abcabcabcabc"), "d": range(12)})
    write = {
        ".parquet": lambda path: frame.to_parquet(path),
        ".feather": lambda path: frame.to_feather(path),
        ".xlsx": lambda path: frame.to_excel(path, index=False),
    }
    return write[suffix]


def _sparse(kind):
    return lambda path: scipy.sparse.save_npz(path, getattr(scipy.sparse, f"{kind}_matrix")(np.abs(X) * (X > 0)))


def _npz(**arrays):
    return lambda path: np.savez(path, **arrays)


def _h5ad(path):
    import h5py

    sparse = scipy.sparse.csr_matrix(np.abs(X) * (X > 0))
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", sparse.shape
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(sparse, name)
        file.create_group("obs")["_index"] = [f"cell{i}".encode() for i in range(12)]
        file.create_group("var")["_index"] = [b"g1", b"g2", b"g3", b"g4"]


def _h5ad_dense(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["X"] = X.astype(np.float32)
        for group, n in (("obs", 12), ("var", 4)):  # as anndata writes names: text of any length
            file[f"{group}/names"] = [f"{group} {i}" for i in range(n)]
            file[group].attrs["_index"] = "names"


def _model(path):
    from faults.scenarios import TRAINED

    save_model(path.parent, TRAINED[1])


def _store(path):
    Store(path.parent).put("entry", {"a": X, "b": {"c": np.arange(3)}}, {"n": 1, "text": "é"})


def _rows(path):
    for number in range(3):
        RowLog(path).append(str(number), {"n": number, "labels": np.arange(20), "text": "é"})


def _read_rows(path):
    for row in read_rows([path]).values():
        json.dumps(row, default=np.ndarray.tolist)


def _table(path):
    table.write(table.to_frame([{"id": "a", "trial": 1, "acc": 0.5}, {"id": "b", "trial": 2}]), path.parent)
    (path.parent / DIGESTS_FILE).unlink()  # as an earlier version left it: nothing tells that it was changed


def _read_store(path):
    read_metadata(path)
    read_tree(path)


def _read_model(path):
    return load_model(path.parent)


def _read_config(path):
    return grid._read_file(str(path))


_CONFIG = (
    'data = "digits"\nn_clusters = [3, 5]\nseeds = 2\n[set]\n"pretraining.learning_rate" = [0.1, 0.01]\nmax_steps = 9\n'
)
_TEXT = {
    "a.csv": _text(CSV),
    "b.tsv": _text(CSV.replace(",", "\t"), "utf-16"),
    "c.csv.gz": _text(CSV, pack=gzip.compress),
    "d.csv.bz2": _text(CSV, pack=bz2.compress),
    "e.txt.xz": _text(PLAIN, pack=lzma.compress),
    "f.csv": _text(PLAIN, "cp1252"),
    "g.dat": _text("# x y z\n" + PLAIN.replace(";", "  ").replace(",", ".")),
}
_ARRAYS = {
    "a.npy": lambda path: np.save(path, X),
    "b.npy": lambda path: np.save(path, np.arange(12 * 5 * 5, dtype=np.uint8).reshape(12, 5, 5)),
    "c.npy": lambda path: np.save(path, np.array([(1, 2.5)] * 6, [("a", "i4"), ("b", "f8")])),
    "d.npz": _npz(x=X, y=np.arange(12) % 3),
    "e.npz": _npz(x_train=X, y_train=np.arange(12), x_test=X, y_test=np.arange(12)),
    "f.npz": lambda path: np.savez_compressed(path, X),
    "g.npz": _sparse("csr"),
    "h.npz": _sparse("csc"),
    "i.npz": _sparse("coo"),
}
KINDS = {
    **{name: Kind(name, write, load) for name, write in (_TEXT | _ARRAYS).items()},
    **{f"t{suffix}": Kind(f"t{suffix}", _frame(suffix), load) for suffix in (".parquet", ".feather", ".xlsx")},
    "sparse.h5ad": Kind("sparse.h5ad", _h5ad, load),
    "dense.h5ad": Kind("dense.h5ad", _h5ad_dense, load),
    "labels.csv": Kind(
        "labels.csv", _text("id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(9))), read_labels
    ),
    "labels.txt": Kind("labels.txt", _text("1\n2\n1\n\n3\n"), read_labels),
    "labels.npy": Kind("labels.npy", lambda path: np.save(path, np.array(["a", "b", "é"])), read_labels),
    "labels.npz": Kind("labels.npz", _npz(y=np.eye(3)), read_labels),
    "model": Kind("model.npz", _model, _read_model),
    "store": Kind("entry.npz", _store, _read_store),
    "rows": Kind("rows.jsonl", _rows, _read_rows),
    "table": Kind(table.CSV_FILE, _table, lambda path: table.read(path.parent)),
    "config": Kind("config.toml", _text(_CONFIG), _read_config),
}


def sound(kind, folder):
    """The bytes of a sound file, and its path."""
    path = Path(folder) / kind.name
    path.parent.mkdir(parents=True, exist_ok=True)
    kind.write(path)
    return path.read_bytes(), path
