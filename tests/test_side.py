"""Objectives that read more than the batch, and the side data that they read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dec_jax import batches, clustering, losses, networks, objectives, starts
from dec_jax.assignment import Assignment
from dec_jax.augmentation import Noise
from dec_jax.autoencoder import Autoencoder
from dec_jax.clustering import Recipe
from dec_jax.objectives import Pairs, StepInputs, View
from dec_jax.optimizers import adam
from dec_jax.side import side

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
B, K = 6, 4
P, Q, OTHER, FIRST, SECOND = RNG.dirichlet(np.ones(K), (5, B))
X, DECODED = RNG.normal(size=(2, B, 5))
Z, CENTROIDS = RNG.normal(size=(B, 3)), RNG.normal(size=(K, 3))
TOGETHER = np.array([True, False, True, False, False, True])
LABELS = np.array([2, -1, 0, 3, -1, 1])
WEIGHTS = np.array([1.0, 0.0, 2.0, 0.5, 3.0, 1.0])


def view(log_q):
    return View(jnp.asarray(X, log_q.dtype), jnp.asarray(Z, log_q.dtype), log_q)


def inputs(q=Q, other=OTHER, first=FIRST, second=SECOND, **side_arrays):
    """All that a term can read, from assignments (b, k)."""
    q, other, first, second = (jnp.log(jnp.asarray(values)) for values in (q, other, first, second))
    return StepInputs(
        *(jnp.asarray(values, q.dtype) for values in (X, X, Z, CENTROIDS)),
        log_q=q,
        p=jnp.asarray(P, q.dtype),
        reconstruction=jnp.asarray(DECODED, q.dtype),
        view=view(other),
        clean=view(other),
        neighbor=view(other),
        pairs=Pairs(view(first), view(second), jnp.asarray(TOGETHER)),
        side={name: jnp.asarray(values) for name, values in side_arrays.items()},
    )


def entropy(q):
    return -sum(value * np.log(value) for value in q)


AGREEMENT = -np.mean([np.log(sum(Q[i, j] * OTHER[i, j] for j in range(K))) for i in range(B)])
BALANCE = np.log(K) - entropy(Q.mean(axis=0))
CONSISTENCY = -np.mean([sum(OTHER[i, j] * np.log(Q[i, j]) for j in range(K)) for i in range(B)])
UNCERTAINTY = np.mean([entropy(row) for row in OTHER])
SHARED = np.sum(FIRST * SECOND, axis=1)
LINKS = -np.mean([np.log(s if must else 1 - s) for s, must in zip(SHARED, TOGETHER, strict=True)])
KNOWN = -np.mean([np.log(Q[i, j]) for i, j in enumerate(LABELS) if j >= 0])
KL = np.sum(P * np.log(P / Q), axis=1)
SQUARED = np.sum((Z - CENTROIDS[Q.argmax(axis=1)]) ** 2, axis=1)


def weighted(values):
    return np.sum(WEIGHTS * values) / np.sum(WEIGHTS)


@pytest.mark.parametrize(
    ("made", "terms", "value"),
    [
        (objectives.scan(2.0), {"agreement": AGREEMENT, "size_balance": BALANCE}, AGREEMENT + 2 * BALANCE),
        (
            objectives.imsat(0.3, 4.0),
            {
                "consistency": CONSISTENCY,
                "uncertainty": UNCERTAINTY,
                "balance": np.log(K) - entropy(OTHER.mean(axis=0)),
            },
            CONSISTENCY + 0.3 * (UNCERTAINTY + 4 * (np.log(K) - entropy(OTHER.mean(axis=0)))),
        ),
        (0.5 * objectives.constrained(), {"links": LINKS}, 0.5 * LINKS),
        (objectives.semi_supervised(), {"known": KNOWN}, KNOWN),
        (objectives.view_agreement(), {"view_agreement": AGREEMENT}, AGREEMENT),
    ],
    ids=["scan", "imsat", "constrained", "semi_supervised", "view_agreement"],
)
def test_terms_against_float64(made, terms, value):
    computed, found = made(inputs(label=LABELS))
    assert set(found) == set(terms)
    for name, number in terms.items():
        assert float(found[name]) == pytest.approx(number, rel=1e-5)
    assert float(computed) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(
    ("made", "name", "expected"),
    [
        (objectives.dec(), "kl", weighted(KL)),
        (objectives.idec(), "reconstruction", weighted(np.mean((X - DECODED) ** 2, axis=1))),
        (objectives.dcn(), "distance", weighted(SQUARED) / 2),
    ],
    ids=["dec", "idec", "dcn"],
)
def test_samples_count_by_their_weight(made, name, expected):
    states = made.init(jnp.asarray(CENTROIDS))
    assert float(made(inputs(weight=WEIGHTS), states)[1][name]) == pytest.approx(expected, rel=1e-5)
    plain = made(inputs(), states)[1][name]
    assert float(made(inputs(weight=np.full(B, 3.0)), states)[1][name]) == pytest.approx(float(plain), rel=1e-5)
    assert float(made(inputs(weight=np.zeros(B)), states)[1][name]) == 0


def test_running_means_count_a_sample_by_its_weight():
    made = objectives.dcn()
    states = made.init(jnp.asarray(CENTROIDS))
    once = inputs(weight=(np.arange(B) % 2).astype(float))
    _, centroids = made.update(states, once, jnp.asarray(CENTROIDS))
    expected, counts = CENTROIDS * objectives.COUNT, np.full(K, objectives.COUNT)
    for i in range(1, B, 2):
        expected[Q[i].argmax()] += Z[i]
        counts[Q[i].argmax()] += 1
    np.testing.assert_allclose(centroids, expected / counts[:, None], rtol=1e-5)


@pytest.mark.parametrize(
    "made",
    [objectives.scan(2.0), objectives.imsat(), objectives.constrained(), objectives.semi_supervised()],
    ids=["scan", "imsat", "constrained", "semi_supervised"],
)
def test_gradients_by_finite_differences(made):
    def loss(*logits):
        q, other, first, second = map(jax.nn.softmax, logits)
        if "consistency" in made.names:  # which holds the clean assignment fixed
            other = OTHER
        return made(inputs(q, other, first, second, label=LABELS))[0]

    with jax.enable_x64():
        arguments = tuple(jnp.log(jnp.asarray(values, jnp.float64)) for values in (Q, OTHER, FIRST, SECOND))
        check_grads(jax.jit(loss), arguments, order=1, modes=["rev"], rtol=1e-3)


def test_uncertainty_by_finite_differences():
    made = objectives.imsat(1.0)

    def loss(logits):
        terms = made(inputs(other=jax.nn.softmax(logits)))[1]
        return terms["uncertainty"] + 4 * terms["balance"]

    with jax.enable_x64():
        check_grads(jax.jit(loss), (jnp.log(jnp.asarray(OTHER, jnp.float64)),), order=1, modes=["rev"], rtol=1e-3)


def test_no_gradient_reaches_the_clean_assignment_through_consistency():
    def loss(other):
        return objectives.imsat(0.0)(inputs(other=jax.nn.softmax(other)))[0]

    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(jnp.log(jnp.asarray(OTHER, jnp.float32))), np.zeros((B, K)))


@pytest.mark.parametrize("family", [objectives.scan, objectives.imsat])
def test_weights_under_vmap_equal_separate_values(family):
    weights = jnp.array([0.0, 0.5, 2.0])
    together = jax.vmap(lambda weight: family(weight)(inputs())[0])(weights)
    np.testing.assert_allclose(together, [family(float(weight))(inputs())[0] for weight in weights], rtol=1e-6)


def test_clusters_that_take_no_part_change_nothing():
    def widened(q):
        return np.concatenate([q, np.zeros((B, 1))], axis=1)

    made = objectives.scan() + objectives.constrained() + objectives.semi_supervised()
    padded = inputs(*map(widened, (Q, OTHER, FIRST, SECOND)), label=LABELS)
    assert float(made(padded)[0]) == pytest.approx(float(made(inputs(label=LABELS))[0]), rel=1e-6)

    def loss(log_q):
        return made(padded._replace(log_q=log_q, neighbor=view(log_q)))[0]

    assert np.isfinite(jax.jit(jax.grad(loss))(padded.log_q)).all()


def test_two_samples_that_must_not_be_together_and_are_have_a_finite_loss():
    certain = np.eye(K)[[0] * B]
    assert np.isfinite(objectives.constrained()(inputs(first=certain, second=certain))[0])


def test_two_samples_that_must_not_be_together_part_however_sure_the_network_is():
    def loss(logits):
        log_q = jax.nn.log_softmax(logits)
        made = inputs()
        pairs = made.pairs._replace(first=view(log_q), second=view(log_q), together=jnp.zeros(B, bool))
        return objectives.constrained()(made._replace(pairs=pairs))[0]

    sure = jnp.zeros((B, K)).at[:, 0].set(30.0)
    gradient = jax.grad(loss)(sure) * B
    np.testing.assert_allclose(gradient[:, 0], 1, rtol=1e-3)


def test_known_labels_count_by_the_weight_of_their_samples():
    weights = np.linspace(0.5, 2, B)
    found = float(objectives.semi_supervised()(inputs(label=LABELS, weight=weights))[0])
    known = LABELS >= 0
    own = np.log(Q[np.arange(B), np.maximum(LABELS, 0)])
    assert found == pytest.approx(-(own * weights)[known].sum() / weights[known].sum(), rel=1e-5)


def test_a_batch_without_known_labels_costs_nothing():
    assert float(objectives.semi_supervised()(inputs(label=np.full(B, -1)))[0]) == 0


# Training on two dozen samples in three heaps.
HEAP = np.repeat(np.arange(3), 8)
SAMPLES = (5 * np.eye(3)[HEAP] + RNG.normal(0, 0.1, (24, 3))).astype(np.float32)
NEIGHBORS = np.array([[j for j in np.flatnonzero(HEAP[i] == HEAP) if j != i][:4] for i in range(24)])


def recipe(objective, **others):
    chosen = {"optimizer": adam(0.01), "augmentation": Noise(0.1), "batch_size": 24} | others
    return Recipe(Autoencoder((3, 16, 3), kernel_init="he"), objective, Assignment(kernel=losses.logits), **chosen)


def state_of(chosen, key=0):
    params = dict(chosen.model.init(jax.random.key(key), jnp.zeros((1, 3)))["params"])
    return starts.from_centroids(chosen, params, jnp.zeros((3, 3)), jnp.asarray(SAMPLES))


def seen_by(chosen, key=3):
    """What an objective is given in one step, by name: what it reads, and the recipe's attributes."""
    caught = []

    def catch(inputs):
        caught.append(inputs)
        return (), inputs.centroids

    made = objectives.objective(lambda inputs: jnp.mean(inputs.z), name="mean", reads=chosen.pop("reads"), update=catch)
    chosen = recipe(made, **chosen)
    state = state_of(chosen)
    rows = jnp.arange(5, 17)
    batch = batches.take_batch(jax.random.key(key), chosen, jnp.asarray(SAMPLES), rows, jnp.zeros((24, 3)))
    clustering.train_step(jax.random.key(key), chosen, state, batch)
    return caught[0]


