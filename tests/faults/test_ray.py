"""A Ray cluster whose head is killed or starts again, or whose nodes freeze, costs a sweep no finished trial."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from dec_jax.row_log import read_rows

from .counts import INJECTED, SCALE
from .wholes import lines, sweep_to

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(SCALE == 1, reason="takes minutes: see make faults"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]

ROOT = Path(__file__).parents[2]
N_TRIALS = 9
SWEEPING = """
import sys, time
from dec_jax.runner import ray_workers, sweep, sweep_pictures
from dec_jax.runner.sweep_folder import SweepFolder
ray_workers.SECONDS_BETWEEN_BEATS = ray_workers.SECONDS_BETWEEN_LOOKS = 1.0
ray_workers.LOOKS_OF_SILENCE = 15
ray_workers.SECONDS_TO_LEAVE = 10.0
sweep_pictures.draw = lambda *_: []
save_row = SweepFolder.save_row

def slowly(*arguments):
    save_row(*arguments)
    time.sleep(1)  # rows remain to be fetched when it happens

SweepFolder.save_row = slowly
sys.exit(sweep.main(sys.argv[1:]))
"""
# Long clusterings: when the first rows are there, the last group has just begun.
SWEEP = "hidden=8 weight_init=glorot batch_size=32 fine_tuning_steps=40 kmeans_restarts=1"
SWEEP += " update_interval=10 max_steps=20000 tolerance=0"
MARK = "DEC_JAX_TEST_CLUSTER"
HEAD, NODE, WORKER = "gcs_server", "raylet", "ray::_run_group"


class Cluster:
    """What a test has started of Ray, known by a variable of its environment."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the names of sockets must be short
        self.environment = os.environ | {MARK: self.folder, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": self.folder}
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}  # one for all its processes
        self.environment.pop("RAY_ADDRESS", None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.address = f"127.0.0.1:{server.getsockname()[1]}"

    def start_head(self):
        host, port = self.address.split(":")
        words = ["start", "--head", f"--node-ip-address={host}", f"--port={port}", "--num-cpus=2"]
        words += ["--include-dashboard=false", "--disable-usage-stats"]
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *words]
        subprocess.run(ray, check=True, env=self.environment, capture_output=True, timeout=120)

    def members(self, *names):
        """Its processes of these names."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                ours = f"{MARK}={self.folder}".encode() in (folder / "environ").read_bytes().split(b"\0")
                if ours and os.path.basename(words[0]).startswith(names):
                    found.append(int(folder.name))
        return found

    def send(self, number, *names):
        pids = self.members(*names)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def kill(self):
        self.send(signal.SIGKILL, HEAD, NODE, "ray::", "python")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster():
    with Cluster() as cluster:
        yield cluster


def start(cluster, files, folder, *words):
    """Starts a sweep."""
    base = ["--data", files / "x.npy", "--labels", files / "y.npy", "--n-clusters", "3:6", "--bottleneck", "2"]
    base += ["--seeds", "3", "--preset", "demo", "--engine", "ray", "--no-report", *words, *sweep_to(folder)]
    command = [sys.executable, "-c", SWEEPING, *map(str, base), "--set", *SWEEP.split()]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=cluster.environment, **streams)


def end(process):
    _, said = process.communicate(timeout=900)
    return process.returncode, said


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The table of a sweep to which nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    with Cluster() as cluster:
        cluster.start_head()
        status, said = end(start(cluster, files, folder, "--ray-address", cluster.address))
    assert status == 0, said
    return lines(folder / "out")


def rows_of(folder):
    return read_rows([folder / "out" / "rows" / "0.jsonl"])


def wait_for_rows(process, folder, n):
    while len(rows_of(folder)) < n:
        assert process.poll() is None, end(process)
        time.sleep(0.05)


def killed(cluster):
    assert cluster.send(signal.SIGKILL, HEAD, NODE, WORKER)


def only_head_killed(cluster):
    assert cluster.send(signal.SIGKILL, HEAD)


def restarted(cluster):
    killed(cluster)
    cluster.start_head()


def workers_frozen(cluster):
    assert cluster.send(signal.SIGSTOP, WORKER)


def all_frozen(cluster):
    assert cluster.send(signal.SIGSTOP, HEAD, NODE, WORKER)


def frozen_for_seconds(cluster):
    all_frozen(cluster)
    time.sleep(5)
    cluster.send(signal.SIGCONT, HEAD, NODE, WORKER)


# What happens to a cluster, whether the sweep itself has started it, and how the sweep may end.
FAULTS = {
    "a cluster of its own is killed": (killed, True, {2}),
    "the head is killed": (only_head_killed, False, {2}),
    "the head is killed and starts again": (restarted, False, {0, 2}),
    "workers freeze": (workers_frozen, False, {2}),
    "a node freezes": (all_frozen, False, {2}),
    "a node freezes for seconds": (frozen_for_seconds, False, {0}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sweep_outlives_its_ray_cluster(cluster, files, whole, tmp_path, fault):
    happens, is_own, statuses = FAULTS[fault]
    address = () if is_own else ("--ray-address", cluster.address)
    if not is_own:
        cluster.start_head()
    process = start(cluster, files, tmp_path, *address)
    wait_for_rows(process, tmp_path, 2)
    happens(cluster)
    status, said = end(process)
    INJECTED[f"Ray: {fault}"] += 1
    assert status in statuses, said
    kept = rows_of(tmp_path)
    assert len(kept) >= 2
    if status:
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "the same command goes on" in line
        cluster.send(signal.SIGCONT, HEAD, NODE, "ray::")
        cluster.kill()
        if not is_own:
            cluster.start_head()
        status, said = end(start(cluster, files, tmp_path, *address))
        assert status == 0, said
        assert f"{N_TRIALS - len(kept)} trials in" in said
    assert lines(tmp_path / "out") == whole
