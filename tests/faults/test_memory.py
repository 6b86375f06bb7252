"""Too little memory is said in one line before the work starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dec_jax.runner import address_space, failures

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
