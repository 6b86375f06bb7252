"""Floating-point operations of each phase, counted from the shapes.

What is counted is what the method needs, not what a program happens to execute: a multiplication and an addition are
two operations. Of the network only the matrix products count; activations, biases, dropout and the optimiser are free,
so that a fraction of the device's matrix-product rate never flatters. The gradient with respect to a network's input is
needed by nobody and is not counted.
"""

import math
from collections.abc import Sequence
from itertools import pairwise


def encoder(n: int, dims: Sequence[int]) -> int:
    """Forward pass of n samples through layers of sizes `dims`: 2·n·Σ d_i·d_{i+1}."""
    return 2 * n * sum(inputs * outputs for inputs, outputs in pairwise(dims))


def soft_assignment(n: int, m: int, k: int) -> int:
    """Squared differences of n embeddings (n, m) and k centroids, summed: 3·n·m·k."""
    return 3 * n * m * k


def products_of_training(batch: int, dims: Sequence[int]) -> list[tuple[int, int, int]]:
    """Shapes (rows, inner, columns) of the matrix products of one update of layers of sizes `dims`.

    Forward and for the weights' gradients one per layer each, for the inputs' gradients one for each but the first.
    """
    layers = list(pairwise(dims))
    forward = [(batch, inputs, outputs) for inputs, outputs in layers]
    weights = [(inputs, batch, outputs) for inputs, outputs in layers]
    return forward + weights + [(batch, outputs, inputs) for inputs, outputs in layers[1:]]


def products(shapes: Sequence[tuple[int, int, int]]) -> int:
    """Matrix products of these shapes (rows, inner, columns)."""
    return sum(2 * rows * inner * columns for rows, inner, columns in shapes)


def layer_pair_step(batch: int, inputs: int, outputs: int) -> int:
    """One update of a layer pair: two products forward, three backward (the first layer's input needs no gradient)."""
    return 5 * 2 * batch * inputs * outputs


def fine_tuning_step(batch: int, dims: Sequence[int]) -> int:
    """One update of encoder and decoder: forward, and twice that backward but for the input's gradient."""
    return products(products_of_training(batch, (*dims, *dims[-2::-1])))


def clustering_step(batch: int, dims: Sequence[int], k: int) -> int:
    """One update of encoder and centroids, the gradients of embeddings and centroids included."""
    return products(products_of_training(batch, dims)) + 3 * soft_assignment(batch, dims[-1], k)


def refresh(n: int, dims: Sequence[int], k: int) -> int:
    """P and labels of all samples."""
    return encoder(n, dims) + soft_assignment(n, dims[-1], k)


def kmeans(n: int, m: int, k: int, n_restarts: int, n_iterations: int) -> int:
    """Greedy k-means++ seeds, Lloyd iterations and the inertia of every restart; labels of the best one.

    Distances count as the products −2·z·μ alone, 2·n·m each. `n_iterations` are those of all restarts together.
    """
    distances = 2 * n * m
    seeding = (1 + (k - 1) * (2 + int(math.log(k)))) * distances  # 2 + ln k candidates for each seed after the first
    iterations = n_iterations * (k * distances + n * m)
    inertia = k * distances + 3 * n * m
    return n_restarts * (seeding + inertia) + iterations + k * distances
