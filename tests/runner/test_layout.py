import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.long

# Runs a sweep with the layout that is asked for, and keeps what its trials have found.
SWEEP = """
import sys
from pathlib import Path
import jax, numpy as np
from runner.tiny_sweep import K, M, make_shop, outcomes_of, split_of, trials_of
from dec_jax.runner import capacity, clustering_phase, pretraining_phase
from dec_jax.runner.layout import make_layout

folder, n_devices, data_shards = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
pretraining_phase.STEPS_PER_WINDOW = 1
capacity.SLOTS_ON_CPU = 2 if n_devices == 1 else 1
assert len(jax.devices()) == n_devices
layout = make_layout(data_shards)
assert layout.trial_shards == n_devices // data_shards
shop = make_shop(folder, split_of(layout=layout))
trials = trials_of(shop, {K: 3, M: 2}, {K: 5, M: 3, "clustering.max_steps": 25}, {"seed": 1})
found, devices = {}, set()
finish = clustering_phase.Clustering.finish

def note(self, slot, course):
    devices.update(self.program.states.state.centroids.sharding.device_set)
    return finish(self, slot, course)

clustering_phase.Clustering.finish = note
for outcome in outcomes_of(shop, trials).values():
    name = outcome.trial.index
    found.update({f"labels {name} {method}": labels for method, labels in outcome.labels.items()})
    found.update({f"params {name} {i}": leaf for i, leaf in enumerate(jax.tree.leaves(outcome.params))})
    found.update({f"{part} {name}": getattr(outcome, part) for part in ("centroids", "z", "log_q", "steps")})
assert len(devices) == n_devices
assert shop.compiled.count == 6
np.savez(folder / "found.npz", **found)
"""


def sweep(folder, programs, n_devices, data_shards):
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={n_devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    folder.mkdir()
    words = [sys.executable, "-c", SWEEP, str(folder), str(n_devices), str(data_shards)]
    subprocess.run(words, env=environment, check=True)
    with np.load(folder / "found.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory, compiled_programs):
    return sweep(tmp_path_factory.mktemp("devices") / "one", compiled_programs, 1, 1)


@pytest.mark.parametrize("data_shards", [2])  # trials over four pairs of devices, samples over the two of a pair
def test_eight_devices_find_what_one_does(one_device, compiled_programs, tmp_path, data_shards):
    found = sweep(tmp_path / "eight", compiled_programs, 8, data_shards)
    assert found.keys() == one_device.keys()
    assert sum(name.startswith("labels") for name in found) == 6
    for name, value in one_device.items():
        if name.startswith(("labels", "steps")):
            np.testing.assert_array_equal(found[name], value)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4)
