"""What the phases work on: a network, samples on the device, a batch size."""

import argparse
import math
from dataclasses import dataclass

import jax

from benchmarks import memory, synthetic
from dec_jax import clustering, data, networks
from dec_jax.autoencoder import Autoencoder
from dec_jax.networks import Params
from dec_jax.samples import Samples, to_device
from dec_jax.validation import check_integer

DIMS = (784, 500, 500, 2000, 10)
N_CLUSTERS = 10


def random_key() -> jax.Array:
    """The key of all that is random here; made when it is asked for, because an import must not start a device."""
    return jax.random.key(0)


@dataclass(frozen=True)
class Workload:
    """What the phases work on.

    Attributes:
        model: the autoencoder.
        params: its initial parameters.
        x: (n, d) samples on the device.
        batch_size: b.
        n_clusters: k.
    """

    model: Autoencoder
    params: Params
    x: Samples
    batch_size: int
    n_clusters: int

    @classmethod
    def of(cls, dims: tuple[int, ...], x: Samples, batch_size: int, n_clusters: int) -> "Workload":
        """The workload of a network of sizes `dims`."""
        model = Autoencoder(dims)
        return cls(model, networks.init(random_key(), model, dims[0]), x, batch_size, n_clusters)

    @property
    def epoch(self) -> int:
        """Steps in which every sample is seen once."""
        return math.ceil(self.x.shape[0] / self.batch_size)

    @property
    def update_interval(self) -> int:
        """Steps of the clustering phase between two refreshes of P."""
        return clustering.default_update_interval(self.x.shape[0], self.batch_size)


def add_arguments(cli: argparse.ArgumentParser) -> None:
    """The options that `read` reads."""
    cli.add_argument("--dims", metavar="D,…,M", help=f"layer sizes (default: {','.join(map(str, DIMS))})")
    cli.add_argument("--batch", type=int, default=256, metavar="B", help="samples in a batch (default: 256)")
    cli.add_argument("--data", metavar="NAME|FILE", help="data that dec_jax loads (default: synthetic)")
    cli.add_argument("--samples", type=int, default=70_000, metavar="N", help="of synthetic data (default: 70,000)")


def read(arguments: argparse.Namespace) -> Workload:
    """The network and the samples that the command line asks for.

    Raises:
        TypeError, ValueError, OSError, MemoryError: they do not fit each other, or not the machine.
    """
    check_integer("samples", arguments.samples, 1)
    dims = parse_dims(arguments.dims) if arguments.dims else DIMS
    if arguments.data:
        dataset = data.load(arguments.data)
        n, d = dataset.x.shape
        if arguments.dims and dims[0] != d:
            raise ValueError(f"dims must begin with the {d} features of {arguments.data}, got {dims[0]}")
        dims = (d, *dims[1:])
    else:
        n = arguments.samples
    check_integer("batch", arguments.batch, 1, n, why="the number of samples")
    # The widest layer's input is held for all samples while the layer pair behind it is timed.
    memory.check_fits(f"{n:,} samples × {dims[0]:,} features", 4 * n * (dims[0] + max(dims[1:])))
    if arguments.data:
        x = to_device(data.apply_scaling(data.fit_scaling(data.default_rule(dataset).rule, dataset.x), dataset.x))
    else:
        x = synthetic.samples(n, dims[0])
    return Workload.of(dims, x, arguments.batch, min(N_CLUSTERS, n))


def parse_dims(text: str) -> tuple[int, ...]:
    """Layer sizes from a text like 784,500,500,2000,10.

    Raises:
        ValueError: it is none, or a size is below 1.
    """
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        raise ValueError(f"dims must be integers like 784,500,500,2000,10, got {text!r}") from None
    return Autoencoder(sizes).dims  # which knows what sizes it takes
