"""Checks of what a caller passes in: one clear error that names the parameter, what came and what is accepted."""

import difflib
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.sparse


def check_integer(name: str, value: Any, minimum: int, maximum: int | None = None, why: str = "") -> int:
    """Returns `value` as an int.

    Raises:
        TypeError: `value` is not an integer; a bool does not count as one.
        ValueError: `value` lies outside [minimum, maximum]; `why` explains the bound.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__})")
    if value < minimum or (maximum is not None and value > maximum):
        accepted = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise ValueError(f"{name} must be {accepted}{why and f' ({why})'}, got {value}")
    return int(value)


def check_image_shape(image_shape: Sequence[int], n_features: int | None = None) -> tuple[int, ...]:
    """Returns the shape as a tuple.

    Raises:
        TypeError: it holds something other than integers.
        ValueError: it is neither (h, w) nor (h, w, channels), a size is below 1, or their product is not `n_features`.
    """
    shape = tuple(check_integer(f"image_shape[{i}]", size, 1) for i, size in enumerate(image_shape))
    if len(shape) not in (2, 3):
        raise ValueError(f"image_shape must be (h, w) or (h, w, channels), got {shape}")
    if n_features not in (None, math.prod(shape)):
        raise ValueError(f"image_shape {shape} needs samples of {math.prod(shape)} features, got {n_features}")
    return shape


def check_number(
    name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf, *, exclusive: bool = False
) -> float:
    """Returns `value` as a float.

    Args:
        name: the parameter's name, for the message.
        value: what came.
        minimum: smallest accepted value.
        maximum: largest accepted value.
        exclusive: the minimum itself is not accepted.

    Raises:
        TypeError: `value` is not a real number.
        ValueError: `value` is NaN, infinite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    above = value > minimum if exclusive else value >= minimum
    if not (math.isfinite(value) and above and value <= maximum):
        bounds = [] if minimum == -math.inf else [f"{'above' if exclusive else 'at least'} {minimum:g}"]
        bounds += [] if maximum == math.inf else [f"at most {maximum:g}"]
        raise ValueError(f"{name} must be {' and '.join(bounds) or 'finite'}, got {value}")
    return float(value)


def check_unless_traced(
    name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf, **how: bool
) -> None:
    """Checks one of Python's numbers as `check_number` does; lets arrays and JAX's placeholders of a pytree pass."""
    if isinstance(value, numbers.Real | str):
        check_number(name, value, minimum, maximum, **how)


