import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dec_jax.optimizers import RULES, SCHEDULES, Fixed, Optimizer, adam, as_optimizer, sgd

PARAMS = {"layer": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5, 3.0])}, "centroids": jnp.ones((2, 2))}


def slope(params, step):
    return jax.tree.map(lambda leaf: leaf * 0.3 + 0.1 * step, params)


def run(optimizer, n_steps=12):
    params, state = PARAMS, optimizer.init(PARAMS)
    for step in range(n_steps):
        updates, state = optimizer.update(slope(params, step), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (sgd(0.1, 0.9), optax.sgd(0.1, 0.9)),
        (sgd(0.1, 0.0), optax.sgd(0.1)),
        (adam(0.03), optax.adam(0.03)),
        (
            sgd(0.1, 0.5, schedule="step", decay_every=4),
            optax.sgd(optax.exponential_decay(0.1, 4, 0.1, staircase=True), 0.5),
        ),
        (adam(0.1, schedule="cosine", n_steps=8), optax.adam(optax.cosine_decay_schedule(0.1, 8))),
    ],
    ids=["momentum", "no momentum", "adam", "step", "cosine"],
)
def test_rules_and_schedules_are_those_of_optax(optimizer, expected):
    chex.assert_trees_all_close(run(optimizer), run(expected), rtol=1e-5)


def test_momentum_and_bias_factor_by_hand():
    found = run(sgd(0.1, 0.5, bias_factor=2.0))
    for name, factor in (("kernel", 1), ("bias", 2)):
        value, velocity = np.asarray(PARAMS["layer"][name], np.float64), 0.0
        for step in range(12):
            velocity = 0.5 * velocity + value * 0.3 + 0.1 * step
            value = value - factor * 0.1 * velocity
        np.testing.assert_allclose(found["layer"][name], value, rtol=1e-5)


def test_rates_at_the_ends_of_the_schedules():
    step, cosine = sgd(0.1, schedule="step", decay_every=5), sgd(0.1, schedule="cosine", n_steps=10)
    np.testing.assert_allclose([step.rate(i) for i in (0, 4, 5, 10)], [0.1, 0.1, 0.01, 0.001], rtol=1e-5)
    np.testing.assert_allclose([cosine.rate(i) for i in (0, 5, 10, 999)], [0.1, 0.05, 0, 0], atol=1e-8)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_other_rates_compile_nothing_and_many_are_a_vmap(rule, schedule):
    def make(rate, momentum, factor):
        return Optimizer(rate, momentum, 5.0, 20.0, factor, rule=rule, schedule=schedule)

    compiled = jax.jit(lambda optimizer: run(optimizer, 4))
    values = [(0.1, 0.9, 1.0), (0.02, 0.5, 2.0), (0.3, 0.0, 0.5)]
    alone = [compiled(make(*each)) for each in values]
    assert compiled._cache_size() == 1
    together = jax.vmap(lambda *each: run(make(*each), 4))(*jnp.array(values).T)
    for i, expected in enumerate(alone):
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(alone[0]["centroids"], alone[1]["centroids"])


def test_any_transformation_of_optax_will_do():
    own = as_optimizer(optax.lion(0.01))
    assert isinstance(own, Fixed)
    chex.assert_trees_all_equal(run(own), run(optax.lion(0.01)))
    assert jax.tree.leaves(own) == []


def test_what_has_init_and_update_is_an_optimizer():
    made = sgd(0.1)
    assert as_optimizer(made) is made


@pytest.mark.parametrize("value", [None, 0.1, "sgd"])
def test_what_is_not_an_optimizer(value):
    with pytest.raises(TypeError, match="optimizer must have init and update, as optax's have, got"):
        as_optimizer(value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0, got 0"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, got '0.1'"),
        ({"momentum": 1.0}, ValueError, "momentum must be at least 0 and at most 0.9999, got 1"),
        ({"momentum": -0.1}, ValueError, "momentum must be at least 0"),
        ({"decay_every": 0}, ValueError, "decay_every must be above 0"),
        ({"n_steps": 0}, ValueError, "n_steps must be above 0"),
        ({"bias_factor": float("nan")}, ValueError, "bias_factor must be above 0, got nan"),
        ({"rule": "sdg"}, ValueError, "unknown rule 'sdg'; did you mean 'sgd'"),
        ({"schedule": "linear"}, ValueError, "unknown schedule 'linear'"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        Optimizer(**({"learning_rate": 0.1} | options))


def test_a_warm_up_lets_the_rate_grow_to_its_schedule():
    warm, cold = (Optimizer(0.5, rule="adam", schedule="cosine", n_steps=20, warmup=n) for n in (4, 0))
    found = [float(warm.rate(step) / cold.rate(step)) for step in range(8)]
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1], rtol=1e-6)
    with pytest.raises(ValueError, match="warmup must be at least 0"):
        Optimizer(0.5, warmup=-1)
