"""Folders of images as samples: read in the order of their names, subfolders included."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dec_jax.data.extras import need
from dec_jax.data.packed import check_unpacked
from dec_jax.validation import check_choice

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
LABEL_COLUMN = "folder"
GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV")


class Images(NamedTuple):
    """The images of a folder.

    Attributes:
        x: (n, height, width) uint8 where all are grey, else (n, height, width, 3).
        ids: (n,) their paths in the folder, with "/".
        labels: (n,) names of the subfolders they are in, or None where these were not asked for.
        notes: what was left out, one line each.
    """

    x: np.ndarray
    ids: np.ndarray
    labels: np.ndarray | None
    notes: tuple[str, ...]


def read_image_folder(folder: Path, label_column: str | None = None) -> Images:
    """Returns the images of a folder and of its subfolders; hidden files and folders do not count.

    Images of 8 bits a channel are accepted, grey or coloured, turned as their EXIF data say; what is transparent is not
    seen.

    Args:
        folder: a folder that exists.
        label_column: "folder" for the names of the subfolders as labels.

    Raises:
        ImportError: Pillow is missing.
        ValueError: there are no images, they have different sizes, or one is damaged or has more than 8 bits.
    """
    need("PIL", "images", "a folder of images", "Pillow")
    if label_column is not None:
        check_choice("column in label_column", label_column, (LABEL_COLUMN,))
    paths, n_others = _images_in(folder)
    if not paths:
        raise ValueError(f"folder {folder} must hold images ({', '.join(IMAGE_SUFFIXES)}), got none")
    grey = all(_opened(path, lambda image: image.mode in GREY_MODES) for path in paths)
    first = _pixels(paths[0], grey)
    check_unpacked(folder, len(paths) * first.size, sum(path.stat().st_size for path in paths))
    x = np.empty((len(paths), *first.shape), np.uint8)
    for i, path in enumerate(paths):
        pixels = _pixels(path, grey)
        if pixels.shape != first.shape:
            raise ValueError(
                f"images of {folder} must have one size, got {_size(first)} in {paths[0].relative_to(folder)} "
                f"and {_size(pixels)} in {path.relative_to(folder)}"
            )
        x[i] = pixels
    ids = np.array([path.relative_to(folder).as_posix() for path in paths], object)
    labels = None if label_column is None else np.array([_class_of(path, folder) for path in paths], object)
    notes = [f"{folder.name}: {len(paths)} images of {_size(first)} pixels, {'grey' if grey else 'coloured'}"]
    if n_others:
        notes.append(f"{folder.name}: {n_others} files that are not images are left out")
    return Images(x, ids, labels, tuple(notes))


def _images_in(folder: Path) -> tuple[list[Path], int]:
    """Returns the images in the order of their names, and the number of other files."""
    visible = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    images = [path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES]
    return images, len(visible) - len(images)


def _opened(path: Path, read: Any) -> Any:
    """What is read from an image; whatever goes wrong with its bytes is a ValueError that names it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return read(image)
    except Exception as error:  # what Pillow raises for damaged bytes is not one family
        raise ValueError(f"{path} is damaged, or not an image: {str(error) or type(error).__name__}") from error


def _pixels(path: Path, grey: bool) -> np.ndarray:
    mode = _opened(path, lambda image: image.mode)
    if mode not in (*GREY_MODES, *COLOUR_MODES):
        raise ValueError(f"{path} must have 8 bits a channel, got Pillow's mode {mode}: save the images as .npy")
    if (n := _opened(path, lambda image: getattr(image, "n_frames", 1))) > 1:
        raise ValueError(f"{path} must hold one image, got {n} frames: save them as a stack in .npy")
    return _opened(path, lambda image: np.asarray(_upright(image).convert("L" if grey else "RGB")))


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _class_of(path: Path, folder: Path) -> str | None:
    """The name of the subfolder; None for an image that lies in none."""
    return None if path.parent == folder else path.parent.name


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]} × {pixels.shape[1]}"