def check_function(name: str, value: Any) -> None:
    """Refuses a number or a string where a function belongs; lets JAX's placeholders of a pytree pass.

    Raises:
        TypeError: `value` is a number or a string.
    """
    if isinstance(value, numbers.Real | str):
        raise TypeError(f"{name} must be a function, got {value!r}")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Returns `value` if it is one of `choices`.

    Raises:
        ValueError: it is not; the message names near matches and all choices.
    """
    choices = list(choices)
    if value in choices:
        return value
    near = difflib.get_close_matches(str(value), choices, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(match) for match in near)}?" if near else ""
    raise ValueError(f"unknown {name} {value!r}{hint} (accepted: {', '.join(choices)})")


def check_samples(x: Any, name: str = "x", *, varying: bool = True) -> Any:
    """Returns the samples if they can be clustered: a numpy array, or a CSR array where they are sparse.

    Args:
        x: dense array (n, d) or scipy sparse matrix (n, d), real numbers; copied only where it is neither. A frame of
            numbers and booleans, nullable ones too, and an array of number objects are accepted as well.
        name: the parameter's name, for the messages.
        varying: whether a constant array is refused; new samples of a trained model may be alike.

    Raises:
        TypeError: the dtype is not one of real numbers (object, string, complex).
        ValueError: `x` is empty, not two-dimensional, constant, damaged as `as_csr` has it, or holds NaN or infinity;
            the message says how many and where the first one is.
    """
    x = as_csr(x, name) if scipy.sparse.issparse(x) else _dense(x)
    values = x.data if scipy.sparse.issparse(x) else x
    if values.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold real numbers, got dtype {values.dtype}")
    if x.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional (samples, features), got shape {x.shape}")
    if 0 in x.shape:
        raise ValueError(f"{name} must hold at least one sample and one feature, got shape {x.shape}")
    _check_finite(x, values, name)
    if varying:
        _check_varies(x, values, name)
    return x


def as_csr(x: Any, name: str = "x") -> scipy.sparse.csr_array:
    """Returns a scipy sparse matrix as a CSR array; its arrays are shared where it is one.

    scipy believes the pointers and indices of a matrix, and where they are wrong it reads and writes foreign memory.

    Args:
        x: sparse matrix or array of any format.
        name: the parameter's name, for the messages.

    Raises:
        ValueError: pointers to its rows or columns fall, or point behind its entries, or an index is out of range.
    """
    if x.format in ("csr", "csc", "bsr"):
        pointers, minor = x.indptr, x.shape[0] if x.format == "csc" else x.shape[-1]
        if pointers[0] != 0 or (np.diff(pointers) < 0).any() or pointers[-1] > len(x.indices):
            raise ValueError(f"{name} must have pointers that rise from 0 to its entries, got {pointers[:5]} …")
        used = x.indices[: pointers[-1]]
        most = minor // (x.blocksize[1] if x.format == "bsr" else 1)
        if used.size and (used.min() < 0 or used.max() >= most):
            raise ValueError(f"{name} must have indices from 0 to {most - 1}, got {used.min()} to {used.max()}")
    return scipy.sparse.csr_array(x)


def _dense(x: Any) -> np.ndarray:
    """Returns an array; number objects, and the missing values of a frame among numbers, become float64."""
    array = np.asarray(x)
    if array.dtype.kind != "O" or array.ndim != 2:
        return array
    is_frame = hasattr(x, "columns")
    missing = np.array([value is None or type(value).__name__ == "NAType" for value in array.flat], bool)
    numeric = (isinstance(value, numbers.Real | np.bool_) for value in array.flat)
    if all(known or (gap and is_frame) for known, gap in zip(numeric, missing, strict=True)):
        array = np.where(missing.reshape(array.shape), np.nan, array)
        return array.astype(np.float64)
    return array


def _check_finite(x: Any, values: np.ndarray, name: str) -> None:
    with np.errstate(all="ignore"):
        total = values.sum(dtype=np.float64)  # one pass and no copy, for the data that are as they should be
    if np.isfinite(total):
        return
    bad = ~np.isfinite(values)
    if not bad.any():  # the sum overflowed, the values did not
        return
    if scipy.sparse.issparse(x):
        entries = x.tocoo()
        first = np.flatnonzero(~np.isfinite(entries.data))[0]
        row, column = entries.coords[0][first], entries.coords[1][first]
    else:
        row, column = np.unravel_index(np.flatnonzero(bad)[0], values.shape)
    raise ValueError(
        f"{name} must be finite, got {int(bad.sum())} NaN or infinite values, the first in row {row}, column {column}"
    )


def _check_varies(x: Any, values: np.ndarray, name: str) -> None:
    if scipy.sparse.issparse(x):
        full = values.size == math.prod(x.shape)
        constant = not values.any() or (full and values.min() == values.max())
    else:
        constant = values.min() == values.max()
    if constant:
        raise ValueError(f"{name} must not be constant, got the same value in all of its {x.shape[0]} samples")


def check_labels(y: Any, n_samples: int, name: str = "labels") -> np.ndarray:
    """Returns the labels as an array (n,), int64.

    Raises:
        TypeError: the labels are not integers.
        ValueError: they are not one-dimensional, or not one per sample.
    """
    y = np.asarray(y)
    if y.ndim != 1 or len(y) != n_samples:
        raise ValueError(f"{name} must hold one label per sample, shape ({n_samples},), got shape {y.shape}")
    if y.dtype.kind == "f" and (np.abs(y) < 2**53).all() and (y == np.round(y)).all():
        y = y.astype(np.int64)
    if y.dtype.kind not in "bui":
        raise TypeError(f"{name} must be integers, got dtype {y.dtype}")
    return y.astype(np.int64)
