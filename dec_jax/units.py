"""Units of an autoencoder that have stopped to answer: dead ones, and saturated ones.

A layer of such units gives every sample the same output, and no gradient passes it. That is not mended by more steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dec_jax.autoencoder import LayerPairs
from dec_jax.networks import Params

ALIVE, DEAD, SATURATED = range(3)
SAMPLES = 256  # that are looked at
FLAT = 1e-3  # slope of an activation below which it is flat
_SLOPES = {"sigmoid": lambda y: y * (1 - y), "tanh": lambda y: 1 - jnp.square(y)}  # of what they return
_WORDS = {
    DEAD: "every unit of {layer} is dead (its output is 0 for all samples)",
    SATURATED: "every unit of {layer} is saturated (its output lies at the flat ends of {activation})",
}


def states(model: Any, params: Params, x: jax.Array) -> jax.Array:
    """What has become of each layer of an autoencoder of layer pairs: `ALIVE`, `DEAD` or `SATURATED`.

    A layer is dead where all its units are 0, and saturated where all are flat, for every sample; and only where
    samples that differ are not told apart, for an output at its bounds may be right.

    Args:
        model: the network; of another kind than `LayerPairs` nothing is known.
        params: its parameters.
        x: (b, d) samples.

    Returns:
        (number of layers,) int32, those of the encoder first.
    """
    if not isinstance(model, LayerPairs):
        return jnp.zeros(0, jnp.int32)
    found = [
        _state(y, activation) for y, activation in zip(_outputs(model, params, x), _activations(model), strict=True)
    ]
    return jnp.where(_varies(x), jnp.stack(found), ALIVE).astype(jnp.int32)


def describe(model: Any, states: Any) -> str | None:
    """One line on the first layer that is not alive, or None; `states` on the host."""
    places = [i for i, state in enumerate(states) if state != ALIVE]
    if not places:
        return None
    n = model.n_layers
    i = places[0]
    layer = (
        f"encoder layer {i + 1}" if i < n else f"decoder layer {i - n + 1}" if i < 2 * n - 1 else "the reconstruction"
    )
    return _WORDS[int(states[i])].format(layer=layer, activation=_activations(model)[i])


def _activations(model: LayerPairs) -> list[str]:
    hidden = [model.activation] * (model.n_layers - 1)
    return [*hidden, model.embedding_activation, *hidden, model.reconstruction_activation]


def _outputs(model: LayerPairs, params: Params, x: jax.Array) -> Iterator[jax.Array]:
    apply = partial(model.apply, {"params": params})
    for layer in range(model.n_layers):
        x = apply(x, layer, method="encode_layer")
        yield x
    for layer in reversed(range(model.n_layers)):
        x = apply(x, layer, method="decode_layer")
        yield x


def _varies(y: jax.Array) -> jax.Array:
    return jnp.any(jnp.ptp(y, axis=0) > 0)


def _state(y: jax.Array, activation: str) -> jax.Array:
    if activation in _SLOPES:
        is_flat = jnp.all(_SLOPES[activation](y) < FLAT) & jnp.all(jnp.ptp(y, axis=0) < FLAT)
        return jnp.where(is_flat, SATURATED, ALIVE)
    if activation == "relu":
        return jnp.where(jnp.all(y == 0), DEAD, ALIVE)
    return jnp.asarray(ALIVE)
