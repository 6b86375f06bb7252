import contextlib
import os
import random
import signal
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faults.counts import INJECTED, SCALE

from dec_jax.runner import ray_workers, sweep, sweep_pictures, table
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.ray_workers import Options, make_groups
from dec_jax.runner.work import by_pretraining
from runner.tiny_sweep import X, Y, make_shop, trials_of

pytestmark = pytest.mark.long

ray = pytest.importorskip("ray")

OBJECTIVES = """
import os, signal
from pathlib import Path
from dec_jax.runner import ray_workers
from dec_jax import objectives

def kills_once(inputs):
    marker = Path(__file__).with_name("killed")
    if ray_workers._workshops and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return objectives._kl(inputs)

def kills(inputs):
    if ray_workers._workshops:
        os.kill(os.getpid(), signal.SIGKILL)
    return objectives._kl(inputs)

def fails(inputs):
    if ray_workers._workshops:
        raise ValueError("this objective is broken")
    return objectives._kl(inputs)
"""
WORDS = "hidden=8 fine_tuning_steps=20 batch_size=32 kmeans_restarts=1 update_interval=10 max_steps=20 tolerance=0"
WORDS = ["--preset", "demo", "--bottleneck", "2", "--set", *WORDS.split()]
FEW = {"pretraining.fine_tuning_steps": 10, "clustering.max_steps": 10}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Ray with two workers on this machine, which find the module `ray_objectives`."""
    folder = tmp_path_factory.mktemp("objectives")
    (folder / "ray_objectives.py").write_text(OBJECTIVES)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        workers = {"env_vars": {"PYTHONPATH": str(folder)}}
        ray.init(address="local", num_cpus=2, runtime_env=workers, **quiet)
        yield folder
    ray.shutdown()


@pytest.fixture
def rows_of(cluster, tmp_path):
    """A function that runs trials with these settings on the cluster, and yields their rows."""

    def run(*changes):
        shop = make_shop(tmp_path)
        trials = trials_of(shop, *[FEW | change for change in changes])
        options = Options(tmp_path / "cache", None, 1, "tiny")
        configs = [trial.config for trial in trials]
        return ray_workers.run(shop.split, by_pretraining(shop, trials), configs, options, PhaseProgress(silent=True))

    return run


@pytest.mark.usefixtures("cluster")
def test_workers_make_the_table_of_the_local_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_pictures, "draw", lambda *_: [])
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    base = ["--data", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--n-clusters", 3, "--seeds", 2, *WORDS]
    frames = []
    for name in ("local", "ray"):
        words = [*base, "--engine", name, "--out", tmp_path / name, "--cache", tmp_path / f"cache-{name}"]
        assert sweep.main([str(word) for word in words]) == 0
        frames.append(table.read(tmp_path / name).drop(columns=list(table.TIME_COLUMNS)))
    pd.testing.assert_frame_equal(*frames, rtol=1e-3, atol=1e-4)
    assert len(list((tmp_path / "cache-ray").iterdir())) == 2


def test_a_group_that_lost_its_worker_goes_on_with_what_is_left(cluster, rows_of):
    rows = list(rows_of({}, {"clustering.n_clusters": 3}, {"clustering.objective": "ray_objectives:kills_once"}))
    assert len({row["id"] for row in rows}) == len(rows) == 3  # none of them twice
    assert all(row["stop_reason"] == "max_steps" for row in rows)
    assert (cluster / "killed").exists()


def busy_workers():
    """Processes of Ray on this machine that run a group."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::_run_group"):
                yield int(folder.name)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
