"""Losses, soft assignment and target distribution: arrays in, arrays out, computed in log space.

Symbols as in the DEC paper (Xie, Girshick, Farhadi, ICML 2016): z (n, m) embeddings, μ (k, m) centroids, q (n, k) soft
assignment, p (n, k) target distribution.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def mean_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over all elements of (prediction − target)², a scalar."""
    return jnp.mean(jnp.square(prediction - target))


def mean_absolute_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over all elements of `|prediction − target|`, a scalar."""
    return jnp.mean(jnp.abs(prediction - target))


def half_mean_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """½ · mean over all elements of (prediction − target)², a scalar.

    The loss layer of the DEC authors' released Caffe divides by all elements; it is the scale at which the learning
    rate of 0.1 converges.
    """
    return 0.5 * mean_squared_error(prediction, target)


def half_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """½ · mean over samples of ‖prediction − target‖², a scalar: d times `half_mean_squared_error`."""
    return 0.5 * jnp.mean(jnp.sum(jnp.square(prediction - target), axis=-1))


def binary_cross_entropy(probability: jax.Array, target: jax.Array) -> jax.Array:
    """Mean over all elements of −t log y − (1 − t) log(1 − y), a scalar.

    Args:
        probability: y in [0, 1]; 0 and 1 count as the nearest float32 inside, so that the loss stays finite.
        target: t in [0, 1].
    """
    y = jnp.clip(probability, jnp.finfo(jnp.float32).tiny, 1 - jnp.finfo(jnp.float32).epsneg)
    return -jnp.mean(target * jnp.log(y) + (1 - target) * jnp.log1p(-y))


def binary_cross_entropy_from_logits(logits: jax.Array, target: jax.Array) -> jax.Array:
    """`binary_cross_entropy` of sigmoid(logits), with useful gradients however large the logits are."""
    return -jnp.mean(target * jax.nn.log_sigmoid(logits) + (1 - target) * jax.nn.log_sigmoid(-logits))


RECONSTRUCTION_LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "half_mse": half_mean_squared_error,
    "half_squared": half_squared_error,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "bce": binary_cross_entropy,
    "bce_logits": binary_cross_entropy_from_logits,
}


def students_t(z: jax.Array, centroids: jax.Array, alpha: float | jax.Array = 1.0) -> jax.Array:
    """Log of Student's t kernel (1 + ‖z_i − μ_j‖²/α)^(−(α+1)/2): (…, m), (k, m) → (…, k) (equation 1)."""
    return -0.5 * (alpha + 1) * jnp.log1p(squared_distances(z, centroids) / alpha)


def gaussian(z: jax.Array, centroids: jax.Array, variance: float | jax.Array = 1.0) -> jax.Array:
    """Log of the kernel exp(−‖z_i − μ_j‖²/(2·variance)), whose soft assignment is a softmax of distances."""
    return -0.5 * squared_distances(z, centroids) / variance


def squared_distances(z: jax.Array, centroids: jax.Array) -> jax.Array:
    """‖z_i − μ_j‖²: (…, m), (k, m) → (…, k).

    Sums of squared differences, to the precision of the inputs on every device: no matrix product takes part, which an
    accelerator would round to fewer digits. ‖z‖² − 2zμ + ‖μ‖² would cancel where it matters most, close to a centroid.
    """
    return jnp.sum(jnp.square(z[..., None, :] - centroids), axis=-1)


def logits(z: jax.Array, centroids: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """The embedding itself, z / temperature: a network with k outputs assigns samples without centroids.

    Args:
        z: (…, k).
        centroids: (k, ·), which are not read; there are as many as outputs.
        temperature: above 0.

    Raises:
        ValueError: the embedding has another size than there are clusters.
    """
    if z.shape[-1] != len(centroids):
        raise ValueError(
            f"logits need an embedding of as many outputs as clusters, {len(centroids)}, got {z.shape[-1]}"
        )
    return z / temperature


KERNELS: dict[str, Callable[..., jax.Array]] = {"students_t": students_t, "gaussian": gaussian, "logits": logits}


def log_soft_assignment(
    z: jax.Array,
    centroids: jax.Array,
    alpha: float | jax.Array = 1.0,
    active: jax.Array | None = None,
    kernel: Callable[..., jax.Array] = students_t,
) -> jax.Array:
    """Log of the soft assignment q_ij ∝ (1 + ‖z_i − μ_j‖²/α)^(−(α+1)/2), or of another kernel (equation 1).

    Args:
        z: (…, m) embeddings.
        centroids: (k, m).
        alpha: degrees of freedom, above 0; what another kernel takes for it.
        active: (k,) bool, the clusters that take part; the others get −inf and no gradient. Default all.
        kernel: (z, centroids, alpha) → (…, k), the log of how alike they are.

    Returns:
        (…, k); the exponentials of each row sum to 1.
    """
    logits = kernel(z, centroids, alpha)
    return jax.nn.log_softmax(logits if active is None else jnp.where(active, logits, -jnp.inf), axis=-1)


def soft_assignment(z: jax.Array, centroids: jax.Array, alpha: float | jax.Array = 1.0) -> jax.Array:
    """Soft assignment q, (…, k), rows sum to 1: the exponential of `log_soft_assignment`."""
    return jnp.exp(log_soft_assignment(z, centroids, alpha))


def log_target_distribution(
    log_q: jax.Array, power: float | jax.Array = 2.0, balance: float | jax.Array = 1.0
) -> jax.Array:
    """Log of the target distribution p_ij = (q_ij²/f_j) / Σ_j' (q_ij'²/f_j'), f_j = Σ_i q_ij (equation 3).

    Args:
        log_q: (n, k) log soft assignment of all samples; −inf marks a cluster that takes no part.
        power: of q, 2 in the paper; more makes p sharper.
        balance: power of f, 1 in the paper; more makes clusters more equal in size, 0 leaves that to q.

    Returns:
        (n, k); the exponentials of each row sum to 1.
    """
    log_frequency = jax.nn.logsumexp(log_q, axis=0)
    log_p = jnp.where(jnp.isneginf(log_q), -jnp.inf, power * log_q - balance * log_frequency)
    return jax.nn.log_softmax(log_p, axis=-1)


def target_distribution(q: jax.Array) -> jax.Array:
    """Target distribution p, (n, k), of the soft assignment q, (n, k); see `log_target_distribution`."""
    return jnp.exp(log_target_distribution(jnp.log(q)))


def kl_divergence(p: jax.Array, log_q: jax.Array) -> jax.Array:
    """KL(p_i‖q_i) = Σ_j p_ij log(p_ij / q_ij) of each sample, with 0 log 0 = 0 (equation 2 is its sum).

    Args:
        p: (…, k) target distribution, held fixed by the caller where DEC wants it fixed.
        log_q: (…, k) log soft assignment.

    Returns:
        (…,), at least 0 up to rounding.
    """
    # Both branches of `where` are differentiated, so neither may hold a logarithm of 0 or 0 · inf.
    log_p = jnp.log(jnp.where(p > 0, p, 1.0))
    return jnp.sum(p * jnp.where(p > 0, log_p - log_q, 0.0), axis=-1)
