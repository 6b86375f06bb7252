"""Convolutional autoencoder of flattened images whose decoder mirrors its encoder (DCEC, Guo et al., ICONIP 2017)."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from dec_jax.autoencoder import ACTIVATIONS, INITIALIZERS, LayerPairs, check_names
from dec_jax.validation import check_image_shape, check_integer


def patches(maps: jax.Array, side: int) -> jax.Array:
    """What a convolution with stride 2 and zeros around the maps sees of (…, h, w, c).

    Args:
        maps: (…, h, w, c).
        side: of the kernel, k.

    Returns:
        (…, ⌈h/2⌉, ⌈w/2⌉, k·k·c), the numbers under the kernel row by row.
    """
    sizes = [math.ceil(size / 2) for size in maps.shape[-3:-1]]
    missing = [max(2 * (out - 1) + side - size, 0) for out, size in zip(sizes, maps.shape[-3:-1], strict=True)]
    around = [(0, 0)] * (maps.ndim - 3) + [(zeros // 2, zeros - zeros // 2) for zeros in missing] + [(0, 0)]
    padded = jnp.pad(maps, around)
    rows, columns = (2 * size - 1 for size in sizes)
    windows = [padded[..., i : i + rows : 2, j : j + columns : 2, :] for i in range(side) for j in range(side)]
    return jnp.concatenate(windows, axis=-1)


class Convolution(nn.Module):
    """Convolution of stride 2 to `features` channels: (…, h, w, c) to (…, ⌈h/2⌉, ⌈w/2⌉, features).

    A matrix product of patches: compiled loops on a CPU run the convolutions of XLA, and their gradients above all,
    many times slower.
    """

    features: int
    side: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """The maps of the next layer."""
        kernel = self.param("kernel", self.kernel_init, (self.side, self.side, maps.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return patches(maps, self.side) @ kernel.reshape(-1, self.features) + bias


class TransposedConvolution(nn.Module):
    """The way back to maps of `shape` (h, w, c): (…, ⌈h/2⌉, ⌈w/2⌉, features) to (…, h, w, c)."""

    shape: tuple[int, int, int]
    side: int
    kernel_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """The maps of the layer before."""
        features, channels = maps.shape[-1], self.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (self.side, self.side, features, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        spread = maps @ jnp.moveaxis(kernel, 2, 0).reshape(features, -1)
        before = jax.ShapeDtypeStruct((*maps.shape[:-3], *self.shape), spread.dtype)
        # Each place sums what lies on it in all patches: that is the transpose of taking them.
        return jax.linear_transpose(lambda h: patches(h, self.side), before)(spread)[0] + bias


class ConvolutionalEncoder(nn.Module):
    """Strided convolutions, a dense layer, and `outputs` numbers: a network with `encode` alone, for flattened images.

    Attributes:
        image_shape: (h, w) or (h, w, channels) of the flattened images.
        outputs: m, at least 1.
        channels: of each convolution, each at least 1; it halves both sides.
        hidden: size of the dense layer, at least 1.
        side: of the kernels.
    """

    image_shape: tuple[int, ...]
    outputs: int
    channels: tuple[int, ...] = (16, 32)
    hidden: int = 256
    side: int = 3

    @property
    def dims(self) -> tuple[int, int]:
        """Sizes of a sample and of the outputs, (d, m)."""
        return math.prod(self.image_shape), self.outputs

    def __post_init__(self) -> None:
        self.image_shape = check_image_shape(self.image_shape)
        self.channels = tuple(check_integer(f"channels[{i}]", size, 1) for i, size in enumerate(self.channels))
        for name in ("outputs", "hidden", "side"):
            check_integer(name, getattr(self, name), 1)
        super().__post_init__()

    @nn.compact
    def encode(self, x: jax.Array) -> jax.Array:
        """Outputs of x: (…, d) to (…, m).

        Raises:
            ValueError: `image_shape` does not fit d.
        """
        check_image_shape(self.image_shape, x.shape[-1])
        init = INITIALIZERS["he"]
        maps = x.reshape(*x.shape[:-1], *(*self.image_shape, 1)[:3])
        for channels in self.channels:
            maps = nn.relu(Convolution(channels, self.side, init)(maps))
        h = nn.relu(nn.Dense(self.hidden, kernel_init=init)(maps.reshape(*x.shape[:-1], -1)))
        return nn.Dense(self.outputs, kernel_init=nn.initializers.lecun_normal())(h)

    def __call__(self, x: jax.Array) -> jax.Array:
        """`encode`."""
        return self.encode(x)


class ConvolutionalAutoencoder(LayerPairs):
    """Autoencoder of strided convolutions and a dense embedding, with the interface of `Autoencoder`.

    Layer i of the encoder is a convolution of stride 2 to channels[i] channels, which halves both sides (rounded up);
    the last layer is dense. Layer i of the decoder goes back, by a transposed convolution of the same kernel. Samples
    and what the layers hand on are flat, (…, dims[i]), so that the layer pairs can be trained one by one too.

    Guo, Liu, Zhu, Yin: Deep Clustering with Convolutional Autoencoders (ICONIP 2017); the defaults are theirs.

    Attributes:
        image_shape: (h, w) or (h, w, channels) of the flattened images.
        channels: of each convolution.
        kernels: side of each convolution's kernel, as many as `channels`.
        bottleneck: m, dimensions of the embedding.
        activation: of every layer but two; one of `ACTIVATIONS`.
        embedding_activation: of the embedding.
        reconstruction_activation: of the reconstruction.
        kernel_init: how weights start, one of `INITIALIZERS`; biases start at 0.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is below 1, the sizes do not fit each other, or a name is unknown.
    """

    image_shape: tuple[int, ...]
    channels: tuple[int, ...] = (32, 64, 128)
    kernels: tuple[int, ...] = (5, 5, 3)
    bottleneck: int = 10
    activation: str = "relu"
    embedding_activation: str = "linear"
    reconstruction_activation: str = "linear"
    kernel_init: str = "glorot"

    def __post_init__(self) -> None:
        self.image_shape = check_image_shape(self.image_shape)
        for name in ("channels", "kernels"):
            sizes = enumerate(getattr(self, name))
            setattr(self, name, tuple(check_integer(f"{name}[{i}]", size, 1) for i, size in sizes))
        if len(self.kernels) != len(self.channels):
            raise ValueError(f"kernels must hold one side for each of channels {self.channels}, got {self.kernels}")
        check_integer("bottleneck", self.bottleneck, 1)
        check_names(self)
        super().__post_init__()

    def setup(self) -> None:  # noqa: D102
        init = INITIALIZERS[self.kernel_init]
        layers = list(zip(self.shapes[:-1], self.channels, self.kernels, strict=True))
        self.encoder = [
            *(Convolution(channels, side, init) for _, channels, side in layers),
            nn.Dense(self.bottleneck, kernel_init=init),
        ]
        self.decoder = [
            *(TransposedConvolution(shape, side, init) for shape, _, side in layers),
            nn.Dense(self.dims[-2], kernel_init=init),
        ]

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Shapes (h, w, channels) of the input and of what each convolution makes of it."""
        height, width, channels = (*self.image_shape, 1)[:3]
        shapes = [(height, width, channels)]
        for channels in self.channels:
            height, width = math.ceil(height / 2), math.ceil(width / 2)
            shapes.append((height, width, channels))
        return shapes

    @property
    def dims(self) -> tuple[int, ...]:
        """Layer sizes d, h1, …, m, as those of `Autoencoder`."""
        return (*map(math.prod, self.shapes), self.bottleneck)

    def encode_layer(self, h: jax.Array, layer: int) -> jax.Array:
        """Output of one encoder layer: (…, dims[layer]) to (…, dims[layer + 1])."""
        if layer == self.n_layers - 1:
            return ACTIVATIONS[self.embedding_activation](self.encoder[layer](h))
        maps = self.encoder[layer](h.reshape(*h.shape[:-1], *self.shapes[layer]))
        return ACTIVATIONS[self.activation](maps).reshape(*h.shape[:-1], self.dims[layer + 1])

    def decode_layer(self, h: jax.Array, layer: int) -> jax.Array:
        """Output of one decoder layer: (…, dims[layer + 1]) to (…, dims[layer])."""
        activation = ACTIVATIONS[self.activation if layer else self.reconstruction_activation]
        if layer == self.n_layers - 1:
            return activation(self.decoder[layer](h))
        maps = self.decoder[layer](h.reshape(*h.shape[:-1], *self.shapes[layer + 1]))
        return activation(maps).reshape(*h.shape[:-1], self.dims[layer])

    def encode(self, x: jax.Array) -> jax.Array:
        """Embedding z = f_θ(x): (…, d) to (…, m).

        Raises:
            ValueError: `image_shape` does not fit d.
        """
        check_image_shape(self.image_shape, x.shape[-1])
        return super().encode(x)
