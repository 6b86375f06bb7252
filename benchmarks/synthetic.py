"""Synthetic data: arrays of any size whose values have the scale that training expects."""

from functools import partial

import jax
import numpy as np

BLOCK = 4096


@partial(jax.jit, static_argnums=(0, 1))
def samples(n: int, d: int) -> jax.Array:
    """Samples (n, d) on the device, ‖x‖²/d near 1, float32; every 4,096 they repeat, so that making them is quick."""
    block = jax.random.normal(jax.random.key(0), (min(n, BLOCK), d))
    return block[jax.numpy.arange(n) % len(block)]


def embedding(n: int, m: int, k: int, seed: int = 0) -> np.ndarray:
    """Points (n, m) on the host in k clusters that overlap, as an autoencoder's embedding does, float32."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((k, m), np.float32)
    z = random.standard_normal((n, m), np.float32)
    z += centers[random.integers(k, size=n)]
    return z
