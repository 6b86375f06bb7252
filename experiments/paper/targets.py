"""What the command can make: each table and figure by its name."""

from collections.abc import Callable
from importlib import import_module

from experiments.paper.context import Context

# The module that makes it: imported when it is asked for, because some need packages that others do not.
TARGETS = {
    "datasets": "datasets",
    "accuracy": "accuracy",
    "autoencoder": "autoencoder",
    "lambda": "lambdas",
    "gradient": "gradient",
    "embedding": "embedding",
    "top": "top",
    "imbalance": "imbalance",
    "clusters": "clusters",
    "autoencoders": "autoencoders",
    "highdim": "highdim",
}


def load(name: str) -> Callable[[Context], None]:
    """The function that makes a target."""
    return import_module(f"experiments.paper.{TARGETS[name]}").run
