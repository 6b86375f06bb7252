"""Too little memory: fewer trials lie side by side, or one line says so before the work starts."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from runner.tiny_run import X

from dec_jax.runner import address_space, capacity, failures, programs, sweep, sweep_pictures, table

from .counts import INJECTED, SCALE

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, sys
from dec_jax.runner import run, report
from dec_jax.runner.address_space import address_space_left
report._draw = lambda *_: None
used = 2**40
resource.setrlimit(resource.RLIMIT_AS, (used, used))
limit = used - address_space_left() + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(run.main(sys.argv[2:]))
"""
STEPS = "layer_wise_steps=0 fine_tuning_steps=20 max_steps=20 hidden=16 kmeans_restarts=1"


def limit_to(monkeypatch, n_bytes):
    infinite = address_space.resource.RLIM_INFINITY
    monkeypatch.setattr(address_space.resource, "getrlimit", lambda _: (n_bytes or infinite, infinite))


def test_what_is_left_of_the_address_space(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmSize:\t    1024 kB\n")
    limit_to(monkeypatch, 3 * 2**20)
    assert address_space.address_space_left(status) == 2 * 2**20
    assert address_space.address_space_left(tmp_path / "nowhere") == 3 * 2**20
    limit_to(monkeypatch, 2**10)
    assert address_space.address_space_left(status) == 0
    limit_to(monkeypatch, None)
    assert address_space.address_space_left(status) is None


def test_a_command_with_too_little_of_it_does_not_begin(monkeypatch, capsys):
    limit_to(monkeypatch, 2**30)
    assert failures.reported(lambda: pytest.fail("the work began")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the address space must have 4 GB left, got " in line


@pytest.mark.skipif(SCALE == 1, reason="starts a process for each limit: see make faults")
@pytest.mark.parametrize(("megabytes", "status"), [(1, 2), (1000, 2), (3900, 2), (4200, 0)])
def test_a_limited_run_ends_in_one_line_or_well(tmp_path, megabytes, status):
    words = ["--data", "digits", "--preset", "paper", "--out", tmp_path / "out", "--set", *STEPS.split()]
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(megabytes), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    INJECTED["run: memory limited"] += 1
    assert found.returncode == status, found.stderr
    if status:
        (line,) = found.stderr.splitlines()
        assert line.startswith("error: the address space must have")


# --------------------------------------------------------------------------- at 60 % of what the whole needs: a process

WIDE = {"run": 36_000, "sweep": 9_000}  # hidden units, so that most of what is needed is the programs'
WITHIN = """
import re, resource, sys
from pathlib import Path
from dec_jax.runner import capacity, report, run, sweep, sweep_pictures
report._draw, sweep_pictures.draw = lambda *_: None, lambda *_: []
limit = int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
status = {"run": run, "sweep": sweep}[sys.argv[2]].main(sys.argv[3:])
print("peak", re.search(r"VmPeak:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def within(limit, command, folder):
    """Runs a command within so many bytes of address space, 0 for any; returns how it ended."""
    words = ["--data", folder / "x.npy", "--n-clusters", "4", "--preset", "paper", "--bottleneck", "4", "--no-report"]
    words += ["--out", folder / f"out-{limit}", "--cache", folder / f"cache-{limit}", "--set", "layer_wise_steps=0"]
    words += ["fine_tuning_steps=2", "max_steps=2", "update_interval=1", "kmeans_restarts=1", "batch_size=12000"]
    words += [f"hidden={WIDE[command]}", *(["--seeds", "4"] if command == "sweep" else [])]
    return subprocess.run(
        [sys.executable, "-c", WITHIN, str(limit), command, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "True"},
    )


@pytest.mark.skipif(SCALE == 1, reason="takes minutes: see make faults")
@pytest.mark.skipif(capacity._physical_memory() < 16 * 2**30, reason="needs 9 GB of memory")
@pytest.mark.parametrize("command", ["run", "sweep"])
def test_with_60_percent_of_the_address_space_fewer_trials_lie_side_by_side(tmp_path, command):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", np.repeat(np.eye(4, 16) * 5, 4000, axis=0) + rng.normal(size=(16_000, 16)))
    whole = within(0, command, tmp_path)
    assert whole.returncode == 0, whole.stderr
    needed = int(re.search(r"^peak (\d+)$", whole.stdout, re.MULTILINE)[1]) * 2**10
    assert needed > 8 * 2**30
    limit = 6 * needed // 10
    found = within(limit, command, tmp_path)
    INJECTED[f"{command}: 60 % of the memory"] += 1
    if command == "run":  # one trial cannot be halved
        assert found.returncode == 2, found.stderr
        assert "error: memory must hold at least one trial, which needs" in found.stderr.splitlines()[-1]
        assert "Traceback" not in found.stderr
        return
    assert found.returncode == 0, found.stderr
    frames = [table.read(tmp_path / f"out-{one}").drop(columns=list(table.TIME_COLUMNS)) for one in (0, limit)]
    pd.testing.assert_frame_equal(*frames, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------- at 60 % of what the whole needs: a container

SWEEP = (
    "hidden=8 weight_init=glorot batch_size=32 fine_tuning_steps=40 kmeans_restarts=2 update_interval=10 max_steps=40"
)


@pytest.mark.long
def test_in_a_container_with_60_percent_of_the_memory_fewer_trials_lie_side_by_side(tmp_path, monkeypatch):
    """The container is said by files as the system has them; a process may use half of it."""
    needed, slots = {}, []
    fitting = capacity.fitting

    def noted(*arguments):
        slots.append(fitting(*arguments))
        needed[slots[-1]] = max(needed.get(slots[-1], 0), *map(programs.memory_of, arguments[-1](slots[-1]).values()))
        return slots[-1]

    def swept(name):
        slots.clear()
        words = [*words_of_sweep, "--out", tmp_path / name, "--cache", tmp_path / f"cache-{name}"]
        assert sweep.main([str(word) for word in words]) == 0
        return table.read(tmp_path / name).drop(columns=list(table.TIME_COLUMNS)), set(slots)

    np.save(tmp_path / "x.npy", X)
    words_of_sweep = ["--data", tmp_path / "x.npy", "--n-clusters", 4, "--bottleneck", 3, "--seeds", 4, "--no-report"]
    words_of_sweep += ["--preset", "demo", "--set", *SWEEP.split()]
    monkeypatch.setattr(capacity, "fitting", noted)
    monkeypatch.setattr(sweep_pictures, "draw", lambda *_: [])
    whole, at_once = swept("whole")
    assert at_once == {4}
    (tmp_path / "cgroup" / "job").mkdir(parents=True)
    (tmp_path / "membership").write_text("0::/job\n")
    (tmp_path / "cgroup" / "job" / "memory.max").write_text(f"{2 * 6 * needed[4] // 10}\n")
    container = partial(capacity.container_limit, tmp_path / "cgroup", tmp_path / "membership")
    monkeypatch.setattr(capacity, "container_limit", container)
    monkeypatch.setattr(capacity.jax, "local_device_count", lambda: 1)
    found, at_once = swept("limited")
    INJECTED["containers with 60 % of the memory"] += 1
    assert min(at_once) < 4
    pd.testing.assert_frame_equal(found, whole, rtol=1e-3, atol=1e-4)


def test_what_is_left_of_the_address_space_limits_what_lies_side_by_side(monkeypatch):
    compiled, tried = programs.Compiled(), []

    def build(n_slots):
        tried.append(n_slots)
        sizes = {"output_size_in_bytes": 0, "alias_size_in_bytes": 0, "temp_size_in_bytes": 0}
        analysis = SimpleNamespace(argument_size_in_bytes=n_slots * 2**28, **sizes)
        return {n_slots: SimpleNamespace(memory_analysis=lambda: analysis)}

    monkeypatch.setattr(capacity, "address_space_left", lambda: capacity.FOR_THE_REST + 3 * 2**28)
    assert capacity.fitting(compiled, 4, 1, 2**40, build) == 2
    assert tried == [4, 2]
    monkeypatch.setattr(capacity, "address_space_left", lambda: 5)
    with pytest.raises(ValueError, match="memory must hold at least one trial, which needs 256 MB, got 0 MB"):
        capacity.fitting(compiled, 1, 1, 2**40, build)
