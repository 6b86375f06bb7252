import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from flax import linen as nn
from sklearn.datasets import load_digits

from dec_jax import autoencoder, losses, networks, pretraining
from dec_jax.autoencoder import Autoencoder
from dec_jax.corruption import dropout, gaussian_noise
from dec_jax.pretraining import (
    LayerLoss,
    PretrainingState,
    ReconstructionObjective,
    Stage,
    fine_tuning_stage,
    layer_input,
    layer_wise_stages,
    paper_optimizer,
)
from dec_jax.samples import batch_rows, take_rows, to_device

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
DIGITS = load_digits().data.astype(np.float32)
X = to_device(DIGITS / np.sqrt(np.mean(DIGITS**2)))
MODEL = Autoencoder((64, 20, 15, 5), kernel_init="glorot")


def fresh(model=MODEL, seed=0):
    return networks.init(jax.random.key(seed), model, 64)


def pretrain(stages, params, **options):
    return pretraining.pretrain(KEY, stages, params, X, **options)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def test_layer_loss_is_the_two_layer_denoising_autoencoder():
    params, layer = fresh(), 1
    h = np.abs(np.asarray(layer_input(MODEL, params, X[:8], layer)))
    loss = LayerLoss(MODEL, layer, input_dropout=0.3, dropout=0.1)(params, KEY, h)

    input_key, hidden_key = jax.random.split(KEY)
    encoder, decoder = params["encoder_1"], params["decoder_1"]
    hidden = np.maximum(np.asarray(dropout(input_key, h, 0.3)) @ encoder["kernel"] + encoder["bias"], 0)
    y = np.maximum(np.asarray(dropout(hidden_key, hidden, 0.1)) @ decoder["kernel"] + decoder["bias"], 0)
    assert float(loss) == pytest.approx(0.5 * np.mean((h - y) ** 2), rel=1e-5)


@pytest.mark.parametrize(
    ("layer", "code_negative", "output_negative"), [(0, False, True), (1, False, False), (2, True, False)]
)
def test_activations_of_a_layer_pair_are_those_of_its_place(layer, code_negative, output_negative):
    params = fresh()
    h = jax.random.normal(KEY, (50, MODEL.dims[layer]))
    pair = {"params": autoencoder.layer_pair(params, layer)}
    code = MODEL.apply(pair, h, layer, method="encode_layer")
    output = MODEL.apply(pair, code, layer, method="decode_layer")
    assert bool((code < 0).any()) == code_negative
    assert bool((output < 0).any()) == output_negative


def test_layer_wise_loss_falls_in_every_layer():
    stages = layer_wise_stages(MODEL, n_steps=400, optimizer=optax.adam(3e-3))
    _, history = pretrain(stages, fresh(), window=100)
    assert [info.stage for info in history] == [f"layer {i}" for i in (1, 2, 3) for _ in range(4)]
    for i in range(0, 12, 4):
        assert history[i + 3].loss < 0.9 * history[i].loss


def test_a_layer_stage_moves_its_own_pair_alone():
    stages = layer_wise_stages(MODEL, n_steps=5)
    before = fresh()
    after, _ = pretrain(stages[1:2], fresh())
    for name in before:
        assert equal(before[name], after[name]) == (name not in ("encoder_1", "decoder_1"))


def test_dropout_rates_of_the_layers():
    rates = [(s.loss.input_dropout, s.loss.dropout) for s in layer_wise_stages(MODEL, dropout=0.2)]
    assert rates == [(0.2, 0.2)] * 3
    rates = [(s.loss.input_dropout, s.loss.dropout) for s in layer_wise_stages(MODEL, dropout=0.2, input_dropout=0.0)]
    assert rates == [(0.0, 0.2), (0.2, 0.2), (0.2, 0.2)]


def test_layer_input_is_the_output_of_the_layers_below():
    params = fresh()
    h = np.asarray(X)
    for layer in range(2):
        np.testing.assert_allclose(layer_input(MODEL, params, X, layer), h, rtol=1e-4, atol=1e-5)
        h = np.maximum(h @ params[f"encoder_{layer}"]["kernel"] + params[f"encoder_{layer}"]["bias"], 0)


def test_fine_tuning_lowers_the_reconstruction_error():
    params, history = pretrain([fine_tuning_stage(MODEL, n_steps=600, optimizer=optax.adam(1e-3))], fresh())
    assert history[-1].loss < 0.5 * history[0].loss
    error = losses.half_mean_squared_error(networks.reconstruct(MODEL, params, X), X)
    assert float(error) == pytest.approx(history[-1].loss, rel=0.2)


