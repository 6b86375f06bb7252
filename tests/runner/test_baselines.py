"""What a run compares itself with."""

import numpy as np
import pytest

from dec_jax import metrics

from .tiny_run import SMALL, cluster


def rings(n=120):
    """Two rings, one in the other: k-means parts them by a line, UMAP by what is near what."""
    rng = np.random.default_rng(0)
    angle, inner = rng.uniform(0, 2 * np.pi, n), np.arange(n) % 2
    radius = np.where(inner, 1.0, 4.0) + rng.normal(0, 0.05, n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), inner


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures")
def test_umap_finds_what_k_means_on_the_input_does_not(tmp_path, capsys):
    pytest.importorskip("umap")
    x, y = rings()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    words = ("--labels", tmp_path / "y.npy", "--n-clusters", 2, "--baselines", "umap,kmeans")
    found = cluster(tmp_path / "x.npy", tmp_path / "out", *words, settings=SMALL)
    assert found.result["umap"]["acc"] == 1
    assert found.result["umap"]["cluster_sizes"] == [60, 60]
    assert found.result["kmeans"]["acc"] < 0.8
    assert metrics.accuracy(y, found.assignments["labels_of_umap"]) == 1
    assert "k-means on UMAP of the input" in capsys.readouterr().out
