"""How well clusters agree with known classes: accuracy under the best matching, information, Rand index.

None of these depends on how the clusters are numbered, and none needs as many clusters as classes. Labels are
integers of any value, negative ones and gaps included, in numpy or jax arrays or lists. They raise a ValueError
where the labels are empty, not one-dimensional or of different lengths, and a TypeError where they are not
integers. `generalisability` needs no classes: it compares two losses.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from dec_jax.validation import check_labels, check_number

DENSE_CELLS = 2**20  # 8 MB of counts


class Confusion(NamedTuple):
    """Samples counted by class and cluster; what is matched lies on the diagonal.

    Attributes:
        matrix: (n_classes, n_clusters), int64, the samples of each class in each cluster: an array, or a CSR array
            where it has more than DENSE_CELLS cells.
        classes: (n_classes,), int64, the class of each row: by id, those without a cluster (there are some
            where classes outnumber clusters) last.
        clusters: (n_clusters,), int64, the cluster of each column: the one in column i is matched to the
            class in row i; those without a class last, the largest of them first.
    """

    matrix: np.ndarray | scipy.sparse.csr_array
    classes: np.ndarray
    clusters: np.ndarray


def matched_confusion(labels_true: Any, labels_pred: Any) -> Confusion:
    """Counts samples by class and cluster, in the order of the best one-to-one matching.

    Args:
        labels_true: (n,), integers, the class of each sample.
        labels_pred: (n,), integers, its cluster.

    Returns:
        The confusion matrix whose diagonal holds the largest total that any matching reaches.
    """
    classes, clusters, counts = _contingency(labels_true, labels_pred)
    matched_rows, matched_columns = _best_matching(counts)
    by_size = np.argsort(-counts.sum(axis=0), kind="stable")
    rows = np.append(matched_rows, np.setdiff1d(np.arange(len(classes)), matched_rows))
    columns = np.append(matched_columns, by_size[~np.isin(by_size, matched_columns)])
    matrix = counts[rows][:, columns]
    return Confusion(matrix if _is_large(counts) else matrix.toarray(), classes[rows], clusters[columns])


def accuracy(labels_true: Any, labels_pred: Any) -> float:
    """Unsupervised clustering accuracy, as in Xie et al. 2016.

        ACC = max_m Σ_i 1[l_i = m(c_i)] / n,   m over the one-to-one maps from clusters to classes

    Args:
        labels_true: (n,), integers, the class l of each sample.
        labels_pred: (n,), integers, its cluster c.

    Returns:
        The share of samples whose cluster is matched to their class, in [0, 1].
    """
    *_, counts = _contingency(labels_true, labels_pred)
    return float(counts[_best_matching(counts)].sum() / counts.sum())


def nmi(labels_true: Any, labels_pred: Any) -> float:
    """Mutual information divided by the arithmetic mean of the two entropies, in [0, 1].

    Args:
        labels_true: (n,), integers, the class of each sample.
        labels_pred: (n,), integers, its cluster.
    """
    return float(normalized_mutual_info_score(*_check_pair(labels_true, labels_pred), average_method="arithmetic"))


def ari(labels_true: Any, labels_pred: Any) -> float:
    """Rand index adjusted for chance (Hubert and Arabie 1985), in [−0.5, 1]: 0 is expected at random.

    Args:
        labels_true: (n,), integers, the class of each sample.
        labels_pred: (n,), integers, its cluster.
    """
    return float(adjusted_rand_score(*_check_pair(labels_true, labels_pred)))


def scores(labels_true: Any, labels_pred: Any, *, unlabelled: int | None = None) -> dict[str, float]:
    """All three under the keys `acc`, `nmi` and `ari`.

    Args:
        labels_true: (n,), integers, the class of each sample.
        labels_pred: (n,), integers, its cluster.
        unlabelled: the number that stands for a sample without a class; such samples are left out.

    Raises:
        ValueError: no sample has a class.
    """
    if unlabelled is not None:
        labels_true, labels_pred = labelled(labels_true, labels_pred, unlabelled)
    return {
        "acc": accuracy(labels_true, labels_pred),
        "nmi": nmi(labels_true, labels_pred),
        "ari": ari(labels_true, labels_pred),
    }


def labelled(labels_true: Any, labels_pred: Any, unlabelled: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of class and cluster, (m,) and (m,) int64, of the samples whose class is not `unlabelled`."""
    labels_true, labels_pred = _check_pair(labels_true, labels_pred)
    known = labels_true != unlabelled
    return labels_true[known], labels_pred[known]


def generalisability(loss_train: float, loss_held_out: float) -> float:
    """G = L_train / L_validation (Xie et al. 2016, section 5.5): it falls where more clusters begin to overfit.

    Args:
        loss_train: mean KL(P‖Q) of the samples that were trained on, at least 0.
        loss_held_out: the same of samples that were held out.

    Returns:
        The ratio, at least 0. Two losses of 0 are equal, so that G is 1; ∞ where only the held-out loss is 0.

    Raises:
        TypeError: a loss is not a number.
        ValueError: a loss is NaN, infinite or below 0.
    """
    loss_train = check_number("loss_train", loss_train, 0)
    loss_held_out = check_number("loss_held_out", loss_held_out, 0)
    if loss_held_out == 0:
        return 1.0 if loss_train == 0 else math.inf
    return loss_train / loss_held_out


def _check_pair(labels_true: Any, labels_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    labels_true = check_labels(labels_true, np.size(labels_true), "labels_true")
    if not len(labels_true):
        raise ValueError("labels_true must hold at least one label, got none")
    return labels_true, check_labels(labels_pred, len(labels_true), "labels_pred")


def _contingency(labels_true: Any, labels_pred: Any) -> tuple[np.ndarray, np.ndarray, scipy.sparse.csr_array]:
    """Returns the classes, the clusters, and how many samples of each class each cluster holds."""
    labels_true, labels_pred = _check_pair(labels_true, labels_pred)
    classes, row = np.unique(labels_true, return_inverse=True)
    clusters, column = np.unique(labels_pred, return_inverse=True)
    ones = np.ones(len(row), np.int64)
    return classes, clusters, scipy.sparse.coo_array((ones, (row, column)), (len(classes), len(clusters))).tocsr()


def _is_large(counts: scipy.sparse.csr_array) -> bool:
    return math.prod(counts.shape) > DENSE_CELLS


def _best_matching(counts: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Returns min(n_classes, n_clusters) rows, sorted, and the column of each, with the largest total of counts."""
    if not _is_large(counts):
        return linear_sum_assignment(counts.toarray(), maximize=True)
    n_rows, n_columns = counts.shape
    # A column of its own for each row, so that all rows can be matched; 1 more everywhere, as 0 means that there is
    # no edge: each row has one edge in a matching, so that the best one stays the best.
    edges = scipy.sparse.csr_array((counts.data + 1, counts.indices, counts.indptr), counts.shape)
    edges = scipy.sparse.hstack([edges, scipy.sparse.eye_array(n_rows, dtype=np.int64)], format="csr")
    rows, columns = min_weight_full_bipartite_matching(edges, maximize=True)
    rows, columns = rows[columns < n_columns], columns[columns < n_columns]
    free_rows = np.setdiff1d(np.arange(n_rows), rows)
    by_size = np.argsort(-counts.sum(axis=0), kind="stable")
    free_columns = by_size[~np.isin(by_size, columns)]
    n_free = min(len(free_rows), len(free_columns))
    rows, columns = np.append(rows, free_rows[:n_free]), np.append(columns, free_columns[:n_free])
    order = np.argsort(rows)
    return rows[order], columns[order]
