import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import make_blobs

from dec_jax.representation import choose, clearest, reliability


def shifted_bars(n=120, side=12):
    """Images of one bright bar, upright or flat, somewhere: their gradients tell them apart, their pixels hardly."""
    rng = np.random.default_rng(0)
    images = np.zeros((n, side, side))
    for i, place in enumerate(rng.integers(1, side - 2, n)):
        images[i, place : place + 2] = 1
    images[1::2] = images[1::2].transpose(0, 2, 1)
    return (images + rng.normal(scale=0.05, size=images.shape)).reshape(n, -1)


def test_neighbours_are_found_by_what_tells_images_apart():
    rng = np.random.default_rng(0)
    brightness = np.repeat([0.2, 0.5, 0.8], 40)[:, None] + rng.normal(scale=0.02, size=(120, 144))
    assert choose(shifted_bars(), (12, 12)) == "hog"
    assert choose(brightness, (12, 12)) == "samples"
    assert choose(shifted_bars(), None) == "samples"
    assert choose(shifted_bars(side=6), (6, 6)) == "samples"


def test_sparse_rows_of_counts_are_compared_by_their_roots_where_that_tells_them_apart():
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(300, 0.05), 4)
    texts = np.stack([rng.multinomial(40, 0.5 * topics[i % 4] + 0.5 / 300) for i in range(200)])
    texts[:, :20] += rng.poisson(rng.gamma(0.1, 60, (200, 20)))  # words that come in bursts, and say nothing
    for form in (
        scipy.sparse.csr_array(texts),
        scipy.sparse.lil_matrix(texts),
        scipy.sparse.csc_array(texts, dtype="u1"),
    ):
        assert choose(form, None) == "roots"
    assert choose(texts, None) == "samples"
    assert choose(scipy.sparse.csr_array(-texts), None) == "samples"
    assert choose(scipy.sparse.csr_array(texts > 0), None) == "samples"  # roots change nothing


def test_the_clearest_of_several_representations_falls_apart_most():
    rng = np.random.default_rng(0)
    heaps, _ = make_blobs(200, 4, centers=3, cluster_std=0.5, random_state=0)
    noise = rng.normal(size=(200, 4))
    assert clearest([noise, heaps]) == 1
    assert clearest([heaps, noise, heaps]) == 0


def test_reliability_is_the_share_of_neighbours_that_either_half_of_the_features_finds():
    x = np.random.default_rng(0).normal(size=(60, 6))
    assert reliability(np.hstack([x] * 8)) > 0.5  # each half has nearly all of x
    assert reliability(np.random.default_rng(1).normal(size=(60, 48))) == pytest.approx(10 / 59, abs=0.08)
