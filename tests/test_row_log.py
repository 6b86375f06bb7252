import errno
import math
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from dec_jax import row_log
from dec_jax.row_log import RowLog, read_rows

ROW = {"trial": 0, "acc": 0.1 + 0.2, "hidden": [16], "error": None}


@pytest.fixture
def log(tmp_path):
    return RowLog(tmp_path / "rows" / "0.jsonl")


def save(log, **rows):
    for name, row in rows.items():
        log.append(name, row)


def test_rows_come_back_to_another_process(log):
    assert log.rows() == {}
    save(log, a=ROW, b=ROW | {"trial": 1})
    assert RowLog(log.path).rows() == {"a": ROW, "b": ROW | {"trial": 1}}


def test_the_last_row_of_an_id_counts(log):
    save(log, a=ROW)
    save(log, a=ROW | {"error": "diverged"})
    assert log.rows() == {"a": ROW | {"error": "diverged"}}


def test_floats_come_back_to_the_last_bit(log):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, math.inf, float(np.float32(0.1))]
    save(log, a={"values": values, "nan": math.nan})
    found = log.rows()["a"]
    assert [value.hex() for value in found["values"]] == [value.hex() for value in values]
    assert math.isnan(found["nan"])


def test_numpy_scalars_come_back_as_pythons(log):
    save(log, a={"float": np.float32(0.1), "int": np.int64(3), "bool": np.bool_(True)})
    assert log.rows()["a"] == {"float": float(np.float32(0.1)), "int": 3, "bool": True}


@pytest.mark.parametrize(
    "array",
    [
        np.array([0, 3, 255], np.int32),
        np.array([-1, 200], np.int64),
        np.array([2**63 + 1, 0], np.uint64),
        np.array([-(2**63), 2**63 - 1]),
        np.zeros(0, np.int32),
        np.arange(6, dtype=np.uint8).reshape(2, 3).T,
        np.array(7),
        np.arange(3, dtype=">i4"),
    ],
    ids=str,
)
def test_integer_arrays_come_back_as_they_are(log, array):
    save(log, a={"labels": array, "nested": [{"deep": array}]})
    found = log.rows()["a"]
    for back in (found["labels"], found["nested"][0]["deep"]):
        np.testing.assert_array_equal(back, array)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.flags.writeable


def test_assignments_take_less_than_a_byte_each(log):
    labels = np.random.default_rng(0).integers(0, 10, 70_000)
    save(log, a={"labels": labels})
    assert log.path.stat().st_size < 70_000
    np.testing.assert_array_equal(log.rows()["a"]["labels"], labels)


@pytest.mark.parametrize(
    ("value", "kind"), [({1}, "set"), (np.zeros(2), "array of float64"), (np.array(["a"]), "array of <U1")]
)
def test_other_values_are_refused_and_leave_the_rows_before(log, value, kind):
    save(log, a=ROW)
    with pytest.raises(TypeError, match=f"numpy scalars and integer arrays, got {kind}"):
        save(log, b={"value": value})
    assert log.rows() == {"a": ROW}


def test_of_several_logs_the_latest_row_counts_whichever_log_it_is_in(tmp_path):
    logs = [RowLog(tmp_path / f"{number}.jsonl") for number in range(3)]
    for count, number in enumerate((1, 0, 2, 0)):
        logs[number].append("a", {"count": count})
        assert read_rows(log.path for log in logs) == {"a": {"count": count}}


def test_a_later_row_counts_though_the_clock_was_set_back(log, monkeypatch):
    save(log, a={"count": 0})
    now = time.time()
    monkeypatch.setattr(row_log.time, "time", lambda: now - 3600)
    save(log, a={"count": 1})
    assert log.rows() == {"a": {"count": 1}}


# Damage


def test_a_torn_last_line_is_ignored_and_cut_off(log):
    save(log, a=ROW, b=ROW)
    whole = log.path.read_bytes()
    for torn in range(1, len(whole.splitlines(keepends=True)[1]) + 1):
        log.path.write_bytes(whole[:-torn])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert log.rows() == {"a": ROW}
            save(log, c=ROW)
            assert log.rows() == {"a": ROW, "c": ROW}


