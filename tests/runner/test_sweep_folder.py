import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from dec_jax import folder_lock
from dec_jax.runner import sweep_folder
from dec_jax.runner.sweep_folder import SweepFolder

IDENTITY = {"data": "digits", "seed": (0, 1), "n_clusters": [10], "samples": "abc"}
ROW = {"trial": 0, "acc": 0.1 + 0.2, "hidden": [16], "error": None}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "sweep"


def log(out, process=0):
    return out / sweep_folder.ROWS_FOLDER / f"{process}.jsonl"


def save(out, rows, **options):
    with SweepFolder(out, IDENTITY, **options) as kept:
        for trial, row in rows.items():
            kept.save_row(trial, row)


def read(out):
    with SweepFolder(out, IDENTITY) as kept:
        return kept.rows()


# Rows


def test_rows_come_back_to_the_same_sweep(out):
    rows = {"a": ROW, "b": ROW | {"trial": 1}}
    save(out, rows)
    assert read(out) == rows
    save(out, {"c": ROW})
    assert read(out) == rows | {"c": ROW}


def test_the_last_row_of_a_trial_counts(out):
    save(out, {"a": ROW})
    save(out, {"a": ROW | {"error": "diverged"}})
    assert read(out) == {"a": ROW | {"error": "diverged"}}


def test_the_last_row_counts_whichever_process_wrote_it(out):
    for number, process in enumerate((1, None, 2, 0)):
        save(out, {"a": ROW | {"trial": number}}, process=process)
        assert read(out) == {"a": ROW | {"trial": number}}


def test_a_damaged_line_counts_as_absent(out):
    save(out, {"a": ROW, "b": ROW})
    first, second = log(out).read_bytes().splitlines(keepends=True)
    log(out).write_bytes(first.replace(b'"trial": 0', b'"trial": 1') + second)
    with pytest.warns(UserWarning, match=r"0\.jsonl, line 1 is damaged: its row counts as absent"):
        assert read(out) == {"b": ROW}


# The lock

