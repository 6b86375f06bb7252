"""Adjusted Rand indices on generated tables, by the form of their clusters: python -m benchmarks.tables; see --help.

Every table is standardised first. "ours" is where the preset auto starts from on a table, which its network then
learns: the graph's partition, or a mixture of Gaussians where that describes the samples best.
"""

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from rich.table import Table
from sklearn.cluster import KMeans
from sklearn.datasets import make_circles, make_moons
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from benchmarks import command
from benchmarks.command import Record
from dec_jax import graph, metrics, mixture
from dec_jax.neighbors import nearest
from dec_jax.validation import check_integer

Generated = tuple[np.ndarray, np.ndarray]

SAMPLES = (150, 400, 1000, 3000)
HEAPS: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "Gaussians": lambda rng, shape: rng.normal(size=shape),
    "Gaussians, one covariance": lambda rng, shape: rng.normal(size=shape),
    "oblique boxes": lambda rng, shape: rng.uniform(-math.sqrt(3), math.sqrt(3), shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape),
    "skewed": lambda rng, shape: rng.normal(size=shape),
}
CURVES = ("moons", "circles", "spirals")
METHODS = ("k-means", "mixture", "graph", "ours")


def heaps(family: str, rng: np.random.Generator, n: int) -> Generated:
    """2 to 8 heaps of 2 to 20 features, of equal or unequal sizes, apart or not: samples (n, d) and clusters (n,)."""
    k, d = int(rng.integers(2, 9)), int(rng.integers(2, 21))
    shares = rng.dirichlet(np.full(k, 5.0)) if rng.random() < 0.5 else np.full(k, 1 / k)
    y = rng.choice(k, n, p=shares)
    means = rng.normal(size=(k, d)) * 1.5 * rng.uniform(1.2, 3.5) / math.sqrt(d)
    factors = np.stack([_factor(rng, d) for _ in range(k)])
    if family == "Gaussians, one covariance":
        factors[:] = factors[0]
    x = means[y] + np.einsum("nij,nj->ni", factors[y], HEAPS[family](rng, (n, d)))
    return np.exp(x / 2) if family == "skewed" else x, y


def _factor(rng: np.random.Generator, d: int) -> np.ndarray:
    """A matrix A (d, d): the covariance of A z is oblique, and 1 on average."""
    lengths = np.exp(rng.normal(scale=0.7, size=d))
    return np.linalg.qr(rng.normal(size=(d, d)))[0] * lengths / np.sqrt(np.mean(lengths**2))


def curves(family: str, rng: np.random.Generator, n: int) -> Generated:
    """Curves in the plane, with noise: samples (n, 2) and clusters (n,)."""
    seed = int(rng.integers(2**31))
    if family == "moons":
        return make_moons(n, noise=rng.uniform(0.05, 0.2), random_state=seed)
    if family == "circles":
        return make_circles(n, noise=rng.uniform(0.03, 0.1), factor=0.5, random_state=seed)
    k = int(rng.integers(2, 4))
    y = np.arange(n) % k
    radius = rng.uniform(0.5, 3, n)
    angle = 2 * radius + 2 * np.pi * y / k
    x = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return x + rng.normal(scale=rng.uniform(0.05, 0.2), size=x.shape), y


def measure(family: str, seed: int) -> Record:
    """The adjusted Rand index of each method on one table."""
    rng = np.random.default_rng([(*HEAPS, *CURVES).index(family), seed])
    x, y = (heaps if family in HEAPS else curves)(family, rng, int(rng.choice(SAMPLES)))
    x, k = StandardScaler().fit_transform(x), int(y.max()) + 1
    by_graph = graph.partition(nearest(x, max(graph.SIGHTS)), k)
    of_mixture = mixture.partition(x, k, by_graph)
    found = {
        "k-means": KMeans(k, n_init=10, random_state=seed).fit_predict(x),
        "mixture": GaussianMixture(k, n_init=5, reg_covar=mixture.SMALLEST_VARIANCE, random_state=seed).fit_predict(x),
        "graph": by_graph,
        "ours": by_graph if of_mixture is None else of_mixture,
    }
    scores = {method: metrics.ari(y, labels) for method, labels in found.items()}
    return {"family": family, "seed": seed, "shape": list(x.shape), "n_clusters": k, "ari": scores}


def rows(records: Sequence[Record]) -> list[list[str]]:
    """The means by family, as text."""
    families = list(dict.fromkeys(record["family"] for record in records))
    found = []
    for family in [*families, "all"]:
        scores = [record["ari"] for record in records if family in (record["family"], "all")]
        found.append([family, *(f"{np.mean([one[method] for one in scores]):.3f}" for method in METHODS)])
    return found


def show(records: Sequence[Record]) -> None:
    """Prints the means by family."""
    table = Table("clusters", *METHODS)
    for row in rows(records):
        table.add_row(*row)
    command.console().print(table)


def _run(arguments: argparse.Namespace) -> int:
    check_integer("tables", arguments.tables, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mixtures that did not converge
        records = [measure(family, seed) for family in (*HEAPS, *CURVES) for seed in range(arguments.tables)]
    show(records)
    command.write(arguments.out, records)
    return 0


def main(words: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    cli = command.parser("tables", "Compares partitions of generated tables whose clusters have many forms.")
    cli.add_argument("--tables", type=int, default=40, metavar="N", help="of each form (default: 40)")
    return command.main(cli, _run, words)


if __name__ == "__main__":
    sys.exit(main())
