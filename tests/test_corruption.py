import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax.corruption import dropout, gaussian_noise

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)


class TestCorruption(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_dropout_zeroes_the_rate_and_keeps_the_mean(self):
        x = jnp.ones((400, 500))
        dropped = self.variant(lambda key, x: dropout(key, x, 0.2))(KEY, x)
        assert set(np.unique(dropped)) == {0.0, 1.25}
        assert float((dropped == 0).mean()) == pytest.approx(0.2, abs=0.005)

    @chex.variants(with_jit=True, without_jit=True)
    def test_noise_has_its_deviation_and_bounds(self):
        x = jnp.full((400, 500), 0.5)
        noisy = self.variant(lambda key, x: gaussian_noise(key, x, 0.2))(KEY, x)
        assert float(noisy.min()) == 0.0
        assert float(noisy.max()) == 1.0
        free = self.variant(lambda key, x: gaussian_noise(key, x, 0.2, None, None))(KEY, x)
        assert float(free.std()) == pytest.approx(0.2, abs=0.002)
        np.testing.assert_array_equal(noisy, jnp.clip(free, 0, 1))

    @chex.variants(with_jit=True, without_jit=True)
    def test_vmap_over_keys_equals_single_calls(self):
        keys, x = jax.random.split(KEY, 3), jnp.ones((4, 5))
        for corrupt in (lambda key: dropout(key, x, 0.5), lambda key: gaussian_noise(key, x, 0.1)):
            together = self.variant(jax.vmap(corrupt))(keys)
            np.testing.assert_allclose(together, jnp.stack([corrupt(key) for key in keys]), rtol=1e-6)


def test_noise_is_clipped_on_one_side_only():
    noisy = gaussian_noise(KEY, jnp.zeros(1000), 1.0, 0.0, None)
    assert float(noisy.min()) == 0.0
    assert float(noisy.max()) > 1.0


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5)])
def test_any_number_of_entries(shape):
    dropped = jax.vmap(lambda key: dropout(key, jnp.ones(shape), 0.25))(jax.random.split(KEY, 4000))
    assert dropped.shape == (4000, *shape)
    np.testing.assert_allclose(np.mean(dropped == 0, axis=0), 0.25, atol=0.035)


def test_a_rate_next_to_one():
    assert not dropout(KEY, jnp.ones(100), 1 - 1e-9).any()


def test_entries_are_independent():
    dropped = np.asarray(dropout(KEY, jnp.ones(200_000), 0.5) == 0)
    for distance in (1, 2, 3):
        assert np.mean(dropped[distance:] == dropped[:-distance]) == pytest.approx(0.5, abs=0.006)


def test_rate_zero_returns_the_input():
    x = jnp.arange(6.0).reshape(2, 3)
    assert dropout(KEY, x, 0.0) is x


def test_keys_decide():
    x = jnp.ones((20, 20))
    np.testing.assert_array_equal(dropout(KEY, x, 0.5), dropout(KEY, x, 0.5))
    assert not np.array_equal(dropout(KEY, x, 0.5), dropout(jax.random.key(1), x, 0.5))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match="rate must be at least 0 and below 1"):
        dropout(KEY, jnp.ones(3), rate)
