import jax
import jax.numpy as jnp
import numpy as np

from dec_jax import losses
from dec_jax.objectives import StepInputs, dec


def test_dec_is_the_mean_divergence_of_the_batch():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 6)
    q = rng.dirichlet(np.ones(4), 6)
    inputs = StepInputs(None, None, None, jnp.log(jnp.float32(q)), jnp.float32(p))
    np.testing.assert_allclose(dec(inputs), np.mean(np.sum(p * np.log(p / q), axis=1)), rtol=1e-5)
    assert dec(inputs).shape == ()


def test_dec_moves_the_embedding_towards_likely_centroids():
    z, centroids = jnp.array([[0.4, 0.0]]), jnp.array([[0.0, 0.0], [1.0, 0.0]])

    def loss(z):
        return dec(StepInputs(None, z, centroids, losses.log_soft_assignment(z, centroids), jnp.array([[0.9, 0.1]])))

    assert float(jax.grad(loss)(z)[0, 0]) > 0
