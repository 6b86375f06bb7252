import re
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import scipy.sparse

from dec_jax import n2d, units
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.identity import environment
from dec_jax.runner import build, capacity, checkpoint, clustering_phase, pretraining_phase, programs, trainer, work
from dec_jax.runner.clustering_phase import clustering_groups
from dec_jax.runner.pretraining_phase import missing_pretrainings
from dec_jax.runner.programs import sizes_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.work import Trial, by_pretraining, pretraining_key, trial_id
from dec_jax.storage import Store
from runner.tiny_sweep import (
    CONFIG,
    DATA,
    K,
    M,
    X,
    Y,
    check_same,
    line_of,
    make_shop,
    outcomes_of,
    split_of,
    trials_of,
)

pytestmark = pytest.mark.slow

LR = "clustering.learning_rate"
LARGEST = {K: 5, M: 3}
GRID = [
    LARGEST,
    {K: 3, M: 2},
    {K: 4, M: 2, "clustering.max_steps": 45, "clustering.tolerance": 0.06},
    {K: 3, M: 3, "clustering.max_steps": 7},
    {K: 5, M: 2, "seed": 1, "clustering.alpha": 2.0},
]


@pytest.fixture(scope="module", autouse=True)
def two_slots():
    """Two slots, and windows of 20 steps, half of a pretraining."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity, "SLOTS_ON_CPU", 2)
        patch.setattr(pretraining_phase, "STEPS_PER_WINDOW", 1)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished sweep: its workshop, trials and outcomes; its compiled programs serve the other tests."""
    folder = tmp_path_factory.mktemp("finished")
    shop = make_shop(folder)
    trials = trials_of(shop, *GRID)
    outcomes = outcomes_of(shop, trials)
    return SimpleNamespace(folder=folder, shop=shop, trials=trials, outcomes=outcomes, count=shop.compiled.count)


@pytest.fixture
def again(finished, tmp_path):
    """A function that makes another workshop of the same programs, with the pretrained networks unless `anew`."""

    def make(anew=False, samples=None, **options):
        if not anew:
            shutil.copytree(finished.folder / "pretrained", tmp_path / "pretrained")
        return make_shop(tmp_path, samples or finished.shop.split, compiled=finished.shop.compiled, **options)

    return make


@pytest.fixture
def no_pretraining(monkeypatch):
    def fail(*_):
        raise AssertionError("pretraining began")

    monkeypatch.setattr(pretraining_phase, "_pretrain_twice", fail)


def outcome_of(finished, place):
    return finished.outcomes[finished.trials[place].id]


# Outcomes


