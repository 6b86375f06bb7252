"""Corruptions for denoising autoencoders: a key and an array in, a corrupted array of the same shape out."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

Corruption = Callable[[jax.Array, jax.Array], jax.Array]  # (key, x) → x̃


def dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """Sets each entry of x to 0 with probability `rate` and scales the others by 1/(1 − rate).

    Args:
        key: PRNG key.
        x: any shape, floating.
        rate: in [0, 1); a Python number, rounded to a multiple of 2⁻¹⁶; 0 returns x itself.

    Raises:
        ValueError: the rate lies outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be at least 0 and below 1, got {rate}")
    if rate == 0:
        return x
    # Half a random word an entry: drawing is most of the work.
    words = jax.random.bits(key, (math.ceil(x.size / 2),))
    draws = jax.lax.bitcast_convert_type(words, jnp.uint16).ravel()[: x.size].reshape(x.shape)
    return jnp.where(draws >= min(round(rate * 2**16), 2**16 - 1), x / (1 - rate), 0)


def gaussian_noise(
    key: jax.Array,
    x: jax.Array,
    standard_deviation: float | jax.Array,
    minimum: float | None = 0.0,
    maximum: float | None = 1.0,
) -> jax.Array:
    """Adds N(0, standard_deviation²) to each entry of x and clips the sum to [minimum, maximum].

    Args:
        key: PRNG key.
        x: any shape, floating.
        standard_deviation: in the units of x, at least 0.
        minimum: lower bound of the result; None leaves it open.
        maximum: upper bound of the result; None leaves it open.
    """
    noisy = x + standard_deviation * jax.random.normal(key, x.shape, x.dtype)
    return noisy if minimum is None and maximum is None else jnp.clip(noisy, minimum, maximum)


def as_pytree(corruption: Corruption | None) -> Corruption | None:
    """`corruption` as a pytree, which a compiled function takes: a plain function becomes one without leaves."""
    if corruption is None or not jax.tree_util.all_leaves([corruption]):
        return corruption
    if isinstance(corruption, partial):
        return Partial(corruption.func, *corruption.args, **corruption.keywords)
    return Partial(corruption) if callable(corruption) else corruption