KILLED = """
import sys
from pathlib import Path
from dec_jax.runner.sweep_folder import SweepFolder
with SweepFolder(Path(sys.argv[1]), {"samples": "abc"}) as kept:
    for number in range(10**9):
        kept.save_row(f"trial{number}", {"trial": number, "text": "x" * 5000})
        print(number, flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_loses_no_row_and_frees_the_folder(out):
    with subprocess.Popen([sys.executable, "-c", KILLED, out], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 50:
                break
        with pytest.raises(ValueError, match=rf"in use by process {process.pid} on host .+$"):
            SweepFolder(out, {"samples": "abc"}).__enter__()
        process.send_signal(signal.SIGKILL)
        acknowledged = int([line, *process.stdout][-1])
    with SweepFolder(out, {"samples": "abc"}) as kept:
        rows = kept.rows()
        assert len(rows) in (acknowledged + 1, acknowledged + 2)  # one may have been kept and not said
        assert [row["trial"] for row in rows.values()] == list(range(len(rows)))
        kept.save_row("another", ROW)
        assert len(kept.rows()) == len(rows) + 1


def test_one_process_at_a_time(out):
    with (
        SweepFolder(out, IDENTITY),
        pytest.raises(ValueError, match=rf"sweep is in use by process {os.getpid()} on host .+$"),
    ):
        SweepFolder(out, IDENTITY, overwrite=True).__enter__()
    read(out)


def test_processes_share_a_folder_and_its_rows(out):
    with SweepFolder(out, IDENTITY, process=0) as first, SweepFolder(out, IDENTITY, process=1) as second:
        first.save_row("a", ROW)
        second.save_row("b", ROW)
        assert first.rows() == second.rows() == {"a": ROW, "b": ROW}
    assert log(out, 1).exists()
    assert read(out) == {"a": ROW, "b": ROW}


@pytest.mark.parametrize(
    ("identity", "options"),
    [(IDENTITY, {}), (IDENTITY, {"process": 0}), ({"samples": "d"}, {"process": 1, "overwrite": True})],
    ids=["alone", "same number", "other sweep"],
)
def test_others_do_not_share_it(out, identity, options):
    with SweepFolder(out, IDENTITY, process=0) as kept:
        kept.save_row("a", ROW)
        with pytest.raises(ValueError, match="in use by (process|another sweep)"):
            SweepFolder(out, identity, **options).__enter__()
        assert kept.rows() == {"a": ROW}


def test_a_process_that_would_share_gives_up_waiting_for_one_that_does_not(out, monkeypatch):
    monkeypatch.setattr(folder_lock, "SECONDS_TO_WAIT", 0.1)
    with SweepFolder(out, IDENTITY), pytest.raises(ValueError, match="in use by process"):
        SweepFolder(out, IDENTITY, process=1).__enter__()


# The identity


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": [0]}, r"\(other seed\)"),
        ({"seed": [0], "n_clusters": [9]}, r"\(other n_clusters, seed\)"),
        ({"samples": "abd"}, r"\(other samples\)"),
        ({"alpha": [1.0]}, r"\(other alpha\)"),
    ],
)
def test_another_sweep_is_refused_by_what_differs(out, changed, message):
    save(out, {"a": ROW})
    with pytest.raises(ValueError, match=rf"out .*sweep holds another sweep {message}; .*--overwrite"):
        SweepFolder(out, IDENTITY | changed).__enter__()
    assert read(out) == {"a": ROW}


def make_a_sweep(out):
    save(out, {"a": ROW})
    with SweepFolder(out, IDENTITY) as kept:
        kept.unfinished.put("clustering", {"x": np.zeros(2)}, {})
    for name in ("results.csv", "results.parquet", "notes.txt"):
        (out / name).write_text("text")


def test_overwrite_throws_away_what_a_sweep_made_and_nothing_else(out):
    make_a_sweep(out)
    with SweepFolder(out, {"samples": "other"}, overwrite=True) as kept:
        assert kept.rows() == {}
    assert {path.name for path in out.iterdir()} == {"sweep.json", "digests.jsonl", "notes.txt"}
    assert json.loads((out / "sweep.json").read_text()) == {"samples": "other"}


def test_overwrite_goes_on_with_its_own(out):
    make_a_sweep(out)
    with SweepFolder(out, IDENTITY, overwrite=True) as kept:
        assert kept.rows() == {"a": ROW}
    assert (out / "results.csv").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_damaged_identity(out, content):
    save(out, {"a": ROW})
    (out / "sweep.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"sweep\.json is damaged.*--overwrite"):
        SweepFolder(out, IDENTITY).__enter__()
    with SweepFolder(out, IDENTITY, overwrite=True) as kept:
        assert kept.rows() == {}


@pytest.mark.parametrize("name", ["result.json", "unfinished", "rows", "results.csv"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_left_as_it_is(out, name, overwrite):
    out.mkdir(parents=True)
    (out / name).write_text("mine")
    with pytest.raises(ValueError, match=rf"holds something else than a sweep \({name}\); choose another folder"):
        SweepFolder(out, IDENTITY, overwrite=overwrite).__enter__()
    assert [path.name for path in out.iterdir()] == [name]


def test_other_files_are_no_hindrance(out):
    out.mkdir(parents=True)
    (out / "grid.toml").write_text("seeds = 3")
    save(out, {"a": ROW})
    assert read(out) == {"a": ROW}


def test_out_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="out must be a folder, .*file is a file"):
        SweepFolder(tmp_path / "file", IDENTITY).__enter__()


def test_out_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        SweepFolder(tmp_path / "file" / "sweep", IDENTITY).__enter__()


# Work in progress


def test_work_in_progress_lasts_until_the_sweep_is_finished(out):
    with SweepFolder(out, IDENTITY) as kept:
        kept.unfinished.put("clustering", {"x": np.arange(3)}, {"step": 3})
    with SweepFolder(out, IDENTITY) as kept:
        tree, metadata = kept.unfinished.get("clustering")
        np.testing.assert_array_equal(tree["x"], np.arange(3))
        assert metadata == {"step": 3}
        kept.finish()
        assert not (out / "unfinished").exists()
        kept.finish()


def test_unfinished_work_of_processes_is_apart(out):
    with SweepFolder(out, IDENTITY, process=0) as kept, SweepFolder(out, IDENTITY, process=1) as other:
        kept.unfinished.put("clustering", {"x": np.zeros(2)}, {})
        assert other.unfinished.names() == []


def test_integer_arrays_of_a_row_come_back(out):
    labels = np.arange(7, dtype=np.int32) % 3
    save(out, {"a": ROW | {"labels": {"final": labels}}})
    found = read(out)["a"]["labels"]["final"]
    np.testing.assert_array_equal(found, labels, strict=True)