def test_a_first_line_that_is_torn(log):
    save(log, a=ROW)
    log.path.write_bytes(log.path.read_bytes()[:10])
    assert log.rows() == {}
    save(log, b=ROW)
    assert log.rows() == {"b": ROW}


@pytest.mark.parametrize("damage", [b"x", b"", b"\xff\xfe", b"00000000 []", b"zz {}", b"00000000 "])
def test_a_damaged_line_counts_as_absent(log, damage):
    save(log, a=ROW, b=ROW)
    _, second = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(damage + b"\n" + second)
    with pytest.warns(UserWarning, match=r"0\.jsonl, line 1 is damaged: its row counts as absent"):
        assert log.rows() == {"b": ROW}
    save(log, a=ROW)
    with pytest.warns(UserWarning, match="line 1"):
        assert log.rows() == {"a": ROW, "b": ROW}


def test_no_flipped_bit_yields_another_row(log):
    rows = {"a": ROW | {"labels": np.arange(3)}, "b": ROW}
    save(log, **rows)
    sound = log.path.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        log.path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = log.rows()
        assert len(found) < 2 or str(found) == str(rows)  # the case of a checksum's digits is not content
        assert all(str(row) == str(rows[name]) for name, row in found.items())
        assert log.path.read_bytes() == damaged


def test_a_sound_line_of_something_else_counts_as_damaged(log):
    save(log, a=ROW)
    for content in (b"{}", b"3", b"[1]", b'[1, "a"]', b'["now", "a", {}]', b'[1, "a", {"$integers": [1, 2]}]'):
        with open(log.path, "ab") as file:
            file.write(b"%08x %s\n" % (row_log.zlib.crc32(content), content))
    with pytest.warns(UserWarning, match="line 7"):
        assert log.rows() == {"a": ROW}


def test_a_log_that_cannot_be_read_is_not_taken_for_an_empty_one(log):
    log.path.mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        log.rows()


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_leaves_the_rows_before_it_whole(log, monkeypatch, step):
    save(log, a=ROW)
    before = log.path.read_bytes()

    class FullDisk:
        def __init__(self, file):
            self.file = file

        def write(self, line):
            if len(line) < 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(line[: len(line) // 2])

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def __getattr__(self, name):
            return getattr(self.file, name)

    def open_on_full_disk(*arguments, **options):
        return FullDisk(open(*arguments, **options))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(row_log, "open", open_on_full_disk, raising=False)
        else:
            patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save(log, b=ROW)
    if step == "write":
        assert log.path.read_bytes() == before
    save(log, c=ROW)
    assert log.rows().keys() - {"b"} == {"a", "c"}


# Several processes

WRITER = """
import sys
from dec_jax.row_log import RowLog
log = RowLog(sys.argv[1])
print("ready", flush=True)
for number in range(int(sys.stdin.readline())):
    log.append(f"{sys.argv[2]}{number}", {"number": number, "text": "x" * 5000})
    print(number, flush=True)
"""


def writers(log, names):
    command = [sys.executable, "-c", WRITER, log.path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    found = [subprocess.Popen([*command, name], **pipes) for name in names]
    for process in found:
        assert process.stdout.readline() == "ready\n"
    return found


@pytest.mark.slow
def test_processes_append_to_one_log(log):
    processes = writers(log, "ab")
    for process in processes:
        process.stdin.write("12\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    rows = log.rows()
    assert set(rows) == {f"{name}{number}" for name in "ab" for number in range(12)}
    assert all(row["number"] == int(name[1:]) for name, row in rows.items())


@pytest.mark.slow
def test_a_killed_process_loses_no_row_and_frees_the_log(log):
    (process,) = writers(log, "a")
    with process:
        process.stdin.write("1000000\n")
        process.stdin.flush()
        for line in process.stdout:
            if int(line) == 30:
                break
        process.kill()
        acknowledged = int([line, *process.stdout][-1])
    rows = log.rows()
    assert len(rows) in (acknowledged + 1, acknowledged + 2)  # one may have been kept and not said
    save(log, another=ROW)
    assert len(log.rows()) == len(rows) + 1
