import json
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans

from dec_jax.data.scaling import (
    RULES,
    SPARSE_RULES,
    Scaling,
    apply_scaling,
    centre_and_spread,
    fit_scaling,
    invert_scaling,
)
from dec_jax.metrics import accuracy

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, 2.0, (50, 7)) * np.arange(1, 8)
SPARSE = scipy.sparse.random_array((40, 30), density=0.2, format="csr", rng=RNG)

samples = hnp.arrays(
    np.float64, st.tuples(st.integers(2, 12), st.integers(1, 6)), elements=st.floats(-1e6, 1e6, width=32)
)


def scale(rule, x):
    return apply_scaling(fit_scaling(rule, x), x)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64, bool])
def test_result_is_float32_of_its_own(rule, dtype):
    x = RNG.integers(0, 2, (5, 4)).astype(dtype)
    before = x.copy()
    scaled = scale(rule, x)
    assert scaled.dtype == np.float32
    assert not np.shares_memory(scaled, x)
    np.testing.assert_array_equal(x, before)


def test_none_changes_nothing():
    np.testing.assert_array_equal(scale("none", X), X.astype(np.float32))


def test_pixels():
    np.testing.assert_allclose(scale("pixels", np.array([[0, 50, 255]], np.uint8)), [[0, 1, 5.1]], rtol=1e-6)


def test_rms_has_a_mean_square_of_one():
    scaled = scale("rms", X)
    np.testing.assert_allclose(np.mean(np.sum(scaled.astype(float) ** 2, axis=1) / X.shape[1]), 1, rtol=1e-6)
    np.testing.assert_allclose(scaled / scaled[0, 0], X / X[0, 0], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-200, 1e200])
@pytest.mark.parametrize("rule", ["rms", "standardize", "robust"])
def test_extreme_values(rule, size):
    np.testing.assert_allclose(scale(rule, X * size), scale(rule, X), rtol=1e-5)


def test_tfidf_rows_have_the_norm_root_d():
    x = np.vstack([X, np.zeros(7)])
    scaled = scale("tfidf", x)
    np.testing.assert_allclose(np.linalg.norm(scaled[:-1], axis=1), np.sqrt(7), rtol=1e-6)
    np.testing.assert_array_equal(scaled[-1], 0)
    np.testing.assert_allclose(scaled[0] / scaled[0, 0], X[0] / X[0, 0], rtol=1e-5)


def test_unit_is_one_map_of_the_whole_range():
    scaled = scale("unit", X)
    assert (scaled.min(), scaled.max()) == (0, 1)
    np.testing.assert_allclose(scaled, (X - X.min()) / (X.max() - X.min()), rtol=1e-5)


