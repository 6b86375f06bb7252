from functools import partial
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_blobs

from dec_jax import clustering, networks, starts
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import Recipe
from dec_jax.kmeans import kmeans
from dec_jax.objectives import dcn, dec, idec
from dec_jax.optimizers import adam, sgd
from dec_jax.resets import ReseedEmpty, SoftReset
from dec_jax.samples import to_device

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
BLOBS, _ = make_blobs(120, 6, centers=3, random_state=0)
X = to_device(BLOBS / np.sqrt(np.mean(BLOBS**2)))
MODEL = Autoencoder((6, 8, 5, 2), kernel_init="glorot")
PARAMS = networks.init(jax.random.key(1), MODEL, 6)
SGD, ADAM = sgd(0.02), adam(0.002)
KEEP = 0.3
RESETS = {"every": 20, "count": 2, "keep": KEEP, "n_restarts": 2}
PART = SoftReset(20, 2, 1.0, n_samples=3, n_restarts=1)
RECIPES = {
    name: Recipe(MODEL, objective, optimizer=SGD, batch_size=40)
    for name, objective in {"dec": dec(), "idec": idec(0.1), "dcn": dcn(0.5)}.items()
}
RECIPE = RECIPES["idec"]


def start(recipe=RECIPE):
    return starts.from_centroids(recipe, PARAMS, networks.embed(MODEL, PARAMS, X)[:3], X)


def fit(state, *resets, recipe=RECIPE, **options):
    defaults = {"update_interval": 10, "tolerance": 0.0, "max_steps": 60}
    return clustering.fit(KEY, recipe.replace(resets=resets), state, X, **(defaults | options))


@partial(jax.jit, static_argnums=0)
def compiled(reset, key, recipe, state, x):
    return reset(key, recipe, state, x)


def renew(reset, state, x=X, key=KEY, recipe=RECIPE):
    return compiled(reset, key, recipe, state, x)


def at(step, recipe=RECIPE):
    """A state after some steps, which counts `step` of them."""
    return fit(start(recipe), recipe=recipe, max_steps=10).state._replace(step=jnp.int32(step))


def update_target(state, x=X, recipe=RECIPE):
    return jax.jit(clustering.update_target)(recipe, state.params, state.centroids, x)


@pytest.fixture(scope="module")
def trained():
    """A state of idec whose reset is due."""
    return at(20)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


class Watch:
    """A reset that notes at which steps it is asked, and at which it is due."""

    def __init__(self, reset, change=True):
        self.reset, self.change, self.seen, self.due = reset, change, [], []

    def is_due(self, before, step, info):
        self.seen.append(step)
        if self.reset.is_due(before, step, info):
            self.due.append(step)
            return True
        return False

    def may_stop(self, step):
        return self.reset.may_stop(step)

    def __call__(self, key, recipe, state, x):
        return self.reset(key, recipe, state, x) if self.change else state


@pytest.mark.parametrize(
    ("every", "count", "expected"),
    [(20, 2, [20, 40]), (25, 2, [30, 50]), (10, 3, [10, 20, 30]), (4, 2, [10]), (15, 1, [20]), (100, 1, [])],
)
def test_resets_happen_at_the_first_new_target_after_they_are_due(every, count, expected):
    watch = Watch(SoftReset(every, count), change=False)
    fit(start(), watch)
    assert watch.due == expected
    assert watch.seen == [10, 20, 30, 40, 50]  # and not at the end of the run


def test_tolerance_stops_nothing_before_the_last_reset():
    resets = SoftReset(**RESETS)
    end = fit(start(), resets, tolerance=1.0, max_steps=200)
    assert (end.stop_reason, int(end.state.step)) == ("tolerance", 50)
    assert int(fit(start(), tolerance=1.0).state.step) == 10
    assert [resets.may_stop(step) for step in (0, 39, 40, 41)] == [False, False, True, True]


