"""Arrays of more than two axes as samples: stacks of images and series, flattened, with the image's shape kept."""

import math
from typing import NamedTuple

import numpy as np

CHANNELS = (1, 3, 4)
SMALLEST_SIDE = 5
LONGEST_TO_SHORTEST = 1.5


class Flat(NamedTuple):
    """Samples as rows.

    Attributes:
        x: (n, d).
        image_shape: of one sample: (height, width), or (height, width, channels); None where samples are not images.
        notes: what an array was taken for, one line each.
    """

    x: np.ndarray
    image_shape: tuple[int, ...] | None
    notes: tuple[str, ...]


def flatten(x: np.ndarray, image_shape: tuple[int, ...] | None = None) -> Flat:
    """Returns samples of any shape as rows.

    (n, h, w, 1), (n, h, w, 3) and (n, h, w, 4) are images, and so are the same with channels first, which come last
    then; (n, h, w) are images where h and w are at least 5 and differ by at most a half; all other shapes, such as
    the series (n, time, channels), are only their numbers one after the other.

    Args:
        x: (n, …); an array with fewer than two axes stays as it is.
        image_shape: of one sample, in place of what its shape says; of (c, h, w) the channels come last then, too.

    Raises:
        ValueError: `image_shape` does not fit.
    """
    if x.ndim < 2 or 0 in x.shape:
        return Flat(x, None, ())
    size = math.prod(x.shape[1:])
    if image_shape is not None:
        if math.prod(image_shape) != size:
            raise ValueError(f"image_shape {image_shape} needs {math.prod(image_shape)} numbers per sample, got {size}")
        if len(image_shape) == 3 and x.shape[1:] == (image_shape[2], *image_shape[:2]) != tuple(image_shape):
            x = np.moveaxis(x, 1, -1)
        return Flat(x.reshape(len(x), size), image_shape, ())
    if x.ndim == 2:
        return Flat(x, None, ())
    found, x = _image_shape(x)
    what = f"images of {' × '.join(map(str, found))}" if found else "series, not as images"
    note = f"samples of shape {x.shape[1:]} are taken as {what} (image_shape says otherwise)"
    return Flat(x.reshape(len(x), size), found, (note,))


def _image_shape(x: np.ndarray) -> tuple[tuple[int, ...] | None, np.ndarray]:
    shape = x.shape[1:]
    if len(shape) == 3 and shape[2] not in CHANNELS and shape[0] in CHANNELS:
        x = np.moveaxis(x, 1, -1)
        shape = x.shape[1:]
    if len(shape) == 3 and shape[2] in CHANNELS:
        return (shape[:2] if shape[2] == 1 else shape), x
    if len(shape) == 2 and min(shape) >= SMALLEST_SIDE and max(shape) <= LONGEST_TO_SHORTEST * min(shape):
        return shape, x
    return None, x
