"""The REUTERS of the DEC paper: RCV1-v2 as scikit-learn has it, documents of exactly one root category.

- Terms are the 2,000 that the most of these documents hold; among terms of the same frequency the first ones. The
  authors counted them with repetitions, which RCV1's published vectors no longer say.
- Values are RCV1's own: (1 + ln tf)·idf, divided by the L2 norm over all terms of the document. The scaling "tfidf",
  the default for sparse samples, brings the rows of the terms that are left to norm √2000, as the recipe has it.
- A document with none of the terms stays, as a row of zeros: it belongs to the 685,071 that others report about.
"""

import os
import sys
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.datasets import fetch_rcv1, get_data_home

from dec_jax.data.dataset import Dataset
from dec_jax.data.packed import first_line
from dec_jax.validation import check_choice

NAMES = ("reuters", "reuters10k")
CATEGORIES = ("CCAT", "GCAT", "MCAT", "ECAT")
N_TERMS = 2000
CORPUS_SIZE = 804_414  # documents of RCV1-v2
REUTERS_SIZE = 685_071  # those of exactly one root category
SUBSET_SIZE = 10_000
SUBSET_SEED = 0


def load_reuters(name: str = "reuters", data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Returns the documents, (685071, 2000) float32 as a CSR array, and their category.

    reuters10k holds 10,000 of them, drawn without replacement with a fixed seed and in the order of reuters; terms are
    those of reuters. RCV1-v2 is downloaded where it is absent, as scikit-learn does it. It keeps it as pickles: a
    folder is to be taken only from somebody who is trusted.

    Args:
        name: reuters or reuters10k.
        data_dir: scikit-learn's data folder, which holds or will hold RCV1; by default SCIKIT_LEARN_DATA, else
            ~/scikit_learn_data.

    Raises:
        OSError: RCV1-v2 is not there and could not be downloaded.
        ValueError: the name is unknown, or the files are damaged or hold something else.
    """
    check_choice("data set", name, NAMES)
    folder = os.path.join(get_data_home(data_dir), "RCV1")
    corpus = _fetch(data_dir, folder)
    rows, y = _select_documents(corpus, folder)
    x = _select_terms(scipy.sparse.csr_array(corpus.data, dtype=np.float32)[rows])
    if name == "reuters10k":
        subset = _subset(len(y), folder)
        x, y = x[subset], y[subset]
    return Dataset(name, x, y, class_names=CATEGORIES)


def _fetch(data_dir: str | os.PathLike[str] | None, folder: str) -> Any:
    try:
        return fetch_rcv1(data_home=data_dir, download_if_missing=False)
    except FileNotFoundError:
        print(f"reuters: downloading RCV1-v2 (656 MB) into {folder}", file=sys.stderr, flush=True)
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # what joblib, pickle and zlib raise for damaged bytes is not one family
        raise ValueError(
            f"the files of RCV1 in {folder} cannot be read: they are damaged ({first_line(error)}); delete them there "
            "and load it again"
        ) from error
    try:
        return fetch_rcv1(data_home=data_dir)
    except Exception as error:  # the network, the disk or the archives: each has its own errors
        raise OSError(
            f"RCV1-v2 could not be downloaded into {folder} ({first_line(error)}): run "
            "sklearn.datasets.fetch_rcv1(data_home=...) elsewhere, and let data_dir name a copy of that folder"
        ) from error


def _select_documents(corpus: Any, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the documents of exactly one root category, and which one that is, int64."""
    topics = list(corpus.target_names)
    if missing := [category for category in CATEGORIES if category not in topics]:
        raise ValueError(f"RCV1 in {folder} must have the topics {', '.join(CATEGORIES)}, got no {', '.join(missing)}")
    n = corpus.data.shape[0]
    if corpus.target.shape[0] != n:
        raise ValueError(
            f"RCV1 in {folder} must have the topics of each document, got {corpus.target.shape[0]} for {n} documents"
        )
    columns = [topics.index(category) for category in CATEGORIES]
    roots = scipy.sparse.csr_array(corpus.target)[:, columns].toarray() > 0
    rows = np.flatnonzero(roots.sum(axis=1) == 1)
    if n == CORPUS_SIZE and len(rows) != REUTERS_SIZE:
        raise ValueError(
            f"RCV1 in {folder} must have {REUTERS_SIZE} documents of exactly one of {', '.join(CATEGORIES)}, "
            f"got {len(rows)}"
        )
    return rows, roots[rows].argmax(axis=1)


def _select_terms(x: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    x.sum_duplicates()
    x.eliminate_zeros()
    n_documents = np.bincount(x.indices, minlength=x.shape[1])
    most_frequent = np.argsort(-n_documents, kind="stable")[:N_TERMS]
    return x[:, np.sort(most_frequent)]


def _subset(n: int, folder: str) -> np.ndarray:
    if n < SUBSET_SIZE:
        raise ValueError(f"reuters10k needs {SUBSET_SIZE} documents, RCV1 in {folder} has {n} of one root category")
    # numpy promises the numbers of RandomState for all its versions, those of its generators it does not.
    return np.sort(np.random.RandomState(SUBSET_SEED).permutation(n)[:SUBSET_SIZE])
