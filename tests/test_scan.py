import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from dec_jax import batches, scan
from dec_jax.convolutional import ConvolutionalEncoder
from dec_jax.neighbors import nearest
from dec_jax.side import Side

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(3), 20)


def bars(side=4):
    """Images (60, side²) of one bright row each, of three, with noise."""
    images = RNG.uniform(0, 0.2, (60, side, side))
    images[np.arange(60), Y] += 0.8
    return images.reshape(60, -1).astype(np.float32)


BARS = bars()


@pytest.fixture(scope="module")
def near():
    return nearest(BARS, 8)


@pytest.fixture(scope="module")
def fitted(near):
    return scan.fit(jax.random.key(0), BARS, 3, near=near, n_steps=60)


def test_a_fit_finds_the_heaps_and_says_what_it_started_from(fitted):
    assert (fitted.labels.dtype, fitted.labels.shape) == (np.int32, (60,))
    assert adjusted_rand_score(Y, fitted.labels) == adjusted_rand_score(Y, fitted.start) == 1
    np.testing.assert_array_equal(fitted.q.argmax(axis=1), fitted.labels)
    np.testing.assert_allclose(fitted.q.sum(axis=1), 1, rtol=1e-5)
    assert int(fitted.state.step) == 60


def test_a_key_fixes_the_fit(near, fitted):
    again = scan.fit(jax.random.key(0), BARS, 3, near=near, n_steps=60)
    np.testing.assert_array_equal(again.q, fitted.q)
    assert not np.array_equal(scan.fit(jax.random.key(1), BARS, 3, near=near, n_steps=60).q, fitted.q)


def test_clusters_keep_the_names_of_a_start_that_is_given(near):
    start = np.array([2, 0, 1])[Y]
    np.testing.assert_array_equal(
        scan.fit(jax.random.key(0), BARS, 3, near=near, start=start, n_steps=60).labels, start
    )


def test_a_start_with_some_samples_wrong_is_corrected(near):
    start = np.where(RNG.random(60) < 0.15, (Y + 1) % 3, Y)
    found = scan.fit(jax.random.key(0), BARS, 3, near=near, start=start, n_steps=200)
    assert adjusted_rand_score(Y, start) < 0.8
    assert adjusted_rand_score(Y, found.labels) == 1


def test_of_several_partitions_the_one_from_which_the_loss_falls_lowest_counts(near, monkeypatch):
    wrong = np.where(np.arange(60) < 40, np.arange(60) % 2, 2)
    monkeypatch.setattr(scan.graph, "partitions", lambda *_, **__: np.stack([wrong, Y, wrong]))
    fitted = scan.fit(jax.random.key(0), BARS, 3, near=near, n_steps=60)
    np.testing.assert_array_equal(fitted.start, Y)
    np.testing.assert_array_equal(fitted.labels, Y)


def test_partners_fade_from_neighbours_to_the_samples_themselves(near):
    rows = jnp.repeat(jnp.arange(60), 50)
    given = Side(jnp.asarray(near.indices[:, 1:6], jnp.int32), fade=100)
    for step, share in ((0, 0), (25, 0.25), (100, 1)):
        partners = np.asarray(batches._partners(jax.random.key(step), given, rows, step))
        own = partners == np.asarray(rows)
        assert own.mean() == pytest.approx(share, abs=0.03)
        assert all(partner in near.indices[row, 1:6] for partner, row in zip(partners[~own], rows[~own], strict=True))


def test_small_images_are_shifted_half_as_far():
    assert scan.ranges((8, 8)) == {"rotation": 10, "shift": 0.05, "scale": 0.1, "shear": 0.1}
    assert scan.ranges((16, 16, 3)) == {"rotation": 15, "shift": 0.1, "scale": 0.15, "shear": 0.2}


def test_images_are_moved_and_other_samples_lose_features():
    small, large, table = (
        scan.recipe(d, 3, image_shape=shape) for d, shape in ((64, (8, 8)), (768, (16, 16, 3)), (16, None))
    )
    assert isinstance(large.model, ConvolutionalEncoder)
    assert not isinstance(small.model, ConvolutionalEncoder)
    image = jnp.ones((4, 64))
    assert not np.array_equal(small.augmentation(jax.random.key(0), image), image)
    assert set(np.unique(table.augmentation(jax.random.key(0), jnp.ones((50, 16))))) == {0, 1.25}


def test_the_convolutional_encoder_gives_an_output_a_cluster():
    model = ConvolutionalEncoder((16, 16), 3)
    params = model.init(jax.random.key(0), jnp.zeros((1, 256)))
    assert model.apply(params, jnp.zeros((5, 256))).shape == (5, 3)
    with pytest.raises(ValueError, match="needs samples of 256 features, got 255"):
        model.init(jax.random.key(0), jnp.zeros((1, 255)))


def test_sparse_samples_are_clustered_like_dense_ones():
    x = np.where(BARS > 0.5, BARS, 0)
    near = nearest(x, 8)
    results = [
        scan.fit(jax.random.key(0), given, 3, near=near, start=Y, n_steps=22).q
        for given in (x, scipy.sparse.csr_array(x))
    ]
    np.testing.assert_allclose(*results, atol=1e-4)


@pytest.mark.long
def test_digits_are_clustered_better_than_their_graph_is(optimized):
    x, y = load_digits(return_X_y=True)
    found = scan.fit(jax.random.key(0), x / 16, 10, image_shape=(8, 8))
    assert adjusted_rand_score(y, found.labels) > max(0.9, adjusted_rand_score(y, found.start) + 0.003)


@pytest.mark.parametrize(("n", "steps"), [(100, 800), (1000, 1000), (64_000, 4000), (1_000_000, 5000)])
def test_steps_grow_with_the_cube_root_of_the_samples_within_bounds(n, steps):
    assert scan.default_steps(n) == steps
    assert scan.default_steps(n, 64) == 4 * steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 1}, "n_clusters must be between 2 and 60"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"image_shape": (3, 5)}, r"image_shape \(3, 5\) needs samples of 15 features, got 16"),
        ({"near": (BARS, 3)}, "near must be at least 6"),
        ({"near": (BARS[:50], 8)}, "near must be of the 60 samples, got 50"),
        ({"start": np.full(60, 3)}, "labels must lie between 0 and 2"),
    ],
)
def test_bad_input_is_refused(options, message, near):
    near = nearest(*options["near"]) if "near" in options else near
    with pytest.raises(ValueError, match=message):
        scan.fit(jax.random.key(0), BARS, **{"n_clusters": 3} | options | {"near": near})