def test_outcomes_are_whole(finished):
    held_out = finished.shop.split.held_out
    for trial in finished.trials:
        outcome, one = finished.outcomes[trial.id], trial.config
        k, m = one.clustering.n_clusters, one.network.bottleneck
        assert outcome.error is None
        assert outcome.z.shape == (120, m)
        assert outcome.log_q.shape == (120, k)
        assert outcome.centroids.shape == (k, m)
        np.testing.assert_allclose(np.exp(outcome.log_q).sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(outcome.labels["final"], outcome.log_q.argmax(axis=1))
        assert outcome.labels["autoencoder_kmeans"].shape == ((~held_out).sum(),)
        assert outcome.labels["autoencoder_kmeans"].max() < k
        assert outcome.seconds.keys() == {"pretraining", "autoencoder_kmeans", "clustering"}
        assert [row["step"] for row in outcome.history if row["phase"] == "fine-tuning"] == [20, 40]
        assert not outcome.from_cache


def test_steps_end_where_they_should(finished):
    outcomes = [outcome_of(finished, place) for place in range(5)]
    assert [outcomes[i].steps for i in (0, 1, 3, 4)] == [30, 30, 7, 30]  # 7 is not a multiple of 10
    assert [outcomes[i].stop_reason for i in (0, 1, 3, 4)] == ["max_steps"] * 4
    stopped = outcomes[2]
    assert stopped.history[-1]["label_change"] < 0.06
    assert (stopped.steps, stopped.stop_reason) in [(steps, "tolerance") for steps in (10, 20, 30, 40, 45)]


def test_the_scores_of_both_methods_are_of_the_training_samples(finished):
    outcome, held_out = outcome_of(finished, 0), finished.shop.split.held_out
    line = line_of(finished.shop, outcome)
    for prefix, labels in (("", outcome.labels["final"][~held_out]), ("kmeans_", outcome.labels["autoencoder_kmeans"])):
        matched = [np.bincount(Y[~held_out][labels == cluster]) for cluster in range(5) if (labels == cluster).any()]
        most = sum(counts.max() for counts in matched) / (~held_out).sum()
        assert 0.2 < line[f"{prefix}acc"] <= most  # each cluster has one class, and perhaps not its most frequent one


def test_a_padded_trial_equals_a_run_of_its_own(finished, again):
    trial = finished.trials[2]
    shop = again(anew=True)
    (own,) = outcomes_of(shop, [Trial(0, trial.id, trial.config)]).values()
    padded = finished.outcomes[trial.id]
    assert (own.steps, own.stop_reason) == (padded.steps, padded.stop_reason)
    np.testing.assert_allclose(own.z, padded.z, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(own.centroids, padded.centroids, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(own.log_q, padded.log_q, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(own.labels["autoencoder_kmeans"], padded.labels["autoencoder_kmeans"])


def test_a_grid_of_sizes_and_seeds_needs_six_programs(finished, again):
    # Beginning, window and look at the units of pretraining; start, advance and finish of clustering.
    assert finished.count == 6
    shop = again(anew=True)
    before = shop.compiled.count
    more = trials_of(shop, {K: 4, M: 2, "seed": 7, "clustering.momentum": 0.5})
    outcomes_of(shop, [*finished.trials, *more], more)
    assert shop.compiled.count == before


# Pretraining


@pytest.mark.usefixtures("no_pretraining")
def test_a_second_sweep_pretrains_nothing(finished, again):
    shop = again()
    assert missing_pretrainings(shop, finished.trials) == {}
    check_same(outcomes_of(shop, finished.trials), finished.outcomes)


@pytest.mark.usefixtures("no_pretraining")
def test_an_outcome_says_whose_pretraining_it_has(finished, again):
    shop = again()
    shop.name = "another run"
    (outcome,) = outcomes_of(shop, finished.trials, finished.trials[3:4]).values()
    assert outcome.from_cache
    assert outcome.history == outcome_of(finished, 3).history
    assert "pretraining" not in outcome.rates


def test_trials_share_their_pretraining(finished, again, monkeypatch):
    begun = []
    twice = pretraining_phase._pretrain_twice
    monkeypatch.setattr(pretraining_phase, "_pretrain_twice", lambda *words: begun.extend(words[1]) or twice(*words))
    found = outcomes_of(again(anew=True), finished.trials)
    assert sorted((config.network.bottleneck, config.seed) for _, config in begun) == [(2, 0), (2, 1), (3, 0)]
    check_same(found, finished.outcomes)
    groups = by_pretraining(finished.shop, finished.trials)
    assert [[trial.index for trial in group] for group in groups] == [[0, 3], [1, 2], [4]]


def test_a_damaged_pretraining_is_done_anew(finished, again, tmp_path):
    shop = again()
    path = tmp_path / "pretrained" / f"{pretraining_key(shop, finished.trials[0].config)}.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="counts as absent"):
        found = outcomes_of(shop, finished.trials)
    check_same(found, finished.outcomes)


def test_a_pretraining_that_becomes_nan_fails_its_own_trials_alone(finished, again):
    shop = again(anew=True)
    trials = [*finished.trials, *trials_of(shop, LARGEST | {"pretraining.learning_rate": 1e30})]
    found = outcomes_of(shop, trials)
    broken = found.pop(trials[-1].id)
    assert (broken.stop_reason, broken.steps) == ("failed", 0)
    assert re.fullmatch(
        r"pretraining \(fine-tuning\) failed in step \d+: the .*; lower the learning rate.*", broken.error
    )
    check_same(found, finished.outcomes)
    assert missing_pretrainings(shop, trials).keys() == {pretraining_key(shop, trials[-1].config)}
    assert line_of(shop, broken)["error"] == broken.error


def test_a_network_whose_units_died_is_begun_anew_and_the_others_are_as_ever(finished, again, monkeypatch):
    def of_seed_1(self, params):
        return np.where(self.numbers["seed"] == 1, units.DEAD, units.ALIVE)[:, None] * np.eye(1, 4, dtype=int)

    monkeypatch.setattr(pretraining_phase.PretrainingSlots, "units", of_seed_1)
    found = outcomes_of(again(anew=True), finished.trials)
    ill = [trial.id for trial in finished.trials if trial.config.seed == 1]
    assert ill
    for name in ill:
        outcome = found.pop(name)
        assert outcome.error is None
        assert re.match("in pretraining every unit of encoder layer 1 is dead .*, it went well", outcome.remarks[0])
        assert not np.array_equal(outcome.z, finished.outcomes[name].z)
    check_same(found, {name: outcome for name, outcome in finished.outcomes.items() if name not in ill})


# Clustering


@pytest.mark.parametrize("max_steps", [1, 60])
def test_a_trial_that_becomes_nan_fails_alone(finished, again, max_steps):
    shop = again()
    extra = trials_of(shop, LARGEST | {LR: 1e30, "clustering.max_steps": max_steps})
    trials = [*extra, *finished.trials]
    found = outcomes_of(shop, trials)
    broken = found.pop(extra[0].id)
    assert broken.stop_reason == "failed"
    assert re.match(r"clustering failed in step \d+: .* became NaN or infinite first; lower", broken.error)
    check_same(found, finished.outcomes)
    line = line_of(shop, broken)
    assert line["acc"] is None if "acc" in line else line["silhouette"] is None
    assert line["kmeans_acc"] > 0


def test_a_trial_yields_the_same_whichever_are_left(finished, again):
    shop = again()
    for trial in (finished.trials[4], finished.trials[0]):
        found = outcomes_of(shop, finished.trials, [trial])
        check_same(found, {trial.id: finished.outcomes[trial.id]})


def test_a_slot_that_has_finished_takes_the_next_trial(finished, again, monkeypatch):
    running = []
    on_round = clustering_phase.Clustering._on_round

    def note(self, done):
        running.append([course and course.trial.trial.index for course in self.slots])
        on_round(self, done)

    monkeypatch.setattr(clustering_phase.Clustering, "_on_round", note)
    outcomes_of(again(), finished.trials)
    assert running[0] == [0, 1]
    assert {slot for slots in running for slot in slots} >= {0, 1, 2, 3, 4}
    last = next(i for i, slots in enumerate(running) if 4 in slots)
    assert all(None not in slots for slots in running[: last + 1])


# What a run can, a sweep can


OWN_FUNCTIONS = """
import jax.numpy as jnp
from flax import linen as nn

class Network(nn.Module):
    n_features: int
    bottleneck: int
    def setup(self):
        self.inner = nn.Dense(self.bottleneck)
        self.outer = nn.Dense(self.n_features)
    def encode(self, x):
        return self.inner(x)
    def decode(self, z):
        return self.outer(z)
    def __call__(self, x):
        return self.decode(self.encode(x))

def spread(inputs, radius):
    return radius * jnp.mean(inputs.z**2)
"""
RESETS = {"clustering.resets": 1, "clustering.reset_every": 1, "clustering.reseed_empty": True}
FEW = {"pretraining.fine_tuning_steps": 4, "clustering.max_steps": 8, "clustering.update_interval": 2}
KINDS = {
    "convolutional with resets": {"network.kind": "convolutional"} | RESETS,
    "own network and objective": {
        "network.kind": "own_functions:Network",
        "clustering.objective": "own_functions:spread",
        "objective.radius": 0.5,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_can_a_sweep_can(tmp_path, monkeypatch, kind):
    (tmp_path / "own_functions.py").write_text(OWN_FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    tiny = partial(ConvolutionalAutoencoder, channels=(4,), kernels=(3,))
    monkeypatch.setattr(build, "ConvolutionalAutoencoder", tiny)
    shop = make_shop(tmp_path / "sweep")
    trials = trials_of(shop, *[KINDS[kind] | FEW | {"seed": seed, K: k} for seed, k in ((0, 5), (1, 3))])
    found = outcomes_of(shop, trials)
    shop = make_shop(tmp_path / "run", shop.split)
    (own,) = outcomes_of(shop, trials[1:]).values()
    padded = found[trials[1].id]
    assert padded.error is None
    np.testing.assert_allclose(own.z, padded.z, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(own.centroids, padded.centroids, rtol=2e-3, atol=1e-3)


def pretrained(shop, trials, place):
    """The network of a trial, pretrained beside the others."""
    assert pretraining_phase.run_pretrainings(shop, trials, sizes_of([trial.config for trial in trials])) == {}
    params, _ = work.pretrained(shop, trials[place].config)
    return params


def test_layer_by_layer_a_padded_network_is_that_of_its_own_size(tmp_path):
    layers = {"pretraining.layer_wise_steps": 20, "pretraining.fine_tuning_steps": 0}
    shop = make_shop(tmp_path / "sweep")
    trials = trials_of(shop, layers, layers | {M: 2, "seed": 1})
    padded = pretrained(shop, trials, 1)
    own = pretrained(make_shop(tmp_path / "run", shop.split), trials[1:], 0)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), padded, own)


def test_n2d_starts_a_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(n2d, "import_umap", lambda: None)
    monkeypatch.setattr(n2d, "layout", lambda z, *_, **__: z[:, :2])  # UMAP takes longer than all the rest
    shop = make_shop(tmp_path)
    trials = trials_of(shop, *[{"start.kind": "n2d", "start.steps": 10, K: k} | FEW for k in (3, 5)])
    found = outcomes_of(shop, trials)
    for trial in trials:
        labels = found[trial.id].labels["n2d"]
        assert np.unique(labels).tolist() == list(range(trial.config.clustering.n_clusters))


def test_unlabelled_samples_are_pretrained_on(finished, tmp_path):
    config = finished.trials[0].config.with_values({"data.unlabelled": True} | FEW)
    samples = split_of(unlabelled=X[:7])
    assert samples.pretrained_on(config).shape == (115, 64)
    with_them = pretrained(make_shop(tmp_path / "with", samples), [Trial(0, "a", config)], 0)
    config = config.with_values({"data.unlabelled": False})
    without = pretrained(make_shop(tmp_path / "without", samples), [Trial(0, "b", config)], 0)
    assert np.abs(with_them["encoder_0"]["kernel"] - without["encoder_0"]["kernel"]).max() > 1e-4


# Going on


class StoppedError(Exception):
    pass


def stop_after(rounds):
    """A progress that dies after some rounds."""
    progress = PhaseProgress(silent=True)
    advance, done = progress.advance, []

    def die(*words, **figures):
        done.append(words)
        if len(done) > rounds:
            raise StoppedError
        advance(*words, **figures)

    progress.advance = die
    return progress


@pytest.mark.parametrize("anew", [False, True], ids=["clustering", "pretraining"])
def test_what_died_goes_on_to_the_same_outcomes(finished, again, tmp_path, monkeypatch, anew):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0)
    kept, resumed = {}, []
    shop = again(anew=anew, unfinished=Store(tmp_path / "unfinished"))
    load = checkpoint.Checkpoint.load
    monkeypatch.setattr(checkpoint.Checkpoint, "load", lambda *words: resumed.append(load(*words)) or resumed[-1])
    sizes = sizes_of([trial.config for trial in finished.trials])
    for rounds in (1, 1, 1, 1, 1, 1, 100):
        shop.progress = stop_after(rounds)
        left = [trial for trial in finished.trials if trial.id not in kept]
        try:
            for outcome in trainer.train(shop, left, sizes):
                kept[outcome.trial.id] = outcome
        except StoppedError:
            assert rounds < 100
    check_same(kept, finished.outcomes)
    assert sum(entry is not None for entry in resumed) >= 3
    assert shop.unfinished.names() == []


# Samples


def test_held_out_samples_never_reach_training(finished, again):
    """Others in their place change nothing that training sees."""
    held_out = finished.shop.split.held_out
    assert held_out.sum() == 12
    others = np.where(held_out[:, None], X[::-1], X)
    samples = split_of(replace(DATA, x=others))
    assert samples.fingerprint == finished.shop.split.fingerprint
    found = outcomes_of(again(samples=samples), finished.trials)
    for name, outcome in finished.outcomes.items():
        np.testing.assert_array_equal(found[name].centroids, outcome.centroids)
        np.testing.assert_array_equal(found[name].z[~held_out], outcome.z[~held_out])
        assert found[name].history == outcome.history
        assert np.abs(found[name].z[held_out] - outcome.z[held_out]).max() > 0


def test_sparse_samples_yield_what_dense_ones_do(finished, tmp_path):
    shop = make_shop(tmp_path, split_of(replace(DATA, x=scipy.sparse.csr_array(X.astype(np.float32)))))
    (found,) = outcomes_of(shop, trials_of(shop, GRID[3])).values()
    expected = outcome_of(finished, 3)
    np.testing.assert_allclose(found.z, expected.z, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.centroids, expected.centroids, rtol=1e-3, atol=1e-4)
    assert (found.steps, found.stop_reason) == (expected.steps, expected.stop_reason)


# Memory


def test_less_memory_makes_fewer_slots(finished, again):
    shop = again()
    shop.compiled = programs.Compiled(programs=dict(finished.shop.compiled.programs))
    sizes = sizes_of([trial.config for trial in finished.trials])
    ((template, _), group), *_ = clustering_groups(finished.trials, sizes)

    def n_slots():
        return clustering_phase.Clustering(shop, template, sizes, group).program.n_slots

    assert n_slots() == 2
    needed = max(
        programs.memory_of(program)
        for key, program in shop.compiled.programs.items()
        if key[0] in ("start", "advance", "finish")
    )
    shop.limit = needed - 1
    assert n_slots() == 1
    shop.limit = 1000
    with pytest.raises(ValueError, match="memory must hold at least one trial, which needs"):
        n_slots()


# Ids


def test_every_setting_and_the_samples_make_the_id():
    ids = {trial_id(CONFIG, "abc"), trial_id(CONFIG, "abd"), trial_id(CONFIG.with_values({"seed": 1}), "abc")}
    ids.add(trial_id(CONFIG.with_values({"network.hidden": (16,)}), "abc"))
    assert len(ids) == 4
    assert all(len(trial) == 16 and int(trial, 16) for trial in ids)
    renamed = CONFIG.with_values({"data.labels": "y.npy", "data.name": "mine", "preset": "fast"})
    assert trial_id(renamed, "abc") == trial_id(CONFIG, "abc")


def test_an_edited_function_of_the_users_own_and_another_environment_make_another_id(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    config = CONFIG.with_values({"clustering.objective": "own_objective:mine"})
    ids = set()
    for text in ("def mine(): return 1", "def mine(): return 2"):
        (tmp_path / "own_objective.py").write_text(text)
        ids.add(trial_id(config, "abc"))
    for name in environment():
        with monkeypatch.context() as patch:
            patch.setattr(work, "environment", lambda name=name: environment() | {name: "other"})
            ids.add(trial_id(config, "abc"))
    assert len(ids) == 2 + len(environment())


def test_sizes_are_those_of_the_workers_share(finished):
    configs = [trial.config for trial in finished.trials]
    whole, shared = sizes_of(configs), sizes_of(configs, 2)
    assert (whole.n_clusters, whole.bottlenecks) == (shared.n_clusters, shared.bottlenecks) == ((3, 4, 5), (2, 3))
    assert list(whole.pretrainings.values()) == [3]
    assert list(shared.pretrainings.values()) == [2]
    assert list(whole.clusterings.values()) == [5]
    assert list(shared.clusterings.values()) == [3]