def test_standardize_each_feature():
    x = np.column_stack([X, np.full(50, 0.1)])
    scaling = fit_scaling("standardize", x)
    scaled = apply_scaling(scaling, x)
    np.testing.assert_allclose(scaled[:, :-1].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[:, :-1].std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(scaled[:, -1], 0, atol=1e-6)
    np.testing.assert_array_equal(apply_scaling(scaling, x + 100)[:, -1], 0)


def test_small_differences_of_large_values_are_kept():
    x = 1.7e9 + np.arange(10.0)[:, None]
    np.testing.assert_allclose(scale("unit", x)[:, 0], np.arange(10) / 9, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(samples, st.sampled_from(RULES))
def test_any_finite_samples_stay_finite(x, rule):
    scaled = scale(rule, np.abs(x) if rule == "log1p" else x)
    assert scaled.shape == x.shape
    assert np.isfinite(scaled).all()


@settings(max_examples=40, deadline=None)
@given(samples, st.sampled_from(SPARSE_RULES))
def test_sparse_and_dense_agree(x, rule):
    x = np.abs(x) if rule == "log1p" else x
    scaled = scale(rule, scipy.sparse.csr_array(x))
    assert isinstance(scaled, scipy.sparse.csr_array)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.toarray(), scale(rule, x), rtol=1e-5, atol=1e-30)


def test_sparse_samples_stay_as_they_are():
    before = SPARSE.copy()
    scaled = scale("tfidf", SPARSE)
    scaled.data[:] = 0
    np.testing.assert_array_equal(SPARSE.toarray(), before.toarray())


@pytest.mark.parametrize("rule", ["unit", "standardize", "robust"])
def test_rules_that_would_make_a_sparse_matrix_dense(rule):
    with pytest.raises(ValueError, match=f"{rule}.* sparse .*accepted: none, pixels, rms, tfidf, unit-rows, log1p"):
        fit_scaling(rule, SPARSE)


def test_chunks_do_not_show(monkeypatch):
    x = np.abs(X)
    whole = {rule: scale(rule, x) for rule in RULES}
    monkeypatch.setattr("dec_jax.data.scaling.CHUNK", 20)
    for rule in RULES:
        np.testing.assert_allclose(scale(rule, x), whole[rule], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_memory_is_one_float32_copy(rule):
    x = RNG.integers(0, 256, (20_000, 784), np.uint8)
    tracemalloc.start()
    scaled = scale(rule, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * scaled.nbytes


@pytest.mark.parametrize("rule", RULES)
def test_saved_scaling_scales_new_samples_alike(rule):
    scaling = fit_scaling(rule, np.abs(X))
    restored = Scaling.from_json(json.loads(json.dumps(scaling.to_json())))
    new = np.abs(RNG.normal(size=(3, 7)))
    assert restored.rule == rule
    np.testing.assert_array_equal(apply_scaling(restored, new), apply_scaling(scaling, new))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rule": "rms", "shift": 0.0},
        {"rule": "log1p", "shift": 0.0, "scale": 1.0},
        {"rule": "rmss", "shift": 0.0, "scale": 1.0},
        {"rule": "rms", "shift": "a", "scale": 1.0},
        {"rule": "rms", "shift": 0.0, "scale": float("nan")},
        {"rule": "standardize", "shift": [[0.0]], "scale": [1.0]},
        {"rule": "standardize", "shift": [0.0, [1.0]], "scale": [1.0]},
        [1, 2],
    ],
)
def test_damaged_saved_scaling(fields):
    with pytest.raises(ValueError, match="not a saved scaling"):
        Scaling.from_json(fields)


def test_unknown_rule():
    with pytest.raises(ValueError, match="unknown scaling 'standardise'; did you mean 'standardize'"):
        fit_scaling("standardise", X)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_in_float32(value):
    x = np.array([[1.0, value], [2.0, 3.0]])
    for samples in (x, scipy.sparse.csr_array(x)):
        with pytest.raises(ValueError, match="finite in float32 after scaling 'none'"):
            apply_scaling(Scaling("none"), samples)


def test_two_values_get_a_range_of_two_however_rare_one_of_them_is():
    x = np.zeros((100, 3))
    x[0, 0], x[:50, 1], x[:, 2] = 7.0, 3.0, RNG.normal(size=100)
    scaled = scale("standardize", x)
    np.testing.assert_allclose(np.ptp(scaled[:, :2], axis=0), 2, rtol=1e-6)
    np.testing.assert_allclose(scaled[:, 1].std(), 1, rtol=1e-6)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("offset", [0, 1e6, 1.7e9])
@pytest.mark.parametrize("rule", ["standardize", "robust"])
def test_a_large_offset_does_not_eat_the_differences(rule, offset):
    np.testing.assert_allclose(scale(rule, X + offset), scale(rule, X), rtol=1e-4, atol=1e-5)


def test_robust_is_standardized_on_a_normal_distribution():
    x = np.random.default_rng(1).normal(5.0, 3.0, (100_000, 1))
    centre, spread = centre_and_spread(x)
    np.testing.assert_allclose([centre[0], spread[0]], [5, 3], atol=0.05)
    np.testing.assert_allclose(scale("robust", x), np.clip((x - centre) / spread, -3, 3), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("outlier", [1e9, -1e9, 999999.0])
def test_robust_is_not_owned_by_one_value(outlier):
    clean = np.random.default_rng(2).normal(3.0, 2.0, (5000, 3))
    x = clean.copy()
    x[3, 2] = outlier
    scaled, expected = scale("robust", x), scale("robust", clean)
    np.testing.assert_allclose(np.delete(scaled, 3, axis=0), np.delete(expected, 3, axis=0), atol=0.01)
    assert abs(scaled[3, 2]) == 3


def test_many_outliers_neither_hide_planted_clusters_nor_become_one():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 600)
    x = (rng.normal(size=(4, 8)) * 6)[y] + rng.normal(size=(600, 8))
    x[rng.integers(0, 600, 20), rng.integers(0, 8, 20)] = rng.choice([1e9, -1e7, 1e5], 20)
    found = KMeans(4, n_init=5, random_state=0).fit_predict(scale("robust", x))
    assert accuracy(y, found) > 0.98


def test_robust_of_features_with_an_empty_middle():
    x = np.zeros((200, 2))
    x[:3, 0] = 5, 6, 1e9
    scaled = scale("robust", x)
    assert np.isfinite(scaled).all()
    np.testing.assert_array_equal(scaled[:, 1], 0)
    np.testing.assert_array_equal(scale("robust", x + 0.1)[:, 1], 0)


def test_unit_rows_go_by_the_cosine():
    scaled = scale("unit-rows", X).astype(float)
    cosine = (X @ X.T) / np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(X, axis=1))
    np.testing.assert_allclose(scaled @ scaled.T / X.shape[1], cosine, rtol=1e-5)


