import csv
import json

import numpy as np
import pandas as pd
import pytest

import dec_jax
from dec_jax import assign, data, embed, load_model, soft_assign
from dec_jax.runner import command, run

from .tiny_run import SMALL
from .tiny_run import command as words_of

pytestmark = pytest.mark.slow


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_new_file_is_assigned_with_confidence_and_second_best(finished, files, tmp_path, capsys):
    out = tmp_path / "labels.csv"
    assert command.main(["assign", str(finished.out), str(files.x), "--out", str(out)]) == 0
    assert "200 rows are in" in capsys.readouterr().out
    model, x = load_model(finished.out / "model"), np.load(files.x)
    q = soft_assign(model, x)
    found = rows(out)
    assert [int(row["label"]) for row in found] == assign(model, x).tolist()
    assert [int(row["second_best"]) for row in found] == np.argsort(-q, axis=1, kind="stable")[:, 1].tolist()
    np.testing.assert_allclose([float(row["confidence"]) for row in found], q.max(axis=1), rtol=1e-5)
    assert [int(row["id"]) for row in found] == list(range(200))


def test_a_new_file_is_embedded(finished, files, tmp_path):
    out = tmp_path / "z.npy"
    assert command.main(["embed", str(finished.out / "model"), str(files.x), "--out", str(out)]) == 0
    np.testing.assert_array_equal(np.load(out), embed(load_model(finished.out / "model"), np.load(files.x)))


@pytest.mark.usefixtures("no_pictures")
def test_a_model_of_a_table_knows_its_columns_and_ids(tmp_path, capsys):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"width": random.normal(size=80), "kind": random.choice(["red", "blue"], 80)})
    table["customer_id"] = [f"c,{i}" for i in range(80)]
    table.to_csv(tmp_path / "table.csv", index=False)
    words = words_of(tmp_path / "table.csv", "--id-column", "customer_id", "--out", tmp_path / "run", settings=SMALL)
    words[words.index("10")] = "2"
    assert run.main(words) == 0
    assert "customer_id  id        0        ids\n" in capsys.readouterr().err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert data.Encoding.from_json(result["table"]) == load_model(tmp_path / "run" / "model").encoding
    table[["kind", "customer_id", "width"]].iloc[::-1].to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "labels.csv"
    assert command.main(["assign", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--out", str(out)]) == 0
    found = {row["customer_id"]: int(row["label"]) for row in rows(out)}
    with np.load(tmp_path / "run" / "assignments.npz") as kept:
        assert [found[f"c,{i}"] for i in range(80)] == kept["labels"].tolist()
    table.drop(columns="kind").to_csv(tmp_path / "less.csv", index=False)
    assert command.main(["assign", str(tmp_path / "run"), str(tmp_path / "less.csv"), "--out", str(out)]) == 2
    assert "the table must have the column 'kind'" in capsys.readouterr().err


def test_help_version_and_unknown_commands(capsys):
    assert command.main([]) == 0
    assert command.main(["--version"]) == 0
    assert dec_jax.__version__ in capsys.readouterr().out
    assert command.main(["asign"]) == 2
    assert (
        "unknown command 'asign' (accepted: run, sweep, report, assign, embed, completion)" in capsys.readouterr().err
    )