def test_encoder_is_pulled_towards_a_fresh_one_and_the_rest_stays(trained):
    after = renew(SoftReset(**RESETS), trained)
    names = {f"{part}_{i}" for part in ("encoder", "decoder") for i in range(3)}
    assert set(after.params) == set(trained.params) == names
    for name in names - {"encoder_0", "encoder_1"}:
        assert equal(after.params[name], trained.params[name])
    for name, (n_in, n_out) in {"encoder_0": (6, 8), "encoder_1": (8, 5)}.items():
        before, now = trained.params[name], after.params[name]
        fresh = jax.tree.map(lambda a, b: (a - KEEP * b) / (1 - KEEP), now, before)
        np.testing.assert_allclose(fresh["bias"], np.zeros(n_out), atol=1e-6)
        bound = np.sqrt(6 / (n_in + n_out))  # of glorot's uniform weights
        assert 0.8 * bound < np.abs(fresh["kernel"]).max() <= bound + 1e-5
        assert np.abs(np.corrcoef(np.ravel(fresh["kernel"]), np.ravel(before["kernel"]))[0, 1]) < 0.5


def test_keep_1_leaves_parameters_as_they_are_and_kmeans_may_see_a_part_of_the_samples():
    state = start(RECIPE.replace(optimizer=ADAM))._replace(step=jnp.int32(20))
    after = renew(PART, state)
    assert equal(after.params, state.params)
    z = np.asarray(networks.embed(MODEL, after.params, X))
    distances = np.abs(z[:, None] - np.asarray(after.centroids)).max(axis=2).min(axis=0)
    np.testing.assert_allclose(distances, 0, atol=1e-5)


