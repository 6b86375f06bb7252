import io
import math
import sys

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from rich.console import Console

from dec_jax.runner import table
from dec_jax.runner.config import FIELDS, Config
from dec_jax.runner.table import COLUMNS, TIME_COLUMNS, print_summary, read, summary, to_frame, write

K, D = "clustering.n_clusters", "pretraining.input_dropout"
ACC = {(8, 0): 0.5, (8, 1): 0.75, (10, 0): 0.9, (10, 1): 0.7}


def row(trial, seed=0, n_clusters=10, **values):
    settings = Config().with_values({"clustering.n_clusters": n_clusters, "seed": seed}).flat()
    scores = {"acc": 0.1 + 0.2, "nmi": 1 / 3, "ari": -0.05, "clustering_loss": 5e-324, "steps": 160, "seconds": 1.5}
    return settings | {"trial": trial, "id": f"{trial:016x}", "stop_reason": "tolerance"} | scores | values


ROWS = [
    row(0),
    row(
        1,
        **{
            "network.hidden": (),
            "pretraining.input_dropout": 0.5,
            "data.labels": "my, labels.npy",
            "clustering.train_encoder": False,
            "clustering.parameters": (("radius", 1.5), ("share", 0.25)),
        },
    ),
    row(2, acc=None, nmi=math.nan, ari=math.inf, clustering_loss=math.nan, steps=None, **{"network.hidden": [16, 8]}),
    {"trial": 3, "id": "f", "error": 'loss became "nan",\nor infinite\r\nin step 7\r'},
    row(4, error="", stop_reason="none", **{"data.labels": "nan", "data.name": "NA"}),
]


@pytest.fixture
def frame():
    return to_frame(ROWS)


def grid(**values):
    return to_frame(row(i, seed, k, acc=acc, **values) for i, ((k, seed), acc) in enumerate(ACC.items()))


def printed(frame, swept):
    console = Console(width=200, record=True, file=io.StringIO())
    print_summary(frame, swept, console)
    return console.export_text()


# The frame


def test_columns_are_the_settings_and_the_results_each_once(frame):
    settings = list(FIELDS)
    assert list(frame.columns) == list(COLUMNS)
    assert list(COLUMNS)[: 2 + len(settings)] == ["trial", "id", *settings]
    results = list(COLUMNS)[2 + len(settings) :]
    assert results[:7] == ["acc", "nmi", "ari", "kmeans_acc", "kmeans_nmi", "kmeans_ari", "clustering_loss"]
    assert results[-3:] == list(TIME_COLUMNS)
    assert COLUMNS["pretraining.loss"] is str


def test_types_do_not_depend_on_the_values(frame):
    expected = {"trial": "Int64", "acc": "float64", "network.hidden": "string", "error": "string"}
    expected |= {"clustering.train_encoder": "boolean"}
    for some in (frame, to_frame([]), to_frame([{"trial": 0}])):
        assert {name: str(some[name].dtype) for name in expected} == expected
        assert str(some["clustering.update_interval"].dtype) == "Int64"
        assert str(some["pretraining.input_dropout"].dtype) == "float64"


def test_cells(frame):
    assert frame["clustering.parameters"].tolist()[:2] == ["none", "radius=1.5,share=0.25"]
    assert frame["network.hidden"].fillna("missing").tolist() == [
        "500,500,2000",
        "none",
        "16,8",
        "missing",
        "500,500,2000",
    ]
    assert frame["data.labels"].isna().tolist() == [True, False, True, True, False]
    assert frame["error"].isna().tolist() == [True, True, True, False, True]
    assert frame["acc"].isna().tolist() == [False, False, True, True, False]
    assert frame["acc"][0] == 0.1 + 0.2


def test_rows_are_in_the_order_of_the_trials():
    assert_frame_equal(to_frame(reversed(ROWS)), to_frame(ROWS))
    assert to_frame([row(11), row(2)])["trial"].tolist() == [2, 11]


def test_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match="a row must only have the columns of the table, got accc, other"):
        to_frame([row(0), row(1, accc=1.0, other=2)])


# Files


def test_files_come_back_equal(frame, tmp_path):
    write(frame, tmp_path)
    assert_frame_equal(read(tmp_path), frame, check_exact=True)
    parquet = pd.read_parquet(tmp_path / "results.parquet")
    assert_frame_equal(parquet, frame, check_exact=True)
    for name in ("acc", "clustering_loss"):
        np.testing.assert_array_equal(read(tmp_path)[name].to_numpy(), frame[name].to_numpy())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digests.jsonl", "results.csv", "results.parquet"]


def test_an_empty_frame_comes_back(tmp_path):
    write(to_frame([]), tmp_path)
    assert_frame_equal(read(tmp_path), to_frame([]), check_index_type=False)


