import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax import networks, padding
from dec_jax.autoencoder import Autoencoder

X = jnp.asarray(np.random.default_rng(0).normal(size=(12, 6)), jnp.float32)


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
def test_coordinates_that_take_no_part_stay_0_and_finite(activation):
    own, wide = (Autoencoder((6, m), embedding_activation=activation) for m in (3, 5))
    params = networks.init(jax.random.key(0), own, 6)
    padded = padding.pad(own, params, 5)
    z = networks.embed(wide, padded, X)
    np.testing.assert_allclose(z[:, :3], networks.embed(own, params, X), rtol=1e-6)
    np.testing.assert_array_equal(z[:, 3:], 0)

    def loss(params):
        return jnp.mean((networks.reconstruct(wide, params, X) - X) ** 2)

    trained = jax.tree.map(lambda leaf, slope: leaf - slope, padded, jax.grad(loss)(padded))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained))
    np.testing.assert_array_equal(networks.embed(wide, trained, X)[:, 3:], 0)
