"""Bringing features to the size that training expects: ‖x‖²/d near 1, or a range of [0, 1]."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from dec_jax.data.dataset import Dataset
from dec_jax.validation import check_choice

RULES = ("none", "pixels", "rms", "tfidf", "unit", "standardize")
SPARSE_RULES = ("none", "pixels", "rms", "tfidf")  # the others would turn the zeros into something else
PIXEL_DATA = ("mnist", "mnist-test", "fashion_mnist")
SCALED_DATA = ("stl10-hog",)  # the recipe's scaling is a part of the features
CHUNK = 2**20  # values held in float64 at a time

Samples = np.ndarray | scipy.sparse.sparray | scipy.sparse.spmatrix


@dataclass(frozen=True, eq=False)
class Scaling:
    """A rule with what it has learned from its data: x becomes (x − shift)·scale.

    With the rule "tfidf" each row is divided by its L2 norm first.

    Attributes:
        rule: one of RULES.
        shift: a number, or (d,) float64.
        scale: a number, or (d,) float64.
    """

    rule: str
    shift: float | np.ndarray = 0.0
    scale: float | np.ndarray = 1.0

    def to_json(self) -> dict[str, Any]:
        """Returns rule, shift and scale as strings, numbers and lists, exact when written as JSON."""
        return {
            "rule": self.rule,
            "shift": np.asarray(self.shift).tolist(),
            "scale": np.asarray(self.scale).tolist(),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Scaling":
        """Returns the scaling that `to_json` was called on.

        Raises:
            ValueError: a field is missing or holds something else.
        """
        try:
            shift, scale = (np.asarray(fields[key], np.float64) for key in ("shift", "scale"))
            rule = check_choice("scaling", fields["rule"], RULES)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no saved scaling (rule, shift, scale): {error}") from error
        if max(shift.ndim, scale.ndim) > 1 or not (np.isfinite(shift).all() and np.isfinite(scale).all()):
            raise ValueError("no saved scaling: shift and scale must be finite numbers, or lists of them")
        return cls(rule, shift if shift.ndim else shift.item(), scale if scale.ndim else scale.item())


def default_rule(data: Dataset | Samples) -> str:
    """Returns the rule: "pixels" for 0–255, "none" where samples come scaled, "tfidf" for sparse rows, else "rms"."""
    if isinstance(data, Dataset) and data.name in PIXEL_DATA:
        return "pixels"
    if isinstance(data, Dataset) and data.name in SCALED_DATA:
        return "none"
    return "tfidf" if scipy.sparse.issparse(data.x if isinstance(data, Dataset) else data) else "rms"


def fit_scaling(rule: str, x: Samples) -> Scaling:
    """Returns the scaling of `x`.

    - "none": as it is
    - "pixels": × 0.02, the recipe's factor for 0–255
    - "rms": one factor, so that the mean of ‖x‖²/d is 1
    - "tfidf": each row to unit L2 norm, × √d; a row of zeros stays one
    - "unit": the range of the whole data set to [0, 1]
    - "standardize": each feature to mean 0 and variance 1, a constant feature to 0

    Args:
        rule: one of RULES.
        x: (n, d) finite real numbers, dense or sparse.

    Raises:
        ValueError: the rule is unknown, or is one for dense data and `x` is sparse.
    """
    check_choice("scaling", rule, RULES)
    if not scipy.sparse.issparse(x):
        x = np.asarray(x)
    elif rule not in SPARSE_RULES:
        raise ValueError(f"scaling {rule!r} would make a sparse matrix dense (accepted: {', '.join(SPARSE_RULES)})")
    match rule:
        case "pixels":
            return Scaling(rule, scale=0.02)
        case "rms":
            return Scaling(rule, scale=_inverse(_root_mean_square(x)))
        case "tfidf":
            return Scaling(rule, scale=math.sqrt(x.shape[1]))
        case "unit":
            low, high = float(x.min()), float(x.max())
            return Scaling(rule, low, _inverse(high - low))
        case "standardize":
            return Scaling(rule, *_standardize(x))
    return Scaling(rule)


def apply_scaling(scaling: Scaling, x: Samples) -> np.ndarray | scipy.sparse.csr_array:
    """Returns the scaled samples, computed in float64 piece by piece and kept in float32.

    Args:
        scaling: what `fit_scaling` returned.
        x: (n, d) real numbers, dense or sparse, with the d it was fitted on. It stays as it is.

    Returns:
        (n, d) float32: an array of its own, or for sparse samples a CSR array.

    Raises:
        ValueError: a scaled value is NaN, infinite or too large for float32.
    """
    if scipy.sparse.issparse(x):
        x = scipy.sparse.csr_array(x)
        scaled = scipy.sparse.csr_array((_scale_entries(scaling, x), x.indices.copy(), x.indptr.copy()), x.shape)
        _check_scaled(scaling, scaled.data)
        return scaled
    x = np.asarray(x)
    scaled = np.empty(x.shape, np.float32)
    for rows, values in _chunks(x):
        values -= scaling.shift
        if scaling.rule == "tfidf":
            norms = np.linalg.norm(values, axis=1, keepdims=True)
            values /= np.where(norms > 0, norms, 1)
        values *= scaling.scale
        with np.errstate(over="ignore"):
            scaled[rows] = values
        _check_scaled(scaling, scaled[rows])
    return scaled


def _scale_entries(scaling: Scaling, x: scipy.sparse.csr_array) -> np.ndarray:
    values = x.data.astype(np.float64)
    if scaling.rule == "tfidf":
        counts = np.diff(x.indptr)
        rows = np.repeat(np.arange(x.shape[0]), counts)
        norms = np.sqrt(np.bincount(rows, weights=values**2, minlength=x.shape[0]))
        values /= np.repeat(np.where(norms > 0, norms, 1), counts)
    with np.errstate(over="ignore"):
        return (values * scaling.scale).astype(np.float32)


def _check_scaled(scaling: Scaling, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"x must be finite in float32 after scaling {scaling.rule!r}, got NaN or too large values")


def _chunks(x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields all rows, a few at a time: which they are, and a float64 copy of them."""
    step = max(1, CHUNK // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        yield rows, x[rows].astype(np.float64)


def _root_mean_square(x: Samples) -> float:
    peak = max(float(x.max()), -float(x.min()))
    if peak == 0:
        return 0.0
    entries = x.data.reshape(-1, 1) if scipy.sparse.issparse(x) else x
    # Divided by the largest value, so that no square overflows or vanishes.
    total = sum(float(np.sum((values / peak) ** 2)) for _, values in _chunks(entries))
    return peak * math.sqrt(total / math.prod(x.shape))


def _standardize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = np.mean(x, axis=0, dtype=np.float64)
    variance = sum(np.sum((values - mean) ** 2, axis=0) for _, values in _chunks(x)) / len(x)
    # Rounding gives a constant feature a tiny variance; dividing by it would make noise of the new samples.
    varies = (x.min(axis=0) < x.max(axis=0)) & (variance > 0)
    return mean, np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0.0)


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else 1.0
