import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from dec_jax import losses, networks, trained_model
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.data import apply_scaling, fit_scaling
from dec_jax.trained_model import TrainedModel, assign, embed, soft_assign

X = np.random.default_rng(0).integers(0, 9, (50, 6)).astype(np.float64)


def trained(scaling="rms", alpha=2.0):
    model = Autoencoder((6, 8, 2), kernel_init="he")
    params = networks.init(jax.random.key(0), model, 6)
    scaling = fit_scaling(scaling, X)
    z = networks.encode(model, params, jnp.asarray(apply_scaling(scaling, X)))
    return TrainedModel(model, params, z[:4], scaling, Assignment(alpha))


TRAINED = trained()


@pytest.mark.parametrize("scaling", ["rms", "unit", "standardize"])
def test_samples_are_scaled_and_embedded(scaling):
    model = trained(scaling)
    expected = networks.encode(model.model, model.params, jnp.asarray(apply_scaling(model.scaling, X)))
    z = embed(model, X)
    assert (type(z), z.dtype, z.shape) == (np.ndarray, np.float32, (50, 2))
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)


def test_samples_are_assigned_to_the_nearest_centroid():
    q, labels = soft_assign(TRAINED, X), assign(TRAINED, X)
    z = embed(TRAINED, X)
    np.testing.assert_allclose(q, losses.soft_assignment(z, TRAINED.centroids, 2.0), rtol=1e-4)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-5)
    distances = np.linalg.norm(z[:, None] - np.asarray(TRAINED.centroids), axis=2)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    assert labels.dtype == np.int32
    assert labels[:4].tolist() == [0, 1, 2, 3]


def test_alpha_counts():
    assert not np.allclose(soft_assign(trained(alpha=0.5), X), soft_assign(TRAINED, X))


@pytest.mark.parametrize("rows", [1, 7, 50, 51])
@pytest.mark.parametrize("function", [embed, soft_assign, assign])
def test_chunks_change_nothing(monkeypatch, function, rows):
    expected = function(TRAINED, X)
    sizes = []

    def scale(scaling, x):
        sizes.append(len(x))
        return apply_scaling(scaling, x)

    monkeypatch.setattr(trained_model, "ROWS_AT_A_TIME", rows)
    monkeypatch.setattr(trained_model, "apply_scaling", scale)
    np.testing.assert_allclose(function(TRAINED, X), expected, rtol=1e-5, atol=1e-6)
    assert max(sizes) == min(rows, 50)
    assert sum(sizes) == 50


@pytest.mark.parametrize("rows", [7, 100])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "dia"])
def test_sparse_samples_of_every_format(monkeypatch, rows, kind):
    monkeypatch.setattr(trained_model, "ROWS_AT_A_TIME", rows)
    sparse = scipy.sparse.csr_array(X).asformat(kind)
    np.testing.assert_allclose(embed(TRAINED, sparse), embed(TRAINED, X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("values", [7, 2**26])
@pytest.mark.parametrize("scaling", ["unit", "standardize", "robust"])
def test_sparse_samples_get_the_labels_of_dense_ones_under_every_scaling(monkeypatch, scaling, values):
    monkeypatch.setattr(trained_model, "VALUES_AT_A_TIME", values)
    model, sparse = trained(scaling), scipy.sparse.csr_array(X)
    np.testing.assert_array_equal(assign(model, sparse), assign(model, X))
    np.testing.assert_allclose(embed(model, sparse), embed(model, X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("x", [X.tolist(), X.astype(np.uint8), X.astype(np.float32), np.asfortranarray(X)])
def test_samples_of_other_kinds(x):
    np.testing.assert_allclose(embed(TRAINED, x), embed(TRAINED, X), rtol=1e-5, atol=1e-6)


def test_samples_may_be_alike():
    z = embed(TRAINED, np.ones((3, 6)))
    np.testing.assert_array_equal(z[0], z[1])
    assert assign(TRAINED, np.zeros((1, 6))).shape == (1,)


@pytest.mark.parametrize("function", [embed, soft_assign, assign])
@pytest.mark.parametrize(
    ("x", "error", "problem"),
    [
        (X[:, :5], ValueError, "x must have the 6 features that the model was trained on, got 5"),
        (scipy.sparse.csr_array((3, 7)), ValueError, "x must have the 6 features .*, got 7"),
        (X[0], ValueError, r"x must be two-dimensional .*got shape \(6,\)"),
        (X[:0], ValueError, "x must hold at least one sample"),
        (np.where(np.eye(50, 6) > 0, np.nan, X), ValueError, "NaN or infinite values"),
        (X.astype(str), TypeError, "x must hold real numbers"),
    ],
)
def test_samples_that_do_not_fit(function, x, error, problem):
    with pytest.raises(error, match=problem):
        function(TRAINED, x)


def test_what_was_compiled_for_a_network_serves_all_models_of_it():
    soft_assign(TRAINED, X)
    before = trained_model._blocks._cache_size()
    soft_assign(TRAINED, X[:-1])
    soft_assign(trained(alpha=0.5), X)
    assert trained_model._blocks._cache_size() == before
