"""The device's own rate of float32 matrix products: what a fraction of 1 means."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.command import device
from benchmarks.timing import seconds

SIZES = {"cpu": (1024, 2048)}
ACCELERATOR_SIZES = (4096, 8192)
PRODUCTS = 3  # queued behind one another, so that starting one hides behind the one before


class MatmulRate:
    """The best rate seen so far; measured again and again between the phases, because a machine's speed drifts."""

    def __init__(self) -> None:
        self.flops_per_second = 0.0
        self._product = jax.jit(jnp.matmul)
        # Made on the host, where nothing is compiled for them.
        random = np.random.default_rng(0)
        self._factors = {
            size: [jnp.asarray(random.random((size, size), np.float32)) for _ in range(2)]
            for size in SIZES.get(device().platform, ACCELERATOR_SIZES)
        }

    def measure(self, repeats: int = 2) -> float:
        """Measures once more and returns the best rate so far, FLOP/s."""
        for size, (a, b) in self._factors.items():
            products = partial(self._products, a, b)
            seconds(products)
            best = min(seconds(products) for _ in range(repeats))
            self.flops_per_second = max(self.flops_per_second, PRODUCTS * 2 * size**3 / best)
        return self.flops_per_second

    def _products(self, a: jax.Array, b: jax.Array) -> list[jax.Array]:
        return [self._product(a, b) for _ in range(PRODUCTS)]
