"""Files of ours that have rotted: noticed by their digests, never loaded, never removed, and the rest is used."""

import json
import shutil
import warnings

import jax
import numpy as np
import pytest
from runner import tiny_page

from dec_jax import DEC, load_model
from dec_jax.checkpoints import save_model
from dec_jax.data.cache import cached
from dec_jax.digests import DIGESTS_FILE, read_checked
from dec_jax.row_log import RowLog, read_rows
from dec_jax.runner import runs, table
from dec_jax.runner.sweep_folder import SweepFolder
from dec_jax.runner.webpage import run_page, sweep_page
from dec_jax.storage import Store

from .counts import INJECTED, SCALE
from .rot import rotten, seeded
from .scenarios import CONFIG, DATA, TRAINED, tree_of

N = 60 * SCALE


def damaged_copies(path, *seed, n=N):
    """Damages a file in many ways, one after the other; yields what was done. The file is sound afterwards."""
    content = path.read_bytes()
    for what, damaged in rotten(content, seeded(*seed), n):
        path.write_bytes(damaged)
        yield what
        assert path.read_bytes() == damaged, f"{what}: the damaged file was changed or removed"
        INJECTED[f"of {path.suffix or path.name} rotten"] += 1
    path.write_bytes(content)


def outcome_of(function, *arguments):
    """What it returns, or the message of its ValueError."""
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


def leaves(tree):
    return [leaf.tolist() for leaf in jax.tree.leaves(tree)]


def test_a_rotten_entry_counts_as_absent_and_the_others_are_used(tmp_path):
    store = Store(tmp_path)
    for name in ("a", "b"):
        store.put(name, tree_of(3), {"name": name})
    for what in damaged_copies(tmp_path / "a.npz", 1):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = store.get("a")
        if found is None:
            assert "counts as absent" in str(said[0].message), what
        else:  # what has rotted are bytes of the archive that mean nothing
            assert (leaves(found[0]), found[1]) == (leaves(tree_of(3)), {"name": "a"}), what
        assert store.get("b")[1] == {"name": "b"}, what


