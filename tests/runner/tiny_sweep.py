"""Sweeps of seconds: 120 digits, a small network, tens of steps."""

import numpy as np
from sklearn.datasets import load_digits

from dec_jax.data import Dataset
from dec_jax.runner import table
from dec_jax.runner.config import Config
from dec_jax.runner.layout import Layout
from dec_jax.runner.programs import sizes_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.resolving import resolve
from dec_jax.runner.split import split
from dec_jax.runner.trainer import train
from dec_jax.runner.work import Trial, Workshop, trial_id
from dec_jax.storage import Store

K, M = "clustering.n_clusters", "network.bottleneck"
DIGITS = load_digits()
X, Y = DIGITS.data[:120].astype(np.uint8), DIGITS.target[:120].astype(np.int64)
DATA = Dataset("digits", X, Y, (8, 8))
CONFIG = Config().with_values(
    {
        K: 5,
        M: 3,
        "data.scaling": "rms",
        "network.hidden": (8,),
        "network.weight_init": "glorot",
        "pretraining.batch_size": 32,
        "pretraining.layer_wise_steps": 0,
        "pretraining.fine_tuning_steps": 40,
        "pretraining.optimizer": "adam",
        "pretraining.learning_rate": 0.003,
        "pretraining.schedule": "constant",
        "start.kmeans_restarts": 2,
        "clustering.batch_size": 32,
        "clustering.learning_rate": 0.03,
        "clustering.update_interval": 10,
        "clustering.max_steps": 30,
        "clustering.tolerance": 0.0,
    }
)
LIMIT = 2**30


def split_of(data=DATA, held_out=0.1, layout=None, unlabelled=None):
    """The samples on one device."""
    return split(data, held_out, layout or Layout(None), unlabelled)


def make_shop(folder, samples=None, **options):
    """A workshop with its pretrained networks in `folder`."""
    options = {"unfinished": Store(None), "limit": LIMIT, "progress": PhaseProgress(silent=True)} | options
    return Workshop(samples or split_of(), Store(folder / "pretrained"), name="tiny", **options)


def trials_of(shop, *changes):
    """Trials of `CONFIG` with each of these changes, by full name."""
    configs = [resolve(CONFIG.with_values(change), shop.split.train) for change in changes]
    return [Trial(i, trial_id(config, shop.split.fingerprint), config) for i, config in enumerate(configs)]


def outcomes_of(shop, trials, left=None):
    """The outcomes of the trials that are `left` (default all), by their ids."""
    sizes = sizes_of([trial.config for trial in trials])
    return {outcome.trial.id: outcome for outcome in train(shop, trials if left is None else left, sizes)}


def check_same(found, expected):
    """Checks that outcomes are the same to the last bit, but for their seconds."""
    assert found.keys() == expected.keys()
    for name, outcome in found.items():
        other = expected[name]
        for part in ("history", "steps", "stop_reason", "error"):
            assert getattr(outcome, part) == getattr(other, part)
        assert outcome.labels.keys() == other.labels.keys()
        for method, labels in outcome.labels.items():
            np.testing.assert_array_equal(labels, other.labels[method])
        for part in ("z", "log_q", "centroids"):
            np.testing.assert_array_equal(getattr(outcome, part), getattr(other, part))


def line_of(shop, outcome):
    """The line of a trial in the table."""
    held_out = shop.split.held_out
    return table.line(outcome.trial, table.make_row(outcome, held_out), shop.split.whole.y, held_out)
