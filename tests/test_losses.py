import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from dec_jax import losses

ALPHAS = (0.1, 0.5, 1.0, 3.0, 50.0)
VARIANTS = {"with_jit": True, "without_jit": True}


def problem(seed=0, n=7, k=4, m=3, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(n, m)), scale * rng.normal(size=(k, m))


def slow_q(z, centroids, alpha):
    """Equation 1, entry by entry in float64."""
    q = np.empty((len(z), len(centroids)))
    for i, sample in enumerate(z):
        for j, centroid in enumerate(centroids):
            q[i, j] = (1 + np.sum((sample - centroid) ** 2) / alpha) ** (-(alpha + 1) / 2)
    return q / q.sum(axis=1, keepdims=True)


def slow_p(q):
    """Equation 3."""
    weight = q**2 / q.sum(axis=0)
    return weight / weight.sum(axis=1, keepdims=True)


def slow_kl(p, q):
    """Equation 2, a term a sample."""
    return np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0), axis=1)


class TestAgainstFloat64(chex.TestCase):
    @chex.variants(**VARIANTS)
    @parameterized.parameters(*ALPHAS)
    def test_soft_assignment(self, alpha):
        z, centroids = problem()
        q = self.variant(losses.soft_assignment)(jnp.float32(z), jnp.float32(centroids), alpha)
        np.testing.assert_allclose(q, slow_q(z, centroids, alpha), rtol=2e-5)

    @chex.variants(**VARIANTS)
    def test_soft_assignment_under_vmap_over_centroids(self):
        z, centroids = problem()
        many = np.stack([centroids, centroids + 1, 2 * centroids])
        q = self.variant(jax.vmap(losses.soft_assignment, in_axes=(None, 0)))(jnp.float32(z), jnp.float32(many))
        for i in range(3):
            np.testing.assert_allclose(q[i], slow_q(z, many[i], 1.0), rtol=2e-5)

    @chex.variants(**VARIANTS)
    def test_target_distribution(self):
        q = slow_q(*problem(), 1.0)
        p = self.variant(losses.target_distribution)(jnp.float32(q))
        np.testing.assert_allclose(p, slow_p(q), rtol=2e-5)

    @chex.variants(**VARIANTS)
    def test_kl_divergence(self):
        q = slow_q(*problem(), 1.0)
        p = slow_p(q)
        kl = self.variant(losses.kl_divergence)(jnp.float32(p), jnp.log(jnp.float32(q)))
        np.testing.assert_allclose(kl, slow_kl(p, q), rtol=1e-4, atol=1e-7)

    @chex.variants(**VARIANTS)
    def test_reconstruction_losses(self):
        rng = np.random.default_rng(0)
        y, t = rng.uniform(0.01, 0.99, (5, 3)), rng.uniform(size=(5, 3))
        expected = {
            "mse": np.mean((y - t) ** 2),
            "mae": np.mean(np.abs(y - t)),
            "half_mse": 0.5 * np.mean((y - t) ** 2),
            "half_squared": 0.5 * np.mean(np.sum((y - t) ** 2, axis=1)),
            "bce": -np.mean(t * np.log(y) + (1 - t) * np.log(1 - y)),
        }
        for name, value in expected.items():
            loss = self.variant(losses.RECONSTRUCTION_LOSSES[name])
            np.testing.assert_allclose(loss(jnp.float32(y), jnp.float32(t)), value, rtol=1e-5)
        logits = np.log(y) - np.log1p(-y)
        loss = self.variant(losses.RECONSTRUCTION_LOSSES["bce_logits"])(jnp.float32(logits), jnp.float32(t))
        np.testing.assert_allclose(loss, expected["bce"], rtol=1e-5)

    @chex.variants(**VARIANTS)
    @parameterized.parameters(*ALPHAS)
    def test_closed_form_gradients(self, alpha):
        z, centroids = problem(n=40, k=5, m=6)
        p = slow_p(slow_q(z, centroids, alpha))[:, ::-1]  # any fixed P, not only the one of this Q
        q = slow_q(z, centroids, alpha)
        difference = z[:, None] - centroids
        kernel = 1 / (1 + np.sum(difference**2, axis=-1) / alpha)
        pull = (alpha + 1) / alpha * (kernel * (p - q))[..., None] * difference

        def loss(z, centroids):
            return losses.kl_divergence(jnp.float32(p), losses.log_soft_assignment(z, centroids, alpha)).sum()

        gradients = self.variant(jax.grad(loss, argnums=(0, 1)))(jnp.float32(z), jnp.float32(centroids))
        np.testing.assert_allclose(gradients[0], pull.sum(axis=1), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(gradients[1], -pull.sum(axis=0), rtol=1e-5, atol=1e-5)


def matrices(rows, columns):
    return arrays(np.float32, (rows, columns), elements=st.floats(-50, 50, width=32))


# Few shapes, so that the compiled functions are few.
embeddings = st.sampled_from([(1, 2, 1), (9, 4, 3)]).flatmap(
    lambda shape: st.tuples(matrices(shape[0], shape[2]), matrices(shape[1], shape[2]))
)
log_q_of = jax.jit(losses.log_soft_assignment)
p_of = jax.jit(lambda log_q: jnp.exp(losses.log_target_distribution(log_q)))
kl_of = jax.jit(losses.kl_divergence)


@settings(deadline=None, max_examples=50)
@given(embeddings, st.floats(0.05, 100))
def test_rows_of_q_and_p_sum_to_one(problem, alpha):
    log_q = log_q_of(*problem, alpha)
    p = p_of(log_q)
    np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert bool((p >= 0).all())


@settings(deadline=None, max_examples=50)
@given(embeddings, st.integers(0, 2**32 - 1))
def test_q_is_invariant_to_a_rotation(problem, seed):
    z, centroids = problem
    m = z.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(m, m)))[0]
    turned = np.exp(log_q_of(np.float32(z @ rotation), np.float32(centroids @ rotation)))
    np.testing.assert_allclose(turned, np.exp(log_q_of(z, centroids)), rtol=1e-3, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(embeddings, st.randoms())
def test_permuting_the_centroids_permutes_q(problem, random):
    z, centroids = problem
    order = list(range(len(centroids)))
    random.shuffle(order)
    permuted = np.exp(log_q_of(z, centroids[order]))
    np.testing.assert_allclose(permuted, np.exp(log_q_of(z, centroids))[:, order], rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(embeddings)
def test_kl_is_not_negative_and_zero_where_p_is_q(problem):
    log_q = log_q_of(*problem)
    p = p_of(log_q)
    assert float(kl_of(p, log_q).min()) >= -1e-5
    np.testing.assert_allclose(kl_of(np.exp(log_q), log_q), 0, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e6, 1e15])
def test_no_nan_at_extreme_distances(scale):
    z, centroids = problem(scale=scale)
    z[0] = centroids[0]  # a sample on its centroid
    z, centroids = jnp.float32(z), jnp.float32(centroids)

    def loss(z, centroids):
        log_q = losses.log_soft_assignment(z, centroids)
        p = jax.lax.stop_gradient(jnp.exp(losses.log_target_distribution(log_q)))
        return losses.kl_divergence(p, log_q).sum()

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(z, centroids)
    chex.assert_tree_all_finite((value, gradients))


def test_no_nan_where_p_or_q_vanishes():
    log_q = jnp.array([[0.0, -200.0, -jnp.inf], [-0.1, -2.0, -jnp.inf]])
    p = jnp.exp(losses.log_target_distribution(log_q))
    np.testing.assert_array_equal(p[:, 2], 0)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    value, gradient = jax.value_and_grad(lambda log_q: losses.kl_divergence(p, log_q).sum())(log_q)
    chex.assert_tree_all_finite((value, gradient))


def test_target_of_an_inactive_cluster_leaves_the_others_alone():
    q = jnp.float32(slow_q(*problem(), 1.0))
    padded = jnp.concatenate([jnp.log(q), jnp.full((len(q), 2), -jnp.inf)], axis=1)
    p = jnp.exp(losses.log_target_distribution(padded))
    np.testing.assert_allclose(p[:, : q.shape[1]], losses.target_distribution(q), rtol=1e-6)
    np.testing.assert_array_equal(p[:, q.shape[1] :], 0)


def test_cross_entropy_stays_finite_at_certainty():
    y, t = jnp.array([[0.0, 1.0, 0.0, 1.0]]), jnp.array([[1.0, 0.0, 0.0, 1.0]])
    assert 20 < float(losses.binary_cross_entropy(y, t)) < 40
    np.testing.assert_allclose(losses.binary_cross_entropy(t, t), 0, atol=1e-6)


def test_cross_entropy_from_logits_has_gradients_at_certainty():
    gradient = jax.grad(losses.binary_cross_entropy_from_logits)(jnp.array([-1000.0, 1000.0]), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(gradient, [-0.5, 0.5])
    logits = np.array([-3.0, 0.5, 4.0])
    gradient = jax.grad(losses.binary_cross_entropy_from_logits)(jnp.float32(logits), jnp.zeros(3))
    np.testing.assert_allclose(gradient, expit(logits) / 3, rtol=1e-5)
