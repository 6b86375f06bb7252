"""Images side by side on one sheet."""

import math
from typing import TYPE_CHECKING

import numpy as np

from dec_jax.runner.drawing import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def as_images(samples: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Returns samples (rows, columns, d) as float32 images (rows, columns, h, w) or (rows, columns, h, w, channels).

    Raises:
        ValueError: the shape is not that of d features.
    """
    colours = image_shape[2:] in ((), (1,), (3,))
    if len(image_shape) < 2 or not colours or math.prod(image_shape) != samples.shape[-1]:
        raise ValueError(
            f"image_shape must be (height, width) or (height, width, 3) of {samples.shape[-1]} features, "
            f"got {tuple(image_shape)}"
        )
    shape = image_shape[:2] if image_shape[2:] == (1,) else image_shape
    return samples.reshape(*samples.shape[:2], *shape).astype(np.float32)


def draw_sheet(images: np.ndarray, low: float, high: float) -> tuple["Figure", "Axes"]:
    """Draws images (rows, columns, height, width[, 3]) side by side, values from `low` to `high`."""
    rows, columns = images.shape[:2]
    height, width = cell_size(images)
    tiles = np.clip((images - low) / ((high - low) or 1), 0, 1)
    if images.ndim == 4:
        tiles = 1 - tiles  # as ink on paper: the backgrounds of digits, garments and letters are zero
    sheet = np.ones((rows * height, columns * width, *images.shape[4:]))
    for row, column in np.ndindex(rows, columns):
        tile = tiles[row, column]
        top, left = row * height + (height - len(tile)) // 2, column * width + (width - tile.shape[1]) // 2
        sheet[top : top + len(tile), left : left + tile.shape[1]] = tile
    figure = new_figure(0.55 * columns + 1, 0.55 * columns * (rows * height) / (columns * width) + 0.8)
    ax = figure.add_subplot()
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, extent=(0, sheet.shape[1], sheet.shape[0], 0))
    return figure, ax


def cell_size(images: np.ndarray) -> tuple[int, int]:
    """Height and width of one image on the sheet, with the margin around it."""
    height, width = images.shape[2:4]
    margin = max(1, min(height, width) // 8)
    return height + margin, width + margin
