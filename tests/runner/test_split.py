import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from dec_jax.runner.layout import Layout
from runner.tiny_sweep import DATA, X, split_of


def test_nothing_held_out():
    whole = split_of(held_out=0)
    assert whole.scaled("rms")[1] is None
    assert whole.train is DATA
    assert not whole.held_out.any()
    z = np.arange(3)
    assert whole.joined(z, None) is z


def test_rows_are_joined_in_the_order_of_the_whole():
    split = split_of(held_out=0.2)
    np.testing.assert_array_equal(split.joined(split.train.x, X[split.held_out]), X)
    assert split.held_out.sum() == 24


def test_the_same_samples_are_held_out_whatever_their_values():
    np.testing.assert_array_equal(split_of().held_out, split_of(replace(DATA, x=X[::-1])).held_out)


def test_samples_and_their_shape_are_in_the_fingerprint():
    prints = {split_of().fingerprint, split_of(replace(DATA, x=X[::-1])).fingerprint}
    prints.add(split_of(replace(DATA, image_shape=(4, 16))).fingerprint)
    assert len(prints) == 3
    assert split_of(replace(DATA, y=None)).fingerprint in prints


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        (-0.1, "held_out must be at least 0 and at most 0.9, got -0.1"),
        (1, "held_out must be at least 0 and at most 0.9, got 1"),
        (math.nan, "held_out must be"),
    ],
)
def test_fractions_that_cannot_be_held_out(fraction, message):
    with pytest.raises(ValueError, match=message):
        split_of(held_out=fraction)


def test_too_few_are_left():
    with pytest.raises(ValueError, match="held_out must leave at least two of the 3 samples, got 0.5"):
        split_of(replace(DATA, x=X[:3], y=None), held_out=0.5)


def test_samples_that_do_not_divide():
    layout = SimpleNamespace(data_shards=7)
    with pytest.raises(ValueError, match="data_shards must divide the 120 samples, which must be dense, got 7"):
        split_of(held_out=0, layout=layout)
    divided = split_of(held_out=0.1, layout=layout)
    assert (len(divided.train.x), divided.held_out.sum()) == (105, 15)
    sparse = replace(DATA, x=scipy.sparse.csr_array(X))
    with pytest.raises(ValueError, match="which must be dense"):
        split_of(sparse, layout=layout)


def test_samples_travel_without_devices():
    split = split_of()
    split.scaled("rms")
    sent = split.portable()
    assert sent._scaled == {}
    assert sent.layout == Layout(None)
    assert sent.fingerprint == split.fingerprint
