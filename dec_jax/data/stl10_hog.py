"""STL-10 as the DEC paper clusters it: HOG features and a small map of the colours in place of the pixels.

The paper gives their number alone, 1,428. The map of 8×8 places and two channels has 128 of them. The 1,300 others are
the authors' 13 features of each of 10×10 cells: nine orientations without sign and four texture energies, after
Felzenszwalb et al., "Object Detection with Discriminatively Trained Part-Based Models" (IEEE PAMI 2010), for cells of
8×8 pixels without those at the border. They are made here from the histograms of scikit-image, which differ in two
details: a pixel votes for its own cell alone, where the authors' votes are spread over the four nearest cells, and the
first bin of orientation begins at 0°, where theirs is centred on it.
"""

import os
from collections.abc import Callable

import numpy as np

from dec_jax.data.dataset import Dataset
from dec_jax.data.extras import need
from dec_jax.data.prepared import Features, Pictures, load_pictures

NAME = "stl10-hog"
PICTURE = (96, 96, 3)
CELL, ORIENTATIONS = 8, 9
INNER = PICTURE[0] // CELL - 2  # cells along a side that have neighbours all around
CLIP = 0.2  # largest share that one orientation may have of its neighbourhood's energy
PLACES = 8  # of the map of colours along a side
N_FEATURES = INNER**2 * (ORIENTATIONS + 4) + PLACES**2 * 2


def load_labelled(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Returns the 13,000 labelled samples, train before test.

    Their features, (13000, 1428) float32, are scaled as the recipe has it. They are computed once and cached in
    float16 from then on.

    Args:
        data_dir: folder of what TFDS has prepared; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        FileNotFoundError: STL-10 is not prepared there, and TensorFlow is not installed.
        ImportError: scikit-image is not installed.
        OSError: downloading or preparing it failed.
        ValueError: the prepared files are damaged.
    """
    pictures = _load(("train", "test"), data_dir)
    return Dataset(NAME, pictures.x.astype(np.float32), pictures.y, class_names=pictures.class_names)


def load_unlabelled(data_dir: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Returns the same features of the 100,000 unlabelled pictures, (100000, 1428) float32, cached likewise.

    Args:
        data_dir: as for `load_labelled`.

    Raises:
        FileNotFoundError, ImportError, OSError, ValueError: as for `load_labelled`.
    """
    return _load(("unlabelled",), data_dir).x.astype(np.float32)


def hog_features(picture: np.ndarray) -> np.ndarray:
    """Returns the features of one picture: those of HOG as (h − 0.2)·10, then the chroma as (c − 128)/10.

    Args:
        picture: (96, 96, 3) uint8, red, green and blue.

    Returns:
        (1428,) float64: of each inner cell nine orientations and four energies, then Cr and Cb of each place.

    Raises:
        ImportError: scikit-image is not installed.
        ValueError: the picture has another shape.
    """
    if picture.shape != PICTURE:
        raise ValueError(f"picture must have the shape {PICTURE}, got {picture.shape}")
    return np.concatenate([(_gradients(picture).ravel() - 0.2) * 10, _chroma(picture).ravel() / 10])


def _load(splits: tuple[str, ...], data_dir: str | os.PathLike[str] | None) -> Pictures:
    _import_hog()  # before gigabytes are downloaded
    return load_pictures("stl10", splits, data_dir, Features("hog", N_FEATURES, np.float16, hog_features))


def _import_hog() -> Callable[..., np.ndarray]:
    return need("skimage.feature", "hog", NAME, "scikit-image").hog


def _gradients(picture: np.ndarray) -> np.ndarray:
    """Histograms of the inner cells, (10, 10, 13); a picture without gradients has zeros."""
    blocks = _import_hog()(
        picture,
        orientations=ORIENTATIONS,
        pixels_per_cell=(CELL, CELL),
        cells_per_block=(2, 2),
        block_norm="L2",
        feature_vector=False,
        channel_axis=-1,
    )
    # A cell lies in four blocks: at the end of those that begin before it, at the start of those that begin with it.
    corners = [(row, column) for row in (0, 1) for column in (0, 1)]
    shares = np.stack([blocks[r : r + INNER, c : c + INNER, 1 - r, 1 - c] for r, c in corners], axis=2)
    shares = np.minimum(shares, CLIP)
    # Half of the sum, and 1/√18 = 0.2357, are the published factors.
    return np.concatenate([shares.sum(axis=2) / 2, shares.sum(axis=3) / np.sqrt(2 * ORIENTATIONS)], axis=-1)


def _chroma(picture: np.ndarray) -> np.ndarray:
    """Cr − 128 and Cb − 128 of the map, (8, 8, 2), with OpenCV's factors.

    A place is the mean of the four pixels in its middle, as in the bilinear reduction that the authors used.
    """
    side = PICTURE[0] // PLACES
    middle = slice(side // 2 - 1, side // 2 + 1)
    small = picture.reshape(PLACES, side, PLACES, side, 3)[:, middle, :, middle].mean(axis=(1, 3))
    red, green, blue = np.moveaxis(small, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([0.713 * (red - luma), 0.564 * (blue - luma)], axis=-1)
