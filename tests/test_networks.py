import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from sklearn.datasets import load_digits

from dec_jax import batches, clustering, metrics, networks, pretraining, starts
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import Recipe
from dec_jax.networks import FromNnx, Identity
from dec_jax.objectives import idec
from dec_jax.optimizers import adam, sgd
from dec_jax.resets import SoftReset
from dec_jax.samples import CHUNK_BYTES

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
DIGITS, CLASSES = load_digits(return_X_y=True)
X = jnp.asarray(DIGITS / np.sqrt(np.mean(DIGITS**2)), jnp.float32)


class Mine(nn.Module):
    """Submodules with any names, BatchNorm with its state, and Dropout, under a flag."""

    def setup(self):
        self.down, self.norm, self.code = nn.Dense(48), nn.BatchNorm(momentum=0.9), nn.Dense(8)
        self.up, self.drop = nn.Dense(64), nn.Dropout(0.1)

    def encode(self, x, train=False):
        h = nn.relu(self.norm(self.down(x), use_running_average=not train))
        return self.code(self.drop(h, deterministic=not train))

    def decode(self, z):
        return self.up(z)


class Theirs(nnx.Module):
    """The same as a module of nnx."""

    def __init__(self, rngs):
        self.down, self.norm = nnx.Linear(64, 48, rngs=rngs), nnx.BatchNorm(48, momentum=0.9, rngs=rngs)
        self.code, self.up = nnx.Linear(48, 8, rngs=rngs), nnx.Linear(8, 64, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)

    def encode(self, x):
        return self.code(self.drop(nnx.relu(self.norm(self.down(x)))))

    def decode(self, z):
        return self.up(z)


MODELS = {"linen": Mine(), "nnx": FromNnx(Theirs)}
READ = {
    "linen": ["down", "~collections", "norm", "code"],
    "nnx": ["down.kernel", "down.bias", "~collections", "norm.scale", "norm.bias", "code.kernel", "code.bias"],
}


@pytest.fixture(scope="module", params=MODELS)
def kind(request):
    return request.param