def test_only_what_is_read_is_there():
    everything = side(24, neighbors=NEIGHBORS, must_link=[[0, 1]], labels=HEAP)
    plain = seen_by({"reads": (), "side": everything})
    assert plain.view is plain.clean is plain.neighbor is plain.pairs is plain.reconstruction is None
    np.testing.assert_array_equal(plain.rows, np.arange(5, 17))
    np.testing.assert_array_equal(plain.side["label"], HEAP[5:17])


def test_views_are_of_the_samples_that_they_say():
    reads = ("view", "clean", "neighbor", "pairs")
    far = side(24, neighbors=NEIGHBORS, must_link=[[0, 1]], cannot_link=[[0, 9], [1, 17]])
    step = seen_by({"reads": reads, "side": far, "augmentation": Noise(0.01)})
    np.testing.assert_array_equal(step.clean.network_input, SAMPLES[5:17])
    np.testing.assert_allclose(step.network_input, SAMPLES[5:17], atol=0.1)
    np.testing.assert_allclose(step.view.network_input, SAMPLES[5:17], atol=0.1)
    assert not np.array_equal(step.view.network_input, step.network_input)
    for i, shown in zip(range(5, 17), step.neighbor.network_input, strict=True):
        others = np.abs(SAMPLES[NEIGHBORS[i]] - shown).max(axis=1)
        assert others.min() < 0.1
    for a, b, together in zip(*(step.pairs[i].network_input for i in (0, 1)), step.pairs.together, strict=True):
        assert together == (a.argmax() == b.argmax())
    assert {bool(together) for together in step.pairs.together} == {True, False}


