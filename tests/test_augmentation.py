import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.ndimage

from dec_jax import networks, pretraining
from dec_jax.augmentation import Affine, Chain, Noise, affine_transform
from dec_jax.autoencoder import Autoencoder
from dec_jax.corruption import dropout, gaussian_noise

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 7 * 9)).astype(np.float32)
ALL = {"rotation": 30.0, "shift": 0.2, "scale": 0.3, "shear": 0.2, "flip": 0.5, "crop": 0.3}
STILL = np.array([[[1.0, 0, 0], [0, 1, 0]]], np.float32)


def by_scipy(x, shape, transformation, fill):
    """scipy's transformation of each channel of each image, whose places count from the corner."""
    images = np.asarray(x, np.float64).reshape(len(x), *shape[:2], -1)
    middle = (np.array(shape[:2]) - 1) / 2
    mode = {"mode": "nearest"} if fill is None else {"mode": "grid-constant", "cval": fill}
    result = np.empty_like(images)
    for image, t, out in zip(images, np.asarray(transformation, np.float64), result, strict=True):
        offset = middle + t[:, 2] - t[:, :2] @ middle
        for c in range(image.shape[2]):
            out[..., c] = scipy.ndimage.affine_transform(image[..., c], t[:, :2], offset, order=1, **mode)
    return result.reshape(x.shape)


def turn(matrix, shift=(0, 0)):
    return np.concatenate([np.array(matrix, np.float32), np.array(shift, np.float32)[:, None]], axis=1)[None]


