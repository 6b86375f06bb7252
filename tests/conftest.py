"""What all tests share: compiled programs, and the real data sets, where TFDS_DATA_DIR has them."""

import gc
import os
import time
from pathlib import Path

import hypothesis
import jax
import jaxlib
import pytest
from jax._src.compilation_cache import decompress_executable
from jax.experimental.compilation_cache import compilation_cache

from dec_jax.runner import fitting

hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")

# All tests compile quickly, also what their files compute when they are read, and processes that they start.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "True"
# XLA's newer generator of code takes as long as the rest of a compilation, and code in a piece for each thread takes a
# sixth longer than code in one.
if jaxlib.__version__.startswith("0.10."):  # a flag that a jaxlib does not know ends the process
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}"
# Of memory. Linux lets a process have 65,530, a compiled program takes about ten, and one that gets none crashes.
MOST_MAPPINGS = 20_000
COMPILED = Path(__file__).parents[1] / "build" / "compiled"
KEPT = 7 * 24 * 3600  # seconds


def pytest_configure(config):
    """Removes kept programs that are old, or that a killed process has written in part, before tests start."""
    if hasattr(config, "workerinput"):
        return
    for file in COMPILED.glob("*-cache"):
        if file.stat().st_mtime < time.time() - KEPT or not is_whole(file):
            file.unlink()


def pytest_collection_finish():
    """Spares the collector of garbage what modules hold until the end, which it would go through again and again."""
    gc.collect()
    gc.freeze()


def is_whole(file):
    try:
        return bool(decompress_executable(file.read_bytes()))
    except Exception:  # of the library that packed it
        return False


@pytest.fixture(scope="session", autouse=True)
def compiled_programs():
    """Keeps programs where other tests, their processes and the next call of the tests find them; returns the folder.

    JAX writes them in place: who reads one too early warns, and compiles it.
    """
    options = {
        "jax_compilation_cache_dir": str(COMPILED),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        "jax_traceback_in_locations_limit": 0,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            patch.setenv(name.upper(), str(value))
        yield COMPILED
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module", autouse=True)
def few_mappings():
    """Forgets all compiled programs after a module where the process holds many."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPPINGS:
        fitting.COMPILED.programs.clear()
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def optimized():
    """Compiles as a user's process does: for a test that computes for longer than it compiles."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory):
    """A cache folder that the real-data tests share, so that each data set is decoded once."""
    return tmp_path_factory.mktemp("real_cache")


@pytest.fixture
def real_data_dir(real_cache, monkeypatch):
    """The folder TFDS_DATA_DIR; a test that asks for it is skipped where there is none."""
    monkeypatch.setenv("DEC_JAX_CACHE", str(real_cache))
    folder = os.environ.get("TFDS_DATA_DIR")
    if not folder:
        absent("TFDS_DATA_DIR is not set")
    if not Path(folder).is_dir():
        absent(f"TFDS_DATA_DIR ({folder}) is not a folder")
    return Path(folder)


@pytest.fixture
def real_data(real_data_dir):
    """A function that skips the test unless TFDS_DATA_DIR holds the named data set."""

    def require(name):
        if not list(real_data_dir.glob(f"{name}/*/dataset_info.json")):
            absent(f"TFDS_DATA_DIR ({real_data_dir}) does not hold {name}")

    return require


@pytest.fixture(scope="session")
def cases():
    """The folder of files as people have them, beside that of the data; a test that asks for it is skipped without."""
    folder = Path(__file__).parents[2] / "shared" / "cases"
    if not folder.is_dir():
        absent(f"there is no folder {folder}")
    return folder


def absent(reason):
    """Skips the test, or fails it where DEC_JAX_REQUIRE_REAL_DATA is 1."""
    if os.environ.get("DEC_JAX_REQUIRE_REAL_DATA") == "1":
        pytest.fail(f"real data are required: {reason}", pytrace=False)
    pytest.skip(reason)
