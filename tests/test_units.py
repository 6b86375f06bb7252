"""Dead and saturated units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax import networks, units
from dec_jax.autoencoder import Autoencoder
from dec_jax.units import ALIVE, DEAD, SATURATED

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def found(changes=None, x=X, **activations):
    """The states of the layers, and what is said of them, where some biases are shifted."""
    model = Autoencoder((4, 8, 2), kernel_init="glorot", **activations)
    params = networks.init(jax.random.key(0), model, 4)
    for name, shift in (changes or {}).items():
        params[name] = {"kernel": params[name]["kernel"], "bias": params[name]["bias"] + shift}
    states = jax.jit(units.states, static_argnums=0)(model, params, jnp.asarray(x))
    return states.tolist(), units.describe(model, np.asarray(states))


def test_a_fresh_network_is_alive():
    for activation in ("relu", "sigmoid", "tanh", "gelu"):
        assert found(activation=activation) == ([ALIVE] * 4, None)


@pytest.mark.parametrize(
    ("changes", "activations", "place", "state", "said"),
    [
        ({"encoder_0": -99}, {}, 0, DEAD, "every unit of encoder layer 1 is dead (its output is 0 for all samples)"),
        ({"decoder_1": -99}, {}, 2, DEAD, "every unit of decoder layer 1 is dead"),
        ({"encoder_0": 99}, {"activation": "sigmoid"}, 0, SATURATED, "every unit of encoder layer 1 is saturated"),
        ({"encoder_0": -99}, {"activation": "tanh"}, 0, SATURATED, "at the flat ends of tanh"),
        (
            {"decoder_0": 99},
            {"reconstruction_activation": "sigmoid"},
            3,
            SATURATED,
            "unit of the reconstruction is sat",
        ),
    ],
)
def test_a_layer_that_stopped_to_answer_is_named_with_the_cause(changes, activations, place, state, said):
    states, text = found(changes, **activations)
    assert states[place] == state
    assert said in text


def test_one_unit_that_lives_keeps_its_layer_alive():
    assert found({"encoder_0": np.array([-99] * 7 + [0])})[0][0] == ALIVE


def test_samples_that_do_not_differ_say_nothing():
    assert found({"encoder_0": -99}, x=np.zeros((20, 4), np.float32)) == ([ALIVE] * 4, None)


def test_an_output_at_its_bounds_that_tells_samples_apart_is_right():
    model = Autoencoder((1, 1), reconstruction_activation="sigmoid")
    params = {name: {"kernel": jnp.full((1, 1), 50.0), "bias": jnp.zeros(1)} for name in ("encoder_0", "decoder_0")}
    x = jnp.array([[-1.0], [1.0]])
    assert units.states(model, params, x).tolist() == [ALIVE, ALIVE]


def test_of_another_network_nothing_is_known():
    assert units.describe(networks.Identity(), units.states(networks.Identity(), {}, jnp.asarray(X))) is None
