"""Samples that are alike, few, or as many as clusters: every preset ends well, and says what it could not find."""

import warnings

import numpy as np
import pytest

from dec_jax.data import Dataset
from dec_jax.runner import fitting

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
N, D, K = 12, 3, 4
SPREAD = RNG.normal(size=(N, D)) + 10 * np.eye(N, D)[np.arange(N) % D]
KINDS = {
    "constant columns": np.column_stack([SPREAD[:, 0], np.full(N, 7.0), np.zeros(N)]),
    "a nearly constant column": np.column_stack([SPREAD[:, :2], 1e6 + 1e-9 * SPREAD[:, 2]]),
    "rows in pairs": np.repeat(SPREAD[:6], 2, axis=0),
    "two distinct rows": np.repeat(SPREAD[:2], 6, axis=0),
    "one row that differs": np.repeat(SPREAD[:2], [11, 1], axis=0),
    "equal rows": np.repeat(SPREAD[:1], N, axis=0),
    "one far sample": SPREAD + 1e9 * (np.arange(N) == 0)[:, None],
    "directions": np.eye(D)[np.arange(N) % D],
}
SMALL = {
    "network.hidden": (8,),
    "network.bottleneck": 2,
    "start.kmeans_restarts": 2,
    "start.steps": 20,
}
SETTINGS = {
    "auto": SMALL,
    "fast": SMALL | {"pretraining.fine_tuning_steps": 20, "clustering.max_steps": 40},
}


def fit(preset, x, k):
    """The outcome of a few steps, in which nothing may warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fitting.fit_model(
            fitting.configure(preset, None, SETTINGS[preset] | {"clustering.n_clusters": k}), Dataset("x", x)
        ).outcome


def check(outcome, n, k):
    for values in (outcome.z, outcome.centroids, np.exp(outcome.log_q)):
        assert np.isfinite(values).all()
    np.testing.assert_allclose(np.exp(outcome.log_q).sum(axis=1), 1, rtol=1e-4)
    assert outcome.labels["final"].shape == (n,)
    assert all(np.isfinite(row["loss"]) for row in outcome.history)
    found = len(np.unique(outcome.labels["final"]))
    said = [remark for remark in outcome.remarks if f"{found} of {k} clusters were found" in remark]
    assert len(said) == (found < k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", SETTINGS)
def test_samples_that_are_alike_end_well(preset, kind):
    outcome = fit(preset, KINDS[kind], K)
    check(outcome, N, K)
    distinct = len(np.unique(KINDS[kind], axis=0))
    if distinct < K:
        assert any(f"the samples have {distinct} distinct row" in remark for remark in outcome.remarks)


@pytest.mark.parametrize("preset", SETTINGS)
def test_every_sample_may_be_a_cluster(preset):
    outcome = fit(preset, SPREAD, N)
    check(outcome, N, N)
    if preset == "auto":
        assert len(np.unique(outcome.labels["graph"])) == N