def test_rotten_metadata_are_not_told(tmp_path):
    Store(tmp_path).put("a", tree_of(3), {"name": "a"})
    for what in damaged_copies(tmp_path / "a.npz", 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert Store(tmp_path).metadata("a") in (None, {"name": "a"}), what


def test_a_rotten_model_is_refused(tmp_path):
    save_model(tmp_path, TRAINED[1])
    expected = leaves((TRAINED[1].params, TRAINED[1].centroids))
    n_refused = 0
    for what in damaged_copies(tmp_path / "model.npz", 3):
        found = outcome_of(load_model, tmp_path)
        if isinstance(found, str):
            assert "damaged" in found, what
            n_refused += 1
        else:
            assert leaves((found.params, found.centroids)) == expected, what
    assert n_refused > N // 2


def test_a_rotten_row_counts_as_absent_and_the_others_are_used(tmp_path):
    log = RowLog(tmp_path / "rows.jsonl")
    rows = {str(number): {"n": number, "loss": 0.1 * number} for number in range(5)}
    for name, row in rows.items():
        log.append(name, row)
    for what in damaged_copies(log.path, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read_rows([log.path])
        assert found.items() <= rows.items(), what
        if what.startswith("flip"):
            assert len(found) >= len(rows) - 2, what  # a flipped end of a line costs two


def test_a_rotten_cache_file_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DEC_JAX_CACHE", str(tmp_path))
    arrays = {"x": np.arange(300)}
    cached("made", "0" * 64, lambda: arrays)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    for what, damaged in rotten(content, seeded(5), N):
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert cached("made", "0" * 64, lambda: arrays)["x"].tolist() == arrays["x"].tolist(), what
        INJECTED["of cache rotten"] += 1


def test_a_rotten_identity_of_a_sweep_is_not_taken_for_another(tmp_path):
    def rows():
        with SweepFolder(tmp_path, {"grid": [1, 2], "samples": "0123"}) as folder:
            return folder.rows()

    with SweepFolder(tmp_path, {"grid": [1, 2], "samples": "0123"}) as folder:
        folder.save_row("a", {"n": 1})
    for what in damaged_copies(tmp_path / "sweep.json", 6):
        found = outcome_of(rows)
        assert found == {"a": {"n": 1}} or "--overwrite" in found, what
        assert (tmp_path / "rows" / "0.jsonl").exists(), what


def test_a_rotten_identity_of_a_run_is_not_taken_for_another(tmp_path):
    runs.claim(CONFIG, DATA, tmp_path)
    unfinished = tmp_path / runs.UNFINISHED
    Store(unfinished).put("work", tree_of(1), {})
    path = unfinished / runs.IDENTITY_FILE
    content = path.read_bytes()
    for what, damaged in rotten(content, seeded(7), N):
        path.write_bytes(damaged)
        refused = outcome_of(runs.claim, CONFIG, DATA, tmp_path)
        assert refused is None or ("--overwrite" in refused and path.read_bytes() == damaged), what
        assert Store(unfinished).names() == ["work"], what
        INJECTED["of .json rotten"] += 1


@pytest.fixture
def finished(tmp_path):
    """The folders of a run and of a sweep, and what reads each of them."""
    for name in ("run", "sweep"):
        (tmp_path / name).mkdir()
    run = tiny_page.write(tmp_path / "run", tiny_page.table())
    sweep = tiny_page.write_sweep(tmp_path / "sweep")
    return {run: run_page.content, sweep: lambda folder: sweep_page.content(folder) | {"frame": table.read(folder)}}


def read_again(path):
    """Files that the product reads again, by what its own digests say."""
    return sorted({entry.partition("  ")[2] for entry in RowLog(path / DIGESTS_FILE).rows()})


@pytest.mark.slow
def test_a_rotten_file_of_a_run_or_a_sweep_is_refused(finished):
    names = [name for folder in finished for name in read_again(folder)]
    assert names == [
        *("assignments.npz", "history.csv", "report.json", "result.json"),
        *("report.json", "results.csv", "sweep.json"),
    ]
    for folder, read in finished.items():
        for number, name in enumerate(read_again(folder)):
            for what in damaged_copies(folder / name, 9, number, n=N // 4):
                assert f"{name} is damaged" in outcome_of(read, folder), f"{name}: {what}"


def test_rotten_digests_lose_nothing(finished):
    for folder in finished:
        paths = [folder / name for name in read_again(folder)]
        for what in damaged_copies(folder / DIGESTS_FILE, 10):
            for path in paths:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = outcome_of(read_checked, path)
                assert "is damaged" in found if isinstance(found, str) else found == path.read_bytes(), what


@pytest.fixture
def estimator(tmp_path):
    model = DEC(n_clusters=3, random_state=0)
    model.model_, model.n_features_in_ = TRAINED[1], 6
    model.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_rotten_parameters_of_an_estimator_are_refused(estimator):
    expected = DEC.load(estimator).get_params()
    for what in damaged_copies(estimator / "estimator.npz", 8):
        found = outcome_of(DEC.load, estimator)
        if isinstance(found, str):
            assert "damaged" in found, what
        else:
            assert str(found.get_params()) == str(expected), what


def test_a_folder_of_a_run_keeps_what_is_sound_beside_what_is_not(tmp_path):
    store = Store(tmp_path / "out")
    store.put("kmeans", tree_of(2), {"done": 1})
    (tmp_path / "out" / "pretraining.npz").write_bytes(b"")
    shutil.copy(tmp_path / "out" / "kmeans.npz", tmp_path / "out" / "stray.npz.part")
    assert json.dumps(store.metadata("kmeans")) == '{"done": 1}'
    with pytest.warns(UserWarning, match="pretraining.npz is damaged.*absent"):
        assert store.get("pretraining") is None
