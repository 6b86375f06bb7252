from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_sweep import SETTINGS, samples_of

from dec_jax import autoencoder, clustering, losses, pretraining
from dec_jax.kmeans import kmeans
from experiments import plan
from experiments.sweeping import masked, programs

X = samples_of().scaled("rms")[0]
OWN = replace(SETTINGS, n_clusters=4, bottleneck=2, seed=3, alpha=1.5, cluster_learning_rate=0.1)
K, M = 9, 5  # what it is padded to
SIZES = (2, 3, M)
KEYS = masked.keys_of(np.uint32(OWN.seed))
STEPS = 10


def network(settings):
    return plan.network(settings, X.shape[1])


def numbers(settings):
    return programs.clustering_trial(settings)


def template(settings):
    return programs.clustering_template(settings, K, M)[0]


def own_part(wide, narrow):
    """What lies where the narrow leaf has its own values."""
    return wide[tuple(slice(size) for size in np.shape(narrow))]


def check_equal(wide, narrow, **tolerance):
    """Checks a padded pytree against that of the trial's own size."""
    tolerance = {"rtol": 2e-5, "atol": 2e-6} | tolerance
    assert jax.tree.structure(wide) == jax.tree.structure(narrow)
    for a, b in zip(jax.tree.leaves(wide), jax.tree.leaves(narrow), strict=True):
        np.testing.assert_allclose(own_part(a, b), b, **tolerance)


def check_rest(wide, before, narrow):
    """Checks that what is padded is to the last bit what it was."""
    for a, b, c in zip(*map(jax.tree.leaves, (wide, before, narrow)), strict=True):
        a, b = np.array(a), np.array(b)
        inside = tuple(slice(size) for size in np.shape(c))
        a[inside] = b[inside] = 0
        np.testing.assert_array_equal(a, b)


def pretrained(settings=OWN):
    """The parameters of the trial's own size, and the padded ones."""
    model = network(settings)
    own = autoencoder.init(KEYS.params, model, X.shape[1])
    return own, masked.pad(model, own, M)


# Pretraining


def test_initial_parameters_are_those_of_the_trials_own_size():
    settings = replace(OWN, embedding_activation="sigmoid")
    trial = programs.pretraining_trial(settings, SIZES)
    shared = replace(settings, bottleneck=M)
    wide = jax.jit(lambda trial: masked.initial_params(shared, X.shape[1], SIZES, trial))(trial)
    own, padded = pretrained(settings)
    check_equal(wide, padded, atol=1e-7)
    check_rest(wide, padded, own)
    check_equal(masked.trim(wide, 2, 2), own, atol=1e-7)


def test_what_is_padded_of_the_embedding_is_0():
    for activation in autoencoder.ACTIVATIONS:
        settings = replace(OWN, embedding_activation=activation)
        own, padded = pretrained(settings)
        z = autoencoder.encode(network(replace(settings, bottleneck=M)), padded, X)
        np.testing.assert_allclose(z[:, :2], autoencoder.encode(network(settings), own, X), atol=1e-6)
        np.testing.assert_array_equal(z[:, 2:], 0)


def pretrain_alone(settings):
    model = network(settings)
    stages = plan.stages(settings, model)
    start = pretraining.init(stages, autoencoder.init(KEYS.params, model, X.shape[1]))
    params, history = pretraining.pretrain(KEYS.pretraining, stages, start, X, batch_size=settings.batch_size)
    return params, [info.loss for info in history]


def pretrain_padded(settings):
    shared = programs.pretraining_template(settings, M)
    model, trial = network(shared), programs.pretraining_trial(settings, SIZES)
    state, found = programs.first_pretraining_state(shared, model, SIZES, trial), []
    for index in range(len(plan.stages(shared, model))):
        if index:
            state = programs.next_stage_state(shared, model, index, trial, state[0])
        window = partial(masked.pretrain_window, shared, model, index, STEPS, shared.batch_size)
        state, loss = jax.jit(window)(trial, state, X)
        found.append(float(loss))
    return state[0], found


