"""Two, four and eight processes on one store, one log of rows, one cache and one lock."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runner.tiny_run import X, Y

from dec_jax.data.atomic import ORPHAN
from dec_jax.row_log import read_rows
from dec_jax.runner import table
from dec_jax.storage import Store

from .counts import INJECTED, SCALE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
N = 15 * SCALE
WORKER = """
import os, sys, warnings
from pathlib import Path
import numpy as np
from dec_jax.data.cache import cached
from dec_jax.folder_lock import lock
from dec_jax.row_log import RowLog, read_rows
from dec_jax.storage import Store

folder, number, n = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.environ["DEC_JAX_CACHE"] = str(folder / "cache")
warnings.simplefilter("error")
store, log = Store(folder / "store"), RowLog(folder / "rows.jsonl")
held = 0
while not (folder / "begin").exists():
    pass
for i in range(n):
    store.put("shared", {"x": np.full(2000, number)}, {"number": number})
    tree, metadata = store.get("shared")
    assert set(tree["x"].tolist()) == {metadata["number"]}
    store.put(f"own-{number}", {"x": np.full(10, i)}, {})
    log.append(f"{number}-{i}", {"n": i, "labels": np.full(300, number)})
    assert set(cached("made", f"{i % 3}" * 64, lambda: {"x": np.full(500, i % 3)})["x"].tolist()) == {i % 3}
    try:
        with lock(folder / "held"):
            alone = folder / "held" / "alone"
            alone.touch(exist_ok=False)
            held += 1
            alone.unlink()
    except ValueError as error:
        assert "is in use by" in str(error)
assert sum(name.startswith(f"{number}-") for name in read_rows([log.path])) == n
print(held)
"""


@pytest.mark.parametrize("n_processes", [2] if SCALE == 1 else [2, 4, 8])
def test_processes_that_share_folders_lose_nothing(tmp_path, n_processes):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [[sys.executable, "-c", WORKER, str(tmp_path), str(number), str(N)] for number in range(n_processes)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(one, env=environment, **streams) for one in words]
    (tmp_path / "begin").touch()
    ended = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0] * n_processes, ended
    assert sum(int(out) for out, _ in ended) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, store = read_rows([tmp_path / "rows.jsonl"]), Store(tmp_path / "store")
        assert len(rows) == n_processes * N
        for number in range(n_processes):
            assert set(rows[f"{number}-0"]["labels"].tolist()) == {number}
            np.testing.assert_array_equal(store.get(f"own-{number}")[0]["x"], np.full(10, N - 1))
    assert [path for path in tmp_path.rglob("*") if ORPHAN.fullmatch(path.name)] == []
    assert list((tmp_path / "held").iterdir()) == []
    INJECTED[f"writes of {n_processes} processes at once"] += n_processes * N


SWEEP = (
    "hidden=8 weight_init=glorot batch_size=32 fine_tuning_steps=40 kmeans_restarts=2 update_interval=10 max_steps=40"
)
SWEEP = ["--n-clusters", "3:7", "--bottleneck", "2:4", "--seeds", "2", "--preset", "demo", "--set", *SWEEP.split()]


def swept(folder, n_processes):
    """The table of a sweep that so many processes share, without what takes time."""
    words = [
        sys.executable,
        "-m",
        "experiments.sweep",
        "--data",
        folder / "x.npy",
        "--labels",
        folder / "y.npy",
        *SWEEP,
    ]
    words += ["--out", folder / f"by-{n_processes}", "--cache", folder / f"cache-{n_processes}"]
    shares = [["--n-processes", str(n_processes), "--process-id", str(number)] for number in range(n_processes)]
    processes = [subprocess.Popen([*words, *share], cwd=ROOT, stderr=subprocess.PIPE) for share in shares]
    ended = [process.communicate(timeout=900)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * n_processes, ended
    return table.read(folder / f"by-{n_processes}").drop(columns=list(table.TIME_COLUMNS))


@pytest.mark.long
def test_processes_that_share_a_sweep_make_the_table_of_one(tmp_path):
    np.save(tmp_path / "x.npy", X[:120])
    np.save(tmp_path / "y.npy", Y[:120])
    whole = swept(tmp_path, 1)
    for n_processes in [2] if SCALE == 1 else [2, 4, 8]:
        pd.testing.assert_frame_equal(swept(tmp_path, n_processes), whole, rtol=1e-3, atol=1e-4)
        INJECTED["processes that share a sweep"] += n_processes
