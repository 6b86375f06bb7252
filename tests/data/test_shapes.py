import numpy as np
import pytest

from dec_jax.data.shapes import flatten


def stack(*shape):
    return np.arange(np.prod(shape)).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((9, 8, 8), (8, 8)),
        ((9, 28, 20), (28, 20)),
        ((9, 8, 8, 1), (8, 8)),
        ((9, 4, 30, 3), (4, 30, 3)),
        ((9, 8, 8, 4), (8, 8, 4)),
        ((9, 50, 6), None),
        ((9, 8, 1), None),
        ((9, 4, 4), None),
        ((9, 8, 8, 2), None),
        ((9, 2, 3, 4, 5), None),
    ],
)
def test_stacks_become_rows(shape, image_shape):
    x = stack(*shape)
    flat = flatten(x)
    np.testing.assert_array_equal(flat.x, x.reshape(len(x), -1))
    assert flat.image_shape == image_shape
    assert ("as images of" in flat.notes[0]) == (image_shape is not None)
    assert ("series" in flat.notes[0]) == (image_shape is None)


def test_channels_that_come_first_come_last():
    x = stack(5, 3, 8, 9)
    flat = flatten(x)
    assert flat.image_shape == (8, 9, 3)
    np.testing.assert_array_equal(flat.x.reshape(5, 8, 9, 3)[:, 2, 4], x[:, :, 2, 4])


def test_channels_that_come_first_come_last_in_a_given_shape():
    x = stack(5, 3, 8, 9)
    np.testing.assert_array_equal(flatten(x, (8, 9, 3)).x, flatten(x).x)
    y = np.moveaxis(x, 1, -1)
    np.testing.assert_array_equal(flatten(y, (8, 9, 3)).x, y.reshape(5, -1))


def test_what_is_flat_stays_and_says_nothing():
    x = stack(5, 64)
    assert flatten(x) == (x, None, ())
    assert flatten(x[0]).x.ndim == 1


@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 4), (5, 2, 6)])
def test_a_given_shape_is_the_shape(shape):
    flat = flatten(stack(*shape), (4, 3))
    assert (flat.x.shape, flat.image_shape, flat.notes) == ((5, 12), (4, 3), ())
    with pytest.raises(ValueError, match=r"image_shape \(4, 4\) needs 16 numbers per sample, got 12"):
        flatten(stack(*shape), (4, 4))
