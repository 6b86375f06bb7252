"""Data of the tiny runs, one of them that has been finished, and programs that are compiled once."""

from types import SimpleNamespace

import numpy as np
import pytest

from dec_jax.runner import checkpoint, report

from .tiny_run import SMALL, X, Y, cluster


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Paths of the samples (x) and their labels (y)."""
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", Y)
    return SimpleNamespace(x=folder / "x.npy", y=folder / "y.npy")


@pytest.fixture(scope="package")
def finished(files, tmp_path_factory):
    """A finished run with labels and pictures: its folder, and what it left there."""
    out = tmp_path_factory.mktemp("finished") / "out"
    return SimpleNamespace(out=out, outcome=cluster(files.x, out, "--labels", files.y))


@pytest.fixture(scope="package")
def small(files, tmp_path_factory):
    """What a finished run without layer-wise pretraining, labels and pictures left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_draw", lambda folder, run, plane: None)
        patch.setattr(report, "_write_page", lambda folder, run, plane: None)
        return cluster(files.x, tmp_path_factory.mktemp("small") / "out", settings=SMALL)


@pytest.fixture
def no_pictures(monkeypatch):
    """Leaves the pictures and the page out, which take longer than the rest."""
    monkeypatch.setattr(report, "_draw", lambda folder, run, plane: None)
    monkeypatch.setattr(report, "_write_page", lambda folder, run, plane: None)


@pytest.fixture
def eager_saves(monkeypatch):
    """Saves at every opportunity."""
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0)
