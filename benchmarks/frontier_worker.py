"""One method on one data set in a process of its own: python -m benchmarks.frontier_worker METHOD FOLDER SEED.

The folder holds `samples.npy` or `samples.npz` (sparse) and `about.json` with n_clusters and image_shape. Nothing here
sees a label. The last line of its output is JSON: for each row of the method the seconds from raw samples to labels,
with compilation and without imports, and the labels. It imports nothing of dec_jax but for our own methods and their
histograms, since the peers live in an environment of their own.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

Found = dict[str, tuple[float, np.ndarray]]

UMAP = {"min_dist": 0.0, "n_components": 10}  # as umap-learn's documentation has it for clustering
UMAP_NEIGHBORS = 30  # so too; 15 is the default of the library
N_RESTARTS = 10


class Task:
    """Samples (n, d) as they are, k, the shape of an image or None, and the seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        dense = folder / "samples.npy"
        self.x: Any = np.load(dense) if dense.exists() else scipy.sparse.load_npz(folder / "samples.npz")
        about = json.loads((folder / "about.json").read_text())
        self.k, self.shape, self.seed = about["n_clusters"], about["image_shape"], seed
        self.began = time.perf_counter()

    def seconds(self) -> float:
        """Since the method began."""
        return time.perf_counter() - self.began


def has_directions(x: Any) -> bool:
    """Whether rows are compared by their cosine: they are sparse, or have unit norm."""
    if scipy.sparse.issparse(x):
        return True
    norms = np.linalg.norm(x.astype(np.float32), axis=1)
    return bool(np.ptp(norms) < 0.01)


def kmeans(task: Task) -> Found:
    """scikit-learn's k-means on the samples as they are."""
    from sklearn.cluster import KMeans

    task.began = time.perf_counter()
    labels = KMeans(task.k, n_init=N_RESTARTS, random_state=task.seed).fit_predict(task.x.astype(np.float32))
    return {"k-means": (task.seconds(), labels)}


def pca_kmeans(task: Task) -> Found:
    """scikit-learn's k-means on 50 principal components."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    task.began = time.perf_counter()
    solver = "arpack" if scipy.sparse.issparse(task.x) else "auto"
    size = min(50, min(task.x.shape) - 1)
    z = PCA(size, svd_solver=solver, random_state=task.seed).fit_transform(task.x.astype(np.float32))
    labels = KMeans(task.k, n_init=N_RESTARTS, random_state=task.seed).fit_predict(z)
    return {"PCA + k-means": (task.seconds(), labels)}


def umap(
    task: Task,
    n_neighbors: int = UMAP_NEIGHBORS,
    name: str = "UMAP",
    represented: Callable[[Task], Any] = lambda task: task.x,
) -> Found:
    """umap-learn, and k-means, a mixture of Gaussians and HDBSCAN on its embedding; noise is a cluster of its own."""
    import warnings

    from sklearn.cluster import HDBSCAN, KMeans
    from sklearn.mixture import GaussianMixture

    warnings.simplefilter("ignore")
    import umap as umap_learn

    task.began = time.perf_counter()
    np.random.seed(task.seed)  # a random_state would leave it one core
    x = represented(task).astype(np.float32)
    metric = "cosine" if has_directions(x) else "euclidean"
    z = np.asarray(umap_learn.UMAP(n_neighbors, metric=metric, **UMAP).fit_transform(x), np.float64)
    embedded, found = task.seconds(), {}
    methods = {
        f"{name} + k-means": KMeans(task.k, n_init=N_RESTARTS, random_state=task.seed),
        f"{name} + mixture": GaussianMixture(task.k, n_init=5, random_state=task.seed),
        f"{name} + HDBSCAN": HDBSCAN(min_cluster_size=max(5, len(z) // 100), copy=True),
    }
    for row, method in methods.items():
        task.began = time.perf_counter()
        labels = method.fit_predict(z)
        found[row] = embedded + task.seconds(), labels
    return found


def umap_of_histograms(task: Task) -> Found:
    """`umap` of the histograms of gradients by which ours compares images."""
    from dec_jax.hog import hog

    if task.shape is None:
        raise ValueError("umap-hog needs images")
    return umap(task, name="UMAP of the histograms", represented=lambda task: hog(task.x, task.shape))


def spectral(task: Task) -> Found:
    """scikit-learn's spectral clustering of the 10 nearest neighbours."""
    import warnings

    from sklearn.cluster import SpectralClustering

    warnings.simplefilter("ignore")
    task.began = time.perf_counter()
    method = SpectralClustering(task.k, affinity="nearest_neighbors", random_state=task.seed, n_jobs=-1)
    labels = method.fit_predict(task.x.astype(np.float32))
    return {"spectral": (task.seconds(), labels)}


def ours(preset: str) -> Callable[[Task], Found]:
    """A preset of ours by its estimator."""

    def method(task: Task) -> Found:
        from dec_jax.estimator import DEC
        from dec_jax.runner import fitting  # noqa: F401 (its import is not timed)

        task.began = time.perf_counter()
        x = task.x if task.shape is None else task.x.reshape(len(task.x), *task.shape)
        labels = DEC(task.k, preset=preset, random_state=task.seed).fit_predict(x)
        return {f"ours, {preset}": (task.seconds(), labels)}

    return method


def clustpy(name: str, *, knows_k: bool = True, **settings: Any) -> Callable[[Task], Found]:
    """A deep clustering of ClustPy with its default settings but for some, on samples in [0, 1] or standardised."""

    def method(task: Task) -> Found:
        import clustpy.deep
        import torch

        torch.manual_seed(task.seed)
        task.began = time.perf_counter()
        x = task.x.astype(np.float32)
        x = x / x.max() if task.shape else (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
        given = settings | ({"n_clusters": task.k} if knows_k else {})
        fitted = getattr(clustpy.deep, name)(**given, random_state=np.random.RandomState(task.seed)).fit(x)
        return {f"ClustPy's {name}": (task.seconds(), fitted.labels_)}

    return method


METHODS: dict[str, Callable[[Task], Found]] = {
    "kmeans": kmeans,
    "pca-kmeans": pca_kmeans,
    "umap": umap,
    "umap-15": partial(umap, n_neighbors=15, name="UMAP, 15 neighbours,"),
    "umap-hog": umap_of_histograms,
    "spectral": spectral,
    **{preset: ours(preset) for preset in ("auto", "n2d", "fast")},
    **{f"clustpy-{name.lower()}": clustpy(name) for name in ("DEC", "IDEC", "DCN")},
    "clustpy-ddc": clustpy("DDC", knows_k=False),  # it finds the number of clusters
    "clustpy-n2d": clustpy("N2D", manifold_params={"n_components": 2}),  # its t-SNE refuses the default, k dimensions
}
PEERS = tuple(name for name in METHODS if name.startswith("clustpy-"))


def main() -> None:
    """Runs the method that the command line names."""
    name, folder, seed = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is not the answer
    found = METHODS[name](Task(Path(folder), int(seed)))
    rows = {row: {"seconds": seconds, "labels": np.asarray(y).tolist()} for row, (seconds, y) in found.items()}
    print(json.dumps(rows), file=answers)


if __name__ == "__main__":
    main()