def test_steps_equal_a_plain_loop():
    stage = fine_tuning_stage(MODEL, n_steps=6, optimizer=paper_optimizer(learning_rate=0.5, decay_every=3))
    after, history = pretrain([stage], fresh(), batch_size=100)

    @jax.jit
    @jax.value_and_grad
    def slope(params, x):
        return losses.half_mean_squared_error(networks.reconstruct(MODEL, params, x), x)

    params, opt_state, seen = fresh(), stage.optimizer.init(fresh()), []
    batch_key, _ = jax.random.split(jax.random.fold_in(KEY, 0))
    for step in range(6):
        batch = batch_rows(batch_key, jnp.int32(step), len(X), 100)
        loss, gradient = slope(params, X[batch])
        updates, opt_state = stage.optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        seen.append(float(loss))
    assert history[0].loss == pytest.approx(np.mean(seen), rel=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), after, params)


def test_any_optimiser_and_loss_and_corruption():
    def corrupt(key, x):
        return gaussian_noise(key, x, 0.2, None, None)

    stage = fine_tuning_stage(
        MODEL, n_steps=300, optimizer=optax.lion(1e-3), loss=losses.mean_absolute_error, corruption=corrupt
    )
    _, history = pretrain([stage], fresh(), window=100)
    assert history[-1].loss < history[0].loss


def test_denoising_loss_compares_with_the_clean_samples():
    params = fresh()
    loss, _ = ReconstructionObjective(MODEL, corruption=lambda key, x: x * 0)(params, KEY, X[:5])
    blank = networks.reconstruct(MODEL, params, jnp.zeros((5, 64)))
    assert float(loss) == pytest.approx(float(losses.half_mean_squared_error(blank, X[:5])))


def test_same_key_same_bits():
    stages = [*layer_wise_stages(MODEL, n_steps=7), fine_tuning_stage(MODEL, n_steps=9)]
    first, second = (pretrain(stages, fresh(), batch_size=64)[0] for _ in range(2))
    assert equal(first, second)
    other = pretraining.pretrain(jax.random.key(1), stages, fresh(), X, batch_size=64)[0]
    assert not equal(first, other)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(stop_after):
    stages = [*layer_wise_stages(MODEL, n_steps=10)[:2], fine_tuning_stage(MODEL, n_steps=10)]
    whole, _ = pretrain(stages, fresh(), window=4)
    kept = []

    def keep(state, info):
        copies = jax.tree.map(jnp.copy, (state.params, state.opt_state))
        kept.append(PretrainingState(*copies, state.stage, state.step))

    pretrain(stages, fresh(), window=4, on_window=keep)
    resumed, history = pretrain(stages, kept[stop_after - 1], window=4)
    assert equal(whole, resumed)
    assert len(history) == len(kept) - stop_after


def test_the_callers_parameters_survive():
    params = fresh()
    pretrain([fine_tuning_stage(MODEL, n_steps=3)], params)
    assert equal(params, fresh())


def test_paper_schedule():
    params = {"encoder_0": {"kernel": jnp.zeros(1), "bias": jnp.zeros(1)}}
    ones = jax.tree.map(jnp.ones_like, params)
    optimizer = paper_optimizer(momentum=0.0, decay_every=2, bias_factor=2.0)
    state, moves = optimizer.init(params), []
    for _ in range(5):
        updates, state = optimizer.update(ones, state, params)
        moves.append(updates["encoder_0"])
    np.testing.assert_allclose([m["kernel"][0] for m in moves], [-0.1, -0.1, -0.01, -0.01, -0.001], rtol=1e-5)
    np.testing.assert_allclose([m["bias"][0] for m in moves], [-0.2, -0.2, -0.02, -0.02, -0.002], rtol=1e-5)


def test_sparse_samples_train_like_dense_ones():
    stage = fine_tuning_stage(MODEL, n_steps=20, optimizer=paper_optimizer(learning_rate=0.3))
    dense, _ = pretrain([stage], fresh())
    sparse = to_device(scipy.sparse.csr_array(np.asarray(X)))
    from_sparse, _ = pretraining.pretrain(KEY, [stage], fresh(), sparse)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), dense, from_sparse)


