import json

import numpy as np
import pytest

from dec_jax.data.encoding import Encoding, encode, fit_encoding
from dec_jax.data.options import TableOptions

pd = pytest.importorskip("pandas")
N = 30
RNG = np.random.default_rng(0)


def table(**changes):
    columns = {
        "id": [f"C{i:03}" for i in range(N)],
        "size": RNG.normal(size=N),
        "sex": ["f", "m", "f"] * 10,
        "old": [True, False, False] * 10,
        "$ Größe <b>": RNG.integers(0, 9, N).astype(float),
        "class": [2, 0, 1] * 10,
    }
    return pd.DataFrame(columns | changes)


FRAME = table()
OPTIONS = TableOptions(label_column="class")
NAMES = ("size", "sex=f", "sex=m", "old", "$ Größe <b>")


def with_gaps(frame=FRAME):
    frame = frame.copy()
    frame.loc[[1, 4], "size"] = np.nan
    frame.loc[7, "sex"] = None
    return frame


def test_a_table_becomes_numbers():
    encoding, notes = fit_encoding(FRAME, OPTIONS)
    encoded = encode(encoding, FRAME)
    assert encoding.feature_names == NAMES
    expected = [FRAME["size"], FRAME["sex"] == "f", FRAME["sex"] == "m", FRAME["old"], FRAME["$ Größe <b>"]]
    np.testing.assert_array_equal(encoded.x, np.column_stack(expected))
    assert encoded.x.dtype == np.float64
    assert encoded.ids.tolist() == FRAME["id"].tolist()
    assert encoded.labels.tolist() == FRAME["class"].tolist()
    assert (encoded.rows, encoded.notes) == (None, ())
    assert any("'id' looks like the id of a sample: left out" in note for note in notes)
    assert any("'sex' holds 2 categories: one-hot" in note for note in notes)


def test_a_feature_that_may_be_the_classes_is_named():
    _, notes = fit_encoding(FRAME)
    assert any("'class' is used as a feature: if it holds the classes" in note for note in notes)


def test_saved_and_read_it_is_the_same():
    for missing in ("median", "drop", "indicator"):
        encoding, _ = fit_encoding(
            with_gaps(), TableOptions(label_column="class", missing=missing, missing_values=(8,))
        )
        restored = Encoding.from_json(json.loads(json.dumps(encoding.to_json())))
        assert restored == encoding
        np.testing.assert_array_equal(encode(restored, with_gaps()).x, encode(encoding, with_gaps()).x)


def test_columns_of_a_new_table_may_come_in_any_order():
    encoding, _ = fit_encoding(FRAME, OPTIONS)
    new = FRAME.iloc[:7, ::-1].assign(extra=1).drop(columns=["class", "id"])
    encoded = encode(encoding, new)
    np.testing.assert_array_equal(encoded.x, encode(encoding, FRAME).x[:7])
    assert (encoded.ids, encoded.labels) == (None, None)
    assert encoded.notes == ("columns that the model does not know are not used: 'extra'",)


def test_one_row_and_other_dtypes_encode_alike():
    encoding, _ = fit_encoding(FRAME, OPTIONS)
    expected = encode(encoding, FRAME).x
    np.testing.assert_array_equal(encode(encoding, FRAME.iloc[3:4]).x, expected[3:4])
    np.testing.assert_array_equal(encode(encoding, FRAME.convert_dtypes()).x, expected)
    np.testing.assert_array_equal(encode(encoding, FRAME.astype({"sex": "category"})).x, expected)
    np.testing.assert_array_equal(encode(encoding, FRAME.astype({"old": int})).x, expected)
    np.testing.assert_array_equal(encode(encoding, FRAME.astype({"size": str})).x, expected)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda frame: frame.drop(columns=["size", "old"]), "must have the column 'size', 'old', got 'id', 'sex'"),
        (
            lambda frame: frame.assign(size="big"),
            "column 'size' must hold numbers, as before .number., got such as 'big'",
        ),
        (lambda frame: frame.assign(size=pd.Timestamp("2021-01-01")), "column 'size' must hold numbers, as before"),
        (lambda frame: frame.assign(sex=1.5), "column 'sex' must hold categories as before .'f', 'm'., got '1.5'"),
        (lambda frame: frame.assign(size=np.inf), "column 'size' must be finite"),
        (with_gaps, r"values are missing in the columns 'size' \(2\), 'sex' \(1\): say what becomes of them"),
    ],
)
def test_a_new_table_that_does_not_fit(change, problem):
    encoding, _ = fit_encoding(FRAME, OPTIONS)
    with pytest.raises(ValueError, match=problem):
        encode(encoding, change(FRAME))


