"""The methods that a run compares: its baselines, and the objective that it clustered with."""

from collections.abc import Container, Mapping
from typing import Any

METHODS = {
    "kmeans": "k-means on the input",
    "umap": "k-means on UMAP of the input",
    "autoencoder_kmeans": "k-means on the embedding",
    "graph": "partition of the samples",
    "n2d": "N2D on the embedding",  # where clustering starts from it
    "final": "DEC",
}
LEARNT = "the network that learnt it"


def methods(found: Container[str]) -> dict[str, str]:
    """Those of `METHODS` that a run has labels of, or a result scores."""
    return {method: name for method, name in METHODS.items() if method in found}


def named(result: Mapping[str, Any]) -> dict[str, str]:
    """The methods that a result scores, and what they are called.

    Ours has the name of its objective, unless that did nothing after the network had learnt a partition.
    """
    objective = objective_name(result["settings"]["clustering.objective"])
    return methods(result) | {"final": LEARNT if result.get("steps") == 0 else objective}


def objective_name(objective: str) -> str:
    """What tables call the result of an objective: DEC, IDEC, …, or the function of the user's own."""
    return objective.partition(":")[2] or objective.upper()


def seconds_in_all(seconds: Mapping[str, float]) -> dict[str, float | None]:
    """The seconds of each method with all that it starts from, of those by phase; None where it did not run."""
    started = sum(seconds.get(name, 0.0) for name in ("pretraining", "graph", "n2d", "autoencoder_kmeans"))
    return {
        **{name: seconds.get(name) for name in ("kmeans", "umap", "graph")},
        "autoencoder_kmeans": seconds["pretraining"] + seconds.get("autoencoder_kmeans", 0.0),
        "n2d": seconds["pretraining"] + seconds.get("n2d", 0.0),
        "final": started + seconds["clustering"],
    }
