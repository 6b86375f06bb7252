import os
from urllib.error import URLError

import joblib
import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import _rcv1

from dec_jax import to_device
from dec_jax.data import apply_scaling, default_rule, fit_scaling, load, reuters
from dec_jax.data.reuters import CATEGORIES, load_reuters
from dec_jax.samples import take_rows

TOPICS = ("C11", "CCAT", "E12", "ECAT", "GCAT", "M11", "MCAT")  # sorted, as scikit-learn keeps them
FILES = ("sample_id_py3.pkl", "sample_topics_py3.pkl", "samples_py3.pkl", "topics_names_py3.pkl")
N_FEATURES = 2300


def write_rcv1(data_home, n=400, n_features=N_FEATURES, seed=0, topics=TOPICS, kind=scipy.sparse.csr_matrix):
    """Writes a small RCV1 as scikit-learn keeps it, and returns its dense vectors and topics."""
    folder = data_home / "RCV1"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    x = np.abs(scipy.sparse.random_array((n, n_features), density=20 / n_features, format="csr", rng=rng))
    norms = np.sqrt(x.multiply(x).sum(axis=1))
    x = scipy.sparse.csr_array(x.multiply(1 / np.where(norms > 0, norms, 1)[:, None]))
    y = (rng.random((n, len(topics))) < 0.25).astype(np.uint8)
    y[np.arange(n) % 4 > 0, 1:] = 0  # most documents have one root category, as in RCV1
    y[np.arange(n), rng.choice([1, 3, 4, 6], n)] = 1
    content = (np.arange(2286, 2286 + n, dtype=np.uint32), kind(y), kind(x), np.array(topics, object))
    for name, values in zip(FILES, content, strict=True):
        joblib.dump(values, folder / name, compress=9)
    return x, y


def expected_rows(y):
    roots = y[:, [TOPICS.index(category) for category in CATEGORIES]]
    rows = np.flatnonzero(roots.sum(axis=1) == 1)
    return rows, roots[rows].argmax(axis=1)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route to host\nand a long story")

    monkeypatch.setattr(_rcv1, "_fetch_remote", refuse)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csr_array])
def test_documents_of_one_root_category_and_their_most_frequent_terms(tmp_path, kind):
    x, y = write_rcv1(tmp_path, kind=kind)
    dataset = load("reuters", data_dir=tmp_path)
    rows, labels = expected_rows(y)
    assert 0 < len(rows) < 400
    kept = x.toarray()[rows]
    counts = (kept > 0).sum(axis=0)
    terms = sorted(sorted(range(N_FEATURES), key=lambda term: (-counts[term], term))[:2000])
    assert isinstance(dataset.x, scipy.sparse.csr_array)
    assert dataset.x.dtype == np.float32
    np.testing.assert_array_equal(dataset.x.toarray(), kept[:, terms].astype(np.float32))
    np.testing.assert_array_equal(dataset.y, labels)
    assert dataset.y.dtype == np.int64
    assert dataset.name == "reuters"
    assert dataset.class_names == ("CCAT", "GCAT", "MCAT", "ECAT")


def test_default_scaling_is_the_recipes_and_samples_stay_sparse(tmp_path):
    write_rcv1(tmp_path)
    dataset = load("reuters", data_dir=tmp_path)
    scaled = apply_scaling(fit_scaling(default_rule(dataset).rule, dataset.x), dataset.x)
    assert isinstance(scaled, scipy.sparse.csr_array)
    assert scaled.dtype == np.float32
    norms = np.sqrt(scaled.multiply(scaled).sum(axis=1))
    np.testing.assert_allclose(norms, np.sqrt(2000), rtol=1e-5)
    on_device = to_device(scaled)
    assert on_device.shape == scaled.shape
    np.testing.assert_array_equal(take_rows(on_device, np.arange(scaled.shape[0])), scaled.toarray())


def test_document_without_any_of_the_terms_is_a_row_of_zeros(tmp_path, monkeypatch):
    _, y = write_rcv1(tmp_path)
    monkeypatch.setattr(reuters, "N_TERMS", 20)
    dataset = load("reuters", data_dir=tmp_path)
    scaled = apply_scaling(fit_scaling(default_rule(dataset).rule, dataset.x), dataset.x)
    assert scaled.shape == (len(expected_rows(y)[0]), 20)
    empty = np.diff(scaled.indptr) == 0
    assert 0 < empty.sum() < len(empty)
    assert to_device(scaled).shape == scaled.shape


def test_terms_are_counted_by_documents_and_zeros_that_are_stored_do_not_count(tmp_path, monkeypatch):
    folder = tmp_path / "RCV1"
    write_rcv1(tmp_path, n=4)
    entries = scipy.sparse.csr_array(
        (
            np.array([9.0, 1.0, 1.0, 0.0, 2.0, 0.0, 2.0, 0.0]),
            np.array([0, 1, 2, 3, 2, 3, 1, 3]),
            np.array([0, 2, 4, 6, 8]),
        ),
        shape=(4, 4),
    )
    topics = np.zeros((4, len(TOPICS)), np.uint8)
    topics[:, TOPICS.index("MCAT")] = 1
    joblib.dump(entries, folder / "samples_py3.pkl", compress=9)
    joblib.dump(scipy.sparse.csr_matrix(topics), folder / "sample_topics_py3.pkl", compress=9)
    monkeypatch.setattr(reuters, "N_TERMS", 2)
    dataset = load_reuters("reuters", tmp_path)
    assert dataset.x.toarray().tolist() == [[1, 0], [0, 1], [0, 2], [2, 0]]
    assert dataset.y.tolist() == [2, 2, 2, 2]