def test_all_views_of_a_step_pass_the_network_alike():
    step = seen_by({"reads": ("clean", "view"), "augmentation": Noise(0.0)})
    np.testing.assert_allclose(step.clean.log_q, step.log_q, rtol=1e-6)
    np.testing.assert_allclose(step.view.z, step.z, rtol=1e-6)


def fitted(objective, **others):
    chosen = recipe(objective, **others)
    return clustering.fit(
        jax.random.key(1),
        chosen,
        state_of(chosen),
        jnp.asarray(SAMPLES),
        update_interval=100,
        tolerance=0,
        max_steps=300,
    ).state.labels


def agree(labels, y=HEAP):
    return np.array_equal(np.equal.outer(labels, labels), np.equal.outer(y, y))


def test_neighbours_alone_part_three_heaps():
    assert agree(np.asarray(fitted(objectives.scan(2.0), side=side(24, neighbors=NEIGHBORS))))


def test_known_labels_name_the_clusters():
    labels = np.full(24, -1)
    labels[[0, 8, 16]] = [2, 0, 1]
    given = side(24, neighbors=NEIGHBORS, labels=labels)
    found = fitted(objectives.scan(2.0) + objectives.semi_supervised(), side=given)
    np.testing.assert_array_equal(found, np.array([2, 0, 1])[HEAP])


