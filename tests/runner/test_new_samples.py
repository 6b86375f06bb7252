"""dec-jax assign and embed: the same rows in blocks as in one, and bad input."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from dec_jax import data, networks, save_model, soft_assign, storage
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.checkpoints import ENTRY
from dec_jax.runner import command, new_samples
from dec_jax.trained_model import TrainedModel, embed

pd = pytest.importorskip("pandas")
N = 50


def table(n=N):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "customer_id": [f"c,{i:04}" for i in range(n)],
            "width": random.normal(size=n),
            "count": random.integers(0, 9, n),
            "colour": random.choice(["red", "blue", "7.0"], n),
            "member": random.choice([True, False], n),
        }
    )


def model_of(x, encoding=None):
    x = np.asarray(x, np.float64)
    network = Autoencoder((x.shape[1], 8, 2), kernel_init="he")
    params = networks.init(jax.random.key(0), network, x.shape[1])
    scaling = data.fit_scaling("standardize", x)
    z = networks.encode(network, params, jnp.asarray(data.apply_scaling(scaling, x)))
    return TrainedModel(network, params, z[:4], scaling, Assignment(1.0), encoding)


@pytest.fixture(scope="module")
def of_table():
    encoding, _ = data.fit_encoding(table())
    return model_of(data.encode(encoding, table()).x, encoding)


@pytest.fixture
def folder(tmp_path, of_table):
    """The folder of a model of the table."""
    save_model(tmp_path / "model", of_table)
    return tmp_path / "model"


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def call(name, *words):
    return command.main([name, *map(str, words)])


WRITERS = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t", decimal=","),
    "csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "parquet": lambda frame, path: frame.to_parquet(path, row_group_size=7),
    "feather": lambda frame, path: frame.to_feather(path),
    "xlsx": lambda frame, path: frame.to_excel(path, index=False),
}


@pytest.mark.parametrize("rows_of_a_block", [3, N, 1000])
@pytest.mark.parametrize("suffix", WRITERS)
def test_labels_are_the_same_in_blocks_of_any_size(tmp_path, folder, of_table, monkeypatch, suffix, rows_of_a_block):
    frame = table()
    WRITERS[suffix](frame, tmp_path / f"new.{suffix}")
    sizes = []
    assigner = new_samples.through

    def counted(path, model, function):
        def count(x):
            sizes.append(len(x))
            return function(x)

        return assigner(path, model, count)

    monkeypatch.setattr(new_samples, "through", counted)
    monkeypatch.setattr(new_samples, "ROWS", rows_of_a_block)
    assert call("assign", folder, tmp_path / f"new.{suffix}", "--out", tmp_path / "labels.csv") == 0
    assert (max(sizes) <= rows_of_a_block, sum(sizes)) == (True, N)
    q = soft_assign(of_table, frame)
    order = np.argsort(-q, axis=1, kind="stable")
    found = rows(tmp_path / "labels.csv")
    assert list(found[0]) == ["customer_id", "label", "confidence", "second_best"]
    assert [row["customer_id"] for row in found] == frame["customer_id"].tolist()
    assert [int(row["label"]) for row in found] == order[:, 0].tolist()
    assert [int(row["second_best"]) for row in found] == order[:, 1].tolist()
    assert [row["confidence"] for row in found] == [f"{value:.6g}" for value in q.max(axis=1)]


@pytest.mark.parametrize("rows_of_a_block", [3, 1000])
def test_embeddings_are_the_same_in_blocks_to_the_last_bit(tmp_path, folder, of_table, monkeypatch, rows_of_a_block):
    monkeypatch.setattr(new_samples, "ROWS", rows_of_a_block)
    table().to_csv(tmp_path / "new.csv", index=False)
    expected = embed(of_table, table())
    assert call("embed", folder, tmp_path / "new.csv", "--out", tmp_path / "z.npy") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), expected)
    assert call("embed", folder, tmp_path / "new.csv", "--out", tmp_path / "z.parquet") == 0
    found = pd.read_parquet(tmp_path / "z.parquet")
    assert list(found.columns) == ["customer_id", "z0", "z1"]
    np.testing.assert_array_equal(found[["z0", "z1"]].to_numpy(), expected)
    assert found["customer_id"].tolist() == table()["customer_id"].tolist()


@pytest.mark.parametrize("kind", ["npy", "npz", "sparse", "csv"])
def test_a_model_of_arrays_takes_arrays_and_tables_of_numbers(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(new_samples, "ROWS", 7)
    x = np.random.default_rng(1).poisson(1.0, (40, 5)).astype(np.float32)
    model = model_of(x)
    save_model(tmp_path / "model", model)
    path = tmp_path / f"x.{'npz' if kind == 'sparse' else kind}"
    match kind:
        case "npy":
            np.save(path, x)
        case "npz":
            np.savez(path, x=x)
        case "sparse":
            scipy.sparse.save_npz(path, scipy.sparse.csr_array(x))
        case "csv":
            pd.DataFrame(x).assign(sample_id=[f"s{i}" for i in range(40)]).to_csv(path, index=False)
    assert call("assign", tmp_path / "model", path, "--out", tmp_path / "labels.csv") == 0
    found = rows(tmp_path / "labels.csv")
    assert [int(row["label"]) for row in found] == soft_assign(model, x).argmax(axis=1).tolist()
    name, first = ("sample_id", "s0") if kind == "csv" else ("id", "0")
    assert found[0][name] == first


def test_ids_may_be_numbers_the_index_or_named_as_a_column_of_the_result(tmp_path, of_table, folder, monkeypatch):
    monkeypatch.setattr(new_samples, "ROWS", 20)
    frame = table().drop(columns="customer_id")
    frame.set_axis(pd.Index(range(900, 900 + N), name="label")).to_parquet(tmp_path / "new.parquet")
    assert call("assign", folder, tmp_path / "new.parquet", "--out", tmp_path / "labels.csv") == 0
    assert [int(row["id"]) for row in rows(tmp_path / "labels.csv")] == list(range(900, 900 + N))
    frame.to_csv(tmp_path / "new.csv", index=False)
    assert call("embed", folder, tmp_path / "new.csv", "--out", tmp_path / "z.parquet") == 0
    assert pd.read_parquet(tmp_path / "z.parquet")["id"].tolist() == list(range(N))


def test_what_all_blocks_say_is_said_once(tmp_path, monkeypatch, capsys):
    options = data.TableOptions(missing="drop")
    encoding, _ = data.fit_encoding(table(), options)
    save_model(tmp_path / "model", model_of(data.encode(encoding, table()).x, encoding))
    frame = table().assign(extra=1.0)
    frame.loc[[2, 30], "width"] = np.nan
    frame.loc[[5, 6, 7, 40], "colour"] = "mauve"  # all of one block, and one of another
    frame.to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.setattr(new_samples, "ROWS", 1)
    assert call("assign", tmp_path / "model", tmp_path / "new.csv", "--out", tmp_path / "labels.csv") == 0
    said = capsys.readouterr().err
    assert said.count("2 of 50 rows with missing values are left out") == 1
    assert said.count("'colour' holds new categories, which are in none of its features: 'mauve'") == 1
    assert said.count("columns that the model does not know are not used: 'extra'") == 1
    kept = [row["customer_id"] for row in rows(tmp_path / "labels.csv")]
    assert kept == frame["customer_id"].drop(index=[2, 30]).tolist()


CHANGES = {
    "missing": (lambda frame: frame.drop(columns="width"), "the table must have the column 'width'"),
    "words": (lambda frame: frame.assign(width="wide"), "column 'width' must hold numbers, as before (number)"),
    "true and false": (lambda frame: frame.assign(width=True), "column 'width' must hold numbers, as before"),
    "numbers": (lambda frame: frame.assign(colour=1.5), "column 'colour' must hold categories as before"),
    "a boolean that is more": (lambda frame: frame.assign(member=3), "column 'member' must hold 0 and 1"),
    "dates": (lambda frame: frame.assign(count="2021-01-02"), "column 'count' must hold numbers, as before"),
    "gaps": (lambda frame: frame.assign(count=np.nan), "values are missing in the columns 'count'"),
    "infinite": (lambda frame: frame.assign(width=np.inf), "column 'width' must be finite"),
    "twice": (lambda frame: frame.set_axis([*frame.columns[:-1], "width"], axis=1), "got 'width' 2 times"),
    "one column": (lambda frame: frame[["width"]], "the table must have the column 'count', 'colour', 'member'"),
    "no rows": (lambda frame: frame.iloc[:0], "must hold at least one sample"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["assign", "embed"])
def test_a_table_that_does_not_fit_is_refused_in_one_line_and_nothing_is_written(
    tmp_path, folder, capsys, monkeypatch, name, change
):
    monkeypatch.setattr(new_samples, "ROWS", 20)
    apply, problem = CHANGES[change]
    whole = table()
    # The first rows are as they should be, where that can be said.
    broken = apply(whole)
    if list(broken.columns) == list(whole.columns) and len(broken):
        broken = (
            pd.concat([whole.iloc[:30].astype(object), broken.iloc[30:]]) if change in ("gaps", "infinite") else broken
        )
    broken.to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / ("labels.csv" if name == "assign" else "z.npy")
    before = sorted(tmp_path.iterdir())
    assert call(name, folder, tmp_path / "new.csv", "--out", out) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(error) == 1
    assert problem in error[0]
    assert "new.csv" in error[0]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "out", "problem"),
    [
        ("assign", "labels.txt", "out must be a file .csv, got"),
        ("embed", "z.csv", "out must be a file .npy or .parquet, got"),
        ("assign", "nowhere/labels.csv", "out must be in a folder that exists, got"),
        ("assign", "new.csv", "out must be another file than the samples"),
    ],
)
def test_a_result_that_cannot_be_written_is_refused_first(tmp_path, folder, capsys, name, out, problem):
    table().to_csv(tmp_path / "new.csv", index=False)
    content = (tmp_path / "new.csv").read_bytes()
    assert call(name, folder, tmp_path / "new.csv", "--out", tmp_path / out) == 2
    assert problem in capsys.readouterr().err
    assert (tmp_path / "new.csv").read_bytes() == content


def test_a_model_of_a_newer_version_and_a_folder_without_one_are_refused(tmp_path, folder, capsys, monkeypatch):
    table().to_csv(tmp_path / "new.csv", index=False)
    path = folder / (ENTRY + storage.SUFFIX)
    tree, metadata = storage.read_tree(path)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "FORMAT", storage.FORMAT + 1)
        storage.write_tree(path, tree, metadata)
    assert call("assign", folder, tmp_path / "new.csv", "--out", tmp_path / "labels.csv") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"has format {storage.FORMAT + 1}, this version reads format {storage.FORMAT}" in said
    assert call("assign", tmp_path, tmp_path / "new.csv", "--out", tmp_path / "labels.csv") == 2
    assert call("assign", tmp_path / "nowhere", tmp_path / "new.csv", "--out", tmp_path / "labels.csv") == 2
    assert "no model in" in capsys.readouterr().err
    assert not (tmp_path / "labels.csv").exists()


def test_a_file_that_is_not_there_is_named(tmp_path, folder, capsys):
    for name in ("new.csv", "new.parquet", "new.npy", "new.xyz"):
        assert call("assign", folder, tmp_path / name, "--out", tmp_path / "labels.csv") == 2
        assert name in capsys.readouterr().err