def moments(params):
    """The running mean and variance of BatchNorm."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(networks.split(params)[1])]


def test_a_network_of_the_users_own_clusters_digits(kind):
    model = MODELS[kind]
    params = networks.init(KEY, model, 64)
    stage = pretraining.fine_tuning_stage(model, n_steps=300, optimizer=adam(3e-3))
    trained, history = pretraining.pretrain(KEY, [stage], params, X, window=100)
    assert history[-1].loss < 0.7 * history[0].loss
    recipe = Recipe(model, idec(0.1), optimizer=sgd(0.02), resets=(SoftReset(80, 1, 0.9, n_restarts=2),))
    state = starts.from_kmeans(KEY, recipe, trained, X, 10, n_restarts=3)
    end = clustering.fit(KEY, recipe, state, X, update_interval=40, tolerance=0.0, max_steps=200).state
    assert metrics.accuracy(CLASSES, end.labels) > 0.6  # 0.1 is chance
    for before, pretrained, after in zip(moments(params), moments(trained), moments(end.params), strict=True):
        assert not np.allclose(before, pretrained)  # no part of training leaves the running moments as they were
        assert not np.allclose(pretrained, after)


def test_the_encoders_part_is_what_encode_reads(kind):
    model = MODELS[kind]
    params = networks.init(KEY, model, 64)
    found = networks.encoder_params(model, params, 64)
    assert set(found) == set(READ[kind])
    np.testing.assert_array_equal(networks.encode(model, found, X[:5]), networks.encode(model, params, X[:5]))
    layers = [name.split(".")[0] for name in networks.encoder_entries(model, params, 64) if name != "~collections"]
    assert list(dict.fromkeys(layers)) == ["down", "norm", "code"]


def test_training_draws_anew_with_each_key_and_use_draws_nothing(kind):
    model = MODELS[kind]
    params = networks.init(KEY, model, 64)
    first, again, other = (
        networks.encode_in_training(jax.random.key(seed), model, params, X[:50])[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(*(networks.encode(model, params, X[:50]) for _ in range(2)))


def test_batch_normalisation_takes_the_batch_in_training_and_the_running_moments_in_use(kind):
    model = MODELS[kind]
    params = networks.init(KEY, model, 64)
    batch = X[:100]
    _, changed = networks.encode_in_training(KEY, model, params, batch)
    name = "down" if kind == "linen" else "down."
    kernel, bias = (params[name][part] if kind == "linen" else params[name + part] for part in ("kernel", "bias"))
    h = np.asarray(batch @ kernel + bias, np.float64)
    expected = sorted([0.1 * h.mean(axis=0), 0.9 + 0.1 * h.var(axis=0)], key=np.sum)
    for moment, number in zip(sorted(moments(changed), key=np.sum), expected, strict=True):
        np.testing.assert_allclose(moment, number, rtol=1e-3, atol=1e-4)
    assert set(changed) == {"~collections"}
    assert not np.allclose(networks.encode(model, params, batch), networks.encode(model, params | changed, batch))


def test_centroids_that_move_alone_leave_all_of_the_network(kind):
    model = MODELS[kind]
    params = networks.init(KEY, model, 64)
    recipe = Recipe(model, train_encoder=False, optimizer=sgd(0.1))
    state = starts.from_centroids(recipe, params, networks.embed(model, params, X)[:10], X)
    after, *_ = jax.jit(clustering.train_step)(KEY, recipe, state, batches.Batch(X[:256], state.target[:256]))
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    assert not np.allclose(after.centroids, state.centroids)


def test_an_encoder_alone_is_enough_for_dec():
    class Encoder(nn.Module):
        def setup(self):
            self.only = nn.Dense(4)

        def encode(self, x):
            return self.only(x)

    params = networks.init(KEY, Encoder(), 64)
    recipe = Recipe(Encoder())
    state = starts.from_centroids(recipe, params, networks.embed(Encoder(), params, X)[:10], X)
    end = clustering.fit(KEY, recipe, state, X, max_steps=20).state
    assert not np.allclose(end.params["only"]["kernel"], params["only"]["kernel"])


def test_parameters_are_those_of_flax():
    model = Autoencoder((64, 20, 5), kernel_init="glorot")
    expected = jax.jit(model.init)(KEY, X[:1])["params"]
    jax.tree.map(np.testing.assert_array_equal, networks.init(KEY, model, 64), expected)
    z = networks.encode(model, expected, X[:3])
    np.testing.assert_allclose(networks.reconstruct(model, expected, X[:3]), model.apply({"params": expected}, X[:3]))
    np.testing.assert_allclose(networks.decode(model, expected, z), model.apply({"params": expected}, X[:3]))


def test_encoder_params_suffice_to_encode():
    model = Autoencoder((64, 20, 5), kernel_init="glorot")
    params = networks.init(KEY, model, 64)
    encoder = networks.encoder_params(model, params, 64)
    assert set(encoder) == {"encoder_0", "encoder_1"}
    np.testing.assert_array_equal(networks.encode(model, encoder, X), networks.encode(model, params, X))


def test_identity_has_no_parameters():
    np.testing.assert_array_equal(networks.encode(Identity(), {}, X), X)
    np.testing.assert_array_equal(networks.embed(Identity(), {}, X), X)


@pytest.mark.parametrize("width", [10, 3000])
def test_chunks_hold_the_widest_layer(width):
    model = Autoencoder((64, width, 5))
    rows = networks.rows_per_chunk(model, networks.init(KEY, model, 64), 64)
    assert rows * 4 * max(64, width) <= CHUNK_BYTES < (rows + 1) * 4 * max(64, width)


def test_any_optimiser_of_optax_leaves_the_state_of_a_module_alone():
    params = networks.init(KEY, MODELS["linen"], 64)
    stage = pretraining.fine_tuning_stage(MODELS["linen"], n_steps=3, optimizer=optax.adamw(1e-3, weight_decay=10.0))
    decayed, _ = pretraining.pretrain(KEY, [stage], params, X)
    stage = pretraining.fine_tuning_stage(MODELS["linen"], n_steps=3, optimizer=optax.sgd(0.0))
    plain, _ = pretraining.pretrain(KEY, [stage], params, X)
    assert all(np.isfinite(moment).all() for moment in moments(decayed))
    assert not any(np.allclose(moment, 0) for moment in moments(plain))
