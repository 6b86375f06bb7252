"""Many runs in one process: at the end no more memory, handles, mappings, threads and programs."""

import gc
import os
import threading

import numpy as np
import pytest

from dec_jax import DEC
from dec_jax.runner import fitting

from .counts import INJECTED, SCALE

N = int(os.environ.get("DEC_JAX_SOAK", 12 if SCALE == 1 else 2000))  # runs
WARM = N // 4
X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32) + np.repeat(np.eye(3, 5) * 4, 20, axis=0)
SETTINGS = {"pretraining.fine_tuning_steps": 20, "clustering.max_steps": 20, "clustering.update_interval": 10}
SETTINGS |= {"start.kmeans_restarts": 1, "pretraining.batch_size": 32, "clustering.batch_size": 32}
BYTES_PER_RUN = 4096 if N > 100 else 200_000  # what the allocator's noise is divided by is small for few runs


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mappings():
    with open("/proc/self/maps") as file:
        return sum(1 for _ in file)


@pytest.mark.long
def test_many_runs_in_one_process_leave_nothing_behind(tmp_path):
    points = []
    for number in range(N):
        model = DEC(n_clusters=3, preset="fast", hidden=(4,), bottleneck=2, settings=SETTINGS, random_state=number)
        model.fit(X)
        if number % 10 == 0:
            model.save(tmp_path / "model")
            DEC.load(tmp_path / "model").predict(X)
        if number >= WARM and number % max(1, N // 40) == 0:
            gc.collect()
            counts = len(os.listdir("/proc/self/fd")), mappings(), threading.active_count(), fitting.COMPILED.count
            points.append((number, resident(), *counts))
    numbers, memory, *counts = np.array(points).T
    slope = np.polyfit(numbers, memory, 1)[0]
    INJECTED["runs of the soak"] += N
    print(f"{N} runs: {slope:.0f} bytes per run, from {memory[0] / 2**20:.1f} to {memory[-1] / 2**20:.1f} MB")
    assert slope < BYTES_PER_RUN
    for counted in counts:
        assert counted[-1] <= counted[0]