def test_a_new_category_is_in_none_of_the_features_and_said():
    encoding, _ = fit_encoding(FRAME, OPTIONS)
    encoded = encode(encoding, FRAME.assign(sex=["f", "x"] * 15))
    assert encoded.x[1, 1:3].tolist() == [0, 0]
    assert encoded.notes == ("'sex' holds new categories, which are in none of its features: 'x'",)


def test_missing_values_are_refused_with_columns_counts_and_the_way_out():
    with pytest.raises(ValueError, match=r"'size' \(2\), 'sex' \(1\).*missing: median, drop, indicator.*drop"):
        fit_encoding(with_gaps(), OPTIONS)
    kept, _ = fit_encoding(with_gaps(), TableOptions(drop=("size", "sex")))
    assert "size" not in kept.feature_names


def test_medians_and_the_most_frequent_category_fill_in():
    frame = with_gaps()
    encoding, notes = fit_encoding(frame, TableOptions(label_column="class", missing="median"))
    x = encode(encoding, frame).x
    assert x[[1, 4], 0].tolist() == [np.nanmedian(frame["size"])] * 2
    assert x[7, 1:3].tolist() == [1, 0]
    assert "missing values (median): 'size' (2), 'sex' (1)" in notes
    # A new table is filled in with the values of the first one.
    assert encode(encoding, with_gaps(table(size=99.0))).x[1, 0] == x[1, 0]


def test_indicators_say_where_values_are_missing():
    frame = with_gaps()
    encoding, _ = fit_encoding(frame, TableOptions(label_column="class", missing="indicator"))
    x = encode(encoding, frame).x
    assert encoding.feature_names == ("size", "size is missing", "sex=f", "sex=m", "sex is missing", *NAMES[3:])
    np.testing.assert_array_equal(x[:, 1], frame["size"].isna())
    np.testing.assert_array_equal(x[:, 4], frame["sex"].isna())
    new = FRAME.copy()
    new.loc[2, "$ Größe <b>"] = np.nan
    assert "had no missing value before" in encode(encoding, new).notes[0]


def test_rows_with_missing_values_are_left_out():
    frame = with_gaps()
    encoded = encode(fit_encoding(frame, TableOptions(label_column="class", missing="drop"))[0], frame)
    kept = [i for i in range(N) if i not in (1, 4, 7)]
    assert encoded.rows.tolist() == kept
    assert encoded.ids.tolist() == frame["id"][kept].tolist()
    assert encoded.labels.tolist() == frame["class"][kept].tolist()
    np.testing.assert_array_equal(encoded.x[:, 0], frame["size"][kept])
    assert encoded.notes == ("3 of 30 rows with missing values are left out",)
    encoding, _ = fit_encoding(frame.drop(columns="id"), TableOptions(missing="drop"))
    assert encode(encoding, frame.drop(columns="id")).ids.tolist() == kept  # the rows, as something must name them


def test_it_prints_as_a_short_table():
    encoding, _ = fit_encoding(with_gaps(), TableOptions(label_column="class", missing="median"))
    lines = str(encoding).splitlines()
    assert lines[0].split() == ["column", "kind", "missing", "becomes"]
    assert lines[1].split() == ["id", "id", "0", "ids"]
    assert lines[3].split() == ["sex", "category", "1", "one-hot", "(f,", "m)"]
    wide, _ = fit_encoding(pd.DataFrame(RNG.normal(size=(5, 100))).rename(columns=str))
    assert str(wide).splitlines()[-1] == "… and 70 more"
    assert len(str(wide).splitlines()) == 32


def test_a_table_without_features():
    with pytest.raises(ValueError, match="columns must hold at least one feature, got none: 'a' .constant, left out"):
        fit_encoding(pd.DataFrame({"a": ["x"] * 3}))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        [],
        {"columns": [], "missing": "mean", "missing_values": []},
        {"columns": [{"name": "a"}], "missing": None, "missing_values": []},
        {"columns": [{"name": "a", "kind": "x", "n_missing": 0, "action": "kept", "values": []}], "missing": None},
        {"columns": [], "missing": None, "missing_values": ["x"]},
    ],
)
def test_damaged_saved_encoding(fields):
    with pytest.raises(ValueError, match="not a saved table encoding"):
        Encoding.from_json(fields)
