import itertools
import math
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, confusion_matrix, normalized_mutual_info_score

from dec_jax import metrics
from dec_jax.metrics import accuracy, ari, generalisability, labelled, matched_confusion, nmi, scores

METRICS = [accuracy, nmi, ari, matched_confusion, scores]
label_pairs = st.lists(st.tuples(st.integers(-2, 3), st.integers(-1, 2)), min_size=1, max_size=30).map(
    lambda pairs: (np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))
)
pytestmark = pytest.mark.filterwarnings("ignore:The number of unique classes")  # few samples, on purpose


def brute_force(labels_true, labels_pred):
    """The definition: the best of all one-to-one maps, tried one by one."""
    classes, clusters = np.unique(labels_true), np.unique(labels_pred)
    counts = np.array([[np.sum((labels_true == a) & (labels_pred == b)) for b in clusters] for a in classes])
    counts = counts if counts.shape[0] <= counts.shape[1] else counts.T
    maps = itertools.permutations(range(counts.shape[1]), counts.shape[0])
    return max(counts[np.arange(counts.shape[0]), list(columns)].sum() for columns in maps) / len(labels_true)


@pytest.mark.parametrize(
    ("labels_true", "labels_pred", "expected"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.5),
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], 5 / 6),
        ([0, 0, 0, 0], [0, 1, 2, 3], 0.25),  # more clusters than classes: one of them is matched
        ([0, 1, 2, 3], [7, 7, 7, 7], 0.25),  # fewer
        ([0, 0, 0, 1, 1], [5, 5, -3, -3, 90], 0.6),
        ([4], [-4], 1.0),
        # The greedy choice takes the largest cell, 3, and ends at 3 + 0; the best matching reaches 2 + 2.
        ([0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0], 4 / 7),
    ],
)
def test_accuracy_by_hand(labels_true, labels_pred, expected):
    assert accuracy(labels_true, labels_pred) == pytest.approx(expected)


@given(label_pairs)
def test_accuracy_is_the_best_of_all_maps(pair):
    assert accuracy(*pair) == pytest.approx(brute_force(*pair))


@given(label_pairs, st.permutations(range(-1, 3)))
def test_scores_do_not_depend_on_the_numbering(pair, order):
    labels_true, labels_pred = pair
    renumbered = np.array(order)[labels_pred + 1] * 1000 - 7
    assert scores(labels_true, renumbered) == pytest.approx(scores(labels_true, labels_pred))


@given(label_pairs)
def test_scores_are_symmetric_and_in_range(pair):
    result = scores(*pair)
    assert list(result) == ["acc", "nmi", "ari"]
    assert all(type(value) is float for value in result.values())
    assert 0 < result["acc"] <= 1
    assert -1e-9 <= result["nmi"] <= 1 + 1e-9
    assert -0.5 - 1e-9 <= result["ari"] <= 1 + 1e-9
    assert scores(*pair[::-1]) == pytest.approx(result)


@given(label_pairs)
def test_nmi_and_ari_are_those_of_sklearn(pair):
    assert nmi(*pair) == normalized_mutual_info_score(*pair, average_method="arithmetic")
    assert ari(*pair) == adjusted_rand_score(*pair)