@pytest.mark.parametrize("seed", range(SCALE))
def test_workers_that_are_killed_at_random_moments_cost_no_trial(rows_of, seed):
    draw, killed, done = random.Random(seed), [], threading.Event()

    def kill():
        while len(killed) < ray_workers.MAX_RETRIES and not done.wait(draw.uniform(0.2, 3)):
            for pid in list(busy_workers())[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        rows = list(rows_of(*[{"clustering.n_clusters": k} for k in range(2, 10)]))
    finally:
        done.set()
        killer.join()
    INJECTED["deaths of Ray's workers"] += len(killed)
    assert killed
    assert len({row["id"] for row in rows}) == len(rows) == 8
    assert all(row["stop_reason"] == "max_steps" for row in rows)


def test_a_group_that_always_loses_its_worker(rows_of, monkeypatch):
    monkeypatch.setattr(ray_workers, "MAX_RETRIES", 0)
    with pytest.raises(ValueError, match="a group of 1 trials lost its worker again and again"):
        list(rows_of({"clustering.objective": "ray_objectives:kills"}))


def test_what_a_trial_raises_ends_the_sweep(rows_of):
    with pytest.raises(ValueError, match="^this objective is broken"):
        list(rows_of({"clustering.objective": "ray_objectives:fails"}))


@pytest.mark.usefixtures("cluster")
def test_a_cluster_without_fitting_workers(monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8, "GPU": 1}}])
    with pytest.raises(ValueError, match="must have a node with 2 GPUs, got 1 on the largest"):
        ray_workers._workers(ray, 2)
    nodes = [{"Alive": True, "Resources": {"CPU": 8, "GPU": 4}}, {"Alive": False, "Resources": {"GPU": 4}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert ray_workers._workers(ray, 2) == (2, 1, {"num_cpus": 1, "num_gpus": 2})


@pytest.mark.parametrize(
    ("lengths", "n_workers", "groups"),
    [
        ([2, 2, 2, 2], 2, [4, 4]),
        ([2, 2, 2, 2], 8, [2, 2, 2, 2]),
        ([3] * 5, 2, [6, 6, 3]),
        ([40, 40, 40], 1, [40, 40, 40]),
        ([100, 1, 1], 1, [100, 2]),
        ([1, 1, 1, 9], 3, [1, 1, 1, 9]),
    ],
)
def test_groups(lengths, n_workers, groups):
    batches = [[object() for _ in range(length)] for length in lengths]
    made = make_groups(batches, n_workers)
    assert [len(group) for group in made] == groups
    assert sum(made, []) == sum(batches, [])  # noqa: RUF017
    assert [len(batch) for batch in batches] == lengths


@pytest.fixture
def not_connected(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.usefixtures("not_connected")
def test_an_address_that_does_not_answer(monkeypatch):
    with socket.create_server(("", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    with pytest.raises(ValueError, match=f"ray_address {address} does not answer: Connection refused"):
        ray_workers.connected(address).__enter__()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match=f"ray_address {address} does not answer"):
        ray_workers.connected(None).__enter__()


@pytest.mark.usefixtures("not_connected")
def test_something_else_answers(monkeypatch):
    def give_up(**_):
        raise SystemExit(15)

    monkeypatch.setattr(ray, "init", give_up)
    with (
        socket.create_server(("", 0)) as server,
        pytest.raises(ValueError, match="Ray cannot be used at localhost:.*: 15"),
    ):
        ray_workers.connected(f"localhost:{server.getsockname()[1]}").__enter__()


@pytest.mark.usefixtures("not_connected")
def test_an_address_that_is_none():
    with pytest.raises(ValueError, match="ray_address must be HOST:PORT, got 'ray://head:10001'"):
        ray_workers.connected("ray://head:10001").__enter__()


def test_ray_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'engine ray needs Ray: pip install "dec_jax\[ray\]"'):
        ray_workers.connected(None).__enter__()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--engine", "rai"), "unknown engine 'rai'; did you mean 'ray'"),
        (("--ray-address", "a:1"), "ray_address needs engine ray, got local"),
        (
            ("--engine", "ray", "--n-processes", "1", "--process-id", "0"),
            "engine ray has processes of its own",
        ),
    ],
)
def test_options_that_do_not_fit(tmp_path, capsys, words, problem):
    assert sweep.main([*words, "--out", str(tmp_path / "out")]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
