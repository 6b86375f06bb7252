"""Targets at a size that takes seconds."""

import io

import pytest
from rich.console import Console
from runner.tiny_paper import LAPTOP, LAPTOP_SAMPLES

from experiments.paper import context


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A context of 150 digits, a small network and a few steps."""
    monkeypatch.setattr(context, "LAPTOP", LAPTOP)
    monkeypatch.setattr(context, "LAPTOP_SAMPLES", LAPTOP_SAMPLES)
    console = Console(file=io.StringIO(), width=200, markup=False, highlight=False)
    return context.Context(tmp_path / "out", seeds=(0, 1), names=("digits",), console=console)
