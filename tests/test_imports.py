import subprocess
import sys
from pathlib import Path

import pytest

import dec_jax

# Devices can be made only before JAX has started its own, as `jax.distributed` can only be joined before.
IMPORT = """
import {modules}
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 3)
assert len(jax.devices()) == 3
"""
PROGRAMS = "benchmarks.peers, benchmarks.scaling, benchmarks.throughput, experiments.run, experiments.sweep"
CORE = sorted(Path(dec_jax.__file__).parent.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("modules", ["dec_jax", PROGRAMS], ids=["library", "programs"])
def test_imports_start_no_device(modules):
    done = subprocess.run([sys.executable, "-c", IMPORT.format(modules=modules)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
