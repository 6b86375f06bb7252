"""Targets at a size that takes seconds."""

import io

import pytest
from rich.console import Console

from experiments.paper import context


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A context of 150 digits, a small network and a few steps."""
    settings = {
        "network.hidden": (16,),
        "pretraining.fine_tuning_steps": 40,
        "start.kmeans_restarts": 2,
        "clustering.max_steps": 20,
        "clustering.update_interval": 10,
        "clustering.tolerance": 0.0,
    }
    monkeypatch.setattr(context, "LAPTOP", settings)
    monkeypatch.setattr(context, "LAPTOP_SAMPLES", 150)
    console = Console(file=io.StringIO(), width=200, markup=False, highlight=False)
    return context.Context(tmp_path / "out", seeds=(0, 1), names=("digits",), console=console)
