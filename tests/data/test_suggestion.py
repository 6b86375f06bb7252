import numpy as np
import pytest
import scipy.sparse

from dec_jax.data import from_frame
from dec_jax.data.dataset import Dataset
from dec_jax.data.scaling import apply_scaling, fit_scaling
from dec_jax.data.suggestion import default_rule

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, 2.0, (200, 20)) * np.arange(1, 21)
PIXELS = RNG.integers(0, 256, (200, 20), np.uint8)
SPARSE = scipy.sparse.random_array((40, 30), density=0.2, format="csr", rng=RNG)
COUNTS = RNG.negative_binomial(0.3, 0.05, (200, 20))


def with_value(x, value):
    x = x.copy()
    x[7, 3] = value
    return x


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (Dataset("mnist", X), "pixels"),
        (Dataset("mnist-test", X), "pixels"),
        (Dataset("fashion_mnist", X), "pixels"),
        (Dataset("digits", X), "rms"),
        (Dataset("stl10-hog", X), "none"),
        (Dataset("reuters", SPARSE), "tfidf"),
        (Dataset("mine.npz", SPARSE), "tfidf"),
        (SPARSE, "tfidf"),
        (X, "standardize"),
        (X + 1e6, "standardize"),
        (X > 3, "standardize"),
        (with_value(X, 1e9), "robust"),
        (RNG.standard_t(3, (200, 20)), "standardize"),
        (X / np.linalg.norm(X, axis=1, keepdims=True), "unit-rows"),
        (np.eye(20)[RNG.integers(0, 20, 200)], "standardize"),
        (COUNTS, "log1p"),
        (COUNTS.astype(np.float32), "log1p"),
        (COUNTS - 1, "standardize"),
        (PIXELS, "pixels"),
        (PIXELS.astype(np.float64), "pixels"),
        (PIXELS // 16, "rms"),
        (PIXELS[:, :5], "standardize"),
        (Dataset("mine.npy", PIXELS[:, :4], image_shape=(2, 2)), "pixels"),
        (Dataset("mine.npy", PIXELS[:, :4] / 255, image_shape=(2, 2)), "rms"),
        (Dataset("mine.npy", PIXELS[:, :4] / 255 - 80, image_shape=(2, 2)), "standardize"),
    ],
)
def test_the_data_suggest_the_rule(data, rule):
    suggestion = default_rule(data)
    assert suggestion.rule == rule
    assert suggestion.reason
    x = data.x if isinstance(data, Dataset) else data
    scaled = apply_scaling(fit_scaling(rule, x), x)
    assert scaled.shape == x.shape


def test_the_reason_names_what_outliers_own():
    x = with_value(X, 1e9)
    assert default_rule(x).reason == "outliers own the scale of column 3"
    names = tuple(f"size {i}" for i in range(20))
    assert "size 3" in default_rule(Dataset("mine.csv", x, feature_names=names)).reason


def test_a_table_with_categories_does_not_hold_counts():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    words = {f"q{i}": rng.choice(["yes", "no"], 200) for i in range(20)}
    frame = pd.DataFrame({"age": rng.integers(18, 90, 200), "weight": rng.integers(12_000, 1_500_000, 200), **words})
    assert default_rule(from_frame(frame)).rule != "log1p"


def test_an_outlier_in_a_row_that_is_not_sampled_is_found(monkeypatch):
    monkeypatch.setattr("dec_jax.data.suggestion.SAMPLE_ROWS", 20)
    assert default_rule(with_value(X, 1e9)).rule == "robust"
    assert default_rule(PIXELS).rule == "pixels"
    assert default_rule(with_value(PIXELS.astype(np.uint16), 60_000)).rule != "pixels"
