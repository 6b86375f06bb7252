from functools import partial

import jax
import numpy as np

from dec_jax import networks
from dec_jax.autoencoder import INITIALIZERS, Autoencoder
from dec_jax.runner import programs

UNKNOWN = (("xla_there_is_no_such_option", True),)


def test_options_count_where_the_compiler_knows_them(optimized):
    known = programs.QUICKEST[-1:]
    assert programs.accepted(known) == known
    assert programs.accepted(UNKNOWN) == ()
    compiled = programs.Compiled().get("next", lambda x: x + 1, np.int32(0), options=UNKNOWN)
    assert compiled(np.int32(1)) == 2


def test_who_asks_jax_for_few_optimisations_gets_no_other_ones():
    assert programs.accepted(programs.QUICKEST) == ()


def test_fresh_parameters_are_the_same_however_they_are_compiled(optimized):
    models = [Autoencoder((5, 33, 3), kernel_init=kernel_init) for kernel_init in INITIALIZERS]

    def fresh(key):
        return [networks.init(key, model, 5) for model in models]

    key = jax.random.key(3)
    one, other = (
        programs.Compiled().get("fresh", fresh, key, options=options)(key) for options in ((), programs.QUICKEST)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), one, other)


def test_shapes_are_worked_out_once():
    compiled, calls = programs.Compiled(), []

    def twice(x):
        calls.append(x)
        return 2 * x

    for _ in range(2):
        assert compiled.shapes("twice", twice, np.zeros(3, np.float32)).shape == (3,)
    assert len(calls) == 1
    assert compiled.count == 0