def test_a_network_of_the_users_own():
    class Halves(nn.Module):
        def setup(self):
            self.down, self.up = nn.Dense(8), nn.Dense(64)

        def encode(self, x):
            return self.down(x)

        def decode(self, z):
            return self.up(z)

        def __call__(self, x):
            return self.decode(self.encode(x))

    model = Halves()
    stage = fine_tuning_stage(model, n_steps=200, optimizer=optax.adam(1e-2))
    _, history = pretrain([stage], networks.init(KEY, model, 64), window=100)
    assert history[-1].loss < history[0].loss


def test_a_window_is_one_loop_and_draws_its_batches_inside_it():
    stage = fine_tuning_stage(MODEL, n_steps=50)
    state = (fresh(), stage.optimizer.init(fresh()), jnp.int32(0))
    jaxpr = jax.make_jaxpr(lambda n: pretraining.train_window(KEY, stage, state, X, n, 64))(50).jaxpr
    (loop,) = [equation for equation in jaxpr.eqns if equation.primitive.name == "while"]
    assert "dot_general" in str(loop)


def compiled_by(make):
    """How many windows are compiled for what `make` returns, once another run has compiled its own."""
    pretrain([fine_tuning_stage(MODEL, n_steps=3)], fresh())
    before = pretraining._compiled_window._cache_size()
    pretrain([make()], fresh())
    return pretraining._compiled_window._cache_size() - before


@pytest.mark.parametrize(
    "optimizer",
    [
        paper_optimizer(learning_rate=0.03),
        paper_optimizer(momentum=0.1),
        paper_optimizer(decay_every=7, bias_factor=2.0),
    ],
    ids=["learning rate", "momentum", "decay and biases"],
)
def test_another_rate_or_length_compiles_nothing(optimizer):
    assert compiled_by(lambda: fine_tuning_stage(MODEL, n_steps=5, optimizer=optimizer)) == 0


def test_another_loss_is_compiled():
    assert compiled_by(lambda: fine_tuning_stage(MODEL, n_steps=3, loss=losses.mean_absolute_error)) == 1


def test_a_batch_larger_than_the_data_falls_back_and_says_so():
    stages = [fine_tuning_stage(MODEL, n_steps=2)]
    with pytest.warns(UserWarning, match="batch_size 256 is more than the 10 samples"):
        _, history = pretraining.pretrain(KEY, stages, fresh(), X[:10], batch_size=256)
    assert np.isfinite(history[-1].loss)


def test_a_diverging_loss_is_an_error_that_names_the_stage():
    with pytest.raises(
        FloatingPointError,
        match=r"pretraining \(fine-tuning\) failed in step \d+: the .* became NaN .* lower the learning rate",
    ):
        pretrain([fine_tuning_stage(MODEL, n_steps=100, optimizer=optax.sgd(1e6))], fresh())


def test_noise_differs_from_step_to_step():
    def record(key, x):
        return x * jax.random.uniform(key)

    stage = Stage("s", ReconstructionObjective(MODEL, corruption=record), optax.sgd(0.0), 5)
    key = jax.random.fold_in(KEY, 0)
    batch_key, noise_key = jax.random.split(key)
    window = jax.jit(pretraining.train_window, static_argnames="batch_size")
    opt_state = stage.optimizer.init(fresh())
    found = [window(key, stage, (fresh(), opt_state, jnp.int32(i)), X, 1, batch_size=50)[2] for i in range(5)]
    batches = [take_rows(X, batch_rows(batch_key, jnp.int32(i), len(X), 50)) for i in range(5)]
    expected = [stage.loss(fresh(), jax.random.fold_in(noise_key, i), batches[i])[0] for i in range(5)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len({float(value) for value in found}) == 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fine_tuning_stage(MODEL, n_steps=-1), ValueError, "n_steps must be at least 0, got -1"),
        (lambda: layer_wise_stages(MODEL, n_steps=2.5), TypeError, "n_steps must be an integer, got 2.5"),
        (lambda: fine_tuning_stage(MODEL, optimizer=0.1), TypeError, "optimizer must have init and update"),
        (lambda: pretrain([], fresh(), window=0), ValueError, "window must be at least 1, got 0"),
        (lambda: pretrain([], fresh(), batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_samples_that_the_reconstruction_does_not_reach_are_refused():
    model = Autoencoder((8, 3), reconstruction_activation="sigmoid")
    stage = fine_tuning_stage(model, n_steps=1)
    with pytest.raises(
        ValueError, match="x must lie between 0 and 1, which is what reconstruction_activation='sigmoid'"
    ):
        pretraining.pretrain(KEY, [stage], networks.init(KEY, model, 8), jnp.full((20, 8), 1.5), batch_size=10)
