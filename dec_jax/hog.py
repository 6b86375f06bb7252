"""Histograms of oriented gradients: what images are compared by when their neighbours are looked for.

Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005; the root of a histogram's shares is
that of Arandjelović, Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012. Pixels of
images that are alike but for a small shift differ; their gradients, summed up over cells, hardly do.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from dec_jax.validation import check_image_shape, check_samples

ORIENTATIONS = 8
CELLS = 9  # of a side, or one of each pixel
BLUR, REACH = 0.02, 0.08  # of the side: the deviations of what smooths the image, and of a cell's weights
BLOCK_BYTES = 2**26  # of the gradients by their orientation
HIGHEST = jax.lax.Precision.HIGHEST


def hog(x: Any, image_shape: tuple[int, ...]) -> np.ndarray:
    """Histograms of the gradients' orientations, in cells that lie in a grid over each image.

    A gradient adds its length to the two nearest of 8 orientations, and to all cells by a Gaussian of its distance. Of
    several channels the one with the longest gradient counts. Neither brightness nor contrast matter.

    Args:
        x: (n, d) flattened images, dense or sparse, numbers without NaN.
        image_shape: (h, w) or (h, w, channels).

    Returns:
        (n, cells · 8) float32: the roots of the shares of an image's gradients, so that rows have length 1; zeros where
        all pixels are equal.

    Raises:
        TypeError, ValueError: an argument has the wrong type, or the shape does not fit d.
    """
    x = check_samples(x, varying=False)
    shape = (*check_image_shape(image_shape, x.shape[1]), 1)[:3]
    n_rows = min(x.shape[0], max(1, BLOCK_BYTES // (4 * ORIENTATIONS * x.shape[1])))
    found = []
    for start in range(0, x.shape[0], n_rows):
        rows = x[start : start + n_rows]
        rows = np.asarray(rows.toarray() if scipy.sparse.issparse(rows) else rows, np.float32)
        missing = n_rows - len(rows)  # blocks of one size are one program
        block = np.pad(rows, ((0, missing), (0, 0))).reshape(n_rows, *shape)
        found.append(np.asarray(_histograms(block))[: len(rows)])
    return np.concatenate(found)


@jax.jit
def _histograms(images: jax.Array) -> jax.Array:
    """Rows (n, cells · 8) of images (n, h, w, c)."""
    n, h, w, _ = images.shape
    product = partial(jnp.einsum, precision=HIGHEST)
    smooth = product("nhwc,gh,vw->ngvc", images, _weights(h, h, BLUR * h), _weights(w, w, BLUR * w))
    around = jnp.pad(smooth, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    across = (around[:, 1:-1, 2:] - around[:, 1:-1, :-2]) / 2
    down = (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]) / 2
    length = jnp.hypot(across, down)
    longest = length.argmax(axis=-1, keepdims=True)
    across, down, length = (jnp.take_along_axis(one, longest, axis=-1) for one in (across, down, length))
    turn = 2 * jnp.pi / ORIENTATIONS
    apart = jnp.arctan2(down, across) / turn - jnp.arange(ORIENTATIONS)
    apart = jnp.abs(jnp.mod(apart + ORIENTATIONS / 2, ORIENTATIONS) - ORIENTATIONS / 2)
    parts = length * jax.nn.relu(1 - apart)
    cells = [_weights(_n_cells(size), size, REACH * size) for size in (h, w)]
    rows = product("nhwo,ih,jw->nijo", parts, *cells).reshape(n, -1)
    total = rows.sum(axis=1, keepdims=True)
    return jnp.sqrt(rows / jnp.where(total > 0, total, 1))


def _n_cells(size: int) -> int:
    """Cells of a side of so many pixels: about `CELLS`, and of short sides one of each pixel."""
    return round(size / max(1, round(size / CELLS)))


def _weights(n_cells: int, size: int, deviation: float) -> jax.Array:
    """Weights (cells, size) of the pixels of a side in each cell, which add up to 1."""
    middles = (jnp.arange(n_cells) + 0.5) * size / n_cells - 0.5
    weights = jnp.exp(-(((jnp.arange(size) - middles[:, None]) / deviation) ** 2) / 2)
    return weights / weights.sum(axis=1, keepdims=True)
