"""Configurations of a few samples."""

import numpy as np

from dec_jax.data import Dataset
from dec_jax.runner.config import Config
from dec_jax.runner.resolving import resolve

DATA = Dataset("mine.npy", np.random.default_rng(0).normal(size=(300, 8)))
IMAGES = Dataset("mine.npy", np.random.default_rng(0).normal(size=(300, 8)), image_shape=(2, 4))


def config(**values):
    """A configuration from values whose names have two underscores for the dot."""
    return Config().with_values({name.replace("__", "."): value for name, value in values.items()})


def resolved(data=DATA, **values):
    return resolve(config(**({"clustering__n_clusters": 3} | values)), data)
