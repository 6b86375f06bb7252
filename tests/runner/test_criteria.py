import math

import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax import losses
from dec_jax.runner import criteria as module
from dec_jax.runner.criteria import criteria

N, K = 90, 4
RANDOM = np.random.default_rng(0)
Q = RANDOM.dirichlet(np.full(K, 0.3), N)
LOG_Q = np.log(Q)
LABELS = Q.argmax(axis=1)
Z = RANDOM.normal(size=(N, 3)) + 4 * RANDOM.normal(size=(K, 3))[LABELS]
HELD_OUT = np.arange(N) % 5 == 0
NONE = np.zeros(N, bool)


def slow_losses(q, held_out):
    """The definition, number by number: mean KL of the training samples, and of the held-out ones."""
    n, k = q.shape
    f = [sum(q[i, j] for i in range(n) if not held_out[i]) for j in range(k)]
    found = {False: [], True: []}
    for i in range(n):
        weights = [q[i, j] ** 2 / f[j] if q[i, j] > 0 else 0.0 for j in range(k)]
        p = [weight / sum(weights) for weight in weights]
        found[bool(held_out[i])].append(sum(p[j] * math.log(p[j] / q[i, j]) for j in range(k) if p[j] > 0))
    return {which: sum(values) / len(values) for which, values in found.items() if values}


def slow_silhouette(z, labels):
    """The definition: (b − a) / max(a, b) of each sample, 0 where it is alone in its cluster."""
    values = []
    for i, label in enumerate(labels):
        distances = np.sqrt(((z - z[i]) ** 2).sum(axis=1))
        own = labels == label
        if own.sum() == 1:
            values.append(0.0)
            continue
        a = distances[own].sum() / (own.sum() - 1)
        b = min(distances[labels == other].mean() for other in set(labels) - {label})
        values.append((b - a) / max(a, b))
    return np.mean(values)


def test_has_the_columns_of_the_table_as_plain_numbers():
    found = criteria(Z, LOG_Q, LABELS, HELD_OUT)
    assert list(found) == [
        "silhouette",
        "confidence",
        "smallest_cluster",
        "empty_clusters",
        "loss_train",
        "loss_held_out",
        "generalisability",
    ]
    assert {type(value) for value in found.values()} == {int, float}


def test_agrees_with_slow_versions():
    found = criteria(Z, LOG_Q, LABELS, HELD_OUT)
    slow = slow_losses(Q, HELD_OUT)
    sizes = [list(LABELS).count(j) for j in range(K)]
    assert found["silhouette"] == pytest.approx(slow_silhouette(Z, LABELS), abs=1e-6)
    assert found["confidence"] == pytest.approx(sum(max(row) for row in Q) / N)
    assert found["smallest_cluster"] == min(sizes)
    assert found["empty_clusters"] == 0
    assert found["loss_train"] == pytest.approx(slow[False])
    assert found["loss_held_out"] == pytest.approx(slow[True])
    assert found["generalisability"] == pytest.approx(slow[False] / slow[True])


def test_losses_by_hand():
    # f = (1, 1), so p ∝ q²: (0.9, 0.1) where q = (0.75, 0.25); the held-out sample has p = (0.8, 0.2), q = (2/3, 1/3).
    q = np.array([[0.75, 0.25], [0.25, 0.75], [2 / 3, 1 / 3]])
    found = criteria(np.eye(3), np.log(q), [0, 1, 0], np.array([False, False, True]))
    assert found["loss_train"] == pytest.approx(0.9 * math.log(0.9 / 0.75) + 0.1 * math.log(0.1 / 0.25))
    assert found["loss_held_out"] == pytest.approx(0.8 * math.log(0.8 * 1.5) + 0.2 * math.log(0.2 * 3))


def test_training_loss_is_that_of_the_library():
    log_q = jnp.asarray(LOG_Q, jnp.float32)
    kl = losses.kl_divergence(jnp.exp(losses.log_target_distribution(log_q)), log_q)
    assert criteria(Z, log_q, LABELS, NONE)["loss_train"] == pytest.approx(float(kl.mean()), rel=1e-4)


def test_nothing_held_out():
    found = criteria(Z, LOG_Q, LABELS, NONE)
    assert found["loss_train"] == pytest.approx(slow_losses(Q, NONE)[False])
    assert math.isnan(found["loss_held_out"])
    assert math.isnan(found["generalisability"])


def test_zeros_of_q_count_nothing():
    q = np.where(Q < 0.05, 0, Q)
    q /= q.sum(axis=1, keepdims=True)
    assert (q == 0).any()
    with np.errstate(divide="ignore"):
        found = criteria(Z, np.log(q), LABELS, HELD_OUT)
    slow = slow_losses(q, HELD_OUT)
    assert found["loss_train"] == pytest.approx(slow[False])
    assert found["loss_held_out"] == pytest.approx(slow[True])


def test_padding_changes_nothing():
    padded = np.column_stack([LOG_Q[:, :2], np.full(N, -np.inf), LOG_Q[:, 2:], np.full((N, 2), -np.inf)])
    labels = np.array([0, 1, 3, 4])[LABELS]
    assert criteria(Z, padded, labels, HELD_OUT) == pytest.approx(criteria(Z, LOG_Q, LABELS, HELD_OUT))


