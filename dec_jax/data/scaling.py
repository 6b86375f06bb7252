"""Bringing features to the size that training expects: ‖x‖²/d near 1, or a range of [0, 1]."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from dec_jax.validation import check_choice

RULES = ("none", "pixels", "rms", "tfidf", "unit-rows", "log1p", "unit", "standardize", "robust")
SPARSE_RULES = ("none", "pixels", "rms", "tfidf", "unit-rows", "log1p")  # the others make something of the zeros
COSINE_RULES = ("tfidf", "unit-rows")  # whose samples are directions
CHUNK = 2**20  # values held in float64 at a time
QUANTILES = ((0.05, 0.95, 3.2897), (0.01, 0.99, 4.6527))  # low, high, and how many σ of a normal lie between them
QUANTILE_ROWS = 2**17
CLIP = 3.0  # spreads from the median at which the rule "robust" ends

Samples = np.ndarray | scipy.sparse.sparray | scipy.sparse.spmatrix


@dataclass(frozen=True, eq=False)
class Scaling:
    """A rule with what it has learned from its data: x becomes (x − shift)·scale.

    With the rules "tfidf" and "unit-rows" each row is divided by its L2 norm first; with "log1p" it is brought to the
    sum `library_size`, and each value v becomes ln(1 + v). With "robust" what lies beyond ±3 at the end
    becomes ±3.

    Attributes:
        rule: one of RULES.
        shift: a number, or (d,) float64.
        scale: a number, or (d,) float64.
        library_size: the median of the sums of the rows, for "log1p".
    """

    rule: str
    shift: float | np.ndarray = 0.0
    scale: float | np.ndarray = 1.0
    library_size: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as strings, numbers and lists, exact when written as JSON."""
        fields = {"library_size": self.library_size} if self.rule == "log1p" else {}
        return fields | {
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
            library_size = float(fields["library_size"]) if rule == "log1p" else 1.0
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a saved scaling (rule, shift, scale): {error}") from error
        finite = np.isfinite(shift).all() and np.isfinite(scale).all() and np.isfinite(library_size)
        if max(shift.ndim, scale.ndim) > 1 or not finite:
            raise ValueError("not a saved scaling: shift and scale must be finite numbers, or lists of them")
        return cls(rule, shift if shift.ndim else shift.item(), scale if scale.ndim else scale.item(), library_size)


def fit_scaling(rule: str, x: Samples) -> Scaling:
    """Returns the scaling of `x`.

    - "none": as it is
    - "pixels": × 0.02, the recipe's factor for 0–255
    - "rms": one factor, so that the mean of ‖x‖²/d is 1
    - "tfidf", "unit-rows": each row to unit L2 norm, × √d, so that distances go by the cosine; a row of zeros
      stays one
    - "log1p": of counts. Each row to the median sum of all rows, then ln(1 + v), then one factor as in "rms"
    - "unit": the range of the whole data set to [0, 1]
    - "standardize": each feature to mean 0 and variance 1, a constant feature to 0, and one of two values
      to a range of 2, whose variance is at most 1, so that a rare value does not lie far out
    - "robust": each feature less its median, by the range of its middle nine tenths, as a normal distribution of
      variance 1 has it; values beyond ±3 become ±3, so that no outlier owns the scale or a cluster. A constant
      feature to 0

    Args:
        rule: one of RULES.
        x: (n, d) finite real numbers, dense or sparse.

    Raises:
        ValueError: the rule is unknown, is one for dense data and `x` is sparse, or is "log1p" and a value is below 0.
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
        case "tfidf" | "unit-rows":
            return Scaling(rule, scale=math.sqrt(x.shape[1]))
        case "log1p":
            return _fit_log1p(x)
        case "unit":
            low, high = float(x.min()), float(x.max())
            return Scaling(rule, low, _inverse(high - low))
        case "standardize":
            return Scaling(rule, *_standardize(x))
        case "robust":
            centre, spread = centre_and_spread(x)
            return Scaling(rule, centre, np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0))
    return Scaling(rule)


def apply_scaling(scaling: Scaling, x: Samples) -> np.ndarray | scipy.sparse.csr_array:
    """Returns the scaled samples, computed in float64 piece by piece and kept in float32.

    Args:
        scaling: what `fit_scaling` returned.
        x: (n, d) real numbers, dense or sparse, with the d it was fitted on. It stays as it is.

    Returns:
        (n, d) float32: an array of its own, or for sparse samples and one of SPARSE_RULES a CSR array. Of sparse
        samples and another rule an array, as the zeros become something else: of as many rows as the caller has
        memory for.

    Raises:
        ValueError: a scaled value is NaN, infinite or too large for float32, or the rule is "log1p" and a value is
            below 0.
    """
    if scipy.sparse.issparse(x):
        x = scipy.sparse.csr_array(x)
        if scaling.rule in SPARSE_RULES:
            return _scale_sparse(scaling, x)
    else:
        x = np.asarray(x)
    scaled = np.empty(x.shape, np.float32)
    for rows, values in _chunks(x):
        with np.errstate(over="ignore"):
            scaled[rows] = _scale_rows(scaling, values)
        _check_scaled(scaling, scaled[rows])
    return scaled


def invert_scaling(scaling: Scaling, x: np.ndarray) -> np.ndarray:
    """Returns raw samples (n, d) float64 that `apply_scaling` makes `x` (n, d) of.

    What a rule forgets does not come back: rows keep norm 1 with "tfidf" and "unit-rows", the sum `library_size` with
    "log1p", an outlier of "robust" lies at ±3, and a constant feature has its value.
    """
    x = np.asarray(x, np.float64)
    scale = np.asarray(scaling.scale)
    raw = x / np.where(scale == 0, 1, scale) * (scale != 0) + scaling.shift
    return np.expm1(raw) if scaling.rule == "log1p" else raw


def _scale_rows(scaling: Scaling, values: np.ndarray) -> np.ndarray:
    """Scales rows (b, d) float64, in place where it can."""
    if scaling.rule == "log1p":
        _check_counts(values)
        sums = values.sum(axis=1, keepdims=True)
        values = np.log1p(values * (scaling.library_size / np.where(sums > 0, sums, 1)))
    values -= scaling.shift
    if scaling.rule in COSINE_RULES:
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        values /= np.where(norms > 0, norms, 1)
    values *= scaling.scale
    return np.clip(values, -CLIP, CLIP, out=values) if scaling.rule == "robust" else values


def _check_counts(values: np.ndarray) -> None:
    if values.size and values.min() < 0:
        raise ValueError(f"scaling 'log1p' needs counts, 0 or more, got {values.min():g}")


def _fit_log1p(x: Samples) -> Scaling:
    _check_counts(x.data if scipy.sparse.issparse(x) else x)
    sums = np.asarray(x.sum(axis=1, dtype=np.float64)).ravel()
    library_size = float(np.median(sums[sums > 0])) if (sums > 0).any() else 1.0
    unscaled = Scaling("log1p", library_size=library_size)
    if scipy.sparse.issparse(x):
        total = float(np.sum(np.square(_scale_entries(unscaled, scipy.sparse.csr_array(x)))))
    else:
        total = sum(float(np.sum(np.square(_scale_rows(unscaled, values)))) for _, values in _chunks(x))
    return Scaling("log1p", scale=_inverse(math.sqrt(total / math.prod(x.shape))), library_size=library_size)


def _scale_sparse(scaling: Scaling, x: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    with np.errstate(over="ignore"):
        values = _scale_entries(scaling, x).astype(np.float32)
    _check_scaled(scaling, values)
    return scipy.sparse.csr_array((values, x.indices.copy(), x.indptr.copy()), x.shape)


def _scale_entries(scaling: Scaling, x: scipy.sparse.csr_array) -> np.ndarray:
    values = x.data.astype(np.float64)
    counts = np.diff(x.indptr)
    rows = np.repeat(np.arange(x.shape[0]), counts)
    if scaling.rule in COSINE_RULES:
        norms = np.sqrt(np.bincount(rows, weights=values**2, minlength=x.shape[0]))
        values /= np.repeat(np.where(norms > 0, norms, 1), counts)
    if scaling.rule == "log1p":
        _check_counts(values)
        sums = np.bincount(rows, weights=values, minlength=x.shape[0])
        values = np.log1p(values * np.repeat(scaling.library_size / np.where(sums > 0, sums, 1), counts))
    return values * scaling.scale


def _check_scaled(scaling: Scaling, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"x must be finite in float32 after scaling {scaling.rule!r}, got NaN or too large values")


def _chunks(x: np.ndarray | scipy.sparse.csr_array) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields all rows, a few at a time: which they are, and a float64 copy of them."""
    step = max(1, CHUNK // max(1, x.shape[1]))
    for start in range(0, x.shape[0], step):
        rows = slice(start, start + step)
        yield rows, (x[rows].toarray() if scipy.sparse.issparse(x) else x[rows]).astype(np.float64)


def _root_mean_square(x: Samples) -> float:
    peak = max(float(x.max()), -float(x.min()))
    if peak == 0:
        return 0.0
    entries = x.data.reshape(-1, 1) if scipy.sparse.issparse(x) else x
    # Divided by the largest value, so that no square overflows or vanishes.
    total = sum(float(np.sum((values / peak) ** 2)) for _, values in _chunks(entries))
    return peak * math.sqrt(total / math.prod(x.shape))


def _standardize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, deviation, _ = _moments(x)
    return mean, np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each feature, and whether it has more than two values, (d,) each.

    The deviation of a feature of two values is half their distance, that of a constant one 0.
    """
    with np.errstate(over="ignore"):
        mean = np.mean(x, axis=0, dtype=np.float64)
    low, high = (np.asarray(end, np.float64) for end in (x.min(axis=0), x.max(axis=0)))
    half = high / 2 - low / 2
    total, between = np.zeros(x.shape[1]), np.zeros(x.shape[1], bool)
    for _, values in _chunks(x):
        between |= np.any((values != low) & (values != high), axis=0)
        values -= mean
        values /= np.where(half > 0, half, 1)  # so that no square overflows or vanishes
        total += np.sum(np.square(values, out=values), axis=0)
    # Rounding gives a constant feature a tiny variance; dividing by it would make noise of the new samples.
    return mean, np.where(between, half * np.sqrt(total / len(x)), half), between


def centre_and_spread(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the median of each feature and the spread of its middle, which a few outliers do not change.

    Args:
        x: (n, d) dense real numbers.

    Returns:
        (d,) and (d,) float64. The spread is the range of the middle nine tenths, divided so that it is the standard
        deviation of a normal distribution; where that range is empty the middle 98 %, then the standard deviation; half
        the distance of two values; 0 for a constant feature.
    """
    step = max(1, CHUNK // max(1, min(len(x), QUANTILE_ROWS)))
    some = x[:: -(-len(x) // QUANTILE_ROWS)]
    probabilities = [0.5, *(p for low, high, _ in QUANTILES for p in (low, high))]
    parts = [
        np.quantile(some[:, start : start + step].astype(np.float64), probabilities, axis=0)
        for start in range(0, x.shape[1], step)
    ]
    median, *ends = np.concatenate(parts, axis=1)
    _, spread, between = _moments(x)
    for low, high, (_, _, width) in reversed(list(zip(ends[::2], ends[1::2], QUANTILES, strict=True))):
        spread = np.where((high > low) & between, (high - low) / width, spread)
    return median, spread


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else 1.0
