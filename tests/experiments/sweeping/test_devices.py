import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Runs a sweep with the layout that is asked for, and keeps what its trials have found.
SWEEP = """
import sys
from pathlib import Path
import jax, numpy as np
from tiny_sweep import make_engine, rows_of, samples_of, trials_of
from experiments.sweeping import engine
from experiments.sweeping.layout import make_layout

engine.STEPS_A_WINDOW = 1
folder, n_devices, data_shards = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
assert len(jax.devices()) == n_devices
layout = make_layout(data_shards)
assert layout.trial_shards == n_devices // data_shards
shared = make_engine(folder, samples_of(layout=layout), most_lanes=2 if n_devices == 1 else 1)
grid = [{"n_clusters": 3, "bottleneck": 2}, {"n_clusters": 5, "bottleneck": 3, "max_steps": 25}, {"seed": 1}]
found, finish, devices = {}, engine._finish, set()

def note(work, place, lane, *words):
    states = jax.tree.map(lambda leaf: np.asarray(leaf[place]), work.states)
    devices.update(work.states.centroids.sharding.device_set)
    name = lane.trial.index
    found.update({f"labels {name}": states.labels, f"centroids {name}": states.centroids})
    found.update({f"params {name} {i}": leaf for i, leaf in enumerate(jax.tree.leaves(states.params))})
    return finish(work, place, lane, *words)

engine._finish = note
for row in rows_of(shared, trials_of(shared, *grid)).values():
    for name in ("acc", "kmeans_acc", "clustering_loss", "silhouette", "confidence", "generalisability", "steps"):
        found[f"{name} {row['trial']}"] = row[name]
assert len(devices) == n_devices
assert shared.compiled.count == 4
np.savez(folder / "found.npz", **found)
"""


def sweep(folder, programs, n_devices, data_shards):
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}",
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
    assert sum(name.startswith("labels") for name in found) == 3
    for name, value in one_device.items():
        if name.startswith(("labels", "acc", "kmeans_acc", "steps")):
            np.testing.assert_array_equal(found[name], value)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=2e-5)
