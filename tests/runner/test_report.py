import errno
import io
import os
import shlex
import shutil
import sys
from importlib.metadata import version

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dec_jax import assign, embed, load_model, metrics, soft_assign
from dec_jax.identity import fingerprint
from dec_jax.runner import methods, report, run, runs
from dec_jax.runner.webpage import page

from .tiny_run import SMALL, X, Y, cluster, command, read

pytestmark = pytest.mark.slow

SCORES = ("acc", "nmi", "ari")


def content(folder):
    """Every file of a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_result_holds_every_file_and_nothing_else(finished):
    assert sorted(path.name for path in finished.out.iterdir()) == sorted(report.FILES)


def test_result_says_what_was_done(finished, files):
    result = finished.outcome.result
    assert set(result) == {
        *(
            "command",
            "settings",
            "data",
            "kmeans",
            "autoencoder_kmeans",
            "final",
            "seconds",
            "steps_per_second",
            "steps",
        ),
        *("stop_reason", "remarks", "pretraining", "versions", "device", "git_commit"),
    }
    assert result["pretraining"] == "trained"
    assert result["settings"]["data.name"] == str(files.x)
    assert (result["settings"]["clustering.batch_size"], result["settings"]["data.scaling"]) == (64, "rms")
    assert result["data"] == {"name": "x.npy", "n_samples": 200, "n_features": 64, "sha256": fingerprint(X)}
    words = command(files.x, "--out", finished.out, "--labels", files.y)
    assert result["command"] == f"dec-jax run {shlex.join(words)}"
    assert list(result["seconds"]) == ["kmeans", "pretraining", "autoencoder_kmeans", "clustering"]
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert list(result["steps_per_second"]) == ["pretraining", "clustering"]
    assert all(rate > 0 for rate in result["steps_per_second"].values())
    assert (result["steps"], result["stop_reason"]) == (100, "max_steps")
    assert result["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert result["versions"]["jax"] == version("jax")
    assert set(result["device"]) == {"kind", "platform", "count"}


def test_scores_are_those_of_the_assignments(finished):
    result, labels = finished.outcome.result, finished.outcome.assignments["labels"]
    assert result["final"] == metrics.scores(Y, labels) | {"cluster_sizes": np.bincount(labels, minlength=10).tolist()}
    for method in methods.methods(result):
        assert set(result[method]) == {*SCORES, "cluster_sizes"}
        assert sum(result[method]["cluster_sizes"]) == 200
    last = finished.outcome.history[-1]
    assert all(float(last[score]) == result["final"][score] for score in SCORES)


def test_clusters_of_digits_are_found(finished):
    assert finished.outcome.result["kmeans"]["acc"] > 0.8
    assert finished.outcome.result["final"]["nmi"] > 0.5


def test_history_has_its_columns(finished):
    first, last = finished.outcome.history[0], finished.outcome.history[-1]
    assert tuple(first) == ("phase", "step", "loss", "label_change", "smallest_cluster", *SCORES, "term_kl")
    assert [first[name] for name in ("label_change", "smallest_cluster", *SCORES)] == [""] * 5
    assert 0 <= float(last["label_change"]) <= 1
    assert int(last["smallest_cluster"]) == min(finished.outcome.result["final"]["cluster_sizes"])


@pytest.mark.parametrize("name", report.PICTURES)
def test_pictures_are_pictures(finished, name):
    with Image.open(finished.out / name) as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_the_model_assigns_as_the_run_did(finished):
    trained = load_model(finished.out / "model")
    for function, name in ((assign, "labels"), (embed, "z")):
        np.testing.assert_array_equal(function(trained, X), finished.outcome.assignments[name])
    # Kept as its logarithm, and exponentiated on the host.
    np.testing.assert_allclose(soft_assign(trained, X), finished.outcome.assignments["q"], rtol=1e-6)


def test_without_labels_there_are_no_scores(files, tmp_path, capsys):
    outcome = cluster(files.x, tmp_path / "out")
    for method in methods.methods(outcome.result):
        assert [outcome.result[method][score] for score in SCORES] == [None] * 3
    assert all(row[score] == "" for row in outcome.history for score in SCORES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(set(report.FILES) - {"confusion.png"})
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "DEC  " in line)
    assert line.count("–") == 3


def test_nothing_of_the_result_before_stays(files, finished, tmp_path):
    out = shutil.copytree(finished.out, tmp_path / "out")
    (out / "notes.txt").write_text("the user's own")
    cluster(files.x, out, "--overwrite")
    assert not (out / "confusion.png").exists()
    assert read(out).result["final"]["acc"] is None
    assert (out / "notes.txt").read_text() == "the user's own"


def test_without_matplotlib_the_rest_is_written(files, finished, tmp_path, monkeypatch, capsys):
    out = shutil.copytree(finished.out, tmp_path / "out")
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = cluster(files.x, out, "--labels", files.y, "--overwrite")
    assert not list(out.glob("*.png"))
    assert outcome.result["final"]["acc"] == finished.outcome.result["final"]["acc"]
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning"))
    assert "no pictures were drawn" in warning
    assert "dec_jax[plots]" in warning


def test_a_page_can_be_left_out_and_made_later(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "_draw", lambda folder, run, plane: None)
    cluster(files.x, tmp_path, "--no-report", settings=SMALL)
    assert not {"report.html", "report.json"} & {path.name for path in tmp_path.iterdir()}
    assert "to look at it" not in capsys.readouterr().out
    assert page.main([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").exists()


def test_the_page_made_again_is_the_same(finished, tmp_path):
    out = shutil.copytree(finished.out, tmp_path / "out")
    assert page.main([str(out)]) == 0
    assert (out / "report.html").read_bytes() == (finished.out / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ({"jinja2": None}, 'pip install "dec_jax[report]"'),
        ({}, "no such samples"),
    ],
)
def test_a_page_that_cannot_be_made_does_not_cost_the_result(files, tmp_path, monkeypatch, capsys, broken, expected):
    def fail(*_):
        assert (tmp_path / "out" / report.RESULT_FILE).exists()  # it was written first
        raise ValueError("no such samples")

    monkeypatch.setattr(report, "_draw", lambda folder, run, plane: None)
    for name, module in broken.items():
        monkeypatch.setitem(sys.modules, name, module)
    if not broken:
        monkeypatch.setattr(report.kept, "of_run", fail)
    outcome = cluster(files.x, tmp_path / "out", settings=SMALL)
    assert outcome.result["steps"] == 60
    assert not (tmp_path / "out" / "report.html").exists()
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: report"))
    assert expected in warning


def test_a_picture_that_cannot_be_drawn_does_not_cost_the_result(files, finished, tmp_path, monkeypatch, capsys):
    out = shutil.copytree(finished.out, tmp_path / "out")

    def fail(path, *_, **__):
        path.write_bytes(b"half")
        assert (out / report.RESULT_FILE).exists()  # it was written first
        raise ValueError("no such font")

    monkeypatch.setattr(report.pictures, "embedding_2d", fail)
    outcome = cluster(files.x, out, "--labels", files.y, "--overwrite", "--seed", 1)
    assert outcome.result["settings"]["seed"] == 1
    assert {path.name for path in out.glob("*.png")} == set(report.PICTURES) - {"embedding.png"}
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning"))
    assert warning == "warning: embedding.png was not drawn: no such font"


@pytest.mark.usefixtures("no_pictures", "eager_saves")
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (report, "save_model"),
        (np, "savez_compressed"),
        (report.csv, "DictWriter"),
        (report.json, "dump"),
        (np, "savez"),
    ],
)
def test_where_the_disk_is_full_the_result_before_survives(files, finished, tmp_path, capsys, module, name):
    out = shutil.copytree(finished.out, tmp_path / "out")
    before = content(out)
    words = command(files.x, "--out", out, "--seed", 3, "--overwrite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, refuse)
        assert run.main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"error: out {out} cannot be written: No space left on device"
    after = content(out)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} <= {runs.UNFINISHED}

    assert run.main(words) == 0
    assert read(out).result["settings"]["seed"] == 3
    assert not (out / runs.UNFINISHED).exists()


def test_what_a_killed_run_left_of_its_result_is_cleared_away(files, tmp_path, no_pictures):
    (tmp_path / "out" / report.NEW / "model").mkdir(parents=True)
    cluster(files.x, tmp_path / "out")
    assert not (tmp_path / "out" / report.NEW).exists()


def table(result):
    printed = Console(width=100, record=True, markup=False, file=io.StringIO())
    report.print_table(result, printed)
    return printed.export_text()


def test_table(finished):
    result = finished.outcome.result | {
        "seconds": {"kmeans": 1.0, "pretraining": 20.0, "autoencoder_kmeans": 3.0, "clustering": 400.0},
        "steps_per_second": {"pretraining": 117.25, "clustering": None},
    }
    lines = table(result).splitlines()
    assert "x.npy: 200 samples × 64 features" in lines[0]
    assert [word for word in lines[2].split() if word.isalpha()] == ["method", "ACC", "NMI", "ARI", "seconds"]
    for method, seconds in (("kmeans", "1.0"), ("autoencoder_kmeans", "23.0"), ("final", "423.0")):
        (line,) = (line for line in lines if f"│ {methods.METHODS[method]} " in line)
        cells = [cell.strip() for cell in line.split("│")[2:-1]]
        assert cells == [*(f"{result[method][score]:.4f}" for score in SCORES), seconds]
    assert "phases: kmeans 1.0 s, pretraining 20.0 s, autoencoder kmeans 3.0 s, clustering 400.0 s" in lines
    assert "pretraining: 117.2 steps/s" in lines
    assert not any(line.startswith("clustering: ") for line in lines)  # it had one window, which compiled
    assert "pretraining: from cache" not in lines
    assert (
        "pretraining: from cache" in table(result | {"pretraining": "from cache", "steps_per_second": {}}).splitlines()
    )
    assert "DEC did 100 steps and was stopped by max_steps" in lines


def test_a_partition_has_its_row_and_its_seconds(finished):
    seconds = {"kmeans": 1.0, "pretraining": 20.0, "autoencoder_kmeans": 3.0, "n2d": 50.0, "clustering": 400.0}
    lines = table(finished.outcome.result | {"seconds": seconds, "n2d": finished.outcome.result["kmeans"]}).splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [(row[0], row[-1]) for row in rows] == [
        ("k-means on the input", "1.0"),
        ("k-means on the embedding", "23.0"),
        ("N2D on the embedding", "70.0"),
        ("DEC", "473.0"),
    ]


def test_names_that_look_like_markup_are_printed_as_they_are(finished):
    data = finished.outcome.result["data"] | {"name": "x[bold].npy"}
    assert "x[bold].npy" in table(finished.outcome.result | {"data": data})