def test_log1p_normalises_the_library_size():
    counts = RNG.poisson(3.0, (30, 8)).astype(float)
    scaled = scale("log1p", counts)
    normalised = counts / counts.sum(axis=1, keepdims=True) * np.median(counts.sum(axis=1))
    expected = np.log1p(normalised)
    np.testing.assert_allclose(scaled, expected / np.sqrt(np.mean(expected**2)), rtol=1e-5)


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_log1p_needs_counts(make):
    with pytest.raises(ValueError, match="'log1p' needs counts, 0 or more, got -1"):
        fit_scaling("log1p", make([[1.0, -1.0], [0.0, 2.0]]))
    with pytest.raises(ValueError, match="'log1p' needs counts, 0 or more, got -1"):
        apply_scaling(Scaling("log1p"), make([[1.0, -1.0], [0.0, 2.0]]))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok"])
@pytest.mark.parametrize("rule", RULES)
def test_sparse_new_samples_are_scaled_as_dense_ones(monkeypatch, rule, kind):
    monkeypatch.setattr("dec_jax.data.scaling.CHUNK", 20)
    dense = SPARSE.toarray()
    scaling = fit_scaling(rule, dense)
    scaled = apply_scaling(scaling, SPARSE.asformat(kind))
    if scipy.sparse.issparse(scaled):
        np.testing.assert_allclose(scaled.toarray(), apply_scaling(scaling, dense), rtol=1e-6)
    else:
        np.testing.assert_array_equal(scaled, apply_scaling(scaling, dense))


@pytest.mark.parametrize("rule", ["none", "pixels", "rms", "unit", "standardize", "robust"])
def test_what_is_scaled_comes_back(rule):
    x = np.random.default_rng(0).normal(5, 2, (40, 3)) * [1, 10, 100]
    x[0, 0] = 1e4
    scaling = fit_scaling(rule, x)
    kept = x if rule != "robust" else np.clip(x, scaling.shift - 3 / scaling.scale, scaling.shift + 3 / scaling.scale)
    np.testing.assert_allclose(invert_scaling(scaling, apply_scaling(scaling, x)), kept, rtol=1e-4, atol=1e-3)


def test_a_constant_feature_comes_back_with_its_value():
    x = np.column_stack([np.arange(5.0), np.full(5, 7.0)])
    scaling = fit_scaling("standardize", x)
    np.testing.assert_allclose(invert_scaling(scaling, apply_scaling(scaling, x)), x, rtol=1e-6, atol=1e-6)
