import json

import numpy as np
import pytest

from benchmarks import tables


@pytest.mark.slow
def test_the_table_and_its_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tables, "SAMPLES", (150,))
    assert tables.main(["--tables", "1", "--out", str(tmp_path / "tables.json")]) == 0
    records = json.loads((tmp_path / "tables.json").read_text())
    assert [record["family"] for record in records] == [*tables.HEAPS, *tables.CURVES]
    assert all(-1 <= record["ari"][method] <= 1 for record in records for method in tables.METHODS)
    shown = capsys.readouterr().out
    assert f"{np.mean([record['ari']['ours'] for record in records]):.3f}" in shown


@pytest.mark.parametrize("family", [*tables.HEAPS, *tables.CURVES])
def test_tables_are_of_the_number_of_samples_and_clusters(family):
    make = tables.heaps if family in tables.HEAPS else tables.curves
    x, y = make(family, np.random.default_rng(0), 300)
    assert len(x) == len(y) == 300
    assert np.isfinite(x).all()
    assert set(y) == set(range(y.max() + 1))


def test_a_wrong_number_is_refused(capsys):
    assert tables.main(["--tables", "0"]) == 2
    assert "tables must be at least 1" in capsys.readouterr().err
