"""Data: named data sets, a user's own files, tables and arrays, and the rules that scale their features."""

from dec_jax.data.dataset import Dataset
from dec_jax.data.encoding import Encoded, Encoding, encode, fit_encoding
from dec_jax.data.labels import UNLABELLED, as_labels, read_labels
from dec_jax.data.loading import from_frame, load, to_table
from dec_jax.data.named import NAMES, UNLABELLED_NAMES, load_unlabelled
from dec_jax.data.options import TableOptions
from dec_jax.data.scaling import RULES, Scaling, apply_scaling, fit_scaling, invert_scaling
from dec_jax.data.suggestion import Suggestion, default_rule

__all__ = [
    "NAMES",
    "RULES",
    "UNLABELLED",
    "UNLABELLED_NAMES",
    "Dataset",
    "Encoded",
    "Encoding",
    "Scaling",
    "Suggestion",
    "TableOptions",
    "apply_scaling",
    "as_labels",
    "default_rule",
    "encode",
    "fit_encoding",
    "fit_scaling",
    "from_frame",
    "invert_scaling",
    "load",
    "load_unlabelled",
    "read_labels",
    "to_table",
]
