"""What is watched in compiled loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax import finite
from dec_jax.finite import NEVER


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["vector", "matrix", "scalar"])
def test_one_number_of_a_pytree_that_is_not_finite_is_seen(value, place):
    tree = {"vector": np.ones(3), "matrix": np.ones((2, 2)), "scalar": np.float32(1), "counts": np.arange(3)}
    assert finite.is_finite(tree)
    tree[place] = np.where(np.arange(tree[place].size).reshape(tree[place].shape) == 0, value, tree[place])
    assert not finite.is_finite(tree)
    assert bool(finite.vectors_are_finite(tree)) == (place == "matrix")
    assert not finite.vectors_are_finite({"matrix": jnp.full((2, 2), value)})


def test_nothing_is_finite_where_there_is_nothing():
    assert finite.is_finite(None)
    assert finite.is_finite({"counts": np.arange(3)})


@pytest.mark.parametrize("bad_step", [0, 3, 9, None])
def test_the_first_bad_step_of_a_loop_and_its_first_bad_thing_are_noted(bad_step):
    def body(step, bad):
        is_bad = step >= (99 if bad_step is None else bad_step)
        later = is_bad & (step > 4)
        return finite.note(bad, step + 1, [jnp.bool_(True), ~later, ~is_bad])

    found = jax.jit(lambda: jax.lax.fori_loop(0, 10, body, finite.nothing_bad()))()
    expected = (NEVER, 0) if bad_step is None else (bad_step + 1, 1 if bad_step > 4 else 2)
    assert tuple(map(int, found)) == expected


def test_a_failure_is_one_line():
    assert finite.failure("clustering", 1234, "the gradient", "sleep") == (
        "clustering failed in step 1,234: the gradient became NaN or infinite first; sleep"
    )
    assert "failed before its first step: the centroids" in finite.failure("clustering", 0, "the centroids")
