import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits

from dec_jax.hog import BLUR, CELLS, ORIENTATIONS, REACH, hog

RNG = np.random.default_rng(0)


def gaussian(middle, size, deviation):
    weights = np.exp(-(((np.arange(size) - middle) / deviation) ** 2) / 2)
    return weights / weights.sum()


def by_hand(image):
    """The histograms of one image (h, w, c), a loop over its pixels, cells and orientations."""
    h, w, channels = image.shape
    smooth = np.zeros(image.shape)
    for i in range(h):
        for j in range(w):
            near = np.outer(gaussian(i, h, BLUR * h), gaussian(j, w, BLUR * w))
            smooth[i, j] = (near[..., None] * image).sum(axis=(0, 1))
    n_cells = [round(size / max(1, round(size / CELLS))) for size in (h, w)]
    found = np.zeros((*n_cells, ORIENTATIONS))
    for i in range(h):
        for j in range(w):
            down = (smooth[min(i + 1, h - 1), j] - smooth[max(i - 1, 0), j]) / 2
            across = (smooth[i, min(j + 1, w - 1)] - smooth[i, max(j - 1, 0)]) / 2
            c = max(range(channels), key=lambda c: np.hypot(down[c], across[c]))
            place = np.arctan2(down[c], across[c]) / (2 * np.pi) * ORIENTATIONS
            low = int(np.floor(place))
            for orientation, share in ((low, low + 1 - place), (low + 1, place - low)):
                for a in range(n_cells[0]):
                    for b in range(n_cells[1]):
                        reach = gaussian((a + 0.5) * h / n_cells[0] - 0.5, h, REACH * h)[i]
                        reach *= gaussian((b + 0.5) * w / n_cells[1] - 0.5, w, REACH * w)[j]
                        found[a, b, orientation % ORIENTATIONS] += share * reach * np.hypot(down[c], across[c])
    return np.sqrt(found / found.sum()).ravel()


@pytest.mark.parametrize("shape", [(8, 8), (12, 20), (9, 7, 3)])
def test_histograms_are_those_of_a_plain_loop(shape):
    images = RNG.uniform(size=(2, *shape))
    found = hog(images.reshape(2, -1), shape)
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(row, by_hand(image.reshape(*shape[:2], -1)), atol=1e-4)


def test_neither_brightness_nor_contrast_matter():
    images = RNG.uniform(size=(3, 100))
    np.testing.assert_allclose(hog(images * 40 + 7, (10, 10)), hog(images, (10, 10)), atol=2e-3)


def test_rows_have_length_1_and_an_image_without_gradients_is_0():
    images = np.vstack([RNG.uniform(size=(2, 64)), np.full((1, 64), 0.3)])
    np.testing.assert_allclose(np.linalg.norm(hog(images, (8, 8)), axis=1), [1, 1, 0], atol=1e-6)


def test_blocks_do_not_show(monkeypatch):
    images = RNG.uniform(size=(7, 64))
    whole = hog(images, (8, 8))
    monkeypatch.setattr("dec_jax.hog.BLOCK_BYTES", 4 * ORIENTATIONS * 64 * 3)
    np.testing.assert_allclose(hog(images, (8, 8)), whole, atol=1e-6)


def test_sparse_images_are_those_of_dense_ones():
    x, _ = load_digits(return_X_y=True)
    np.testing.assert_array_equal(hog(scipy.sparse.csr_array(x[:50]), (8, 8)), hog(x[:50], (8, 8)))


@pytest.mark.parametrize(
    ("x", "shape", "message"),
    [
        (np.zeros((3, 63)), (8, 8), "image_shape"),
        (np.zeros((3, 64)), (64,), "image_shape"),
        (np.full((3, 64), np.nan), (8, 8), "NaN"),
        (np.full((3, 64), "a"), (8, 8), "real numbers"),
    ],
)
def test_bad_input_is_refused(x, shape, message):
    with pytest.raises((TypeError, ValueError), match=message):
        hog(x, shape)
