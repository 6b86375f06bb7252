"""What a reader of a result is told."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import make_blobs, make_moons

from dec_jax.data import fit_scaling
from dec_jax.runner import remarks

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize(("most", "expected"), [(3, 3), (6, 6), (10, 6)])
def test_distinct_rows_are_counted_up_to_a_number(form, most, expected):
    assert remarks.n_distinct(form(np.tile(ROWS, (40, 1))), most) == expected


def test_as_many_clusters_as_asked_for_need_no_remark():
    assert remarks.on_clusters(np.arange(6), 6, ROWS) == []


def test_fewer_clusters_are_said_with_the_cause():
    assert remarks.on_clusters(np.repeat(np.arange(6), 2), 10, np.repeat(ROWS, 2, axis=0)) == [
        "6 of 10 clusters were found: the samples have 6 distinct rows"
    ]
    (text,) = remarks.on_clusters(np.array([0, 0, 1, 1, 3, 3]), 4, ROWS)
    assert text.startswith("3 of 4 clusters were found, the others are empty; fewer n_clusters")
    (text,) = remarks.on_clusters(np.array([0, 0, 1, 1, 2, 2]), 9, ROWS)
    assert text.startswith("3 of 9 clusters were found: the samples have 6 distinct rows, the others are empty; fewer")


def compared(x, labels, baseline):
    return remarks.on_baseline(labels, baseline, x, fit_scaling("standardize", x), 0)


def test_kmeans_that_parts_the_input_better_is_said():
    x, y = make_blobs(200, 3, centers=3, random_state=0)
    (text,) = compared(x, np.random.default_rng(0).permutation(y), y)
    assert "k-means on the input parts the samples better" in text
    assert compared(x, y, y) == compared(x, y, np.random.default_rng(0).permutation(y)) == []


def test_one_cluster_cannot_be_compared():
    x, y = make_moons(50, random_state=0)
    assert compared(x, np.zeros(50, int), y) == []
