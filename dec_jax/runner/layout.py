"""How trials, and samples where they outgrow one device, are laid over the local devices."""

from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dec_jax.validation import check_integer


@dataclass(frozen=True)
class Layout:
    """A mesh with the axes "trial" and "data".

    Attributes:
        mesh: None on a single device.
        data_shards: devices that share the samples of one trial.
    """

    mesh: Mesh | None
    data_shards: int = 1

    @property
    def trial_shards(self) -> int:
        """Devices, or groups of them, that have trials of their own."""
        return 1 if self.mesh is None else self.mesh.shape["trial"]

    @property
    def by_trial(self) -> NamedSharding | None:
        """The first axis over the trials' devices."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec("trial"))


def make_layout(data_shards: int = 1) -> Layout:
    """All local devices, each sample's trial on `data_shards` of them.

    Raises:
        TypeError, ValueError: `data_shards` is not an integer that divides the number of devices.
    """
    devices = np.array(jax.local_devices())
    check_integer("data_shards", data_shards, 1, len(devices), why="the number of local devices")
    if len(devices) % data_shards:
        raise ValueError(f"data_shards must divide the {len(devices)} local devices, got {data_shards}")
    if len(devices) == 1:
        return Layout(None)
    return Layout(Mesh(devices.reshape(-1, data_shards), ("trial", "data")), data_shards)
