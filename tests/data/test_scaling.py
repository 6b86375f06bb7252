import json
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dec_jax.data.dataset import Dataset
from dec_jax.data.scaling import RULES, SPARSE_RULES, Scaling, apply_scaling, default_rule, fit_scaling

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
def test_rms_of_extreme_values(size):
    np.testing.assert_allclose(scale("rms", X * size), scale("rms", X), rtol=1e-5)


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
    scaled = scale(rule, x)
    assert scaled.shape == x.shape
    assert np.isfinite(scaled).all()


@settings(max_examples=40, deadline=None)
@given(samples, st.sampled_from(SPARSE_RULES))
def test_sparse_and_dense_agree(x, rule):
    scaled = scale(rule, scipy.sparse.csr_array(x))
    assert isinstance(scaled, scipy.sparse.csr_array)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.toarray(), scale(rule, x), rtol=1e-5, atol=1e-30)


def test_sparse_samples_stay_as_they_are():
    before = SPARSE.copy()
    scaled = scale("tfidf", SPARSE)
    scaled.data[:] = 0
    np.testing.assert_array_equal(SPARSE.toarray(), before.toarray())


@pytest.mark.parametrize("rule", ["unit", "standardize"])
def test_rules_that_would_make_a_sparse_matrix_dense(rule):
    with pytest.raises(ValueError, match=f"{rule}.* sparse .*accepted: none, pixels, rms, tfidf"):
        fit_scaling(rule, SPARSE)


def test_chunks_do_not_show(monkeypatch):
    whole = {rule: scale(rule, X) for rule in RULES}
    monkeypatch.setattr("dec_jax.data.scaling.CHUNK", 20)
    for rule in RULES:
        np.testing.assert_allclose(scale(rule, X), whole[rule], rtol=1e-6, atol=1e-7)


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
    scaling = fit_scaling(rule, X)
    restored = Scaling.from_json(json.loads(json.dumps(scaling.to_json())))
    new = RNG.normal(size=(3, 7))
    assert restored.rule == rule
    np.testing.assert_array_equal(apply_scaling(restored, new), apply_scaling(scaling, new))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rule": "rms", "shift": 0.0},
        {"rule": "rmss", "shift": 0.0, "scale": 1.0},
        {"rule": "rms", "shift": "a", "scale": 1.0},
        {"rule": "rms", "shift": 0.0, "scale": float("nan")},
        {"rule": "standardize", "shift": [[0.0]], "scale": [1.0]},
        {"rule": "standardize", "shift": [0.0, [1.0]], "scale": [1.0]},
        [1, 2],
    ],
)
def test_damaged_saved_scaling(fields):
    with pytest.raises(ValueError, match="no saved scaling"):
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


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (Dataset("mnist", X), "pixels"),
        (Dataset("mnist-test", X), "pixels"),
        (Dataset("fashion_mnist", X), "pixels"),
        (Dataset("digits", X), "rms"),
        (Dataset("mine.npz", SPARSE), "tfidf"),
        (X, "rms"),
        (SPARSE, "tfidf"),
    ],
)
def test_default_rule(data, rule):
    assert default_rule(data) == rule
