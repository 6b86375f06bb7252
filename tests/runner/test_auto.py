import numpy as np
import pytest
import scipy.sparse

from dec_jax import graph, metrics
from dec_jax.data import Dataset
from dec_jax.neighbors import nearest
from dec_jax.runner import fitting, partitions, presets
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.clustering_slots import ClusteringSlots
from dec_jax.runner.layout import make_layout
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.resolving import resolve
from dec_jax.runner.split import split as split_of
from dec_jax.runner.work import Trial
from dec_jax.storage import Store

from .tiny_run import X, Y

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(60, 5)) * [1, 10, 100, 1, 1]
SMALL_IMAGES = RANDOM.integers(0, 17, (60, 64)).astype(float)
LARGE_IMAGES = RANDOM.integers(0, 256, (60, 256)).astype(float)


def resolved(x, image_shape=None, **values):
    given = {"clustering.n_clusters": 3, **{name.replace("__", "."): value for name, value in values.items()}}
    return resolve(presets.config_of("auto").with_values(given), Dataset("mine", x, image_shape=image_shape))


@pytest.mark.parametrize(
    ("x", "shape", "network", "start", "rotation", "trains"),
    [
        (TABLE, None, "dense", "mixture", 0, False),
        (scipy.sparse.csr_array(np.abs(TABLE)), None, "dense", "spectral", 0, False),
        (TABLE / np.linalg.norm(TABLE, axis=1, keepdims=True), None, "dense", "spectral", 0, False),
        (SMALL_IMAGES, (8, 8), "dense", "leiden", 10, True),
        (LARGE_IMAGES, (16, 16), "encoder", "leiden", 15, True),
    ],
    ids=["table", "text", "directions", "small images", "images"],
)
def test_what_the_data_are_chooses_network_start_augmentation_and_steps(x, shape, network, start, rotation, trains):
    found = resolved(x, shape)
    assert (found.network.kind, found.start.kind, found.augmentation.rotation) == (network, start, rotation)
    assert (found.clustering.max_steps > 0) == trains
    assert found.network.bottleneck == 3


def test_images_are_compared_by_what_tells_them_apart():
    assert resolved(X, (8, 8)).start.features == "hog"
    assert resolved(X).start.features == "samples"
    assert resolved(X, (8, 8), start__features="samples").start.features == "samples"
    with pytest.raises(ValueError, match="start.features=hog needs images"):
        resolved(X, start__features="hog")
    with pytest.raises(ValueError, match="start.features=roots needs sparse samples"):
        resolved(X, start__features="roots")
    sparse = resolved(scipy.sparse.csr_array(X), start__features="roots")
    assert sparse.start.features == "roots"


def test_what_is_said_is_not_chosen():
    found = resolved(SMALL_IMAGES, (8, 8), augmentation__shift=0.2, start__kind="spectral", clustering__max_steps=9)
    assert (found.augmentation.shift, found.augmentation.rotation) == (0.2, 0)
    assert (found.start.kind, found.clustering.max_steps) == ("spectral", 9)


def fit(n_clusters, **values):
    given = {"clustering.n_clusters": n_clusters, "network.hidden": (64,)} | values
    return fitting.fit_model(fitting.configure("auto", None, given), Dataset("mine", X, image_shape=(8, 8)))


def test_the_network_learns_the_partition_and_goes_on_from_it():
    found = fit(10, **{"clustering.max_steps": 300, "start.steps": 300})
    labels = found.outcome.labels
    assert set(labels) == {"graph", "final"}
    assert metrics.nmi(Y, labels["graph"]) > 0.7
    assert metrics.nmi(labels["graph"], labels["final"]) > 0.7
    assert found.outcome.steps == 300


