"""Runs of a second: two hundred digits, a small network, a few steps."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from sklearn.datasets import load_digits

from dec_jax import load_model
from dec_jax.runner import run

DIGITS = load_digits()
X, Y = DIGITS.data[:200].astype(np.uint8), DIGITS.target[:200]
SETTINGS = {
    "network.hidden": "16",
    "network.weight_init": "glorot",
    "batch_size": 64,
    "pretraining.layer_wise_steps": 400,  # two windows
    "pretraining.fine_tuning_steps": 400,
    "start.kmeans_restarts": 3,
    "clustering.update_interval": 20,
    "clustering.max_steps": 100,
    "clustering.tolerance": 0,
}
# Without layer-wise pretraining.
SMALL = {"pretraining.layer_wise_steps": 0, "pretraining.fine_tuning_steps": 20, "clustering.max_steps": 60}


class Outcome(NamedTuple):
    """What a run left in its folder."""

    result: dict
    assignments: dict
    history: list
    model: list


def command(data, *words, settings=None):
    """The command line of a tiny run; settings take the place of `SETTINGS`."""
    pairs = [f"{name}={value}" for name, value in (SETTINGS | (settings or {})).items()]
    base = ["--preset", "paper", "--bottleneck", "3", "--set", *pairs, "--data", str(data)]
    return [*base, *(() if data == "digits" else ("--n-clusters", "10")), *map(str, words)]


def cluster(data, out, *words, settings=None):
    """Runs it and returns what it left."""
    assert run.main(command(data, "--out", out, *words, settings=settings)) == 0
    return read(out)


def read(out):
    out = Path(out)
    with np.load(out / "assignments.npz") as file:
        assignments = dict(file)
    with open(out / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    trained = load_model(out / "model")
    model = [np.asarray(leaf) for leaf in jax.tree.leaves((trained.params, trained.centroids))]
    return Outcome(json.loads((out / "result.json").read_text()), assignments, history, model)


def check_identical(a, b):
    """Checks that assignments, models and losses are the same to the last bit."""
    for name in ("labels", "q", "z"):
        np.testing.assert_array_equal(a.assignments[name], b.assignments[name])
    for leaf, other in zip(a.model, b.model, strict=True):
        np.testing.assert_array_equal(leaf, other)
    unscored = [[row | {"acc": "", "nmi": "", "ari": ""} for row in outcome.history] for outcome in (a, b)]
    assert unscored[0] == unscored[1]
    for method in ("kmeans", "autoencoder_kmeans", "final"):
        assert a.result[method]["cluster_sizes"] == b.result[method]["cluster_sizes"]
