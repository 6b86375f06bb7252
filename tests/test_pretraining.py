import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse
from sklearn.datasets import load_digits

from dec_jax import autoencoder, losses, pretraining
from dec_jax.autoencoder import Autoencoder
from dec_jax.corruption import dropout, gaussian_noise
from dec_jax.pretraining import (
    LayerLoss,
    ReconstructionObjective,
    Stage,
    fine_tuning_stage,
    layer_input,
    layer_wise_stages,
    paper_optimizer,
)
from dec_jax.samples import batch_indices, take_rows, to_device

KEY = jax.random.key(0)
DIGITS = load_digits().data.astype(np.float32)
X = to_device(DIGITS / np.sqrt(np.mean(DIGITS**2)))
MODEL = Autoencoder((64, 20, 15, 5), kernel_init="glorot")


def fresh(model=MODEL, seed=0):
    return autoencoder.init(jax.random.key(seed), model, 64)


def pretrain(stages, params, **options):
    return pretraining.pretrain(KEY, stages, pretraining.init(stages, params), X, **options)


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
    assert [info.stage.name for info in history] == [f"layer {i}" for i in (1, 2, 3) for _ in range(4)]
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
    error = losses.half_mean_squared_error(autoencoder.reconstruct(MODEL, params, X), X)
    assert float(error) == pytest.approx(history[-1].loss, rel=0.2)


def test_steps_equal_a_plain_loop():
    stage = fine_tuning_stage(MODEL, n_steps=6, optimizer=paper_optimizer(0.5, decay_every=3))
    after, history = pretrain([stage], fresh(), batch_size=100)

    params, opt_state, seen = fresh(), stage.optimizer.init(fresh()), []
    batch_key, _ = jax.random.split(jax.random.fold_in(KEY, 0))
    for batch in batch_indices(batch_key, jnp.int32(0), len(X), 100, 6):
        loss, gradient = jax.value_and_grad(
            lambda params, x: losses.half_mean_squared_error(autoencoder.reconstruct(MODEL, params, x), x)
        )(params, X[batch])
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
    objective = ReconstructionObjective(MODEL, corruption=lambda key, x: x * 0)
    blank = autoencoder.reconstruct(MODEL, params, jnp.zeros((5, 64)))
    assert float(objective(params, KEY, X[:5])) == pytest.approx(float(losses.half_mean_squared_error(blank, X[:5])))


def test_same_key_same_bits():
    stages = [*layer_wise_stages(MODEL, n_steps=7), fine_tuning_stage(MODEL, n_steps=9)]
    first, second = (pretrain(stages, fresh(), batch_size=64)[0] for _ in range(2))
    assert equal(first, second)
    other = pretraining.pretrain(jax.random.key(1), stages, pretraining.init(stages, fresh()), X, batch_size=64)[0]
    assert not equal(first, other)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5])
def test_a_run_that_stopped_goes_on_as_if_it_had_not(stop_after):
    stages = [*layer_wise_stages(MODEL, n_steps=10)[:2], fine_tuning_stage(MODEL, n_steps=10)]
    whole, _ = pretrain(stages, fresh(), window=4)
    kept = []

    def keep(state, info):
        kept.append(jax.tree.map(np.array, state))

    pretrain(stages, fresh(), window=4, on_window=keep)
    state = jax.tree.map(jnp.asarray, kept[stop_after - 1])._replace(stage=int(kept[stop_after - 1].stage))
    resumed, history = pretraining.pretrain(KEY, stages, state, X, window=4)
    assert equal(whole, resumed)
    assert len(history) == len(kept) - stop_after


def test_the_callers_parameters_survive():
    params = fresh()
    pretrain([fine_tuning_stage(MODEL, n_steps=3)], params)
    assert equal(params, fresh())


