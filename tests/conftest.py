"""What all tests share: the real data sets, where TFDS_DATA_DIR has them."""

import os
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")


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
        pytest.skip(f"there is no folder {folder}")
    return folder


def absent(reason):
    """Skips the test, or fails it where DEC_JAX_REQUIRE_REAL_DATA is 1."""
    if os.environ.get("DEC_JAX_REQUIRE_REAL_DATA") == "1":
        pytest.fail(f"real data are required: {reason}", pytrace=False)
    pytest.skip(reason)
