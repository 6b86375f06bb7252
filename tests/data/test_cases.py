"""Files as people have them, in the folder `cases` beside the data where there is one: what must be read from each.

Each kind has small twins in the other tests; these are the files themselves."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans

from dec_jax import metrics
from dec_jax.data import UNLABELLED, TableOptions, apply_scaling, default_rule, fit_scaling, load

pytest.importorskip("pandas")
DIALECTS = (
    *("bom", "comment", "cr_only", "crlf", "german", "german_noheader", "latin1", "quoted_commas_header", "semicolon"),
    *("semicolon_noheader", "spaces", "tab", "thousands", "thousands_noheader", "trailing_comma", "utf16"),
)


@pytest.fixture
def open_case(cases):
    """A function that loads a file of a case, with the labels of another one and with options."""

    def open_file(name, labels=None, **options):
        return load(cases / name, labels and cases / labels, options=TableOptions(**options))

    return open_file


def agreement(dataset):
    """Accuracy of k-means under the scaling that the data suggest, over the samples that have a label."""
    x = apply_scaling(fit_scaling(default_rule(dataset).rule, dataset.x), dataset.x)
    k = len(set(dataset.y.tolist()) - {UNLABELLED})
    found = KMeans(k, n_init=10, random_state=0).fit_predict(x)
    return metrics.scores(dataset.y, found, unlabelled=UNLABELLED)["acc"]


@pytest.mark.parametrize(("name", "said"), [("digits300.csv", "header"), ("digits300_index.csv", "is an index")])
def test_numbers_as_a_header(open_case, name, said):
    dataset = open_case(f"01-numeric-header/{name}", "01-numeric-header/labels.txt")
    assert dataset.x.shape == (300, 64)
    assert any(said in note for note in dataset.notes)


@pytest.mark.parametrize("name", ["without", "with_index", "customer_id"])
def test_ids_are_left_out(open_case, name):
    dataset = open_case(f"02-id-column/{name}.csv", "02-id-column/labels.txt")
    assert dataset.x.shape == (400, 5)
    assert agreement(dataset) > 0.98
    assert (dataset.ids is None) == (name == "without")


@pytest.mark.parametrize("name", [*(f"{name}.csv" for name in DIALECTS), "tab.tsv", "packed.csv.gz", "table.parquet"])
def test_the_same_numbers_from_each_dialect(open_case, name):
    expected = open_case("05-csv-dialects/ok.csv").x
    dataset = open_case(f"05-csv-dialects/{name}", "05-csv-dialects/labels.txt")
    np.testing.assert_array_equal(dataset.x, expected)
    assert agreement(dataset) == 1


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("empty.csv", "empty file"),
        ("header_only.csv", "a header alone"),
        ("table.xlsx", r"is damaged, or is not a \.xlsx file"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(open_case, name, problem):
    with pytest.raises(ValueError, match=problem) as raised:
        open_case(f"05-csv-dialects/{name}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["NA.csv", "nan.csv", "empty_cells.csv", "nan.npy"])
def test_missing_values(open_case, name):
    labels = "06-missing-and-categories/labels.txt"
    with pytest.raises(
        ValueError, match=r"values are missing in the columns .*\(1\), .*\(1\): say what becomes of them"
    ):
        open_case(f"06-missing-and-categories/{name}", labels)
    assert agreement(open_case(f"06-missing-and-categories/{name}", labels, missing="median")) == 1
    assert agreement(open_case(f"06-missing-and-categories/{name}", labels, missing="indicator")) == 1
    dropped = open_case(f"06-missing-and-categories/{name}", labels, missing="drop")
    assert dropped.x.shape == (198, 3)
    assert agreement(dropped) == 1


def test_categories_booleans_and_dates(open_case):
    folder, labels = "06-missing-and-categories", "06-missing-and-categories/labels.txt"
    assert open_case(f"{folder}/gender.csv").feature_names == (
        *("height", "Gender=Female", "Gender=Male", "weight", "income"),
    )
    assert open_case(f"{folder}/booleans.csv").encoding.columns[3].kind == "boolean"
    with pytest.raises(ValueError, match=r"'date' \(dates\)"):
        open_case(f"{folder}/dates.csv")
    assert agreement(open_case(f"{folder}/dates.csv", labels, drop="date")) == 1


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("07-dead-columns/x17.npy", "labels.npy", 0.98),
        ("09-two-gaussians/x.npy", "labels.npy", 1),
        ("09-two-gaussians/x4.npy", "labels4.npy", 1),
        ("12-90x20000/x.npz", "labels.npy", 1),
        ("13-scales/ratings.csv", "ratings_labels.txt", 1),
        ("14-large-offset/metres.npy", "labels.npy", 1),
        ("14-large-offset/shift1e6.npy", "labels.npy", 1),
        ("14-large-offset/unixtime.npy", "labels.npy", 1),
        ("15-outlier/clean.npy", "labels.npy", 1),
        ("15-outlier/heavytail.npy", "labels.npy", 1),
        ("15-outlier/outlier1e9.npy", "labels.npy", 599 / 600),
        ("15-outlier/sentinel.npy", "labels.npy", 599 / 600),
        ("16-image-arrays/flat.npy", "labels.npy", 0.69),
        ("20-predict-and-dtypes/bool.npy", "labels.npy", 0.96),
        ("22-tfidf/tfidf.npz", "labels.npy", 1),
        ("24-k-extremes/k100.npy", "labels.npy", 1),
        ("26-narrow/d1.npy", "labels.npy", 1),
        ("28-sigmoid-and-db/signed.npy", "labels.npy", 1),
        ("28-sigmoid-and-db/spectrogram_db.npy", "db_labels.npy", 1),
    ],
)
def test_planted_clusters_are_found_under_the_suggested_scaling(open_case, name, labels, expected):
    assert agreement(open_case(name, f"{Path(name).parent}/{labels}")) >= expected - 1e-9


def test_a_sentinel_is_named_and_can_be_a_missing_value(open_case):
    named = open_case("15-outlier/sentinel.npy")
    assert any("999999 in column 2" in note for note in named.notes)
    options = {"missing_values": 999999, "missing": "drop"}
    assert agreement(open_case("15-outlier/sentinel.npy", "15-outlier/labels.npy", **options)) == 1


@pytest.mark.parametrize(
    ("name", "image_shape"),
    [
        ("images_n_8_8.npy", (8, 8)),
        ("images_n_8_8_1.npy", (8, 8)),
        ("keras_like.npz", (8, 8)),
        ("series_n_t_c.npy", None),
    ],
)
def test_stacks(open_case, name, image_shape):
    dataset = open_case(f"16-image-arrays/{name}")
    assert dataset.image_shape == image_shape
    assert dataset.notes
    if image_shape:
        np.testing.assert_array_equal(dataset.x, open_case("16-image-arrays/flat.npy").x)


@pytest.mark.parametrize(
    ("name", "unlabelled"),
    [
        *(("strings.csv", 0), ("strings_header.csv", 0), ("ints_header.csv", 0), ("id_and_label.csv", 0)),
        *(("pandas_index_labels.csv", 0), ("onehot_labels.npy", 0), ("column_labels.npy", 0)),
        *(("NA_labels.csv", 10), ("nan_labels.csv", 10), ("nan_labels.npy", 10), ("minus1.npy", 10)),
    ],
)
def test_labels(open_case, name, unlabelled):
    dataset = open_case("17-labels/x.npy", f"17-labels/{name}")
    assert agreement(dataset) == 1
    assert (dataset.y == UNLABELLED).sum() == unlabelled
    assert any(f"{unlabelled} of 150 samples are unlabelled" in note for note in dataset.notes) == bool(unlabelled)


def test_labels_of_booleans_and_of_python_objects(open_case):
    assert open_case("17-labels/x.npy", "17-labels/bool_labels.npy").class_names == ("False", "True")
    with pytest.raises(TypeError, match=r"Python objects.*y\.astype\(str\)"):
        open_case("17-labels/x.npy", "17-labels/object_labels.npy")


def test_names_go_through_as_they_are(open_case, cases):
    dollars = open_case("18-dollar-signs/x.npy", "18-dollar-signs/income.csv")
    assert dollars.class_names == ("$0_$25k", "$100k_{+$", "$25k^$50k", "$50k-$100k")
    for path in sorted((cases / "19-names").glob("*/*")):
        dataset = load(path, cases / "19-names" / "chinese.csv")
        assert dataset.name == path.name
        assert dataset.class_names == ("B细胞", "NK", "T细胞", "单核细胞")
        assert agreement(dataset) == 1


@pytest.mark.parametrize("name", ["f16", "f8F", "f8be", "i16be", "i64", "longdouble", "u8", "train"])
def test_every_dtype(open_case, name):
    assert agreement(open_case(f"20-predict-and-dtypes/{name}.npy", "20-predict-and-dtypes/labels.npy")) == 1


@pytest.mark.parametrize(
    ("name", "error", "problem"),
    [
        ("complex", TypeError, "must hold real numbers, got dtype complex128"),
        ("object", TypeError, "must hold numbers, got Python objects"),
        ("one_dim", ValueError, "must be two-dimensional"),
    ],
)
def test_dtypes_and_shapes_that_are_refused(open_case, name, error, problem):
    with pytest.raises(error, match=problem):
        open_case(f"20-predict-and-dtypes/{name}.npy")
    assert open_case("20-predict-and-dtypes/structured.npy").feature_names == ("a", "b")