@pytest.mark.parametrize(
    "change",
    [
        {"noise": 0.2, "optimizer": "sgd", "learning_rate": 0.05, "learning_rate_schedule": "cosine"},
        {"layer_wise_steps": STEPS, "fine_tuning_steps": 0, "embedding_activation": "sigmoid"},
        {
            "hidden": (),
            "layer_wise_steps": STEPS,
            "embedding_activation": "relu",
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "learning_rate_schedule": "step",
            "decay_every": 4,
            "bias_factor": 2.0,
        },
    ],
    ids=["joint", "layer-wise sigmoid", "layer-wise relu"],
)
def test_pretraining_equals_that_of_the_trials_own_size(change):
    settings = replace(OWN, **{"fine_tuning_steps": STEPS, "dropout": 0.3} | change)
    own, own_losses = pretrain_alone(settings)
    wide, wide_losses = pretrain_padded(settings)
    check_equal(wide, own)
    check_rest(wide, pretrained(settings)[1], own)
    np.testing.assert_allclose(wide_losses, own_losses, rtol=1e-5)


# k-means and soft assignment


@pytest.mark.parametrize("k", [2, 4])
def test_kmeans_equals_that_of_its_own_k(k):
    z = jax.random.normal(jax.random.key(5), (180, 3))
    alone = kmeans(jax.random.key(0), z, k, n_restarts=3)
    wide = kmeans(jax.random.key(0), z, K, n_restarts=3, n_active=jnp.int32(k))
    np.testing.assert_allclose(wide.centroids[:k], alone.centroids, atol=1e-6)
    np.testing.assert_array_equal(wide.labels, alone.labels)
    np.testing.assert_allclose(wide.inertia, alone.inertia, rtol=1e-6)
    np.testing.assert_array_equal(wide.n_iterations, alone.n_iterations)


def test_inactive_clusters_have_no_share_and_no_gradient():
    z, centroids = jax.random.normal(jax.random.key(0), (20, 3)), jax.random.normal(jax.random.key(1), (K, 3))
    active = masked.assignment_of(replace(OWN, n_clusters=K), numbers(OWN)).active

    @jax.jit
    def found(centroids, active=None):
        def loss(centroids):
            log_q = losses.log_soft_assignment(z, centroids, 1.5, active)
            p = jnp.exp(losses.log_target_distribution(jax.lax.stop_gradient(log_q)))
            return losses.kl_divergence(p, log_q).mean(), (jnp.exp(log_q), p)

        gradient, shares = jax.grad(loss, has_aux=True)(centroids)
        return *(share.T for share in shares), gradient

    for wide, alone in zip(found(centroids, active), found(centroids[:4]), strict=True):
        np.testing.assert_allclose(wide[:4], alone, atol=1e-6)
        np.testing.assert_array_equal(wide[4:], 0)


# Clustering


def start_padded(settings, params):
    shared = template(settings)
    return jax.jit(partial(masked.start_clustering, shared, network(shared)))(numbers(settings), params, X)


def interval_padded(settings, longest):
    """(n_steps, state) → (state, info)."""
    shared = template(settings)
    function = jax.jit(partial(masked.cluster_interval, shared, network(shared), longest, settings.batch_size))
    return lambda n_steps, state: function(np.int32(n_steps), X, numbers(settings), state)


@pytest.mark.parametrize(
    "change",
    [
        {"cluster_optimizer": "adam", "cluster_learning_rate": 0.01, "objective": "idec", "gamma": 0.3},
        {"objective": "idec", "size_balance": 0.5, "embedding_activation": "sigmoid", "cluster_learning_rate": 1.0},
    ],
    ids=["adam idec", "sgd idec balanced"],
)
def test_every_update_equals_that_of_the_trials_own_size(change):
    settings = replace(OWN, **change)
    params, padded = pretrained(settings)
    options = {"objective": plan.objective(settings), "assignment": plan.assignment(settings)}
    optimizer = plan.clustering_optimizer(settings)
    centroids = autoencoder.encode(network(settings), params, X[:4])
    own = clustering.start(network(settings), params, centroids, X, optimizer=optimizer, **options)
    wide = clustering.start(
        network(template(settings)),
        padded,
        jnp.pad(centroids, ((0, K - 4), (0, M - 2))),
        X,
        optimizer=masked.clustering_optimizer(settings, numbers(settings)),
        **options | {"assignment": masked.assignment_of(template(settings), numbers(settings))},
    )
    check_equal(wide, own)
    start = jax.tree.map(np.array, wide)
    np.testing.assert_array_equal(start.target[:, 4:], 0)
    advance = interval_padded(settings, 3)
    for n_steps in (1, 1, 3):
        wide, info = advance(n_steps, wide)
        own, own_info = clustering.advance(
            KEYS.clustering,
            own,
            X,
            n_steps,
            model=network(settings),
            optimizer=optimizer,
            batch_size=settings.batch_size,
            longest=3,
            **options,
        )
        check_equal(wide, own, rtol=1e-4, atol=1e-5)
        check_equal(info, own_info)
        check_rest(wide, start, own)
    assert np.abs(wide.centroids[:4, :2] - start.centroids[:4, :2]).max() > 1e-4


