import numpy as np
import pytest
from sklearn.datasets import load_digits, make_circles, make_moons
from sklearn.metrics import adjusted_rand_score

from dec_jax import graph, mixture
from dec_jax.neighbors import nearest

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
Y = np.arange(600) % 3


def oblique(n_features=4, tied=False):
    """Samples (600, d) of three Gaussians that overlap, with correlations of their own, or shared ones."""
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(3, n_features, n_features))
    if tied:
        factors[:] = factors[0]
    means = 2.5 * rng.normal(size=(3, n_features))
    x = means[Y] + np.einsum("nij,nj->ni", factors[Y], rng.normal(size=(600, n_features)))
    return (x - x.mean(axis=0)) / x.std(axis=0)


def by_graph(x, n_clusters=3):
    return graph.partition(nearest(x, 21), n_clusters)


@pytest.mark.parametrize("tied", [False, True])
def test_heaps_that_overlap_are_parted_better_than_by_their_graph(tied):
    x = oblique(tied=tied)
    start = by_graph(x)
    labels = mixture.partition(x, 3, start)
    assert labels.dtype == np.int32
    assert adjusted_rand_score(Y, labels) > adjusted_rand_score(Y, start) + 0.1


def test_a_seed_fixes_the_partition_and_few_samples_choose_the_mixture(monkeypatch):
    x = oblique()
    start = by_graph(x)
    whole = mixture.partition(x, 3, start)
    monkeypatch.setattr(mixture, "CHOSEN_BY", 300)
    monkeypatch.setattr(mixture, "FITTED_TO", 400)
    found = mixture.partition(x, 3, start, seed=1)
    np.testing.assert_array_equal(found, mixture.partition(x, 3, start, seed=1))
    assert adjusted_rand_score(whole, found) > 0.9
    assert not np.array_equal(whole, found)


@pytest.mark.parametrize(
    ("x", "n_clusters"),
    [
        (make_moons(600, noise=0.05, random_state=0)[0], 2),
        (make_circles(150, noise=0.05, factor=0.5, random_state=0)[0], 2),
        (load_digits().data / 16, 10),
        (RNG.normal(size=(600, 65)), 3),
        (oblique()[:59], 3),
        (oblique(), 1),
    ],
    ids=["moons", "rings", "images", "many features", "few samples", "one cluster"],
)
def test_where_samples_are_no_such_mixture_there_is_none(x, n_clusters):
    assert mixture.partition(x, n_clusters, by_graph(x, n_clusters)) is None


@pytest.mark.parametrize("scale", [1e-300, 1e12, 1e307])
def test_features_of_any_scale(scale):
    x = oblique()
    start = by_graph(x)
    found = mixture.partition(x * scale, 3, start)
    assert adjusted_rand_score(mixture.partition(x, 3, start), found) > 0.99


@pytest.mark.parametrize("x", [np.ones((80, 3)), np.eye(2)[Y[:80] % 2], np.repeat(RNG.normal(size=(80, 1)), 3, axis=1)])
def test_degenerate_samples_fail_nowhere(x):
    found = mixture.partition(x, 4, Y[:80])
    assert found is None or found.shape == (80,)


def test_a_mixture_that_the_graph_knows_nothing_of_is_taken_where_it_is_sure(monkeypatch):
    x, start = oblique(), RNG.permutation(Y)
    assert adjusted_rand_score(Y, mixture.partition(x, 3, start)) > 0.8
    monkeypatch.setattr(mixture, "SURE", 0.9999)
    assert mixture.partition(x, 3, start) is None


@pytest.mark.parametrize("kind", mixture.OBLIQUE)
def test_it_starts_from_the_moments_of_the_clusters(kind):
    x = oblique()
    start = mixture._from_labels(x, kind, Y, 3)
    np.testing.assert_allclose(start.means_init, [x[j == Y].mean(axis=0) for j in range(3)])
    np.testing.assert_allclose(start.weights_init, [1 / 3] * 3)
    own = np.stack([np.cov(x[j == Y].T, bias=True) for j in range(3)])
    wanted = own.mean(axis=0) if kind == "tied" else own
    np.testing.assert_allclose(np.linalg.inv(start.precisions_init), wanted + 1e-3 * np.eye(4), atol=1e-9)


@pytest.mark.parametrize(
    ("x", "n_clusters", "start", "problem"),
    [
        (np.full((60, 2), np.nan), 2, np.zeros(60, int), "NaN"),
        (oblique(), 0, Y, "n_clusters must be between 1 and 600"),
        (oblique(), 3, Y[:9], "600"),
    ],
)
def test_bad_input(x, n_clusters, start, problem):
    with pytest.raises(ValueError, match=problem):
        mixture.partition(x, n_clusters, start)


@pytest.mark.parametrize("seed", range(3))
def test_one_feature(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 900)
    x = rng.normal([0, 4, 9], [0.7, 1, 1.5], (900, 3))[range(900), y][:, None]
    found = mixture.partition(x, 3, graph.partition(nearest(x, 21), 3), seed=seed)
    assert adjusted_rand_score(y, found) > 0.85


def test_more_clusters_than_the_samples_that_choose_can_describe(monkeypatch):
    monkeypatch.setattr(mixture, "CHOSEN_BY", 50)
    x = np.random.default_rng(0).normal(size=(1300, 2))
    assert mixture.partition(x, 60, np.arange(1300) % 60) is None