def test_every_reset_draws_another_network_from_the_run_and_its_step(trained):
    resets = SoftReset(**RESETS)
    kernels = [
        renew(resets, trained._replace(step=jnp.int32(step)), key=key).params["encoder_0"]["kernel"]
        for step, key in ((20, KEY), (20, KEY), (40, KEY), (20, jax.random.key(9)))
    ]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])
    assert not np.allclose(kernels[0], kernels[3])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_kmeans_target_and_term_states_are_those_of_the_new_embedding(recipe):
    state = at(20, recipe)
    after = renew(SoftReset(**RESETS), state, recipe=recipe)
    target, labels = update_target(after, recipe=recipe)
    assert (after.target is None) == (recipe is RECIPES["dcn"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after.target, target)
    np.testing.assert_array_equal(after.labels, labels)
    z = np.asarray(networks.embed(MODEL, after.params, X))
    nearest = np.argmin(np.sum((z[:, None] - np.asarray(after.centroids)) ** 2, axis=2), axis=1)
    for j in set(nearest.tolist()):
        np.testing.assert_allclose(after.centroids[j], z[nearest == j].mean(axis=0), atol=0.02)
    assert equal(after.term_states, recipe.objective.init(after.centroids))
    assert recipe is not RECIPES["dcn"] or not equal(after.term_states, state.term_states)
    assert int(after.step) == 20


@pytest.mark.parametrize(("optimizer", "resets"), [(SGD, SoftReset(**RESETS)), (ADAM, PART)], ids=["sgd", "adam"])
def test_optimiser_forgets_the_centroids_alone(optimizer, resets):
    state = start(RECIPE.replace(optimizer=optimizer))
    state = state._replace(step=jnp.int32(20), opt_state=jax.tree.map(jnp.ones_like, state.opt_state))
    after = renew(resets, state)
    moments = [entry for entry in jax.tree.leaves(after.opt_state, is_leaf=is_moments) if is_moments(entry)]
    assert len(moments) == (2 if optimizer is ADAM else 1)
    for moment in moments:
        assert not np.asarray(moment["centroids"]).any()
        assert all((np.asarray(leaf) == 1).all() for leaf in jax.tree.leaves(moment["params"]))
    # The counts of steps, which encoder and centroids share, go on.
    counts = [int(leaf) for leaf in jax.tree.leaves(after.opt_state) if jnp.ndim(leaf) == 0]
    assert counts == ([1, 1] if optimizer is ADAM else [1])


def is_moments(entry):
    return isinstance(entry, dict) and set(entry) == {"params", "centroids"}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_run_with_resets_that_stops_and_goes_on_equals_an_unbroken_one(recipe):
    resets, kept = (SoftReset(**RESETS), ReseedEmpty()), []
    options = {"recipe": recipe, "on_interval": lambda state, _: kept.append(jax.tree.map(np.array, state))}
    whole = fit(start(recipe), *resets, **options)
    chex.assert_tree_all_finite(whole.state)
    assert [int(state.step) for state in kept] == [10, 20, 30, 40, 50, 60]
    for i in (0, 1, 3):  # before a reset, and right after one
        resumed = fit(jax.tree.map(jnp.asarray, kept[i]), *resets, recipe=recipe)
        assert equal(whole.state, resumed.state)
        assert whole.history[i + 1 :] == resumed.history
    assert not equal(whole.state.params, fit(start(recipe), recipe=recipe).state.params)


def lost(state, *clusters, x=X):
    """The state with some clusters far from all samples."""
    centroids = state.centroids.at[jnp.array(clusters)].set(1e3 * (1 + jnp.arange(2.0)))
    target, labels = update_target(state._replace(centroids=centroids), x)
    return state._replace(centroids=centroids, target=target, labels=labels)


@pytest.mark.parametrize("clusters", [(1,), (0, 2)])
def test_empty_clusters_get_the_embeddings_of_samples(trained, clusters):
    state = lost(trained, *clusters)
    after = renew(ReseedEmpty(), state)
    z = np.asarray(networks.embed(MODEL, state.params, X))
    chosen = {int(np.abs(z - np.asarray(after.centroids[j])).max(axis=1).argmin()) for j in clusters}
    assert len(chosen) == len(clusters)
    for j in range(3):
        if j in clusters:
            assert np.abs(z - np.asarray(after.centroids[j])).max(axis=1).min() < 1e-6
        else:
            np.testing.assert_array_equal(after.centroids[j], state.centroids[j])
    assert set(clusters) <= set(np.asarray(after.labels).tolist())
    target, labels = update_target(after)
    np.testing.assert_array_equal(after.labels, labels)
    np.testing.assert_allclose(after.target, target, rtol=1e-5, atol=1e-7)
    assert equal(after.params, state.params)
    assert equal(after.term_states, state.term_states)


def test_only_moments_of_reseeded_centroids_are_forgotten(trained):
    after = renew(ReseedEmpty(), lost(trained, 1))
    (before,), (now,) = (
        [entry for entry in jax.tree.leaves(state.opt_state, is_leaf=is_moments) if is_moments(entry)]
        for state in (trained, after)
    )
    np.testing.assert_array_equal(now["centroids"], np.asarray(before["centroids"]) * [[1], [0], [1]])
    assert equal(now["params"], before["params"])


def test_far_samples_are_the_likely_ones(trained):
    state = lost(trained, 1)
    z = np.asarray(networks.embed(MODEL, state.params, X))
    squared = np.sum((z[:, None] - np.asarray(state.centroids)[[0, 2]]) ** 2, axis=2).min(axis=1)
    drawn = [
        np.abs(z - np.asarray(renew(ReseedEmpty(), state, key=jax.random.key(i)).centroids[1])).max(axis=1).argmin()
        for i in range(150)
    ]
    expected = np.sum(squared * squared) / squared.sum()  # of the squared distance, under its own weights
    deviation = np.sqrt(np.sum(squared**3) / squared.sum() - expected**2) / np.sqrt(len(drawn))
    assert abs(squared[drawn].mean() - expected) < 4 * deviation
    assert expected - 4 * deviation > squared.mean()  # of draws that are all alike


def test_reseeding_is_due_where_a_cluster_that_takes_part_is_empty():
    interval, due = jax.jit(clustering.train_interval), ReseedEmpty().is_due
    state = starts.from_kmeans(KEY, RECIPE, PARAMS, X, 3, n_restarts=2)
    assert not due(0, 1, interval(KEY, RECIPE, state, X, 1)[1])
    assert due(0, 1, interval(KEY, RECIPE, lost(state, 1), X, 1)[1])
    two = RECIPE.replace(assignment=Assignment(active=jnp.array([True, False, True])))
    assert not due(0, 1, interval(KEY, two, lost(state, 1), X, 1)[1])
    assert due(0, 1, interval(KEY, two, lost(state, 0), X, 1)[1])
    assert ReseedEmpty().may_stop(0)


def test_reseeding_ends_after_its_intervals():
    info = SimpleNamespace(smallest_cluster=0)
    due = [ReseedEmpty(3).is_due(before, before + 20, info) for before in range(0, 120, 20)]
    assert due == [True] * 3 + [False] * 3
    with pytest.raises(ValueError, match="intervals must be at least 1, got 0"):
        ReseedEmpty(0)


def test_a_run_goes_on_after_clusters_were_lost():
    watch = Watch(ReseedEmpty())
    end = fit(lost(start(), 0, 1), watch, tolerance=1.0)
    assert watch.due[0] == 10
    assert int(end.state.step) > 10  # a cluster that has just been made is not settled
    assert np.bincount(end.state.labels, minlength=3).min() > 0


def test_duplicates_make_no_nan(trained):
    x = jnp.tile(X[:1], (120, 1))
    state = lost(trained, 0, 1, x=x)
    after = renew(ReseedEmpty(), state, x=x)
    chex.assert_tree_all_finite(after)
    z = networks.embed(MODEL, after.params, x)
    np.testing.assert_allclose(after.centroids[:2], z[:2], rtol=1e-6)
    chex.assert_tree_all_finite(renew(SoftReset(**RESETS), state, x=x))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, "every must be at least 1, got 0"),
        ({"count": 0}, ValueError, "count must be at least 1, got 0"),
        ({"every": 2.5}, TypeError, "every must be an integer, got 2.5"),
        ({"count": True}, TypeError, "count must be an integer, got True"),
        ({"keep": 1.1}, ValueError, "keep must be at least 0 and at most 1, got 1.1"),
        ({"keep": -0.1}, ValueError, "keep must be at least 0 and at most 1, got -0.1"),
        ({"keep": float("nan")}, ValueError, "keep must be at least 0 and at most 1, got nan"),
        ({"keep": "0.8"}, TypeError, "keep must be a number, got '0.8'"),
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1, got 0"),
        ({"n_restarts": 0}, ValueError, "n_restarts must be at least 1, got 0"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        SoftReset(**(RESETS | options))


def test_more_clusters_than_samples_for_kmeans(trained):
    with pytest.raises(ValueError, match=r"n_clusters must be between 1 and 2 \(the number of samples\), got 3"):
        renew(SoftReset(20, 2, n_samples=2), trained)


@pytest.mark.parametrize("active", [[True] * 3 + [False] * 4, [False, True, False, False, True, True, False]])
def test_a_soft_reset_places_the_clusters_that_take_part_as_kmeans_with_so_many_does(active):
    recipe = RECIPE.replace(assignment=Assignment(active=jnp.array(active)))
    state = starts.from_centroids(recipe, PARAMS, networks.embed(MODEL, PARAMS, X)[:7], X)
    after = renew(SoftReset(20, 1, keep=1.0, n_restarts=3), state, recipe=recipe)
    best = kmeans(KEY, networks.embed(MODEL, PARAMS, X), 3, n_restarts=20)
    found = after.centroids[jnp.array(active)]
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(best.centroids, axis=0), atol=1e-4)
    idle = ~np.array(active)
    np.testing.assert_array_equal(after.centroids[idle], state.centroids[idle])
    assert set(np.asarray(after.labels).tolist()) == set(np.flatnonzero(active).tolist())


def test_clusters_that_take_no_part_neither_draw_nor_keep_samples_away():
    recipe = RECIPE.replace(assignment=Assignment(active=jnp.array([True, True, False])))
    alone = RECIPE.replace(assignment=Assignment())
    z = networks.embed(MODEL, PARAMS, X)
    far = jnp.full((1, 2), 1e3)
    # The third centroid lies among the samples, and would hold back the draws there if it counted.
    three = starts.from_centroids(recipe, PARAMS, jnp.concatenate([z[:1], far, z.mean(axis=0)[None]]), X)
    two = starts.from_centroids(alone, PARAMS, jnp.concatenate([z[:1], far]), X)
    for seed in range(20):
        key = jax.random.key(seed)
        padded = renew(ReseedEmpty(), three, key=key, recipe=recipe)
        own = renew(ReseedEmpty(), two, key=key, recipe=alone)
        np.testing.assert_array_equal(padded.centroids[:2], own.centroids)
        np.testing.assert_array_equal(padded.centroids[2], three.centroids[2])
        np.testing.assert_array_equal(padded.labels, own.labels)