def test_a_whole_run_stops_where_it_would_alone():
    settings = replace(OWN, tolerance=0.03, max_steps=200, cluster_learning_rate=0.03)
    params, padded = pretrained(settings)
    options = {"optimizer": plan.clustering_optimizer(settings), "assignment": plan.assignment(settings)}
    restarts = settings.kmeans_restarts
    own = clustering.init(KEYS.kmeans, network(settings), params, X, 4, n_restarts=restarts, **options)
    state = start_padded(settings, padded)
    check_equal(state, own)
    np.testing.assert_array_equal(state.target[:, 4:], 0)
    np.testing.assert_array_equal(state.centroids[:, 2:], 0)
    alone = clustering.fit(
        KEYS.clustering,
        network(settings),
        own,
        X,
        batch_size=settings.batch_size,
        update_interval=10,
        tolerance=settings.tolerance,
        max_steps=settings.max_steps,
        **options,
    )
    advance, changes = interval_padded(settings, 10), []
    while not changes or (changes[-1] >= settings.tolerance and state.step < settings.max_steps):
        state, info = advance(10, state)
        changes.append(float(info.label_change))
    assert changes == [info.label_change for info in alone.history]
    assert alone.stop_reason == "tolerance"
    assert 1 < len(changes) < 20
    np.testing.assert_array_equal(state.labels, alone.state.labels)
    check_equal(state, alone.state, rtol=1e-3, atol=1e-4)


def test_without_back_propagation_the_encoder_stays_and_the_centroids_move_as_alone():
    settings = replace(OWN, train_encoder=False)
    params, padded = pretrained(settings)
    model, frozen, z = clustering.freeze_encoder(network(settings), params, X)
    options = {"optimizer": plan.clustering_optimizer(settings), "assignment": plan.assignment(settings)}
    own = clustering.init(KEYS.kmeans, model, frozen, z, 4, n_restarts=settings.kmeans_restarts, **options)
    own, _ = clustering.advance(KEYS.clustering, own, z, 10, model=model, batch_size=64, longest=10, **options)
    start = start_padded(settings, padded)
    wide, _ = interval_padded(settings, 10)(10, start)
    for a, b in zip(jax.tree.leaves(wide.params), jax.tree.leaves(start.params), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(wide.centroids[:4, :2], own.centroids, atol=2e-6)
    assert np.abs(wide.centroids - start.centroids).max() > 1e-3
    np.testing.assert_array_equal(wide.labels, own.labels)


def test_what_a_trial_found_is_nothing_outside_its_size():
    params, padded = pretrained()
    centroids = jnp.pad(autoencoder.encode(network(OWN), params, X[:4]), ((0, K - 4), (0, M - 2)))
    state = clustering.ClusteringState(padded, centroids, (), (), (), jnp.int32(0))
    z, log_q = masked.evaluate(template(OWN), network(template(OWN)), numbers(OWN), state, X)
    np.testing.assert_allclose(z[:, :2], autoencoder.encode(network(OWN), params, X), atol=1e-6)
    np.testing.assert_array_equal(z[:, 2:], 0)
    np.testing.assert_array_equal(log_q[:, 4:], -np.inf)
    np.testing.assert_allclose(jnp.exp(log_q).sum(axis=1), 1, rtol=1e-5)
