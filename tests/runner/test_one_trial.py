"""A run as a value: what comes out of it, and what it depends on."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits

from dec_jax.data import Dataset
from dec_jax.runner import checkpoint, clustering_phase, runs
from dec_jax.runner.config import Config
from dec_jax.runner.profiler import Profiler
from dec_jax.runner.programs import Compiled
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.resolving import resolve
from dec_jax.runner.runs import Desk
from dec_jax.storage import Store
from dec_jax.trained_model import assign

pytestmark = pytest.mark.slow

PHASES = ("layer 1", "layer 2", "fine-tuning")
X, Y = load_digits(return_X_y=True)
DATA = Dataset("digits", X[:200].astype(np.float32), Y[:200], image_shape=(8, 8))
CONFIG = Config().with_values(
    {
        "network.hidden": (16,),
        "network.bottleneck": 3,
        "network.weight_init": "glorot",
        "pretraining.batch_size": 64,
        "pretraining.layer_wise_steps": 400,  # two windows
        "pretraining.fine_tuning_steps": 400,
        "start.kmeans_restarts": 2,
        "clustering.n_clusters": 10,
        "clustering.batch_size": 64,
        "clustering.update_interval": 20,
        "clustering.max_steps": 100,
        "clustering.tolerance": 0.0,
    }
)
FROZEN = {"clustering.train_encoder": False, "clustering.learning_rate": 1.0}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A function that runs a configuration with changes, in a folder of its own or in one that is given."""
    compiled = {}

    def run(changes=None, data=DATA, folder=None, cache=None):
        folder = tmp_path_factory.mktemp("run") if folder is None else folder
        config = resolve(CONFIG.with_values(changes or {}), data)
        programs = compiled.setdefault(scipy.sparse.issparse(data.x), Compiled())
        with PhaseProgress() as progress:
            return runs.run(config, data, Desk(folder, progress, Profiler(), cache, compiled=programs))

    return run


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of pretrained networks, where that of `CONFIG` is pretrained once."""
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def finished(train, cache):
    """A finished run."""
    return train(cache=cache)


def leaves(run):
    return [np.asarray(leaf) for leaf in jax.tree.leaves((run.trained.params, run.trained.centroids, run.q))]


def check_identical(a, b):
    for leaf, other in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(leaf, other)
    for method, labels in a.outcome.labels.items():
        np.testing.assert_array_equal(labels, b.outcome.labels[method])
    scores = {"acc", "nmi", "ari"}
    plain = [[{name: row[name] for name in row.keys() - scores} for row in run.outcome.history] for run in (a, b)]
    assert plain[0] == plain[1]


def test_the_same_seed_gives_the_same_bits(train, finished):
    again = train()
    check_identical(again, finished)
    assert again.outcome.history == finished.outcome.history


def test_another_seed_gives_another_model(train, finished):
    for leaf, other in zip(leaves(train({"seed": 1})), leaves(finished), strict=True):
        assert not np.array_equal(leaf, other)


def test_labels_never_reach_training(train, finished):
    shuffled = train(data=replace(DATA, y=np.random.default_rng(0).permutation(DATA.y)))
    check_identical(shuffled, finished)
    check_identical(train(data=replace(DATA, y=None)), finished)
    assert shuffled.outcome.history[-1]["acc"] != finished.outcome.history[-1]["acc"]


def test_assignments_belong_together(finished):
    labels, q, z = finished.outcome.labels["final"], finished.q, finished.outcome.z
    assert (labels.dtype, q.dtype, z.dtype) == (np.int32, np.float32, np.float32)
    assert (labels.shape, q.shape, z.shape) == ((200,), (200, 10), (200, 3))
    np.testing.assert_array_equal(labels, q.argmax(axis=1))
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(assign(finished.trained, DATA.x), labels)


def test_history_has_each_phase_from_its_first_steps_to_its_last(finished):
    steps = {}
    for row in finished.outcome.history:
        steps.setdefault(row["phase"], []).append(row["step"])
        assert np.isfinite(row["loss"])
    assert steps == {phase: [200, 400] for phase in PHASES} | {"clustering": [20, 40, 60, 80, 100]}


def test_losses_of_pretraining_fall(finished):
    for phase in PHASES:
        first, last = [row["loss"] for row in finished.outcome.history if row["phase"] == phase]
        assert last < first


def test_a_frozen_encoder_moves_the_centroids_alone(train, finished, cache):
    short, long = (train(FROZEN | {"clustering.max_steps": n}, cache=cache) for n in (20, 100))
    for run in (short, long):
        for leaf, other in zip(*map(jax.tree.leaves, (run.trained.params, finished.outcome.pretrained)), strict=True):
            np.testing.assert_array_equal(leaf, other)
    np.testing.assert_array_equal(short.outcome.z, long.outcome.z)
    assert not np.array_equal(short.outcome.centroids, long.outcome.centroids)
    assert not np.array_equal(finished.outcome.z, long.outcome.z)


def test_sparse_samples_are_clustered_like_dense_ones(train):
    changes = {"data.scaling": "rms", "pretraining.layer_wise_steps": 0, "clustering.max_steps": 20}
    dense, sparse = (
        train(changes, replace(DATA, x=x)).outcome for x in (DATA.x, scipy.sparse.csr_array(DATA.x.astype(np.float32)))
    )
    losses = [[row["loss"] for row in found.history if row["phase"] == "fine-tuning"] for found in (dense, sparse)]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    np.testing.assert_array_equal(np.bincount(dense.labels["kmeans"]), np.bincount(sparse.labels["kmeans"]))


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (0.1, []),
        (
            10.0,
            ["in pretraining every unit of .* is dead .*; begun anew with other initial values .*, it went well"],
        ),
    ],
)
def test_a_network_whose_units_have_all_died_is_begun_anew_once_and_said(train, rate, said):
    changes = {"pretraining.layer_wise_steps": 0, "pretraining.loss": "mse", "network.weight_init": "fan_in"}
    found = train(changes | {"data.scaling": "unit", "pretraining.learning_rate": rate, "clustering.max_steps": 20})
    dead = [remark for remark in found.outcome.remarks if "pretraining" in remark]
    assert len(dead) == len(said)
    assert all(re.search(pattern, remark) for pattern, remark in zip(said, dead, strict=True))


@pytest.mark.parametrize(("tolerance", "steps", "reason"), [(1.0, 20, "tolerance"), (0.0, 100, "max_steps")])
def test_a_trial_that_has_stopped_is_not_trained_further(train, cache, tmp_path, monkeypatch, tolerance, steps, reason):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0)
    changes = {"clustering.tolerance": tolerance}

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(clustering_phase.Clustering, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            train(changes, folder=tmp_path, cache=cache)
    monkeypatch.setattr(clustering_phase.Clustering, "advance", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(clustering_phase.Clustering, "start", lambda *_: pytest.fail("started again"))
    resumed = train(changes, folder=tmp_path, cache=cache).outcome
    assert (resumed.steps, resumed.stop_reason) == (steps, reason)


@pytest.mark.parametrize("kind", ["kmeans", "clustering"])
def test_damaged_work_in_progress_is_done_again(train, finished, cache, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(clustering_phase.Clustering, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            train(folder=tmp_path, cache=cache)
    (path,) = (tmp_path / runs.UNFINISHED).glob(f"{kind}*.npz")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged.*it counts as absent"):
        resumed = train(folder=tmp_path, cache=cache)
    check_identical(resumed, finished)


def test_a_network_before_clustering_is_that_of_the_run(finished, cache, tmp_path):
    config = resolve(CONFIG, DATA)
    with PhaseProgress() as progress:
        model, params, x = runs.pretrain(config, DATA, Desk(tmp_path, progress, Profiler(), cache))
    assert model == finished.trained.model
    assert x.shape == DATA.x.shape
    for leaf, other in zip(*map(jax.tree.leaves, (params, finished.outcome.pretrained)), strict=True):
        np.testing.assert_array_equal(leaf, other)
