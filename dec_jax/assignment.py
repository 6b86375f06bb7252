"""How samples are assigned to clusters, softly, and what target distribution is made of that: two swappable functions.

A kernel (z, centroids, alpha) → logits says how alike an embedding and a centroid are; a target log q → log p says what
the assignment shall become. Both are pure, and plain functions or `jax.tree_util.Partial`s, whose arguments are traced:
`Partial(log_target_distribution, power=3.0)`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from dec_jax import losses
from dec_jax.validation import check_function, check_unless_traced

Kernel = Callable[[jax.Array, jax.Array, float | jax.Array], jax.Array]
Target = Callable[[jax.Array], jax.Array]


@struct.dataclass
class Assignment:
    """Soft assignment of embeddings to centroids, and its target distribution: a pytree of what is traced in it.

    Attributes:
        alpha: what the kernel is told, above 0: the degrees of freedom of `losses.students_t`, the variance of
            `losses.gaussian`.
        active: (k,) bool, the clusters that take part; None for all.
        kernel: (z (…, m), centroids (k, m), alpha) → logits (…, k); the soft assignment is their softmax.
        target: log q (n, k) of all samples → log p (n, k); −inf marks a cluster that takes no part.

    Raises:
        TypeError: `alpha` is not a number, or a function is not one.
        ValueError: `alpha` is not above 0.
    """

    alpha: float | jax.Array = 1.0
    active: jax.Array | None = None
    kernel: jax.tree_util.Partial | Kernel = losses.students_t
    target: jax.tree_util.Partial | Target = losses.log_target_distribution

    def __post_init__(self) -> None:
        check_unless_traced("alpha", self.alpha, 0, exclusive=True)
        for name in ("kernel", "target"):
            value = getattr(self, name)
            check_function(name, value)
            if callable(value) and not isinstance(value, jax.tree_util.Partial):
                object.__setattr__(self, name, jax.tree_util.Partial(value))

    def log_q(self, z: jax.Array, centroids: jax.Array) -> jax.Array:
        """Log soft assignment (…, k) of embeddings z (…, m) to centroids (k, m)."""
        return losses.log_soft_assignment(z, centroids, self.alpha, self.active, self.kernel)

    def p(self, log_q: jax.Array) -> jax.Array:
        """Target distribution (n, k) of the log soft assignment (n, k) of all samples."""
        return jnp.exp(self.target(log_q))
