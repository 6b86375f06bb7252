"""Arrays of all kinds for the public functions, and what must hold of what these return."""

import numpy as np
import scipy.sparse

from dec_jax import metrics
from dec_jax.data import apply_scaling, fit_scaling, from_frame
from dec_jax.data.labels import as_labels
from dec_jax.data.scaling import RULES
from dec_jax.neighbors import metric_of
from dec_jax.runner.config import Config
from dec_jax.runner.resolving import resolve
from dec_jax.validation import check_labels, check_samples

DTYPES = ("f2", "f4", "f8", "g", "i1", "i8", "u1", "u8", "?", "c8", "O", "U3", "S3", "M8[s]", ">f8", "i4")
FORMATS = ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")
WORDS = ("a", "", "NA", "1", "é", "<script>", "nan", None, 1.5, True, b"x", -1)


def shape_of(rng):
    n, d = (int(rng.choice([0, 1, 2, 3, 7, 20])) for _ in range(2))
    return [(n, d), (n,), (), (n, d, 2), (n, 5, 5), (n, 1), (max(n, 2), max(d, 1))][rng.integers(7)]


def values_of(rng, shape):
    values = rng.normal(size=shape)
    kind = int(rng.integers(12))
    if kind == 0:
        values = np.full(shape, rng.choice([0.0, 1.0, -3.5, 1e300]))
    elif kind == 1:
        values = values * 10.0 ** rng.integers(-320, 308)
    elif kind == 2:
        values = np.round(values * 3)
    elif kind == 3:
        values = values + 10.0 ** rng.integers(5, 17)
    elif kind == 4:
        values = np.abs(values) * (rng.random(shape) < 0.3)
    elif kind == 5:
        values = np.asarray(values)
        if values.size:
            values.flat[rng.integers(values.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324])
    elif kind == 6:
        values = np.where(rng.random(shape) < 0.5, 1e308, -1e308)
    return np.asarray(values)


def array_of(rng):
    """An array, a list, a sparse matrix or a frame."""
    values = values_of(rng, shape_of(rng))
    dtype = DTYPES[rng.integers(len(DTYPES))]
    with np.errstate(all="ignore"):
        if dtype == "O":
            words = np.empty(values.shape, object)
            words.flat = [WORDS[i] for i in rng.integers(len(WORDS), size=values.size)]
            found = np.where(rng.random(values.shape) < 0.5, words, values.astype(object))
        elif dtype == "M8[s]":
            found = np.clip(np.nan_to_num(values), -1e9, 1e9).astype("i8").astype(dtype)
        else:
            found = values.astype(dtype)
    kind = int(rng.integers(10))
    if kind == 0:
        return found.tolist()
    if kind == 1 and found.ndim == 2 and found.dtype.kind in "fiub" and found.dtype.itemsize in (1, 4, 8):
        return getattr(scipy.sparse, f"{FORMATS[rng.integers(len(FORMATS))]}_array")(
            found.astype(found.dtype.newbyteorder("="))
        )
    if kind == 2 and found.ndim == 2:
        import pandas

        return pandas.DataFrame(
            found.astype(found.dtype.newbyteorder("=")) if found.dtype.kind in "fiu" else found.astype(object)
        )
    if kind == 3:
        return found[..., ::-1] if found.ndim else found
    if kind == 4:
        return np.asfortranarray(found)
    if kind == 5:
        return np.ma.masked_invalid(found) if found.dtype.kind == "f" else found
    return found


def labels_of(rng):
    n = int(rng.choice([0, 1, 2, 7, 20]))
    kind = int(rng.integers(5))
    if kind == 0:
        return rng.integers(-2, 4, n)
    if kind == 1:
        return [WORDS[i] for i in rng.integers(len(WORDS), size=n)]
    if kind == 2:
        return np.eye(3)[rng.integers(3, size=n)]
    if kind == 3:
        return rng.choice([0.0, 1.0, np.nan, 2.5, 1e300], n)
    return array_of(rng)


def _samples(rng, call):
    x = array_of(rng)
    found = call(check_samples, x)
    if isinstance(found, str):
        return
    values = found.data if scipy.sparse.issparse(found) else found
    assert found.ndim == 2
    assert np.isfinite(values).all()
    rule = RULES[rng.integers(len(RULES))]
    scaled = call(lambda: apply_scaling(fit_scaling(rule, found), found))
    if not isinstance(scaled, str):
        values = scaled.data if scipy.sparse.issparse(scaled) else scaled
        assert np.isfinite(values).all(), f"{rule} of finite samples is not finite"
        assert (scaled.shape, scaled.dtype) == (found.shape, np.float32)
    call(metric_of, found)


def _dataset(rng, call):
    """What the estimator and the commands check before any work."""
    found = call(lambda: from_frame(array_of(rng), labels_of(rng) if rng.random() < 0.5 else None))
    if isinstance(found, str):
        return
    values = found.x.data if scipy.sparse.issparse(found.x) else found.x
    assert found.x.ndim == 2
    assert np.isfinite(values).all()
    k = int(rng.choice([0, 1, 2, 3, 100]))
    resolved = call(lambda: resolve(Config().with_values({"clustering.n_clusters": k}), found))
    if not isinstance(resolved, str):
        assert 1 <= k <= found.x.shape[0]
        call(lambda: apply_scaling(fit_scaling(resolved.data.scaling, found.x), found.x))


def _scores(rng, call):
    a, b = labels_of(rng), labels_of(rng)
    found = call(metrics.scores, a, b if rng.random() < 0.5 else a)
    if not isinstance(found, str):
        assert 0 <= found["acc"] <= 1
        assert -1e-9 <= found["nmi"] <= 1 + 1e-9
        assert -0.5 - 1e-9 <= found["ari"] <= 1 + 1e-9
    call(check_labels, a, int(np.size(b)))
    call(metrics.generalisability, *rng.choice([0.0, -1.0, np.nan, np.inf, 0.5], 2))


def _labels(rng, call):
    found = call(as_labels, labels_of(rng))
    if not isinstance(found, str) and found.y is not None:
        assert found.y.dtype == np.int64
        assert found.y.ndim == 1


FUNCTIONS = {"samples": _samples, "dataset": _dataset, "scores": _scores, "labels": _labels}