def test_a_cluster_that_only_held_out_samples_know_has_the_limit_of_p():
    # Cluster 1 has f = 0: P puts the held-out sample there, so that its loss is −log 0.2.
    q = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.2]])
    with np.errstate(divide="ignore"):
        found = criteria(np.eye(3), np.log(q), [0, 0, 0], np.array([False, False, True]))
    assert found["loss_train"] == 0
    assert found["loss_held_out"] == pytest.approx(-math.log(0.2))
    assert found["generalisability"] == 0


def test_q_too_small_for_float64():
    log_q = np.array([[0.0, -2000.0], [-2000.0, 0.0], [0.0, -2000.0], [-2000.0, 0.0]])
    found = criteria(np.arange(8.0).reshape(4, 2), log_q, [0, 1, 0, 1], np.arange(4) > 1)
    assert (found["loss_train"], found["loss_held_out"], found["generalisability"]) == (0, 0, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_collapse_into_one_cluster(dtype):
    """All embeddings at one place: the same q everywhere, which is its own target, up to rounding."""
    log_q = np.log(np.tile([0.7, 0.2, 0.1], (N, 1))).astype(dtype)
    found = criteria(np.zeros((N, 2)), log_q, np.zeros(N, int), HELD_OUT)
    assert math.isnan(found.pop("silhouette"))
    assert found.pop("confidence") == pytest.approx(0.7)
    assert found == {
        "smallest_cluster": 0,
        "empty_clusters": 2,
        "loss_train": 0,
        "loss_held_out": 0,
        "generalisability": 1,
    }


def test_each_sample_its_own_cluster_has_no_silhouette():
    log_q = np.log(np.full((3, 3), 0.05) + 0.85 * np.eye(3))
    assert math.isnan(criteria(np.eye(3), log_q, [0, 1, 2], np.zeros(3, bool))["silhouette"])


def test_silhouette_of_a_sample_that_the_seed_fixes(monkeypatch):
    monkeypatch.setattr(module, "SILHOUETTE_SAMPLES", 40)
    found = [criteria(Z, LOG_Q, LABELS, HELD_OUT, seed=seed)["silhouette"] for seed in (0, 0, 1)]
    everything = slow_silhouette(Z, LABELS)
    assert found[0] == found[1] != found[2]
    assert found == pytest.approx([everything] * 3, abs=0.2)
    assert found[0] != pytest.approx(everything)


def test_takes_jax_arrays():
    found = criteria(jnp.asarray(Z), jnp.asarray(LOG_Q), jnp.asarray(LABELS), jnp.asarray(HELD_OUT))
    assert found == pytest.approx(criteria(Z, LOG_Q, LABELS, HELD_OUT), rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"z": np.full((N, 3), np.nan)}, ValueError, "z must be finite"),
        ({"z": Z[0]}, ValueError, "z must be two-dimensional"),
        ({"log_q": LOG_Q[1:]}, ValueError, rf"log_q must have shape \({N}, k\), one row per sample, got \(89, 4\)"),
        ({"log_q": LOG_Q[:, 0]}, ValueError, rf"log_q must have shape \({N}, k\)"),
        ({"log_q": LOG_Q[:, :0]}, ValueError, rf"log_q must have shape \({N}, k\)"),
        ({"log_q": Q}, ValueError, "log_q must hold logarithms of probabilities that sum to 1 in each row, got"),
        ({"log_q": np.full((N, K), -np.inf)}, ValueError, "got a sum of 0 in row 0"),
        ({"log_q": np.where(np.arange(N)[:, None] == 7, np.nan, LOG_Q)}, ValueError, "got a sum of nan in row 7"),
        ({"labels": LABELS[1:]}, ValueError, "labels must hold one label per sample"),
        ({"labels": LABELS + 0.5}, TypeError, "labels must be integers"),
        ({"labels": LABELS - 1}, ValueError, "labels must be clusters of log_q, which has 4, got -1"),
        ({"labels": np.full(N, 9)}, ValueError, "labels must be clusters of log_q, which has 4, got 9"),
        ({"held_out": HELD_OUT.astype(int)}, TypeError, "held_out must be a mask of bool, got dtype int64"),
        ({"held_out": HELD_OUT[1:]}, ValueError, rf"held_out must mark each sample, shape \({N},\), got shape \(89,\)"),
        ({"held_out": ~NONE}, ValueError, "held_out must leave at least one sample to train on, got all 90 held out"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(changed, error, message):
    with pytest.raises(error, match=message):
        criteria(**{"z": Z, "log_q": LOG_Q, "labels": LABELS, "held_out": HELD_OUT} | changed)


def test_a_label_that_is_padding_is_refused():
    padded = np.column_stack([LOG_Q, np.full(N, -np.inf)])
    with pytest.raises(ValueError, match="labels must be clusters of log_q, which has 4, got 4"):
        criteria(Z, padded, np.full(N, 4), NONE)
