"""What trials are trained on, and what is held out from all of them."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.sharding import NamedSharding, PartitionSpec

from dec_jax import data, graph, representation
from dec_jax.data import Dataset, Scaling
from dec_jax.data.scaling import COSINE_RULES
from dec_jax.identity import identity
from dec_jax.neighbors import Neighbors, nearest
from dec_jax.runner import build
from dec_jax.runner.config import Config
from dec_jax.runner.layout import Layout
from dec_jax.samples import Samples, to_device
from dec_jax.validation import check_number

HELD_OUT_SEED = 0


@dataclass
class Split:
    """Training samples and held-out ones, scaled and on the device for each rule that trials ask for.

    Attributes:
        whole: the data set.
        train: without what is held out.
        held_out: (n,) bool, which samples of the whole are held out.
        fingerprint: of the training samples and their shape as images.
        layout: devices.
        unlabelled: (u, d) raw samples that are pretrained on too, or None.
    """

    whole: Dataset
    train: Dataset
    held_out: np.ndarray
    fingerprint: str
    layout: Layout
    unlabelled: np.ndarray | None = None
    _scaled: dict[str, tuple[Samples, Samples | None]] = field(default_factory=dict, repr=False)
    _neighbors: dict[tuple[str, str], Neighbors] = field(default_factory=dict, repr=False)

    def network(self, config: Config) -> Any:
        """The network of a configuration for these samples."""
        return build.network(config, self.train.x.shape[1], self.train.image_shape)

    def scaling(self, rule: str) -> Scaling:
        """A rule, fitted to the training samples."""
        return data.fit_scaling(rule, self.train.x)

    def scaled(self, rule: str) -> tuple[Samples, Samples | None]:
        """Training samples and held-out ones (None where there are none) under a scaling fitted to the former."""
        if rule not in self._scaled:
            scaling = self.scaling(rule)
            x = data.apply_scaling(scaling, self.train.x)
            if isinstance(x, np.ndarray):
                x.setflags(write=False)  # the device shares its memory where it can
            x = self._place(to_device(x))
            rest = self.whole.x[self.held_out] if self.held_out.any() else None
            rest = None if rest is None else to_device(data.apply_scaling(scaling, rest))
            self._scaled = {rule: (x, rest)}  # one rule at a time: a copy of the data is large
        return self._scaled[rule]

    def neighbors(self, rule: str, n_neighbors: int, features: str) -> Neighbors:
        """The nearest training samples of each one, itself the first, under a scaling; by `features`."""
        key = rule, features
        if key not in self._neighbors or self._neighbors[key].indices.shape[1] < n_neighbors:
            seen, metric = self.compared(rule, features)
            # Whoever asks next for more of them need not wait again.
            most = min(max(n_neighbors, *graph.SIGHTS), seen.shape[0])
            self._neighbors[key] = nearest(seen, most, metric=metric)
        near = self._neighbors[key]
        return Neighbors(near.indices[:, :n_neighbors], near.distances[:, :n_neighbors])

    def compared(self, rule: str, features: str) -> tuple[Any, str]:
        """What the training samples (n, …) are compared by under a scaling, and the metric."""
        seen = data.apply_scaling(self.scaling(rule), self.train.x)
        is_direction = rule in COSINE_RULES and features != "hog"
        represented = representation.represented(seen, features, self.train.image_shape)
        return represented, "cosine" if is_direction else "euclidean"

    def pretrained_on(self, config: Config) -> Samples:
        """The samples of pretraining: those of training, and unlabelled ones where the configuration has them."""
        x, _ = self.scaled(config.data.scaling)
        if not config.data.unlabelled:
            return x
        return jnp.concatenate([x, data.apply_scaling(self.scaling(config.data.scaling), self.unlabelled)])

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

    def portable(self) -> "Split":
        """The samples without what lies on this machine's devices."""
        return replace(self, layout=Layout(None), _scaled={})


def split(dataset: Dataset, fraction: float, layout: Layout, unlabelled: Any = None) -> Split:
    """Holds out a random fraction of the samples, the same one whenever the data are the same.

    Raises:
        TypeError, ValueError: the fraction is not in [0, 0.9], leaves fewer than two samples, or the samples cannot be
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
        train = replace(dataset, x=dataset.x[~held_out], y=y)
    made_of = identity(x=train.x, image_shape=train.image_shape)
    return Split(dataset, train, held_out, made_of, layout, unlabelled)