def test_of_several_partitions_the_one_from_which_the_loss_falls_lowest_counts(monkeypatch):
    right = graph.partition(nearest(X, 21), 10)
    wrong = np.where(right < 8, right // 2, np.arange(len(X)) % 6 + 4)
    monkeypatch.setattr(graph, "partitions", lambda *_, **__: np.stack([wrong, right]))
    outcome = fit(10, **{"clustering.max_steps": 40, "start.steps": 200}).outcome
    np.testing.assert_array_equal(outcome.labels["graph"], right)
    assert "2 partitions" in outcome.remarks[0]


@pytest.mark.long
def test_a_table_that_is_a_mixture_of_gaussians_starts_from_it():
    rng = np.random.default_rng(5)
    y, factors, means = np.arange(600) % 3, rng.normal(size=(3, 4, 4)), 2.5 * rng.normal(size=(3, 4))
    x = means[y] + np.einsum("nij,nj->ni", factors[y], rng.normal(size=(600, 4)))
    config = fitting.configure("auto", None, {"clustering.n_clusters": 3})
    outcome = fitting.fit_model(config, Dataset("mine", x)).outcome
    assert outcome.remarks == [
        "the samples are a mixture of Gaussians, one for each cluster; clustering starts from it"
    ]
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    of_graph = graph.partition(nearest(scaled, 21), 3)
    assert metrics.ari(y, outcome.labels["graph"]) > metrics.ari(y, of_graph) + 0.1
    assert metrics.ari(outcome.labels["graph"], outcome.labels["final"]) > 0.95
    leiden = fitting.fit_model(config.with_values({"start.kind": "leiden"}), Dataset("mine", x)).outcome
    assert metrics.ari(of_graph, leiden.labels["graph"]) > 0.9
    assert leiden.remarks == []


def partition_of(x, k, **settings):
    values = {"clustering.n_clusters": k, **{name.replace("__", "."): value for name, value in settings.items()}}
    data = Dataset("mine", x)
    config = resolve(presets.config_of("auto").with_values(values), data)
    return partitions._parted(Trial(0, "one", config), split_of(data, 0, make_layout()))[0][0]


def test_answers_to_questions_are_parted_though_most_rows_have_copies():
    rng = np.random.default_rng(0)
    y = np.arange(1500) % 3
    answers = (rng.random((1500, 10)) < rng.choice([0.05, 0.95], (3, 10))[y]).astype(float)
    assert metrics.ari(y, partition_of(answers, 3)) > 0.8


def test_more_heaps_than_clusters_are_joined_by_where_they_lie():
    rng = np.random.default_rng(0)
    heaps = np.repeat([[0.0, 0], [100, 0], [0, 100]], 6, axis=0) + rng.uniform(-20, 20, (18, 2))
    heap = np.arange(18 * 30) % 18
    x = heaps[heap] + 0.05 * rng.normal(size=(len(heap), 2))
    assert metrics.ari(heap // 6, partition_of(x, 3, start__kind="leiden")) == 1


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_texts_that_are_repeated_are_parted_as_once(kind):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    words = np.stack([rng.multinomial(30, topic) for topic in rng.dirichlet(np.full(100, 0.1), 3)[y]]).astype(float)
    given = {"start__kind": "spectral", "data__scaling": "tfidf"}
    found = partition_of(kind(np.repeat(words, 6, axis=0)), 3, **given)
    assert metrics.ari(np.repeat(y, 6), found) > 0.9


def test_distinct_rows():
    x = np.array([[1.0, 0], [0, 2], [1, 0], [3, 0], [0, 2]])
    for rows in (x, scipy.sparse.csr_array(x)):
        first, copy_of = partitions.distinct_rows(rows)
        assert (first.tolist(), copy_of.tolist()) == ([0, 1, 3], [0, 1, 0, 2, 1])


def test_a_network_that_only_encodes_is_not_asked_to_decode():
    assert resolved(LARGE_IMAGES, (16, 16), clustering__objective="idec").network.kind == "dense"
    with pytest.raises(ValueError, match="network.kind=encoder does not decode: it needs layer_wise_steps=0"):
        resolved(LARGE_IMAGES, (16, 16), clustering__objective="idec", network__kind="encoder")


def test_sparse_samples_are_no_mixture():
    with pytest.raises(ValueError, match="start.kind=mixture needs dense samples"):
        resolved(scipy.sparse.csr_array(np.abs(TABLE)), start__kind="mixture")
    assert resolved(scipy.sparse.csr_array(np.abs(TABLE)), data__scaling="none").start.kind == "leiden"


def test_partitions_that_were_tried_are_not_tried_again(tmp_path, monkeypatch):
    found = np.stack([np.arange(len(X)) % 3, np.arange(len(X)) // 700])
    config = fitting.configure("auto", None, {"clustering.n_clusters": 3})
    data = Dataset("mine", X, image_shape=(8, 8))
    trial, split = Trial(0, "one", resolve(config, data)), split_of(data, 0, make_layout())
    checkpoint, progress = Checkpoint(Store(tmp_path), "graph"), PhaseProgress(silent=True)
    monkeypatch.setattr(graph, "partitions", lambda *_, **__: found)
    tried = []

    def loss_from(labels):
        if tried:
            raise KeyboardInterrupt
        tried.append(labels)
        return 1 / len(tried)

    with pytest.raises(KeyboardInterrupt):
        partitions.of_graph(trial, split, loss_from, checkpoint, progress)
    again = partitions.of_graph(trial, split, lambda _: 0.5, checkpoint, progress)
    assert again.losses == (1.0, 0.5)
    np.testing.assert_array_equal(tried, found[:1])
    np.testing.assert_array_equal(again.labels, found[1])


def test_without_steps_the_partition_is_what_the_network_says():
    found = fit(10, **{"clustering.max_steps": 0, "start.steps": 400, "augmentation.auto": False})
    assert found.outcome.stop_reason == "max_steps"
    assert metrics.accuracy(found.outcome.labels["graph"], found.outcome.labels["final"]) > 0.95


def test_without_steps_no_program_of_an_interval_is_compiled(monkeypatch):
    monkeypatch.setattr(ClusteringSlots, "_advance_program", lambda *_: pytest.fail("it is not needed"))
    assert fit(10, **{"clustering.max_steps": 0, "start.steps": 2}).outcome.steps == 0


@pytest.mark.long
def test_a_cluster_five_hundred_times_smaller_than_the_other_is_found():
    y = np.arange(5010) >= 5000
    x = np.random.default_rng(0).normal(size=(5010, 5))
    x[:, 0] += 10 * y
    found = fitting.fit_model(fitting.configure("auto", None, {"clustering.n_clusters": 2}), Dataset("mine", x))
    assert metrics.accuracy(y.astype(int), found.outcome.labels["final"]) == 1
