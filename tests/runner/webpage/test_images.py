import base64
import io

import numpy as np
import pytest
from PIL import Image

from dec_jax.runner.webpage.images import MAX_SIDE, as_bytes, data_uri, signed, thumbnail

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (4, 6, 3), (3, 2, 4)])
def test_a_data_uri_is_a_png_of_these_pixels(shape):
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    head, _, content = data_uri(pixels).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (96, 96, 3), (100, 40), (2, 700), (33, 33)])
def test_a_thumbnail_is_small_and_of_the_same_brightness(shape):
    image = np.full(shape, 3.0)
    small = thumbnail(image)
    assert max(small.shape[:2]) <= MAX_SIDE
    assert small.shape[2:] == shape[2:]
    np.testing.assert_allclose(small, 3.0)


def test_a_thumbnail_is_the_mean_of_blocks():
    image = RANDOM.random((64, 64))
    np.testing.assert_allclose(thumbnail(image)[3, 5], image[6:8, 10:12].mean())


def test_one_channel_is_ink_on_paper_and_three_are_light():
    assert as_bytes(np.array([[0.0, 1.0]]), 0, 1).tolist() == [[255, 0]]
    assert as_bytes(np.array([[[0.0, 0.5, 1.0]]]), 0, 1).tolist() == [[[0, 128, 255]]]
    assert as_bytes(np.ones((1, 1)), 1, 1).tolist() == [[255]]


def test_signed_values_are_warm_cool_or_transparent():
    warm, cool, none = signed(np.array([[2.0, -1.0, 0.0]]))[0]
    assert warm[0] > warm[2]
    assert cool[2] > cool[0]
    assert (warm[3], cool[3], none[3]) == (255, 128, 0)
    assert signed(np.full((2, 2), np.nan))[..., 3].max() == 0
