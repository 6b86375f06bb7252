"""Sweeps of seconds: two hundred digits, a small network, tens of steps."""

from dataclasses import replace

import numpy as np
from sklearn.datasets import load_digits

from dec_jax.data import Dataset
from experiments import plan
from experiments.journal import Journal
from experiments.progress import PhaseProgress
from experiments.settings import Settings
from experiments.sweeping import engine
from experiments.sweeping.engine import Engine, SweepTrial
from experiments.sweeping.folder import trial_id
from experiments.sweeping.layout import Layout
from experiments.sweeping.pretraining_cache import PretrainingCache
from experiments.sweeping.samples import split
from experiments.sweeping.table import TIME_COLUMNS

DIGITS = load_digits()
X, Y = DIGITS.data[:200].astype(np.uint8), DIGITS.target[:200]
DATA = Dataset("digits", X, Y)
SETTINGS = Settings(
    n_clusters=5,
    bottleneck=3,
    scaling="rms",
    hidden=(16,),
    weight_init="glorot",
    batch_size=64,
    layer_wise_steps=0,
    fine_tuning_steps=40,
    optimizer="adam",
    learning_rate=0.003,
    learning_rate_schedule="constant",
    kmeans_restarts=2,
    cluster_learning_rate=0.03,
    update_interval=10,
    max_steps=30,
    tolerance=0.0,
)
LIMIT = 2**30


def no_journal(name, identity):
    """Keeps nothing."""
    return Journal(None, {})


def samples_of(data=DATA, held_out=0.1, layout=None):
    """The samples on one device."""
    return split(data, held_out, layout or Layout(None))


def make_engine(folder, samples=None, journal=no_journal, **options):
    """An engine with its cache in `folder`."""
    options = {"most_lanes": 2} | options
    cache = PretrainingCache(folder / "cache")
    return Engine(samples or samples_of(), cache, journal, options.pop("limit", LIMIT), PhaseProgress(), **options)


def trials_of(shared, *changes):
    """Trials of `SETTINGS` with each of these changes."""
    settings = [plan.resolve(replace(SETTINGS, **change), shared.samples.train) for change in changes]
    return [SweepTrial(i, trial_id(each, shared.samples.fingerprint), each) for i, each in enumerate(settings)]


def rows_of(shared, trials, left=None):
    """The rows of the trials that are `left` (default all), by their ids."""
    found = engine.run(shared, trials if left is None else left, engine.sizes_of(trials))
    return {row["id"]: row for row in found}


def untimed(rows):
    """The rows without what differs between two equal sweeps."""
    return {name: {key: row[key] for key in row if key not in (*TIME_COLUMNS, "trial")} for name, row in rows.items()}
