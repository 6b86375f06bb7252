"""Data of the tiny runs, and one of them that has been finished."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_run import X, Y, cluster

from experiments import journal, report


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
