import json

import numpy as np
import pytest

from benchmarks import memory, throughput, workload

TINY = ("--dims", "12,8,2", "--batch", "16", "--samples", "64", "--steps", "2", "--repeats", "1")


@pytest.mark.slow
def test_table_and_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(throughput, "PROFILED_STEPS", 2)  # compiled already
    out = tmp_path / "throughput.json"
    assert throughput.main([*TINY, "--out", str(out), "--profile", str(tmp_path / "trace")]) == 0
    records = json.loads(out.read_text())
    assert [record["name"] for record in records] == [
        "layer-wise step, 12–8",
        "layer-wise step, 8–2",
        "fine-tuning step",
        "matrix products alone, autoencoder",
        "refresh of P",
        "clustering step",
        "matrix products alone, encoder",
        "k-means, 20 restarts",
        "pretraining epoch",
    ]
    for record in records:
        assert {"name", "seconds_per_step", "gflops", "fraction", "compile_seconds"} <= set(record)
        assert record["peak_host_bytes"] > 0
        assert record["epoch_copies"]["device_to_host_bytes"] < 1000
    printed = capsys.readouterr().out
    assert all(words in printed for words in ("fine-tuning step", "peak memory", "compilations", "copies in one epoch"))
    assert list(tmp_path.rglob("perfetto_trace.json.gz"))


def test_own_data_set_the_input_size(tmp_path, monkeypatch):
    monkeypatch.setattr(workload, "DIMS", (784, 4, 2))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 5), np.float32))
    work = workload.read(throughput.parser().parse_args(["--data", str(tmp_path / "x.npy"), "--batch", "8"]))
    assert work.model.dims == (5, 4, 2)
    assert work.epoch == 5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--device", "tpu"], "device tpu is not there"),
        (["--dims", "784"], "dims must hold an input and an embedding"),
        (["--dims", "784,0,10"], "dims[1] must be at least 1"),
        (["--dims", "784,ten"], "dims must be integers"),
        (["--batch", "0"], "batch must be between 1 and 64"),
        (["--batch", "65"], "batch must be between 1 and 64 (the number of samples), got 65"),
        (["--samples", "0"], "samples must be at least 1"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--repeats", "0"], "repeats must be at least 1"),
        (["--data", "no-such-data"], "no-such-data"),
        (["--data", "digits", "--dims", "3,2"], "dims must begin with the 64 features of digits"),
        (["--out", "/no/such/folder/out.json"], "cannot be written"),
    ],
)
def test_bad_input(words, expected, error_line):
    assert throughput.main([*TINY, *words]) == 2
    assert expected in error_line()


def test_beyond_memory(error_line):
    assert throughput.main(["--samples", str(10**12)]) == 2
    assert "GB of memory" in error_line()


def test_memory_is_checked_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "RUNTIME", 0)
    memory.check_fits("a byte", 1)
    with pytest.raises(MemoryError, match="a lot needs about"):
        memory.check_fits("a lot", 2**60)
