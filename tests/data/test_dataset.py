import dataclasses

import numpy as np
import pytest

from dec_jax.data.dataset import Dataset


def test_only_the_samples_are_needed():
    x = np.eye(3)
    dataset = Dataset("mine", x)
    assert dataset.x is x
    assert (dataset.y, dataset.image_shape, dataset.class_names) == (None, None, None)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dataset("mine", np.eye(3)).y = np.zeros(3)
