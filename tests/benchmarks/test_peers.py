import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peer_process, peers
from benchmarks.peer_process import WORKER, PeerError, PeerProcess

pytestmark = pytest.mark.slow

TINY = ("--dims", "12,2", "--batch", "16", "--samples", "64", "--rounds", "1")
FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))


def test_a_peer_that_fails_costs_its_own_row_only(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(peers, "PeerProcess", lambda *_: PeerProcess(FAKE))
    out = tmp_path / "peers.json"
    assert peers.main([*TINY, "--steps", "2", "--out", str(out)]) == 2
    records = json.loads(out.read_text())
    assert [record["name"].split(" against ") for record in records] == [
        ["fine-tuning step", "PyTorch"],
        ["fine-tuning step", "ClustPy"],
        ["clustering step", "ClustPy"],
        ["clustering step and its share of P", "PyTorch"],
        ["clustering step and its share of P", "ClustPy"],
        ["k-means, 20 restarts", "scikit-learn"],
    ]
    for record in records:
        assert {"name", "seconds_per_step", "gflops", "fraction"} <= set(record)
        low, high = record["ratio_range"]
        assert low <= record["ratio"] <= high
    assert records[0]["peer_seconds_per_step"] == 0.25
    assert records[-1]["peer_inertia"] == 1
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all("against torch.compile was not measured: RuntimeError: no compiler" in line for line in errors)


def test_without_peers_kmeans_is_measured(monkeypatch, capfd):
    missing = partial(PeerProcess, ("/no/such/python",))
    monkeypatch.setattr(peers, "PeerProcess", lambda *command: PeerProcess(*command) if command else missing())
    assert peers.main([*TINY]) == 2
    printed = capfd.readouterr()
    assert "scikit-learn" in printed.out
    assert printed.err.splitlines() == [
        "error: no peers are installed (/no/such/python is missing): run `make peers`",
    ]


def test_more_steps_than_an_epoch(error_line):
    assert peers.main([*TINY, "--steps", "5"]) == 2
    assert "steps must be between 1 and 4" in error_line()


def test_worker_answers_and_goes_on_after_an_error(tmp_path):
    np.save(tmp_path / "z.npy", np.random.default_rng(0).random((50, 2), np.float32))
    ask = {"z": str(tmp_path / "z.npy"), "n_clusters": 3, "n_restarts": 2, "tolerance": 1e-4}
    with PeerProcess((sys.executable, *WORKER)) as process:
        with pytest.raises(PeerError, match="FileNotFoundError"):
            process.ask("kmeans", **ask | {"z": "nowhere.npy"}, seed=0)
        answer = process.ask("kmeans", **ask, seed=0)
    assert answer["seconds"] > 0
    assert answer["inertia"] > 0


def test_worker_that_dies_says_its_last_words():
    with PeerProcess(FAKE) as process, pytest.raises(PeerError, match="process ended: out of luck"):
        process.ask("die")


def test_peers_do_not_import_jax():
    folder = Path(peer_process.__file__).parent
    for name in ("peer_worker.py", "torch_loop.py", "clustpy_epochs.py"):
        source = (folder / name).read_text()
        assert "import jax" not in source
        assert "dec_jax" not in source
