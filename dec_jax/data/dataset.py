"""What a data set is, once it has been read."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from dec_jax.data.encoding import Encoding


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples as they were stored, unscaled, and what is known about them.

    Attributes:
        name: name of the data set, or of the file it came from.
        x: (n, d), a numpy array in the dtype it was stored in, or a scipy sparse CSR array.
        y: (n,) int64 classes for scoring, never for training, −1 for a sample without a label; None where there are
            none.
        image_shape: (height, width) of one sample as a picture, then its channels where it has more than one;
            None where samples are not pictures.
        class_names: what the classes 0, 1, … are called; None where they have no names.
        feature_names: (d) what the features are called; None where they have no names.
        ids: (n,) what names the samples in their table; None where nothing does.
        encoding: what was decided about the columns of a table; None for arrays.
        notes: what was taken for what, one line each.
    """

    name: str
    x: np.ndarray | scipy.sparse.csr_array
    y: np.ndarray | None = None
    image_shape: tuple[int, ...] | None = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    ids: np.ndarray | None = None
    encoding: Encoding | None = None
    notes: tuple[str, ...] = ()
