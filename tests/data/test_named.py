import numpy as np
import pytest

from dec_jax.data.named import NAMES, load_named

from .conftest import write_prepared

# Counts of the classes 0–9 as published with MNIST.
TRAIN_COUNTS = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
TEST_COUNTS = np.array([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])


def test_digits_need_no_network():
    digits = load_named("digits")
    assert digits.x.shape == (1797, 64)
    assert digits.x.dtype == np.uint8
    assert (digits.x.min(), digits.x.max()) == (0, 16)
    assert digits.y.dtype == np.int64
    assert np.bincount(digits.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.image_shape == (8, 8)
    assert digits.class_names == tuple("0123456789")


@pytest.mark.parametrize(
    ("name", "builder", "splits"),
    [
        ("mnist", "mnist", ["train", "test"]),
        ("mnist-test", "mnist", ["test"]),
        ("fashion_mnist", "fashion_mnist", ["train", "test"]),
    ],
)
def test_names_stand_for_prepared_splits(tmp_path, name, builder, splits):
    content = write_prepared(tmp_path, builder)
    dataset = load_named(name, tmp_path)
    assert dataset.name == name
    np.testing.assert_array_equal(dataset.x, np.concatenate([content[split][0] for split in splits]))
    np.testing.assert_array_equal(dataset.y, np.concatenate([content[split][1] for split in splits]))
    assert dataset.image_shape == (28, 28)
    assert len(dataset.class_names) == 10


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown data set 'mnits'; did you mean 'mnist'") as raised:
        load_named("mnits")
    assert all(name in str(raised.value) for name in NAMES)


@pytest.mark.long
@pytest.mark.real_data
def test_real_mnist(real_data):
    real_data("mnist")
    mnist = load_named("mnist")
    assert mnist.x.shape == (70_000, 784)
    assert mnist.x.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(mnist.y[:60_000]), TRAIN_COUNTS)
    np.testing.assert_array_equal(np.bincount(mnist.y[60_000:]), TEST_COUNTS)
    # The published mean and standard deviation of the training pixels in [0, 1] are 0.1307 and 0.3081.
    train = mnist.x[:60_000]
    assert round(train.mean(dtype=np.float64) / 255, 4) == 0.1307
    assert round(train.std(dtype=np.float64) / 255, 4) == 0.3081
    # A nought is empty in its middle, a one is not: pixels and labels belong together.
    centre = mnist.x.reshape(-1, 28, 28)[:, 13:15, 13:15].mean(axis=(1, 2))
    assert centre[mnist.y == 0].mean() < 20 < 200 < centre[mnist.y == 1].mean()


@pytest.mark.slow
@pytest.mark.real_data
def test_real_mnist_test_is_the_last_part_of_mnist(real_data):
    real_data("mnist")
    mnist, test = load_named("mnist"), load_named("mnist-test")
    np.testing.assert_array_equal(test.x, mnist.x[60_000:])
    np.testing.assert_array_equal(test.y, mnist.y[60_000:])


@pytest.mark.long
@pytest.mark.real_data
def test_real_fashion_mnist(real_data):
    real_data("fashion_mnist")
    fashion = load_named("fashion_mnist")
    assert fashion.x.shape == (70_000, 784)
    assert np.bincount(fashion.y).tolist() == [7000] * 10
    assert fashion.class_names[0] == "T-shirt/top"
    assert round(fashion.x[:60_000].mean(dtype=np.float64) / 255, 4) == 0.2860
