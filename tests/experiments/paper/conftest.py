"""Targets at a size that takes seconds."""

import io

import pytest
from rich.console import Console

from experiments.paper import context


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A context of 150 digits, a small network and a few steps."""
    steps = {"fine_tuning_steps": 40, "max_steps": 20, "update_interval": 10, "kmeans_restarts": 2}
    monkeypatch.setattr(context, "LAPTOP", steps | {"hidden": (16,), "tolerance": 0.0})
    monkeypatch.setattr(context, "LAPTOP_SAMPLES", 150)
    console = Console(file=io.StringIO(), width=200, markup=False, highlight=False)
    return context.Context(tmp_path / "out", seeds=(0, 1), names=("digits",), console=console)
