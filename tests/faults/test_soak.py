"""Many runs in one process and many trials in one sweep: no more memory, handles, mappings, threads and programs."""

import gc
import os
import threading

import numpy as np
import pytest

from dec_jax import DEC
from dec_jax.runner import fitting, sweep, sweep_pictures, table
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.trainer import train

from .counts import INJECTED, SCALE

N_RUNS = int(os.environ.get("DEC_JAX_SOAK", 12 if SCALE == 1 else 2000))
N_TRIALS = int(os.environ.get("DEC_JAX_SOAK", 12 if SCALE == 1 else 500))
X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32) + np.repeat(np.eye(3, 5) * 4, 20, axis=0)
SETTINGS = {"pretraining.fine_tuning_steps": 20, "clustering.max_steps": 20, "clustering.update_interval": 10}
SETTINGS |= {"start.kmeans_restarts": 1, "pretraining.batch_size": 32, "clustering.batch_size": 32}


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mappings():
    with open("/proc/self/maps") as file:
        return sum(1 for _ in file)


class Watch:
    """What this process holds while it does one piece of work after the other; the first quarter of them warm it up."""

    def __init__(self, n):
        self.n, self.points = n, []

    def note(self, number, n_programs):
        """Notes what it holds when so many are done."""
        if number >= self.n // 4 and number % max(1, self.n // 40) == 0:
            gc.collect()
            counts = len(os.listdir("/proc/self/fd")), mappings(), threading.active_count(), n_programs
            self.points.append((number, resident(), *counts))

    def check(self, what):
        """Checks that the memory has no slope, and that nothing else is more at the end."""
        numbers, memory, *counts = np.array(self.points).T
        slope = np.polyfit(numbers, memory, 1)[0]
        megabytes = f"from {memory[0] / 2**20:.1f} to {memory[-1] / 2**20:.1f} MB"
        print(f"{self.n} {what}: {slope:.0f} bytes for each, {megabytes}")
        # What the allocator's noise is divided by is small for few of them.
        assert slope < (4096 if self.n > 100 else 200_000), what
        for counted in counts:
            assert counted[-1] <= counted[0], what
        INJECTED[f"{what} of the soak"] += self.n


@pytest.mark.long
def test_many_runs_in_one_process_leave_nothing_behind(tmp_path):
    watch = Watch(N_RUNS)
    for number in range(N_RUNS):
        model = DEC(n_clusters=3, preset="fast", hidden=(4,), bottleneck=2, settings=SETTINGS, random_state=number)
        model.fit(X)
        if number % 10 == 0:
            model.save(tmp_path / "model")
            DEC.load(tmp_path / "model").predict(X)
        watch.note(number, fitting.COMPILED.count)
    watch.check("runs")


@pytest.mark.long
def test_many_trials_in_one_sweep_leave_nothing_behind(tmp_path, monkeypatch):
    pretrainings, trials, shops = Watch(N_TRIALS), Watch(N_TRIALS), []
    (tmp_path / "cache").mkdir()

    def watched(shop, *arguments):
        shops.append(shop)
        for number, outcome in enumerate(train(shop, *arguments), start=1):
            yield outcome
            trials.note(number, shop.compiled.count)

    def finish(self, *_):
        n_done = len(list((tmp_path / "cache").iterdir()))
        if shops and n_done < N_TRIALS:
            pretrainings.note(n_done, shops[0].compiled.count)

    monkeypatch.setattr(sweep, "train", watched)
    monkeypatch.setattr(sweep_pictures, "draw", lambda *_: [])
    monkeypatch.setattr(PhaseProgress, "finish", finish)
    np.save(tmp_path / "x.npy", X)
    words = ["--data", tmp_path / "x.npy", "--n-clusters", 3, "--bottleneck", 2, "--preset", "fast", "--no-report"]
    words += ["--seeds", N_TRIALS, "--out", tmp_path / "out", "--cache", tmp_path / "cache", "--set", "hidden=4"]
    words += [f"{name}={value}" for name, value in SETTINGS.items()]
    assert sweep.main([str(word) for word in words]) == 0
    assert len(table.read(tmp_path / "out")) == N_TRIALS
    pretrainings.check("pretrainings of a sweep")
    trials.check("trials of a sweep")