def test_equally_frequent_terms_are_taken_in_their_order(tmp_path, monkeypatch):
    folder = tmp_path / "RCV1"
    write_rcv1(tmp_path, n=2)
    joblib.dump(scipy.sparse.csr_array(np.eye(2, 60)[:, ::-1] + np.eye(2, 60)), folder / "samples_py3.pkl")
    topics = np.zeros((2, len(TOPICS)), np.uint8)
    topics[:, TOPICS.index("CCAT")] = 1
    joblib.dump(scipy.sparse.csr_matrix(topics), folder / "sample_topics_py3.pkl")
    monkeypatch.setattr(reuters, "N_TERMS", 3)
    assert load_reuters("reuters", tmp_path).x.toarray().tolist() == [[1, 0, 0], [0, 1, 1]]


def test_subset_is_drawn_once_and_for_all(tmp_path):
    _, y = write_rcv1(tmp_path, n=15_000)
    whole = load("reuters", data_dir=tmp_path)
    subset = load("reuters10k", data_dir=tmp_path)
    again = load("reuters10k", data_dir=tmp_path)
    rows = np.sort(np.random.RandomState(0).permutation(len(whole.y))[:10_000])
    assert subset.name == "reuters10k"
    assert subset.x.shape == (10_000, 2000)
    assert subset.x.dtype == np.float32
    assert (subset.x != whole.x[rows]).nnz == 0
    assert (subset.x != again.x).nnz == 0
    np.testing.assert_array_equal(subset.y, whole.y[rows])
    assert default_rule(subset).rule == "tfidf"
    assert len(whole.y) == len(expected_rows(y)[0]) > 10_000


def test_too_few_documents_for_the_subset(tmp_path):
    write_rcv1(tmp_path)
    with pytest.raises(ValueError, match=r"reuters10k needs 10000 documents, RCV1 in .*RCV1 has \d+ of one root"):
        load("reuters10k", data_dir=tmp_path)


def test_whole_corpus_must_have_the_published_number_of_documents(tmp_path, monkeypatch):
    _, y = write_rcv1(tmp_path)
    n = len(expected_rows(y)[0])
    monkeypatch.setattr(reuters, "CORPUS_SIZE", 400)
    with pytest.raises(ValueError, match=f"must have 685071 documents of exactly one of CCAT.*, got {n}"):
        load("reuters", data_dir=tmp_path)
    monkeypatch.setattr(reuters, "REUTERS_SIZE", n)
    assert load("reuters", data_dir=tmp_path).x.shape == (n, 2000)


def test_topics_of_other_documents(tmp_path):
    write_rcv1(tmp_path)
    joblib.dump(scipy.sparse.csr_matrix((7, len(TOPICS)), dtype=np.uint8), tmp_path / "RCV1" / FILES[1])
    with pytest.raises(ValueError, match="must have the topics of each document, got 7 for 400 documents"):
        load("reuters", data_dir=tmp_path)


def test_topics_without_a_root_category(tmp_path):
    write_rcv1(tmp_path, topics=("C11", "CCAT", "E12", "ECAT", "GCAT", "M11", "M12"))
    with pytest.raises(ValueError, match="must have the topics CCAT, GCAT, MCAT, ECAT, got no MCAT"):
        load("reuters", data_dir=tmp_path)


def test_folder_is_scikit_learns_by_default(tmp_path, monkeypatch):
    _, y = write_rcv1(tmp_path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    np.testing.assert_array_equal(load("reuters").y, expected_rows(y)[1])


def test_absent_corpus_is_downloaded(tmp_path, monkeypatch, capsys):
    def fetch_rcv1(data_home, download_if_missing=True):
        if download_if_missing:
            write_rcv1(data_home)
        return _rcv1.fetch_rcv1(data_home=data_home, download_if_missing=False)

    monkeypatch.setattr(reuters, "fetch_rcv1", fetch_rcv1)
    first = load("reuters", data_dir=tmp_path)
    assert "downloading" in capsys.readouterr().err
    assert (load("reuters", data_dir=tmp_path).x != first.x).nnz == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [PermissionError("no permission"), MemoryError("no memory")])
def test_what_is_no_damage_is_not_called_so(tmp_path, monkeypatch, error):
    def load_pickle(*_):
        raise error

    monkeypatch.setattr(_rcv1.joblib, "load", load_pickle)
    with pytest.raises(type(error), match=str(error)):
        load("reuters", data_dir=tmp_path)


@pytest.mark.parametrize("removed", [FILES, FILES[:1], FILES[1:2]])
@pytest.mark.usefixtures("no_network")
def test_absent_and_no_network(tmp_path, removed, capsys):
    write_rcv1(tmp_path)
    for name in removed:
        os.unlink(tmp_path / "RCV1" / name)
    with pytest.raises(OSError, match=r"could not be downloaded into .*no route to host.*fetch_rcv1") as raised:
        load("reuters", data_dir=tmp_path)
    assert str(tmp_path / "RCV1") in str(raised.value)
    assert "data_dir" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value.__cause__, URLError)
    assert capsys.readouterr().err == f"reuters: downloading RCV1-v2 (656 MB) into {tmp_path / 'RCV1'}\n"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_damaged_files(tmp_path, name, kept):
    write_rcv1(tmp_path)
    path = tmp_path / "RCV1" / name
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"the files of RCV1 in .* cannot be read: they are damaged") as raised:
        load("reuters", data_dir=tmp_path)
    assert str(tmp_path / "RCV1") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown data set 'reuters-10k'; did you mean 'reuters10k'"):
        load("reuters-10k")
