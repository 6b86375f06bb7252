"""What the trials of a sweep are trained on, and what is held out from all of them."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jax.sharding import NamedSharding, PartitionSpec

from dec_jax import data
from dec_jax.data import Dataset
from dec_jax.samples import Samples, to_device
from dec_jax.validation import check_number
from experiments import trial
from experiments.sweeping.layout import Layout

HELD_OUT_SEED = 0


@dataclass
class SweepSamples:
    """Samples of a sweep, scaled and on the device for each rule that its trials ask for.

    Attributes:
        train: the data set without what is held out.
        held_out: (n,) bool, which samples of the whole are held out.
        y: (n,) classes of the whole, for scores alone, or None.
        fingerprint: of the training samples.
        layout: devices.
    """

    train: Dataset
    held_out: np.ndarray
    rest: Any
    y: np.ndarray | None
    fingerprint: str
    layout: Layout
    _scaled: dict[str, tuple[Samples, Samples | None]] = field(default_factory=dict)

    def scaled(self, rule: str) -> tuple[Samples, Samples | None]:
        """Training samples and held-out ones (None where there are none) under a scaling fitted to the former."""
        if rule not in self._scaled:
            scaling = data.fit_scaling(rule, self.train.x)
            x = self._place(to_device(data.apply_scaling(scaling, self.train.x)))
            rest = to_device(data.apply_scaling(scaling, self.rest)) if self.held_out.any() else None
            self._scaled = {rule: (x, rest)}  # one rule at a time: a copy of the data is large
        return self._scaled[rule]

    def _place(self, x: Samples) -> Samples:
        if self.layout.mesh is None:
            return x
        return jax.device_put(x, NamedSharding(self.layout.mesh, PartitionSpec("data")))

    def joined(self, train: np.ndarray, held_out: np.ndarray | None) -> np.ndarray:
        """Rows of training and held-out samples in the order of the whole."""
        if held_out is None:
            return train
        whole = np.empty((len(self.held_out), *train.shape[1:]), train.dtype)
        whole[~self.held_out], whole[self.held_out] = train, held_out
        return whole


def split(dataset: Dataset, fraction: float, layout: Layout) -> SweepSamples:
    """Holds out a random fraction of the samples, the same one in every sweep over the same data.

    Raises:
        TypeError, ValueError: the fraction is none in [0, 1), leaves fewer than two samples, or the samples cannot be
            laid over the devices.
    """
    n = dataset.x.shape[0]
    n_held_out = round(check_number("held_out", fraction, 0, 0.9) * n)
    if n_held_out:  # samples are laid over devices in equal parts
        n_held_out += (n - n_held_out) % layout.data_shards
    if n - n_held_out < 2:
        raise ValueError(f"held_out must leave at least two of the {n} samples, got {fraction}")
    if (n - n_held_out) % layout.data_shards or (layout.data_shards > 1 and scipy.sparse.issparse(dataset.x)):
        raise ValueError(
            f"data_shards must divide the {n} samples, which must be dense, got {layout.data_shards}; "
            "with some held out, dense samples of any number are divided"
        )
    held_out = np.zeros(n, bool)
    held_out[np.random.default_rng(HELD_OUT_SEED).permutation(n)[:n_held_out]] = True
    train = dataset
    if n_held_out:
        y = None if dataset.y is None else dataset.y[~held_out]
        train = type(dataset)(**vars(dataset) | {"x": dataset.x[~held_out], "y": y})
    return SweepSamples(train, held_out, dataset.x[held_out], dataset.y, trial.fingerprint(train), layout)
