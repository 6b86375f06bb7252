import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dec_jax import autoencoder, networks
from dec_jax.autoencoder import Autoencoder

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def parameters(model, scale=1.0):
    params = networks.init(jax.random.key(0), model, model.dims[0])
    return jax.tree.map(lambda leaf: scale * jax.random.normal(jax.random.key(1), leaf.shape), params)


def by_hand(params, x, activation, embedding, reconstruction):
    """The network of two layer pairs, written out."""

    def layer(name, h):
        return h @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])

    z = embedding(layer("encoder_1", activation(layer("encoder_0", x))))
    return z, reconstruction(layer("decoder_0", activation(layer("decoder_1", z))))


def relu(x):
    return np.maximum(x, 0)


def linear(x):
    return x


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class TestAutoencoder(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_network_is_the_mirrored_stack(self):
        model = Autoencoder((6, 4, 3))
        params = parameters(model)
        z, x_hat = by_hand(params, X, relu, linear, linear)
        encode = self.variant(lambda x: networks.encode(model, params, x))
        reconstruct = self.variant(lambda x: networks.reconstruct(model, params, x))
        np.testing.assert_allclose(encode(X), z, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(reconstruct(X), x_hat, rtol=1e-5, atol=1e-4)
        assert (z < 0).any()
        assert (x_hat < 0).any()

    @chex.variants(with_jit=True, without_jit=True)
    def test_vmap_over_samples_equals_a_batch(self):
        model = Autoencoder((6, 4, 3))
        params = parameters(model)
        single = self.variant(jax.vmap(lambda x: networks.reconstruct(model, params, x)))
        np.testing.assert_allclose(single(X), networks.reconstruct(model, params, X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("embedding", "reconstruction"), [("sigmoid", "linear"), ("linear", "sigmoid"), ("relu", "tanh")]
)
def test_activations_of_embedding_and_reconstruction_are_separate(embedding, reconstruction):
    functions = {"sigmoid": sigmoid, "linear": linear, "relu": relu, "tanh": np.tanh}
    model = Autoencoder((6, 4, 3), "tanh", embedding, reconstruction)
    params = parameters(model, 0.5)
    z, x_hat = by_hand(params, X, np.tanh, functions[embedding], functions[reconstruction])
    np.testing.assert_allclose(networks.encode(model, params, X), z, atol=1e-5)
    np.testing.assert_allclose(networks.reconstruct(model, params, X), x_hat, atol=1e-5)


def test_plain_autoencoder_has_no_hidden_layer():
    model = Autoencoder((784, 10), embedding_activation="relu", reconstruction_activation="sigmoid")
    params = networks.init(jax.random.key(0), model, 784)
    assert jax.tree.map(jnp.shape, params) == {
        "encoder_0": {"kernel": (784, 10), "bias": (10,)},
        "decoder_0": {"kernel": (10, 784), "bias": (784,)},
    }
    x_hat = networks.reconstruct(model, params, jnp.ones((2, 784)))
    assert ((x_hat > 0) & (x_hat < 1)).all()
    assert (networks.encode(model, params, jnp.ones((2, 784))) >= 0).all()


def test_paper_initialisation():
    params = networks.init(jax.random.key(0), Autoencoder((300, 400, 10)), 300)
    assert float(params["encoder_0"]["kernel"].std()) == pytest.approx(0.01, rel=0.02)
    assert float(abs(params["encoder_0"]["kernel"].mean())) < 1e-4
    assert all(not params[name]["bias"].any() for name in params)


def test_fan_in_initialisation_is_bounded_by_its_limit():
    params = networks.init(jax.random.key(0), Autoencoder((400, 30), kernel_init="fan_in"), 400)
    largest = float(abs(params["encoder_0"]["kernel"]).max())
    assert 0.049 < largest <= 0.05


def test_layer_pairs_are_views_of_the_network():
    model = Autoencoder((6, 5, 4, 3))
    params = parameters(model)
    pair = autoencoder.layer_pair(params, 1)
    assert set(pair) == {"encoder_1", "decoder_1"}
    assert pair["encoder_1"]["kernel"] is params["encoder_1"]["kernel"]
    h = model.apply({"params": autoencoder.layer_pair(params, 0)}, X, 0, method="encode_layer")
    h = model.apply({"params": pair}, h, 1, method="encode_layer")
    z = model.apply({"params": autoencoder.layer_pair(params, 2)}, h, 2, method="encode_layer")
    np.testing.assert_allclose(z, networks.encode(model, params, X), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dims": (784, 0, 10)}, ValueError, r"dims\[1\] must be at least 1, got 0"),
        ({"dims": (784, 2.5)}, TypeError, r"dims\[1\] must be an integer, got 2.5"),
        ({"dims": (784,)}, ValueError, "dims must hold an input and an embedding size"),
        ({"dims": (4, 2), "activation": "rleu"}, ValueError, "unknown activation 'rleu'; did you mean 'relu'"),
        ({"dims": (4, 2), "embedding_activation": "x"}, ValueError, "unknown embedding_activation 'x'"),
        ({"dims": (4, 2), "reconstruction_activation": "x"}, ValueError, "unknown reconstruction_activation"),
        ({"dims": (4, 2), "kernel_init": "glorott"}, ValueError, "did you mean 'glorot'"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        Autoencoder(**arguments)
