"""Data of the tiny runs, and one of them that has been finished."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_run import X, Y, cluster

from benchmarks import matmul_rate
from experiments import journal, report


@pytest.fixture(scope="session", autouse=True)
def small_products():
    """Keeps the measurement of the device's rate from taking longer than a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul_rate, "SIZES", {"cpu": (64,)})
        patch.setattr(matmul_rate, "ACCELERATOR_SIZES", (64,))
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Paths of the samples (x) and their labels (y)."""
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    return SimpleNamespace(x=folder / "x.npy", y=folder / "y.npy")


@pytest.fixture(scope="session")
def finished(files, tmp_path_factory):
    """A finished run with labels and pictures: its folder, and what it left there."""
    out = tmp_path_factory.mktemp("finished") / "out"
    return SimpleNamespace(out=out, outcome=cluster(files.x, out, "--labels", files.y))


@pytest.fixture
def no_pictures(monkeypatch):
    """Leaves the pictures out, which take longer than the rest."""
    monkeypatch.setattr(report, "_draw", lambda folder, trial: None)


@pytest.fixture
def eager_journal(monkeypatch):
    """Saves at every opportunity."""
    monkeypatch.setattr(journal, "SECONDS_BETWEEN_SAVES", 0)
