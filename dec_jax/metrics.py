"""How well clusters agree with known classes: accuracy under the best matching, information, Rand index.

None of these depends on how the clusters are numbered, and none needs as many clusters as classes. Labels are
integers of any value, negative ones and gaps included, in numpy or jax arrays or lists. They raise a ValueError
where the labels are empty, not one-dimensional or of different lengths, and a TypeError where they are no
integers. `generalisability` needs no classes: it compares two losses.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from dec_jax.validation import check_labels, check_number


class Confusion(NamedTuple):
    """Samples counted by class and cluster; what is matched lies on the diagonal.

    Attributes:
        matrix: (n_classes, n_clusters), int64, the samples of each class in each cluster.
        classes: (n_classes,), int64, the class of each row: by id, those without a cluster (there are some
            where classes outnumber clusters) last.
        clusters: (n_clusters,), int64, the cluster of each column: the one in column i is matched to the
            class in row i; those without a class last, the largest of them first.
    """

    matrix: np.ndarray
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
    labels_true, labels_pred = _check_pair(labels_true, labels_pred)
    classes, row = np.unique(labels_true, return_inverse=True)
    clusters, column = np.unique(labels_pred, return_inverse=True)
    shape = (len(classes), len(clusters))
    matrix = np.bincount(np.ravel_multi_index((row, column), shape), minlength=shape[0] * shape[1]).reshape(shape)

    matched_rows, matched_columns = linear_sum_assignment(matrix, maximize=True)
    by_size = np.argsort(-matrix.sum(axis=0), kind="stable")
    rows = np.append(matched_rows, np.setdiff1d(np.arange(shape[0]), matched_rows))
    columns = np.append(matched_columns, by_size[~np.isin(by_size, matched_columns)])
    return Confusion(matrix[np.ix_(rows, columns)], classes[rows], clusters[columns])


def accuracy(labels_true: Any, labels_pred: Any) -> float:
    """Unsupervised clustering accuracy, as in Xie et al. 2016.

        ACC = max_m Σ_i 1[l_i = m(c_i)] / n,   m over the one-to-one maps from clusters to classes

    Args:
        labels_true: (n,), integers, the class l of each sample.
        labels_pred: (n,), integers, its cluster c.

    Returns:
        The share of samples whose cluster is matched to their class, in [0, 1].
    """
    matrix = matched_confusion(labels_true, labels_pred).matrix
    return float(np.trace(matrix) / matrix.sum())


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


def scores(labels_true: Any, labels_pred: Any) -> dict[str, float]:
    """All three under the keys `acc`, `nmi` and `ari`.

    Args:
        labels_true: (n,), integers, the class of each sample.
        labels_pred: (n,), integers, its cluster.
    """
    return {
        "acc": accuracy(labels_true, labels_pred),
        "nmi": nmi(labels_true, labels_pred),
        "ari": ari(labels_true, labels_pred),
    }


def generalisability(loss_train: float, loss_held_out: float) -> float:
    """G = L_train / L_validation (Xie et al. 2016, section 5.5): it falls where more clusters begin to overfit.

    Args:
        loss_train: mean KL(P‖Q) of the samples that were trained on, at least 0.
        loss_held_out: the same of samples that were held out.

    Returns:
        The ratio, at least 0. Two losses of 0 are equal, so that G is 1; ∞ where only the held-out loss is 0.

    Raises:
        TypeError: a loss is no number.
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
