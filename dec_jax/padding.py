"""Padding of a network's embedding, so that trials with other bottlenecks are one program.

A trial that is padded equals the same trial alone, to float32 rounding: its random draws are those of its own size, and
coordinates that take no part stay 0. Clusters that take no part are the business of `Assignment.active`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dec_jax import networks
from dec_jax.autoencoder import Autoencoder
from dec_jax.networks import Params

ZERO_OF_SIGMOID = -1000.0  # there it is 0 in float32, and so is its gradient


def can_pad(model: Any) -> bool:
    """Whether the embedding of a network can be padded: that of a dense autoencoder can."""
    return isinstance(model, Autoencoder)


def pad(model: Any, params: Params, bottleneck: int) -> Params:
    """Parameters whose embedding has `bottleneck` coordinates, of which the new ones stay 0 in all of training.

    Those of a network that cannot be padded stay as they are.
    """
    if not can_pad(model):
        return params
    last = model.n_layers - 1
    encoder, decoder = params[f"encoder_{last}"], params.get(f"decoder_{last}")
    width = bottleneck - model.dims[-1]
    # On the host where the arrays are: nothing is compiled for it.
    fill = np.pad if isinstance(encoder["bias"], np.ndarray) else jnp.pad
    # A weight that is 0 on both sides of a coordinate has no gradient.
    bias = ZERO_OF_SIGMOID if model.embedding_activation == "sigmoid" else 0.0
    padded = {
        f"encoder_{last}": {
            "kernel": fill(encoder["kernel"], ((0, 0), (0, width))),
            "bias": fill(encoder["bias"], (0, width), constant_values=bias),
        }
    }
    if decoder is not None:
        padded[f"decoder_{last}"] = decoder | {"kernel": fill(decoder["kernel"], ((0, width), (0, 0)))}
    return params | padded


def trim(model: Any, params: Params) -> Params:
    """The parameters of the network with its own bottleneck: undoes `pad`."""
    if not can_pad(model):
        return params
    last, bottleneck = model.n_layers - 1, model.dims[-1]
    encoder, decoder = params[f"encoder_{last}"], params.get(f"decoder_{last}")
    trimmed = {f"encoder_{last}": {"kernel": encoder["kernel"][:, :bottleneck], "bias": encoder["bias"][:bottleneck]}}
    if decoder is not None:
        trimmed[f"decoder_{last}"] = decoder | {"kernel": decoder["kernel"][:bottleneck]}
    return params | trimmed


def padded_init(key: jax.Array, models: tuple[Any, ...], size: jax.Array, n_features: int) -> Params:
    """Fresh parameters of one of several networks, padded to the bottleneck of the last.

    Args:
        key: PRNG key.
        models: networks that differ in their bottleneck alone, the largest last.
        size: scalar int32, which one.
        n_features: d.
    """
    if len(models) == 1:
        return networks.init(key, models[0], n_features)
    largest = models[-1].dims[-1]
    makes = [lambda model=model: pad(model, networks.init(key, model, n_features), largest) for model in models]
    return jax.lax.switch(size, makes)
