"""A random permutation that is computed position by position: nothing is sorted, and nothing of size n is held.

A block cipher of few bits is a permutation of 0 … 2^b − 1 that its key chooses. Positions whose image lies beyond the
n samples are sent on through the cipher until they land among them, which leaves a permutation of 0 … n − 1 (Black and
Rogaway, "Ciphers with arbitrary finite domains", 2002; as a way to shuffle: Mitchell et al., "Bandwidth-optimal random
shuffling for GPUs", 2022). The cipher is a Feistel network around the finaliser of MurmurHash3.
"""

import jax
import jax.numpy as jnp

N_ROUNDS = 8  # an even number, after which two halves of unequal width are back at their places
_FEWEST_BITS = 6  # halves of fewer bits than three mix badly


def random_words(key: jax.Array) -> jax.Array:
    """The words (N_ROUNDS,) uint32 that choose a permutation."""
    return jax.random.bits(key, (N_ROUNDS,))


def permute(words: jax.Array, positions: jax.Array, n: int) -> jax.Array:
    """The images of positions under the random permutation of 0 … n − 1 that the words choose.

    Args:
        words: (N_ROUNDS,) uint32 from `random_words`; or (…, N_ROUNDS), for each position its own.
        positions: (…) int32, each between 0 and n − 1.
        n: number of samples, at least 1.

    Returns:
        (…) int32, each between 0 and n − 1.
    """
    n_bits = max(_FEWEST_BITS, (n - 1).bit_length())

    def walk(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        numbers, on_their_way = state
        numbers = jnp.where(on_their_way, _encipher(words, numbers, n_bits), numbers)
        return numbers, numbers >= n

    # Of more than 32 samples, at least half of the images are among them: a few rounds are enough for all.
    start = positions.astype(jnp.uint32), jnp.ones(positions.shape, bool)
    images, _ = jax.lax.while_loop(lambda state: jnp.any(state[1]), walk, start)
    return images.astype(jnp.int32)


def _encipher(words: jax.Array, numbers: jax.Array, n_bits: int) -> jax.Array:
    """A permutation of 0 … 2^n_bits − 1."""
    narrow, wide = n_bits // 2, n_bits - n_bits // 2
    left, right = numbers >> wide, numbers & _mask(wide)
    for i in range(N_ROUNDS):
        left, right = right, left ^ (_mix(right + words[..., i]) & _mask(wide if i % 2 else narrow))
    return (left << wide) | right


def _mask(n_bits: int) -> jax.Array:
    return jnp.uint32(2**n_bits - 1)


def _mix(x: jax.Array) -> jax.Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
