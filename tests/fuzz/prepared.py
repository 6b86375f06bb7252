"""Prepared pictures of TensorFlow Datasets: the records and the two JSON files beside them."""

import os
import shutil
from functools import partial

from data.conftest import write_prepared

from dec_jax.data import load

from .readers import Kind

FOLDER = "mnist/3.0.1"


def _write(path):
    root = path.parents[2]
    shutil.rmtree(root / "mnist", ignore_errors=True)
    write_prepared(root)


def _read(path):
    shutil.rmtree(os.environ["DEC_JAX_CACHE"] + "/none", ignore_errors=True)
    return load("mnist-test", data_dir=path.parents[2])


FILES = ("mnist-test.array_record-00000-of-00001", "dataset_info.json", "features.json")
KINDS = {f"prepared {name}": Kind(f"{FOLDER}/{name}", partial(_write), _read) for name in FILES}
