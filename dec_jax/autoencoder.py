"""Fully connected autoencoder d–h1–…–m whose decoder mirrors its encoder, and the layer pairs inside it."""

import math
from collections.abc import Callable

import jax
from flax import linen as nn

from dec_jax.networks import Params
from dec_jax.validation import check_choice, check_integer

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "gelu": nn.gelu,
    "linear": lambda x: x,
}

RANGES: dict[str, tuple[float, float]] = {  # of what an activation returns
    "relu": (0.0, math.inf),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "gelu": (-0.17, math.inf),
    "linear": (-math.inf, math.inf),
}

INITIALIZERS: dict[str, nn.initializers.Initializer] = {
    "normal": nn.initializers.normal(0.01),  # the DEC paper: N(0, 0.01²)
    "he": nn.initializers.he_normal(),
    "glorot": nn.initializers.glorot_uniform(),
    "fan_in": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),  # U(±√(1/fan_in))
}


class LayerPairs(nn.Module):
    """An autoencoder of layer pairs: what has `dims`, `encode_layer` and `decode_layer` is one."""

    @property
    def n_layers(self) -> int:
        """Number of layer pairs."""
        return len(self.dims) - 1

    def encode(self, x: jax.Array) -> jax.Array:
        """Embedding z = f_θ(x): (…, d) to (…, m)."""
        for layer in range(self.n_layers):
            x = self.encode_layer(x, layer)
        return x

    def decode(self, z: jax.Array) -> jax.Array:
        """Reconstruction: (…, m) to (…, d)."""
        for layer in reversed(range(self.n_layers)):
            z = self.decode_layer(z, layer)
        return z

    def __call__(self, x: jax.Array) -> jax.Array:
        """Reconstruction of x from its embedding: (…, d) to (…, d)."""
        return self.decode(self.encode(x))


class Autoencoder(LayerPairs):
    """Autoencoder with layers of sizes `dims` = (d, h1, …, m) and the mirror as decoder.

    Layer i of the encoder maps dims[i] to dims[i + 1] and layer i of the decoder maps dims[i + 1] back to dims[i]:
    the two form layer pair i, which shares its parameters with the whole network. With dims = (784, 10) it is the
    plain autoencoder without a hidden layer.

    Attributes:
        dims: layer sizes, input first, embedding last; at least two, each at least 1.
        activation: of every layer but two; one of `ACTIVATIONS`.
        embedding_activation: of the embedding; linear keeps all of its information.
        reconstruction_activation: of the reconstruction; linear lets it be negative.
        kernel_init: how weights start, one of `INITIALIZERS`; biases start at 0.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is below 1, there are fewer than two, or a name is unknown.
    """

    dims: tuple[int, ...]
    activation: str = "relu"
    embedding_activation: str = "linear"
    reconstruction_activation: str = "linear"
    kernel_init: str = "normal"

    def __post_init__(self) -> None:
        self.dims = tuple(check_integer(f"dims[{i}]", size, 1) for i, size in enumerate(self.dims))
        if len(self.dims) < 2:
            raise ValueError(f"dims must hold an input and an embedding size at least, got {self.dims}")
        check_names(self)
        super().__post_init__()

    def setup(self) -> None:  # noqa: D102
        init = INITIALIZERS[self.kernel_init]
        self.encoder = [nn.Dense(size, kernel_init=init) for size in self.dims[1:]]
        self.decoder = [nn.Dense(size, kernel_init=init) for size in self.dims[:-1]]

    def encode_layer(self, h: jax.Array, layer: int) -> jax.Array:
        """Output of one encoder layer: (…, dims[layer]) to (…, dims[layer + 1])."""
        last = layer == self.n_layers - 1
        return ACTIVATIONS[self.embedding_activation if last else self.activation](self.encoder[layer](h))

    def decode_layer(self, h: jax.Array, layer: int) -> jax.Array:
        """Output of one decoder layer: (…, dims[layer + 1]) to (…, dims[layer])."""
        return ACTIVATIONS[self.activation if layer else self.reconstruction_activation](self.decoder[layer](h))


def check_names(model: LayerPairs) -> None:
    """Checks the names of a network's activations and of its initial weights.

    Raises:
        ValueError: a name is unknown.
    """
    for name in ("activation", "embedding_activation", "reconstruction_activation"):
        check_choice(name, getattr(model, name), ACTIVATIONS)
    check_choice("kernel_init", model.kernel_init, INITIALIZERS)


def is_reached(activation: str, low: float, high: float) -> bool:
    """Whether an activation returns all numbers between two, but for their rounding to float32."""
    least, most = RANGES[activation]
    rounding = 1e-5 * max(abs(low), abs(high))
    return low >= least - rounding and high <= most + rounding


def layer_pair(params: Params, layer: int) -> Params:
    """The parameters of one layer pair: a view of the network's own."""
    return {name: params[name] for name in (f"encoder_{layer}", f"decoder_{layer}")}