def test_nmi_by_hand():
    # Entropies ln 2 and 1.5 ln 2; the clusters determine the classes, so the information is ln 2.
    assert nmi([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(1 / 1.25)


@given(label_pairs)
def test_confusion_counts_every_pair(pair):
    labels_true, labels_pred = pair
    matrix, classes, clusters = matched_confusion(labels_true, labels_pred)
    assert matrix.dtype == classes.dtype == clusters.dtype == np.int64
    assert set(classes) == set(labels_true)
    assert set(clusters) == set(labels_pred)
    for (i, a), (j, b) in itertools.product(enumerate(classes), enumerate(clusters)):
        assert matrix[i, j] == np.sum((labels_true == a) & (labels_pred == b))
    assert np.trace(matrix) / matrix.sum() == pytest.approx(accuracy(labels_true, labels_pred))


def test_confusion_puts_unmatched_clusters_last_by_size():
    labels_true = [0] * 6 + [1] * 5 + [2] * 6
    labels_pred = [9] * 5 + [3] + [4] * 4 + [8] + [7] * 3 + [8] * 2 + [3]
    matrix, classes, clusters = matched_confusion(labels_true, labels_pred)
    assert classes.tolist() == [0, 1, 2]
    assert clusters.tolist() == [9, 4, 7, 8, 3]
    assert matrix.tolist() == [[5, 0, 0, 0, 1], [0, 4, 0, 1, 0], [0, 0, 3, 2, 1]]


def test_confusion_puts_unmatched_classes_last():
    matrix, classes, clusters = matched_confusion([0, 1, 1, 2, 2, 2], [6, 6, 6, 5, 5, 5])
    assert classes.tolist() == [1, 2, 0]
    assert clusters.tolist() == [6, 5]
    assert matrix.tolist() == [[2, 0], [0, 3], [1, 0]]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_confusion_agrees_with_sklearn_where_matched_by_id(seed):
    labels_true = np.random.default_rng(seed).integers(0, 4, 200)
    labels_pred = np.where(np.arange(200) % 5, labels_true, (labels_true + 1) % 4)
    np.testing.assert_array_equal(
        matched_confusion(labels_true, labels_pred).matrix, confusion_matrix(labels_true, labels_pred)
    )


@given(label_pairs)
def test_the_sparse_matching_reaches_the_total_of_the_dense_one(pair):
    dense = matched_confusion(*pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "DENSE_CELLS", 0)
        assert accuracy(*pair) == np.trace(dense.matrix) / dense.matrix.sum()
        sparse = matched_confusion(*pair)
    assert scipy.sparse.issparse(sparse.matrix)
    n_matched = min(dense.matrix.shape)
    assert sparse.classes[:n_matched].tolist() == sorted(sparse.classes[:n_matched])
    matrix = sparse.matrix.toarray()
    assert np.trace(matrix) == np.trace(dense.matrix)
    assert (np.diff(matrix[:, n_matched:].sum(axis=0)) <= 0).all()
    for (i, a), (j, b) in itertools.product(enumerate(sparse.classes), enumerate(sparse.clusters)):
        assert matrix[i, j] == np.sum((pair[0] == a) & (pair[1] == b))


def test_many_classes_and_clusters_need_no_dense_matrix():
    n = 3000
    labels_true, order = np.arange(n), np.random.default_rng(0).permutation(n)
    tracemalloc.start()
    found = matched_confusion(labels_true, order)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * n  # a byte per cell
    np.testing.assert_array_equal(found.matrix.diagonal(), 1)
    assert accuracy(labels_true, order) == 1


def test_unlabelled_samples_are_left_out():
    labels_true, labels_pred = [0, -1, 1, 1, -1, 0], [5, 5, 6, 6, 6, 5]
    assert scores(labels_true, labels_pred, unlabelled=-1) == scores([0, 1, 1, 0], [5, 6, 6, 5])
    assert scores(labels_true, labels_pred)["acc"] < 1  # -1 is a class like another, unless it is said
    known, clusters = labelled(labels_true, labels_pred, -1)
    assert (known.tolist(), clusters.tolist()) == ([0, 1, 1, 0], [5, 6, 6, 5])
    with pytest.raises(ValueError, match="labels_true must hold at least one label"):
        scores([-1, -1], [0, 1], unlabelled=-1)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "bool", "float32"])
def test_takes_numpy_and_jax_arrays_of_whole_numbers(dtype):
    labels_true, labels_pred = np.array([0, 0, 1, 1, 1]), np.array([1, 1, 0, 0, 1])
    expected = scores(labels_true, labels_pred)
    assert scores(labels_true.astype(dtype), labels_pred.astype(dtype)) == expected
    assert scores(jnp.asarray(labels_true, dtype), jnp.asarray(labels_pred, dtype)) == expected


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("labels_true", "labels_pred", "error", "message"),
    [
        (
            [0, 1],
            [0, 1, 1],
            ValueError,
            r"labels_pred must hold one label per sample, shape \(2,\), got shape \(3,\)",
        ),
        ([], [], ValueError, "labels_true must hold at least one label"),
        ([[0, 1]], [0, 1], ValueError, "labels_true must hold one label per sample"),
        ([0, 1], [[0, 1]], ValueError, "labels_pred must hold one label per sample"),
        (0, 0, ValueError, "labels_true must hold one label per sample"),
        ([0.5, 1], [0, 1], TypeError, "labels_true must be integers"),
        ([0, 1], [0, np.nan], TypeError, "labels_pred must be integers"),
        (["a", "b"], [0, 1], TypeError, "labels_true must be integers"),
        ([0, 1], [None, 1], TypeError, "labels_pred must be integers"),
    ],
)
def test_bad_labels_are_refused(metric, labels_true, labels_pred, error, message):
    with pytest.raises(error, match=message):
        metric(labels_true, labels_pred)


@pytest.mark.parametrize(
    ("loss_train", "loss_held_out", "expected"),
    [(0.3, 0.4, 0.75), (1, 2, 0.5), (np.float32(0.5), np.float64(0.25), 2.0), (0, 0.1, 0.0), (0, 0, 1.0)],
)
def test_generalisability_by_hand(loss_train, loss_held_out, expected):
    result = generalisability(loss_train, loss_held_out)
    assert result == pytest.approx(expected)
    assert type(result) is float


def test_generalisability_without_a_held_out_loss_is_infinite():
    assert generalisability(0.1, 0.0) == math.inf


@pytest.mark.parametrize(
    ("loss_train", "loss_held_out", "error", "message"),
    [
        (-0.1, 1.0, ValueError, "loss_train must be at least 0, got -0.1"),
        (1.0, -1e-9, ValueError, "loss_held_out must be at least 0, got -1e-09"),
        (math.nan, 1.0, ValueError, "loss_train must be at least 0, got nan"),
        (1.0, math.inf, ValueError, "loss_held_out must be at least 0, got inf"),
        ("1", 1.0, TypeError, "loss_train must be a number, got '1'"),
        (1.0, None, TypeError, "loss_held_out must be a number, got None"),
    ],
)
def test_losses_that_are_none_are_refused(loss_train, loss_held_out, error, message):
    with pytest.raises(error, match=message):
        generalisability(loss_train, loss_held_out)
