from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from dec_jax import clustering, networks, pretraining, starts
from dec_jax.clustering import Recipe
from dec_jax.convolutional import ConvolutionalAutoencoder

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
DIGITS = load_digits().data[:300].astype(np.float32)
X = jnp.asarray(DIGITS / np.sqrt(np.mean(DIGITS**2)))
MODEL = ConvolutionalAutoencoder((8, 8), channels=(8, 16), kernels=(5, 3), bottleneck=5)


def parameters(model=MODEL):
    return jax.jit(lambda key: networks.init(key, model, model.dims[0]))(KEY)


class TestConvolutional(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_vmap_over_samples_equals_a_batch(self):
        params = parameters()
        single = self.variant(jax.vmap(lambda x: networks.reconstruct(MODEL, params, x)))
        np.testing.assert_allclose(single(X[:5]), networks.reconstruct(MODEL, params, X[:5]), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "channels", "kernels"),
    [
        ((28, 28), (32, 64, 128), (5, 5, 3)),
        ((28, 28, 1), (3,), (5,)),
        ((8, 8), (3, 4, 5), (5, 5, 3)),
        ((32, 32, 3), (3, 4, 5), (5, 5, 3)),
        ((7, 9), (3, 4), (4, 3)),
        ((13, 5, 2), (3, 4, 5), (1, 2, 7)),
        ((1, 1), (3,), (3,)),
    ],
)
def test_reconstructions_have_the_size_of_the_input(shape, channels, kernels):
    model = ConvolutionalAutoencoder(shape, channels, kernels, bottleneck=6)
    d = int(np.prod(shape))
    x = jnp.zeros((2, 3, d))

    def both(key):
        params = networks.init(key, model, d)
        z = networks.encode(model, params, x)
        return z, model.apply({"params": params}, z, method="decode"), networks.reconstruct(model, params, x)

    z, *reconstructions = jax.eval_shape(both, KEY)
    assert z.shape == (2, 3, 6)
    assert [x_hat.shape for x_hat in reconstructions] == [x.shape] * 2
    assert model.dims[0] == d
    assert model.dims[-1] == 6


def test_parameters_mirror_each_other():
    params = jax.eval_shape(lambda key: networks.init(key, ConvolutionalAutoencoder((28, 28)), 784), KEY)
    kernels = {name: value["kernel"].shape for name, value in params.items()}
    assert kernels == {
        "encoder_0": (5, 5, 1, 32),
        "encoder_1": (5, 5, 32, 64),
        "encoder_2": (3, 3, 64, 128),
        "encoder_3": (2048, 10),
        "decoder_3": (10, 2048),
        "decoder_2": (3, 3, 128, 64),
        "decoder_1": (5, 5, 64, 32),
        "decoder_0": (5, 5, 32, 1),
    }


@pytest.mark.parametrize(("shape", "kernel"), [((8, 7, 2), 3), ((7, 8), 5), ((9, 6), 4), ((5, 4), 1)])
def test_layers_are_a_convolution_and_its_transpose(shape, kernel):
    model = ConvolutionalAutoencoder(shape, (3,), (kernel,), activation="linear", reconstruction_activation="linear")
    params = parameters(model)
    weights = params["encoder_0"]["kernel"]
    params["decoder_0"]["kernel"] = weights.swapaxes(2, 3)

    @partial(jax.jit, static_argnames="method")
    def apply(h, method):
        return model.apply({"params": params}, h, 0, method=method)

    x = jax.random.normal(KEY, (4, model.dims[0]))
    images = x.reshape(4, *model.shapes[0])
    expected = jax.lax.conv_general_dilated(images, weights, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    encoded = apply(x, "encode_layer")
    np.testing.assert_allclose(encoded, expected.reshape(4, -1), atol=1e-5)
    h = jax.random.normal(jax.random.key(1), encoded.shape)
    assert float(jnp.vdot(encoded, h)) == pytest.approx(float(jnp.vdot(x, apply(h, "decode_layer"))), rel=1e-4)


def test_activations_of_embedding_and_reconstruction_are_separate():
    model = ConvolutionalAutoencoder(
        (8, 8), (3,), (3,), 4, "tanh", embedding_activation="relu", reconstruction_activation="sigmoid"
    )
    params = parameters(model)
    assert (networks.encode(model, params, X) >= 0).all()
    x_hat = networks.reconstruct(model, params, X)
    assert ((x_hat > 0) & (x_hat < 1)).all()
    assert (networks.encode(MODEL, parameters(), X) < 0).any()


def test_encoder_params_suffice_to_encode():
    params = parameters()
    encoder = networks.encoder_params(MODEL, params, 64)
    assert set(encoder) == {"encoder_0", "encoder_1", "encoder_2"}
    np.testing.assert_array_equal(networks.encode(MODEL, encoder, X), networks.encode(MODEL, params, X))


def test_layer_wise_and_joint_pretraining_then_clustering():
    model = ConvolutionalAutoencoder((8, 8), channels=(4,), kernels=(3,), bottleneck=5)
    adam = optax.adam(3e-3)
    stages = [
        *pretraining.layer_wise_stages(model, n_steps=30, optimizer=adam),
        pretraining.fine_tuning_stage(model, n_steps=60, optimizer=adam),
    ]
    params, history = pretraining.pretrain(KEY, stages, parameters(model), X, batch_size=64, window=15)
    for stage in stages:
        losses = [info.loss for info in history if info.stage == stage.name]
        assert losses[-1] < losses[0]

    recipe = Recipe(model, batch_size=64)
    state = starts.from_kmeans(KEY, recipe, params, X, 10, n_restarts=3)
    result = clustering.fit(KEY, recipe, state, X, update_interval=10, tolerance=0.0, max_steps=20)
    assert result.state.labels.shape == (300,)
    assert int(result.state.step) == 20
    assert all(np.isfinite(info.loss) for info in result.history)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image_shape": (8,)}, ValueError, "image_shape must be"),
        ({"channels": (8, 0)}, ValueError, r"channels\[1\] must be at least 1, got 0"),
        ({"kernels": (3, 2.5)}, TypeError, r"kernels\[1\] must be an integer, got 2.5"),
        ({"kernels": (3,)}, ValueError, r"kernels must hold one side for each of channels \(8, 16\), got \(3,\)"),
        ({"bottleneck": 0}, ValueError, "bottleneck must be at least 1, got 0"),
        ({"activation": "rleu"}, ValueError, "unknown activation 'rleu'; did you mean 'relu'"),
        ({"kernel_init": "x"}, ValueError, "unknown kernel_init 'x'"),
    ],
)
def test_bad_input(arguments, error, message):
    accepted = {"image_shape": (8, 8), "channels": (8, 16), "kernels": (3, 3)}
    with pytest.raises(error, match=message):
        ConvolutionalAutoencoder(**(accepted | arguments))


def test_images_of_another_size():
    with pytest.raises(ValueError, match=r"image_shape \(8, 8\) needs samples of 64 features, got 63"):
        networks.init(KEY, MODEL, 63)
