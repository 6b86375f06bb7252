"""What time does to files: bits that flip, files that end early, blocks of zeros."""

import numpy as np


def rotten(content, rng, n):
    """`n` (description, content) of damaged copies: flipped bits, cuts, and zeros from some place on."""
    for _ in range(n):
        at = int(rng.integers(len(content)))
        kind = ("flip", "cut", "zeros", "block")[rng.integers(4)]
        damaged = bytearray(content)
        if kind == "flip":
            damaged[at] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del damaged[at:]
        else:
            end = len(content) if kind == "zeros" else at + 64
            damaged[at:end] = bytes(len(damaged[at:end]))
        if bytes(damaged) != content:
            yield f"{kind} at {at}", bytes(damaged)


def seeded(*numbers):
    return np.random.default_rng(numbers)
