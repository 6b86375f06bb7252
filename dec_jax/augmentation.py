"""Augmentations: corruptions (key, x → x̃) of flattened images, and of any other data.

Their ranges may be traced: an augmentation is a pytree whose leaves they are.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import struct

from dec_jax.corruption import dropout, gaussian_noise
from dec_jax.validation import check_image_shape, check_unless_traced


@struct.dataclass
class Affine:
    """Moves each image of a batch by an affine transformation of its own, drawn uniformly; bilinear sampling.

    Guo, Zhu, Liu, Yin: Deep Embedded Clustering with Data Augmentation (ACML 2018) rotate by up to 10 degrees and
    shift by up to a tenth of the side. Ranges of 0 leave the images as they are. Several may be combined: they make
    one transformation, and the images are sampled once.

    Attributes:
        image_shape: (h, w) or (h, w, channels) of the flattened images.
        rotation: angles lie in ±rotation degrees, at most 180.
        shift: shifts lie in ±shift of the side, down and across; at most 1.
        scale: images are scaled by (1 + scale)^u, u in ±1: they grow as often as they shrink.
        shear: a row moves sideways by up to ±shear times its distance from the middle.
        flip: probability of a mirrored image, left to right.
        crop: a window whose sides are 1 − crop to 1 of the image's, anywhere inside it, takes the image's place.
        fill: value outside of the image, what the background has after scaling; None repeats the image's edge.

    Raises:
        TypeError: a range is not a number, or `image_shape` holds something other than integers.
        ValueError: a range is negative or too large, or `image_shape` is not the shape of an image.
    """

    image_shape: tuple[int, ...] = struct.field(pytree_node=False)
    rotation: float | jax.Array = 0.0
    shift: float | jax.Array = 0.0
    scale: float | jax.Array = 0.0
    shear: float | jax.Array = 0.0
    flip: float | jax.Array = 0.0
    crop: float | jax.Array = 0.0
    fill: float | jax.Array | None = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", check_image_shape(self.image_shape))
        limits = {"rotation": 180, "shift": 1, "scale": math.inf, "shear": math.inf, "flip": 1, "crop": 1}
        for name, maximum in limits.items():
            check_unless_traced(name, getattr(self, name), 0, maximum)
        check_unless_traced("fill", self.fill)

    def draw(self, key: jax.Array, n: int) -> jax.Array:
        """Transformations (n, 2, 3), float32, of n images, as `affine_transform` takes them."""
        # Each range reads draws of its own: changing one leaves what the others do as it was.
        u = jax.random.uniform(key, (9, n), jnp.float32, -1, 1)
        angle = jnp.deg2rad(self.rotation * u[0])
        window = 1 - self.crop * (1 + u[1]) / 2
        side = window / (1 + self.scale) ** u[2]
        shear = self.shear * u[3]
        mirror = jnp.where(u[4] < 2 * self.flip - 1, -1, 1)
        down, across = self.shift * u[5:7] + (1 - window) / 2 * u[7:9]
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        height, width = self.image_shape[:2]
        rows = [
            [side * (cos + shear * sin), side * mirror * sin, down * height],
            [side * (shear * cos - sin), side * mirror * cos, across * width],
        ]
        return jnp.moveaxis(jnp.array(rows), 2, 0)

    def __call__(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """Transformed images (b, d) of the images x (b, d).

        Raises:
            ValueError: `image_shape` does not fit d.
        """
        return affine_transform(x, self.image_shape, self.draw(key, len(x)), self.fill)


@struct.dataclass
class Noise:
    """Feature dropout, then Gaussian noise: augmentation of any data (see `dec_jax.corruption`).

    Attributes:
        standard_deviation: of the noise, in the units of x, at least 0.
        dropout_rate: in [0, 1); a Python number.
        minimum: lower bound of the result; None leaves it open.
        maximum: upper bound of the result; None leaves it open.

    Raises:
        TypeError: the standard deviation is not a number.
        ValueError: it is negative; on a call: the rate lies outside [0, 1).
    """

    standard_deviation: float | jax.Array = 0.0
    dropout_rate: float = struct.field(pytree_node=False, default=0.0)
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        check_unless_traced("standard_deviation", self.standard_deviation, 0)

    def __call__(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """Noisy x, any shape, floating."""
        dropout_key, noise_key = jax.random.split(key)
        dropped = dropout(dropout_key, x, self.dropout_rate)
        return gaussian_noise(noise_key, dropped, self.standard_deviation, self.minimum, self.maximum)


@struct.dataclass
class Chain:
    """One corruption after the other, each with a key of its own."""

    corruptions: tuple[Callable[[jax.Array, jax.Array], jax.Array], ...]

    def __call__(self, key: jax.Array, x: jax.Array) -> jax.Array:
        """Result of the last one, in the shape of x."""
        for i, corruption in enumerate(self.corruptions):
            x = corruption(jax.random.fold_in(key, i), x)
        return x


def affine_transform(
    x: jax.Array, image_shape: Sequence[int], transformation: jax.Array, fill: float | jax.Array | None = 0.0
) -> jax.Array:
    """Samples each image at A p + t for each of its pixels p, bilinearly.

    Places count in pixels, (down, across), from the middle of the image.

    Args:
        x: (b, d) flattened images, floating.
        image_shape: (h, w) or (h, w, channels).
        transformation: (b, 2, 3), each [A | t].
        fill: value outside of the image; None repeats the image's edge.

    Returns:
        (b, d) in the type of x.

    Raises:
        TypeError, ValueError: `image_shape` is not the shape of an image, or does not fit d.
    """
    height, width, channels = (*check_image_shape(image_shape, x.shape[1]), 1)[:3]
    # Arrays of shape (b, h, w, channels), or that broadcast to it, from here on.
    t = transformation[..., None, None, None]
    down = jnp.arange(height)[:, None, None] - (height - 1) / 2
    across = jnp.arange(width)[:, None] - (width - 1) / 2
    row = t[:, 0, 0] * down + t[:, 0, 1] * across + t[:, 0, 2] + (height - 1) / 2
    column = t[:, 1, 0] * down + t[:, 1, 1] * across + t[:, 1, 2] + (width - 1) / 2
    top, left = jnp.floor(row), jnp.floor(column)
    first = jnp.arange(len(x), dtype=jnp.int32)[:, None, None, None] * x.shape[1] + jnp.arange(channels)
    pixels = jnp.ravel(x)

    def pixel(row: jax.Array, column: jax.Array) -> jax.Array:
        i, j = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
        # One number for each place, at an index into all of the batch: the compiler fuses the four gathers and their
        # sum into one loop, which gathers of channels or of neighbours would break.
        value = pixels.at[first + (i * width + j).astype(jnp.int32) * channels].get(mode="promise_in_bounds")
        return value if fill is None else jnp.where((row == i) & (column == j), value, fill)

    right_share, lower_share = column - left, row - top
    upper = (1 - right_share) * pixel(top, left) + right_share * pixel(top, left + 1)
    lower = (1 - right_share) * pixel(top + 1, left) + right_share * pixel(top + 1, left + 1)
    return ((1 - lower_share) * upper + lower_share * lower).reshape(x.shape).astype(x.dtype)