def test_links_decide_what_is_together():
    pairs = np.array([[i, j] for i in range(24) for j in range(i)])
    same = HEAP[pairs[:, 0]] == HEAP[pairs[:, 1]]
    given = side(24, must_link=pairs[same], cannot_link=pairs[~same])
    assert agree(np.asarray(fitted(objectives.constrained(), side=given)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"neighbors": np.zeros((23, 2), int)}, r"neighbors must have shape \(24, at least 1\), got \(23, 2\)"),
        ({"neighbors": np.zeros((24, 24), int)}, "neighbors must be fewer than the 24 samples, got 24"),
        ({"neighbors": np.full((24, 2), 24)}, "neighbors must hold indices from 0 to 23, got 24 to 24"),
        ({"must_link": [[0, 24]]}, "must_link must hold indices from 0 to 23, got 0 to 24"),
        ({"must_link": [[3, 3]]}, r"must_link must hold pairs of different samples, got \[3, 3\]"),
        ({"must_link": [[0, 1]], "cannot_link": [[1, 0]]}, r"both in must_link and in cannot_link, got \(0, 1\)"),
        ({"cannot_link": [0, 1]}, r"cannot_link must have shape \(pairs, 2\), got \(2,\)"),
        ({"labels": np.zeros(23, int)}, "labels must have a row for each of the 24 samples"),
        ({"labels": np.full(24, -1)}, "labels must hold at least one that is known"),
        ({"labels": np.full(24, -2)}, "labels must be at least −1"),
        ({"weights": np.full(24, -1.0)}, "weights must be finite, at least 0 and not all 0"),
        ({"weights": np.zeros(24)}, "weights must be finite, at least 0 and not all 0"),
        ({"arrays": {"age": np.zeros(3)}}, r"arrays\['age'\] must have a row for each of the 24 samples"),
        ({"arrays": {"label": np.zeros(24)}}, "arrays must not hold 'label'"),
    ],
)
def test_bad_side_data_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        side(24, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": np.zeros(24)}, "labels must hold integers, got dtype float64"),
        ({"neighbors": np.zeros((24, 2))}, "neighbors must hold integers"),
        ({"arrays": {"name": np.array(["a"] * 24)}}, r"arrays\['name'\] must hold numbers"),
    ],
)
def test_side_data_of_another_type_are_refused(given, message):
    with pytest.raises(TypeError, match=message):
        side(24, **given)


@pytest.mark.parametrize(
    ("objective", "others", "message"),
    [
        (objectives.scan(), {}, "the objective reads 'neighbor', and the recipe's side data have none"),
        (objectives.constrained(), {}, "the objective reads 'pairs'"),
        (objectives.semi_supervised(), {}, "the objective reads 'label'"),
        (objectives.imsat(), {"augmentation": None}, "the objective reads 'clean', which needs an augmentation"),
        (
            objectives.view_agreement(),
            {"augmentation": None},
            "the objective reads 'view', which needs an augmentation",
        ),
        (
            objectives.scan(),
            {"side": side(30, neighbors=np.zeros((30, 2), int))},
            "side data neighbors must be of the 24 samples, got 30",
        ),
        (
            objectives.semi_supervised(),
            {"side": side(24, labels=np.arange(24))},
            "labels must lie between −1 and 2, a class for each cluster, got 23",
        ),
    ],
)
def test_a_run_that_cannot_give_what_is_read_is_refused_before_training(objective, others, message):
    with pytest.raises(ValueError, match=message):
        fitted(objective, **others)


def test_partners_fade_from_neighbours_to_the_samples_themselves():
    given = side(24, neighbors=NEIGHBORS).replace(fade=100.0)
    rows = jnp.arange(24)
    recipe = Recipe(networks.Identity(), objectives.scan(), augmentation=lambda key, x: x, side=given)

    def share(step):
        x = jnp.arange(24.0)[:, None]
        batch = batches.take_batch(jax.random.key(step), recipe, x, jnp.tile(rows, 50), jnp.zeros((24, 2)), step)
        return float(jnp.mean(batch.neighbor == batch.x))

    assert share(0) == 0
    assert share(30) == pytest.approx(0.3, abs=0.05)
    assert share(100) == share(200) == 1