def test_equal_frames_make_equal_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(to_frame(ROWS), tmp_path / name)
    for name in table.FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_without_pyarrow_there_is_the_csv_alone(frame, tmp_path, monkeypatch):
    write(frame, tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(frame, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digests.jsonl", "results.csv"]
    assert len(read(tmp_path)) == len(frame)


def test_without_pandas_the_error_says_what_to_install(frame, tmp_path, monkeypatch):
    write(frame, tmp_path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for use in (lambda: to_frame(ROWS), lambda: read(tmp_path)):
        with pytest.raises(ImportError, match=r'needs pandas: pip install "dec_jax\[sweep\]"'):
            use()


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no results of a sweep in .*results\.csv is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"trial,acc\n0,high\n",
        b"trial,accc\n0,1\n",
        b"acc\n1\n",
        b"trial,acc\n0,1\n1\n",
        b'trial,error\n0,"dive',
        b"\xff\xfe,\n1,2\n",
    ],
)
def test_a_damaged_file(tmp_path, content):
    (tmp_path / "results.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"results\.csv is damaged"):
        read(tmp_path)


def test_a_file_of_fewer_columns_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "results.csv").write_text("trial,acc,clustering.train_encoder\n1,0.5,False\n0,,True\n")
    found = read(tmp_path)
    assert list(found.columns) == list(COLUMNS)
    assert found["acc"].tolist()[1] == 0.5
    assert found["clustering.train_encoder"].tolist() == [True, False]


# The summary


def test_summary_over_the_seeds():
    found = summary(grid(), (K, "seed"))
    assert list(found.columns[:4]) == [K, "n", "acc_mean", "acc_std"]
    assert found[K].tolist() == [8, 10]
    assert found["n"].tolist() == [2, 2]
    np.testing.assert_allclose(found["acc_mean"], [0.625, 0.8])
    np.testing.assert_allclose(found["acc_std"], [np.std([0.5, 0.75], ddof=1), np.std([0.9, 0.7], ddof=1)])


@pytest.mark.parametrize("swept", [(), ("seed",)])
def test_summary_without_other_settings_is_one_row(swept):
    found = summary(grid(), swept)
    assert found["n"].tolist() == [4]
    assert found["acc_mean"].tolist() == pytest.approx([0.7125])


def test_a_trial_that_failed_does_not_count():
    frame = to_frame([row(0), row(1, 1, acc=None, nmi=None, ari=None, error="diverged"), row(2, 0, 8, acc=None)])
    found = summary(frame, (K, "seed"))
    assert found["n"].tolist() == [1, 0]
    assert found["acc_mean"][0] == 0.1 + 0.2
    assert found["acc_std"].isna().all()


def test_a_missing_setting_is_a_group_of_its_own():
    frame = to_frame([row(0, **{D: None}), row(1, **{D: 0.5}), row(2, 1, **{D: None})])
    found = summary(frame, (D, "seed"))
    assert found["n"].tolist() == [2, 1]
    assert math.isnan(found[D][0])
    assert "none" in printed(frame, (D, "seed"))


def test_without_labels_the_other_criteria_are_summarised():
    frame = grid().assign(acc=math.nan, nmi=math.nan, ari=math.nan, silhouette=[0.1, 0.2, 0.3, 0.4])
    found = summary(frame, (K, "seed"))
    assert list(found.columns) == [K, "n", "silhouette_mean", "silhouette_std"]


def test_the_best_are_printed_first():
    text = printed(grid(), (K, "seed"))
    lines = [line for line in text.splitlines() if "±" in line]
    assert "10" in lines[0]
    assert "0.8000 ± 0.1414" in lines[0]
    assert "0.6250 ± 0.1768" in lines[1]
    assert "ACC" in text
    assert "more" not in text


def test_a_long_summary_is_cut_short():
    frame = to_frame(row(i, 0, 2 + i, acc=i / 100) for i in range(50))
    text = printed(frame, (K,))
    assert "10 more combinations" in text
    assert "0.4900" in text
    assert "0.0900" not in text


def test_a_sweep_without_trials_is_printed_too():
    assert "n_clusters" in printed(to_frame([]), (K, "seed"))


def test_a_sweep_that_failed_as_a_whole_is_printed_too():
    assert "–" in printed(to_frame([{"trial": 0, K: 3, "error": "diverged"}]), (K,))


def test_an_output_for_each_cluster_is_not_a_setting_that_was_swept():
    rows = [{"id": str(k), "trial": k, "clustering.n_clusters": k, "network.bottleneck": k} for k in (3, 5)]
    assert table.swept(to_frame(rows)) == ("clustering.n_clusters",)
    rows[0]["network.bottleneck"] = 4
    assert set(table.swept(to_frame(rows))) == {"clustering.n_clusters", "network.bottleneck"}
