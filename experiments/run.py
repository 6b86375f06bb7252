"""Clusters one data set: python -m experiments.run --data NAME|FILE; see --help."""

import os
import sys

from dec_jax.runner.run import main

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
