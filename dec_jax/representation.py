"""What samples are compared by when their neighbours are found: themselves, their roots, or histograms of gradients.

`choose` says which of them suits samples, `represented` makes it; `clearest` and `reliability` judge representations.
None of them takes labels of samples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.neighbors import NearestNeighbors

from dec_jax import graph
from dec_jax.hog import hog
from dec_jax.neighbors import metric_of
from dec_jax.samples import SparseRows
from dec_jax.validation import check_integer, check_samples

FEATURES = ("samples", "hog", "roots")
HOG_FROM = 8  # pixels of an image's shorter side
COMPARED = 10  # neighbours that two halves of the features are to agree in
SHOWN = 2000  # samples by which it is chosen


def choose(x: Any, image_shape: tuple[int, ...] | None) -> str:
    """What the neighbours of samples are found by: one of FEATURES.

    Images may be compared by the histograms of their gradients: they are where the graph of 2,000 of them falls apart
    more clearly by these (`clearest`). Sparse rows of counts or weights may be compared by their roots, as histograms
    are: they are where neighbours of 2,000 of them depend less on which features are seen (`reliability`).

    Args:
        x: (n, d), dense or sparse.
        image_shape: (h, w) or (h, w, channels) of the flattened images; None where samples are not images.
    """
    on_device = isinstance(x, SparseRows)  # where rows cannot be picked
    if on_device or (image_shape is None and not has_roots(x)):
        return "samples"
    x = check_samples(x, varying=False)
    n, d = x.shape
    shown = x[np.sort(np.random.default_rng(0).permutation(n)[:SHOWN])]
    if image_shape is not None:
        is_large = min(image_shape[:2]) >= HOG_FROM and n > 1
        return ("samples", "hog")[clearest([shown, hog(shown, image_shape)])] if is_large else "samples"
    if d < 2 or n <= COMPARED:
        return "samples"
    shown = shown.astype(np.float32)
    kept, by_roots = (reliability(one, n_neighbors=COMPARED) for one in (shown, _roots(shown)))
    return "roots" if by_roots > kept else "samples"


def has_roots(x: Any) -> bool:
    """Whether samples (n, d) may be compared by their roots: sparse rows of numbers of at least 0."""
    return scipy.sparse.issparse(x) and bool(scipy.sparse.csr_array(x).min() >= 0)


def represented(x: Any, features: str, image_shape: tuple[int, ...] | None) -> Any:
    """What samples (n, d) are compared by.

    Args:
        x: dense or sparse; for "roots" sparse, and at least 0.
        features: one of FEATURES.
        image_shape: (h, w) or (h, w, channels) for "hog".
    """
    if features == "hog":
        return hog(x, image_shape)
    return _roots(x) if features == "roots" else x


def _roots(x: Any) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(x, dtype=np.float32).sqrt()  # counts may be of types that have no roots


def clearest(representations: Sequence[Any], *, seed: int = 0) -> int:
    """Which of several representations of the same samples falls apart most clearly.

    It is the one whose graph of the 5 nearest neighbours has the communities of the highest modularity.

    Args:
        representations: of each (n, d), dense or sparse, n at least 2; `metric_of` says how samples are compared.
        seed: of Leiden.

    Returns:
        The index of the representation; the first where several are equal.
    """
    reached = []
    for x in representations:
        others = _others(x, min(graph.JUDGES, x.shape[0]) - 1, metric_of(x))
        seen = graph.neighbor_graph(np.column_stack([np.arange(len(others)), others]))
        reached.append(graph.modularity(seen, graph.communities(seen, seed)(1.0)))
    return int(np.argmax(reached))


def _others(x: Any, n_neighbors: int, metric: str) -> np.ndarray:
    """The nearest other samples (n, κ) of a few thousand: nothing is compiled for them."""
    found = NearestNeighbors(n_neighbors=n_neighbors, metric=metric, algorithm="brute").fit(x)
    return found.kneighbors(return_distance=False)


def reliability(x: Any, *, n_neighbors: int = 10, n_splits: int = 3, seed: int = 0) -> float:
    """How little neighbours depend on which features are seen: those by one half of them are found by the other too.

    It judges what is done to each feature alone, such as a root. Features that share what they were made of, such as
    cells of one image, agree by that.

    Args:
        x: (n, d), dense or sparse, d at least 2; `metric_of` says how samples are compared.
        n_neighbors: of each sample, at least 1 and less than n.
        n_splits: of the features in two random halves.
        seed: of the halves.

    Returns:
        The share of the neighbours by one half that are neighbours by the other, in [0, 1].
    """
    n, d = x.shape
    check_integer("n_neighbors", n_neighbors, 1, n - 1, why="the other samples")
    check_integer("n_features", d, 2)
    metric, rng, shares = metric_of(x), np.random.default_rng(seed), []
    row = np.repeat(np.arange(n), n_neighbors)
    for _ in range(n_splits):
        found = []
        for half in np.array_split(rng.permutation(d), 2):
            found.append(row * n + _others(x[:, np.sort(half)], n_neighbors, metric).ravel())
        shares.append(np.isin(*found).mean())
    return float(np.mean(shares))
