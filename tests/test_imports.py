import subprocess
import sys

# Devices can be made only before JAX has started its own, as `jax.distributed` can only be joined before.
IMPORT = """
import benchmarks.peers, benchmarks.scaling, benchmarks.throughput, dec_jax, experiments.run, experiments.sweep
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 3)
assert len(jax.devices()) == 3
"""


def test_imports_start_no_device():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