def test_paper_schedule():
    params = {"encoder_0": {"kernel": jnp.zeros(1), "bias": jnp.zeros(1)}}
    ones = jax.tree.map(jnp.ones_like, params)
    optimizer = paper_optimizer(0.1, 0.0, decay_every=2, bias_factor=2.0)
    state, moves = optimizer.init(params), []
    for _ in range(5):
        updates, state = optimizer.update(ones, state, params)
        moves.append(updates["encoder_0"])
    np.testing.assert_allclose([m["kernel"][0] for m in moves], [-0.1, -0.1, -0.01, -0.01, -0.001], rtol=1e-5)
    np.testing.assert_allclose([m["bias"][0] for m in moves], [-0.2, -0.2, -0.02, -0.02, -0.002], rtol=1e-5)


def test_sparse_samples_train_like_dense_ones():
    stage = fine_tuning_stage(MODEL, n_steps=20, optimizer=paper_optimizer(0.3))
    dense, _ = pretrain([stage], fresh())
    sparse = to_device(scipy.sparse.csr_array(np.asarray(X)))
    from_sparse, _ = pretraining.pretrain(KEY, [stage], pretraining.init([stage], fresh()), sparse)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), dense, from_sparse)


def test_a_network_of_the_users_own():
    class Halves(autoencoder.nn.Module):
        @autoencoder.nn.compact
        def __call__(self, x):
            return autoencoder.nn.Dense(64)(autoencoder.nn.Dense(8)(x))

    model = Halves()
    stage = fine_tuning_stage(model, n_steps=200, optimizer=optax.adam(1e-2))
    _, history = pretrain([stage], autoencoder.init(KEY, model, 64), window=100)
    assert history[-1].loss < history[0].loss


def test_a_window_is_one_loop_and_windows_of_all_lengths_one_program():
    stage = fine_tuning_stage(MODEL, n_steps=50)
    params = fresh()

    def run(params, opt_state, n_steps):
        options = {"stage": stage, "batch_size": 64, "longest": 50}
        return pretraining.run_steps(KEY, params, opt_state, jnp.int32(0), X, n_steps, **options)

    outer = jax.make_jaxpr(run)(params, stage.optimizer.init(params), 50).jaxpr
    inner = outer.eqns[-1].params["jaxpr"].jaxpr
    loops = [eqn for eqn in inner.eqns if eqn.primitive.name == "while"]
    assert ["dot_general" in str(loop) for loop in loops] == [False, True]  # batches are drawn, then the steps
    compiled = pretraining.run_steps._cache_size()
    for n_steps in (50, 20):
        run(fresh(), stage.optimizer.init(params), n_steps)
    assert pretraining.run_steps._cache_size() == compiled + 1


def test_a_batch_larger_than_the_data_falls_back_and_says_so():
    stages = [fine_tuning_stage(MODEL, n_steps=2)]
    with pytest.warns(UserWarning, match="batch_size 256 is more than the 10 samples"):
        _, history = pretraining.pretrain(KEY, stages, pretraining.init(stages, fresh()), X[:10], batch_size=256)
    assert np.isfinite(history[-1].loss)


def test_a_diverging_loss_is_an_error_that_names_the_stage():
    with pytest.raises(FloatingPointError, match="loss of fine-tuning became .* lower the learning rate"):
        pretrain([fine_tuning_stage(MODEL, n_steps=100, optimizer=optax.sgd(1e6))], fresh())


def test_noise_differs_from_step_to_step():
    def record(key, x):
        return x * jax.random.uniform(key)

    stage = Stage("s", ReconstructionObjective(MODEL, corruption=record), optax.sgd(0.0), 5)
    keys = jax.random.split(jax.random.fold_in(KEY, 0))
    loss = [
        pretraining.run_steps(
            jax.random.fold_in(KEY, 0),
            fresh(),
            stage.optimizer.init(fresh()),
            jnp.int32(i),
            X,
            1,
            stage=stage,
            batch_size=50,
            longest=1,
        )[2]
        for i in range(5)
    ]
    batches = batch_indices(keys[0], jnp.int32(0), len(X), 50, 5)
    expected = [stage.loss(fresh(), jax.random.fold_in(keys[1], i), take_rows(X, batches[i])) for i in range(5)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert len({float(value) for value in loss}) == 5