class TestAffine(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_ranges_of_zero_leave_the_images(self):
        out = self.variant(Affine((7, 9)))(KEY, X)
        np.testing.assert_allclose(out, X, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_scipy_agrees(self):
        for shape in ((7, 9), (7, 3, 3), (9, 7, 1)):
            for fill in (0.0, -1.5, None):
                affine = Affine(shape, **ALL, fill=fill)
                expected = by_scipy(X, shape, affine.draw(KEY, len(X)), fill)
                np.testing.assert_allclose(self.variant(affine)(KEY, X), expected, atol=1e-4)

    @chex.variants(with_jit=True)
    def test_vmap_over_keys_equals_single_calls(self):
        keys, affine = jax.random.split(KEY, 3), Affine((7, 9), **ALL)
        together = self.variant(jax.vmap(affine, in_axes=(0, None)))(keys, X)
        np.testing.assert_allclose(together, jnp.stack([affine(key, X) for key in keys]), atol=1e-4)

    @chex.variants(with_jit=True)
    def test_ranges_may_be_traced_and_mapped(self):
        affine = Affine((7, 9))
        turned = self.variant(lambda rotation: affine.replace(rotation=rotation)(KEY, X))(30.0)
        np.testing.assert_allclose(turned, Affine((7, 9), rotation=30.0)(KEY, X), atol=1e-4)
        several = Affine((7, 9), *jnp.array([[0.0, 30.0]] * 7))
        both = self.variant(jax.vmap(lambda affine: affine(KEY, X)))(several)
        np.testing.assert_allclose(both[0], X, atol=1e-6)
        assert not np.allclose(both[1], X)


def test_a_quarter_turn_is_rot90():
    x = X[:1, :49]
    for matrix, turns in (([[0, 1], [-1, 0]], 1), ([[0, -1], [1, 0]], -1)):
        expected = jnp.rot90(x.reshape(7, 7), turns).reshape(1, -1)
        np.testing.assert_allclose(affine_transform(x, (7, 7), turn(matrix)), expected, atol=1e-5)


def test_rotation_is_in_degrees():
    t = Affine((8, 8), rotation=90.0).draw(KEY, 2000)
    angle = np.rad2deg(np.arctan2(t[:, 0, 1], t[:, 0, 0]))
    assert 89 < angle.max() <= 90.001
    assert -90.001 <= angle.min() < -89
    assert abs(angle.mean()) < 3
    np.testing.assert_allclose(np.linalg.det(t[:, :, :2]), 1, atol=1e-5)


def test_an_integer_shift_moves_and_fills():
    image = X[0].reshape(7, 9)
    for fill, expected in (
        (5.0, np.pad(image, ((2, 0), (0, 1)), constant_values=5)[:7, 1:]),
        (None, np.pad(image, ((2, 0), (0, 1)), mode="edge")[:7, 1:]),
    ):
        moved = affine_transform(X[:1], (7, 9), turn(np.eye(2), (-2, 1)), fill)
        np.testing.assert_allclose(moved.reshape(7, 9), expected, atol=1e-6)


def test_shift_is_a_fraction_of_each_side():
    t = Affine((10, 20), shift=0.2).draw(KEY, 2000)
    np.testing.assert_allclose(np.abs(t[:, :, 2]).max(axis=0), (2, 4), rtol=0.01)
    np.testing.assert_array_equal(t[:, :, :2], np.tile(np.eye(2), (2000, 1, 1)))


def test_scale_grows_as_often_as_it_shrinks():
    side = Affine((8, 8), scale=1.0).draw(KEY, 2000)[:, 0, 0]
    assert 0.5 <= float(side.min()) < 0.51
    assert 1.99 < float(side.max()) <= 2
    assert abs(float(jnp.log(side).mean())) < 0.03


def test_shear_moves_rows_sideways():
    t = Affine((8, 8), shear=0.3).draw(KEY, 2000)
    assert 0.29 < float(abs(t[:, 1, 0]).max()) <= 0.3
    np.testing.assert_array_equal(t[:, 0], np.tile([1, 0, 0], (2000, 1)))


@pytest.mark.parametrize("shape", [(7, 9), (7, 3, 3)])
def test_flip_mirrors_its_share_of_the_images(shape):
    mirrored = X.reshape(len(X), *shape)[:, :, ::-1].reshape(X.shape)
    np.testing.assert_allclose(Affine(shape, flip=1.0)(KEY, X), mirrored, atol=1e-6)
    t = Affine(shape, flip=0.3).draw(KEY, 4000)
    assert float((t[:, 1, 1] < 0).mean()) == pytest.approx(0.3, abs=0.03)


def test_crop_takes_a_window_inside_the_image():
    t = np.asarray(Affine((8, 10), crop=0.5).draw(KEY, 2000))
    assert 0.5 <= t[:, 0, 0].min() < 0.51
    assert t[:, 0, 0].max() <= 1
    reach = t[:, [0, 1], [0, 1]] * (4, 5) + abs(t[:, :, 2])
    assert (reach.max(axis=0) <= (4 + 1e-5, 5 + 1e-5)).all()
    assert (reach.max(axis=0) > (3.9, 4.9)).all()


def test_each_sample_has_a_draw_of_its_own_and_keys_decide():
    affine = Affine((7, 9), **ALL)
    same = np.tile(X[:1], (6, 1))
    out = np.asarray(affine(KEY, same))
    assert len(np.unique(out, axis=0)) == 6
    np.testing.assert_array_equal(out, affine(KEY, same))
    assert not np.allclose(out, affine(jax.random.key(1), same))


def test_one_range_leaves_the_draws_of_the_others():
    alone, both = (Affine((7, 9), shift=0.2, flip=flip).draw(KEY, 50) for flip in (0.0, 0.5))
    np.testing.assert_array_equal(alone[:, :, 2], both[:, :, 2])


def test_gradient_is_the_transposed_transformation():
    affine = Affine((7, 9), **ALL)
    weights = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    gradient = jax.grad(lambda x: jnp.vdot(weights, affine(KEY, x)))(jnp.asarray(X))
    # The transformation is linear in x: ⟨w, A x⟩ = ⟨Aᵀ w, x⟩.
    assert float(jnp.vdot(gradient, X)) == pytest.approx(float(jnp.vdot(weights, affine(KEY, X))), rel=1e-4)


def test_type_of_the_samples_is_kept():
    assert Affine((7, 9), **ALL)(KEY, X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_training_with_augmentation_is_compiled_once_for_all_ranges():
    model = Autoencoder((63, 8, 3), kernel_init="glorot")
    optimizer = optax.adam(1e-3)

    def train(rotation, deviation):
        corruption = Chain((Affine((7, 9), rotation=rotation, shift=0.1), Noise(deviation, 0.1)))
        stages = [pretraining.fine_tuning_stage(model, n_steps=30, optimizer=optimizer, corruption=corruption)]
        return pretraining.pretrain(
            KEY, stages, networks.init(KEY, model, 63), jnp.asarray(X), batch_size=6, window=15
        )[1]

    history = train(10.0, 0.1)
    assert history[1].loss < history[0].loss
    compiled = pretraining._compiled_window._cache_size()
    assert train(10.0, 0.1)[1].loss == history[1].loss
    assert train(20.0, 0.3)[1].loss != history[1].loss
    assert pretraining._compiled_window._cache_size() == compiled


def test_noise_and_chain_are_their_parts():
    first, second = jax.random.split(KEY)
    np.testing.assert_array_equal(Noise(0.0, 0.3)(KEY, X), dropout(first, X, 0.3))
    np.testing.assert_array_equal(Noise(0.5)(KEY, X), gaussian_noise(second, X, 0.5, None, None))
    assert float(Noise(0.5, minimum=0.0, maximum=1.0)(KEY, X).max()) == 1.0
    np.testing.assert_array_equal(Noise()(KEY, X), X)
    affine, noise = Affine((7, 9), **ALL), Noise(0.5)
    expected = noise(jax.random.fold_in(KEY, 1), affine(jax.random.fold_in(KEY, 0), X))
    np.testing.assert_array_equal(Chain((affine, noise))(KEY, X), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rotation": -1.0}, ValueError, "rotation must be at least 0 and at most 180, got -1.0"),
        ({"rotation": 200}, ValueError, "rotation must be at least 0 and at most 180, got 200"),
        ({"shift": -0.1}, ValueError, "shift must be at least 0 and at most 1"),
        ({"scale": float("nan")}, ValueError, "scale must be at least 0, got nan"),
        ({"shear": -0.1}, ValueError, "shear must be at least 0"),
        ({"flip": 1.5}, ValueError, "flip must be at least 0 and at most 1"),
        ({"crop": "0.5"}, TypeError, "crop must be a number, got '0.5'"),
        ({"fill": "edge"}, TypeError, "fill must be a number, got 'edge'"),
        ({"image_shape": (7.0, 9)}, TypeError, r"image_shape\[0\] must be an integer, got 7.0"),
        ({"image_shape": (0, 9)}, ValueError, r"image_shape\[0\] must be at least 1, got 0"),
        ({"image_shape": (63,)}, ValueError, r"image_shape must be \(h, w\) or \(h, w, channels\), got \(63,\)"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        Affine(**{"image_shape": (7, 9), **arguments})


def test_bad_noise():
    with pytest.raises(ValueError, match="standard_deviation must be at least 0, got -1"):
        Noise(-1)
    with pytest.raises(ValueError, match="rate must be at least 0 and below 1"):
        Noise(0.0, 1.0)(KEY, X)


def test_images_of_another_size():
    with pytest.raises(ValueError, match=r"image_shape \(8, 8\) needs samples of 64 features, got 63"):
        Affine((8, 8))(KEY, X)
