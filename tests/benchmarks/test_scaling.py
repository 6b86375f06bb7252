import json
from dataclasses import replace

import pytest
from PIL import Image

from benchmarks import scaling, scaling_point
from benchmarks.scaling_point import Point

pytestmark = pytest.mark.slow

OPTIONS = {"device": "cpu", "window": 64, "repeats": 1}


def record(point, seconds=1.0):
    return scaling_point.asdict(point) | {
        "name": point.phase,
        "seconds_per_step": 1.0,
        "seconds_per_sample": seconds,
        "gflops": 1.0,
        "fraction": 0.5,
        "peak_host_bytes": 2**20,
        "peak_device_bytes": None,
        "data_bytes": 2**10,
    }


@pytest.mark.parametrize("phase", scaling.PHASES["n"])
def test_point(phase, monkeypatch):
    monkeypatch.setattr(scaling_point, "HIDDEN", (8,))
    found = scaling_point.measure_point(Point(phase, n=64, d=12, k=3, m=2, b=16), window=32, repeats=1)
    assert {"name", "seconds_per_step", "gflops", "fraction", "seconds_per_sample", "peak_host_bytes"} <= set(found)
    assert found["data_bytes"] == 4 * 64 * (2 if phase == "k-means" else 12)


def test_point_in_its_own_process():
    found = scaling.measure(Point("k-means", n=100), OPTIONS)
    assert found["phase"] == "k-means"
    assert found["seconds_per_sample"] > 0


def test_beyond_memory_is_one_line(error_line):
    assert scaling.measure(Point("refresh", n=10**12), OPTIONS) is None
    line = error_line()
    assert line.startswith("error: refresh at n=1,000,000,000,000, d=784")
    assert "GB of memory" in line


def test_every_size_is_swept_and_what_fails_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "measure", lambda point, options: None if point.k == 100 else record(point))
    out, picture = tmp_path / "scaling.json", tmp_path / "scaling.png"
    assert scaling.main(["--quick", "--out", str(out), "--picture", str(picture)]) == 0
    records = json.loads(out.read_text())
    assert {found["n"] for found in records} == {2_000, 10_000, Point.n}
    assert {found["k"] for found in records} == {2, 10}
    with Image.open(picture) as image:
        assert image.format == "PNG"
    assert "slowest above fastest" in capsys.readouterr().out


def test_flatness():
    point = Point("refresh")
    records = [record(replace(point, n=n), seconds) for n, seconds in ((10, 2.0), (20, 2.2))]
    assert scaling.flatness(records) == "refresh d=784 10%"


def test_full_sweep_reaches_the_sizes_of_reuters():
    found = list(scaling.points("n", quick=False))
    assert {point.n for point in found} >= {10_000, 685_000}
    assert {point.d for point in found} == {784, 2_000}


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--repeats", "0"], "repeats must be at least 1"), (["--picture", "/no/folder/x.png"], "cannot be written")],
)
def test_bad_input(words, expected, error_line):
    assert scaling.main(words) == 2
    assert expected in error_line()
