"""Targets at a size that takes seconds."""

import io

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from rich.console import Console

from experiments.paper import context


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """A folder of compiled programs, which the tests share."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(autouse=True)
def shared_programs(programs):
    """Lets every target compile its programs as if it were alone, and finds those that are known already."""
    options = {
        "jax_compilation_cache_dir": str(programs),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it may have been asked before, when it had no folder
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


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
