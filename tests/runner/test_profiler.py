import gzip
import json

import pytest

from dec_jax.runner import pretraining_phase, run
from dec_jax.runner.profiler import Profiler

from .tiny_run import cluster, command

# Two windows of 20 steps in each phase.
SHORT = {"pretraining.layer_wise_steps": 40, "pretraining.fine_tuning_steps": 40, "clustering.max_steps": 40}


def traces(folder):
    """Names of the events of each phase."""
    found = {}
    for phase in folder.iterdir():
        (path,) = phase.rglob("perfetto_trace.json.gz")
        with gzip.open(path) as file:
            found[phase.name] = {event.get("name", "") for event in json.load(file)["traceEvents"]}
    return found


@pytest.mark.slow
def test_each_phase_has_a_trace_without_compilation(files, tmp_path, no_pictures, monkeypatch):
    monkeypatch.setattr(pretraining_phase, "STEPS_PER_WINDOW", 1)  # and no fewer than 20
    profile = tmp_path / "deep" / "profile"
    cluster(files.x, tmp_path / "out", "--profile", profile, settings=SHORT)
    found = traces(profile)
    assert set(found) == {"layer-1", "layer-2", "fine-tuning", "clustering"}
    for names in found.values():
        assert any("Execute" in name for name in names)


def test_without_a_second_window_the_trace_ends_with_its_phase(tmp_path):
    with Profiler(tmp_path) as profiler:
        profiler.window_ended("a phase")
    assert set(traces(tmp_path)) == {"a-phase"}
    with Profiler(tmp_path / "again") as profiler:  # only one trace can run at a time
        profiler.window_ended("b")
    assert set(traces(tmp_path / "again")) == {"b"}


def test_a_file_is_not_a_folder(files, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run.main(command(files.x, "--out", tmp_path / "out", "--profile", tmp_path / "file")) == 2
    assert capsys.readouterr().err == f"error: profile must be a folder, {tmp_path / 'file'} is a file\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("windows", [0, 3])
def test_no_folder_no_traces(tmp_path, windows, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Profiler() as profiler:
        for _ in range(windows):
            profiler.window_ended("phase")
    assert list(tmp_path.iterdir()) == []
