"""What a trial tells about its clusters without labels: separation, confidence, sizes, generalisability.

Computed on the host in float64.
"""

import math
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import silhouette_score

from dec_jax.metrics import generalisability
from dec_jax.validation import check_integer, check_labels, check_samples

SILHOUETTE_SAMPLES = 2000  # its time and memory grow with their square
ROUNDING = 1e-12  # a loss below this is what a float32 log q leaves of 0


def criteria(z: Any, log_q: Any, labels: Any, held_out: Any, *, seed: int = 0) -> dict[str, float]:
    """Criteria that need no labels.

    Args:
        z: (n, m), the embedding.
        log_q: (n, k), log soft assignment; a column of −inf alone is padding and counts as no cluster.
        labels: (n,), integers in [0, k), the cluster of each sample.
        held_out: (n,), bool, marks the samples that were not trained on; at least one was.
        seed: fixes the sample of the silhouette.

    Returns:
        `silhouette`: in [−1, 1], of at most 2,000 samples; NaN where they lie in one cluster, or each in its own.
        `confidence`: mean over all samples of max_j q_ij, in [1/k, 1].
        `smallest_cluster`, `empty_clusters`: samples of the smallest cluster, number of clusters without any.
        `loss_train`: mean KL(p_i‖q_i) of the training samples, at least 0.
        `loss_held_out`: that of the held-out samples, whose P is made with the training samples' frequencies;
        NaN where nothing is held out.
        `generalisability`: loss_train / loss_held_out, see `dec_jax.metrics.generalisability`; NaN likewise.

    Raises:
        TypeError: an argument has the wrong kind of values.
        ValueError: the shapes do not fit together, `z` is not finite, a row of `log_q` holds no probabilities, a
            label is not a cluster, or every sample is held out.
    """
    z = check_samples(z, "z", varying=False)
    log_q = _check_log_q(log_q, len(z))
    labels = _check_clusters(labels, log_q)
    held_out = _check_held_out(held_out, len(z))
    sizes = np.bincount(labels, minlength=log_q.shape[1])[_takes_part(log_q)]
    return {
        "silhouette": silhouette(z, labels, check_integer("seed", seed, 0)),
        "confidence": float(np.exp(log_q.max(axis=1)).mean()),
        "smallest_cluster": int(sizes.min()),
        "empty_clusters": int(np.sum(sizes == 0)),
        **_losses(log_q, held_out),
    }


def _losses(log_q: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    log_frequency = logsumexp(log_q[~held_out], axis=0)
    train = _mean_kl(log_q[~held_out], log_frequency)
    if not held_out.any():
        return {"loss_train": train, "loss_held_out": math.nan, "generalisability": math.nan}
    validation = _mean_kl(log_q[held_out], log_frequency)
    return {
        "loss_train": train,
        "loss_held_out": validation,
        "generalisability": generalisability(train, validation),
    }


def _mean_kl(log_q: np.ndarray, log_frequency: np.ndarray) -> float:
    """Mean over samples of KL(p_i‖q_i), p_ij ∝ q_ij²/f_j (equation 3), with 0 log 0 = 0."""
    # A cluster that no training sample knows has f = 0; the smallest number in its place gives P its limit.
    log_frequency = np.maximum(log_frequency, np.log(np.finfo(np.float64).tiny))
    log_p = log_softmax(2 * log_q - log_frequency, axis=1)
    p = np.exp(log_p)
    log_ratio = np.subtract(log_p, log_q, out=np.zeros_like(log_p), where=p > 0)
    loss = float((p * log_ratio).sum(axis=1).mean())
    return loss if loss > ROUNDING else 0.0


def silhouette(z: Any, labels: np.ndarray, seed: int) -> float:
    """The silhouette, in [−1, 1], of at most 2,000 samples of z (n, m), dense or sparse, in clusters `labels` (n,).

    NaN where they lie in one cluster, or each in its own.
    """
    shown = np.random.default_rng(seed).permutation(len(labels))[:SILHOUETTE_SAMPLES]
    z, labels = z[shown].astype(np.float64), labels[shown]
    if not 2 <= len(np.unique(labels)) < len(labels):  # it compares a sample with its own cluster and with another
        return math.nan
    return float(silhouette_score(z, labels))


def _takes_part(log_q: np.ndarray) -> np.ndarray:
    """(k,), bool: the clusters that are not padding."""
    return ~np.isneginf(log_q).all(axis=0)


def _check_log_q(log_q: Any, n_samples: int) -> np.ndarray:
    """Returns log q in float64, (n, k), its rows normalised once more: float32 leaves sums of 1 ± 1e-7."""
    log_q = np.asarray(log_q, np.float64)
    if log_q.ndim != 2 or len(log_q) != n_samples or not log_q.shape[1]:
        raise ValueError(f"log_q must have shape ({n_samples}, k), one row per sample, got {log_q.shape}")
    with np.errstate(over="ignore"):
        sums = np.exp(log_q).sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(sums - 1) < 1e-3))
    if len(wrong):
        raise ValueError(
            f"log_q must hold logarithms of probabilities that sum to 1 in each row, got a sum of "
            f"{sums[wrong[0]]:g} in row {wrong[0]}"
        )
    return log_softmax(log_q, axis=1)


def _check_clusters(labels: Any, log_q: np.ndarray) -> np.ndarray:
    labels = check_labels(labels, len(log_q))
    wrong = labels[(labels < 0) | (labels >= log_q.shape[1])]
    wrong = wrong if len(wrong) else labels[~_takes_part(log_q)[labels]]
    if len(wrong):
        raise ValueError(f"labels must be clusters of log_q, which has {_takes_part(log_q).sum()}, got {wrong[0]}")
    return labels


def _check_held_out(held_out: Any, n_samples: int) -> np.ndarray:
    held_out = np.asarray(held_out)
    if held_out.dtype != bool:
        raise TypeError(f"held_out must be a mask of bool, got dtype {held_out.dtype}")
    if held_out.shape != (n_samples,):
        raise ValueError(f"held_out must mark each sample, shape ({n_samples},), got shape {held_out.shape}")
    if held_out.all():
        raise ValueError(f"held_out must leave at least one sample to train on, got all {n_samples} held out")
    return held_out
