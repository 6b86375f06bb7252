import importlib.resources
import json
import re
import sys

import numpy as np
import pytest

from dec_jax.data import Dataset
from dec_jax.runner import command
from dec_jax.runner.webpage import page

from ..tiny_page import EVIL, HISTORY, LABELS, K, N, images, result_of, table, write

SCRIPT = re.compile(r"<script(?P<kind>[^>]*)>(?P<content>.*?)</script>", re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, table())


def figures(html):
    (content,) = (found["content"] for found in SCRIPT.finditer(html) if "json" in found["kind"])
    return json.loads(content)


def without_scripts(html):
    return SCRIPT.sub("", html)


def strings(tree):
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from strings(part)


def test_the_page_has_every_part(folder):
    html = page.render(folder)
    for id in ("plane", "methods", "clusters", "classes", "training", "repeat"):
        assert f'<section id="{id}"' in html
        assert f'href="#{id}"' in html
    for text in ("k-means on the input", "DEC", "ab" * 32, "c" * 40, "jax 0.10", "dec-jax run --data"):
        assert text in html
    assert set(figures(html)) == {"embedding", "confusion", "curve-0", "curve-1", "curve-2", "curve-3"}
    assert len(html.encode()) < 6e6


def test_every_sample_is_in_the_plot_with_its_name_its_cluster_and_its_confidence(folder):
    q = np.load(folder / "assignments.npz")["q"]
    points = [one for trace in figures(page.render(folder))["embedding"]["data"] for one in trace.get("customdata", [])]
    assert len(points) == N
    for name, confidence, of_class in points:
        row = int(re.search(r"\d+", name)[0])
        assert confidence == f"{100 * q[row].max():.1f} %"
        assert of_class == ("&lt;script&gt;alert(1)&lt;/script&gt;", "b", "c")[LABELS[row]]
    for trace in figures(page.render(folder))["embedding"]["data"][:K]:
        rows = [int(re.search(r"\d+", one[0])[0]) for one in trace["customdata"]]
        assert {f"cluster {c}" for c in LABELS[rows]} == {trace["name"]}
        assert f"<br>{trace['name']}<br>" in trace["hovertemplate"]


def test_nothing_of_the_data_is_markup(folder):
    html = page.render(folder)
    plain = without_scripts(html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in plain
    assert EVIL not in html
    assert "<b>" not in plain
    assert "<i>" not in plain
    assert len(SCRIPT.findall(html)) == html.count("<script") == 3
    ours = {"<br>", "</extra>", "<extra>"}
    for text in strings(figures(html)):
        assert set(re.findall(r"<[^>]*>", text)) <= ours


def test_only_the_pages_own_scripts_may_run(folder):
    html = page.render(folder)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    run = [found["content"] for found in SCRIPT.finditer(html) if "json" not in found["kind"]]
    assert [page._hash(script).replace("'", "&#39;") in policy for script in run] == [True, True]
    assert "default-src &#39;none&#39;" in policy
    assert not re.search(r'(?:src|href)="(?!#|data:)', without_scripts(html))


def test_each_plot_has_its_words(folder):
    html = without_scripts(page.render(folder))
    plots = re.findall(r'<div class="plot[^>]*>', html)
    assert len(plots) == 6
    assert all('role="img"' in plot and re.search(r'aria-label="[^"]{20,}"', plot) for plot in plots)
    assert html.count("<caption>") == html.count("<table>") == 6 + 1 + 2 * K + 1


def test_images_have_words(tmp_path):
    html = without_scripts(page.render(write(tmp_path, images())))
    pictures = re.findall(r"<img [^>]*>", html)
    assert len(pictures) == K * (2 + 8 + 8)
    assert all(re.search(r'alt="[^"]{10,}"', picture) for picture in pictures)
    assert "no scores" in html
    assert '<th scope="col">ACC</th>' not in html


def test_a_run_that_kept_nothing_for_its_page_has_one_too(tmp_path):
    html = page.render(write(tmp_path, table(), keep=False))
    assert len(figures(html)["embedding"]["data"][0]["x"]) == N // K
    assert '<section id="classes"' not in html


def test_curves_are_those_of_the_history(folder):
    drawn = figures(page.render(folder))
    lines = {line["name"]: (line["x"], line["y"]) for line in drawn["curve-0"]["data"]}
    assert lines == {"fine-tuning": ([10, 20], [2.0, 1.0])}
    acc = [row["acc"] for row in HISTORY if row["acc"] != ""]
    assert [line["y"] for line in drawn["curve-3"]["data"]] == [acc]


def test_the_command_makes_the_page_of_a_folder(folder, capsys):
    assert command.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"to look at it, open {folder / 'report.html'}\n"
    assert (folder / "report.html").read_text() == page.render(folder)


def refused(folder, capsys):
    """The line that a command on this folder says."""
    assert command.main(["report", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not (folder / "report.html").exists()
    return line


def test_a_folder_that_holds_neither_is_refused(tmp_path, capsys):
    expected = f"error: folder {tmp_path} holds neither a finished run nor a finished sweep"
    assert refused(tmp_path, capsys) == expected
    assert refused(tmp_path / "absent", capsys) == expected.replace(str(tmp_path), str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.json", "{"),
        ("report.json", "[]"),
        ("report.json", '{"plane": {}}'),
        ("report.json", '{"cards": 3}'),
        ("result.json", "{"),
        ("result.json", "{}"),
        ("result.json", "[]"),
        ("history.csv", "phase,step,loss\nclustering,x,y\n"),
        ("history.csv", ""),
        ("assignments.npz", "no archive"),
    ],
)
def test_a_damaged_folder_without_digests_is_refused_in_one_line(folder, capsys, name, content):
    (folder / "digests.jsonl").unlink()
    (folder / name).write_text(content)
    if (name, content) == ("history.csv", ""):
        assert command.main(["report", str(folder)]) == 0  # nothing was recorded
    else:
        assert refused(folder, capsys).startswith("error: ")


@pytest.mark.parametrize("name", ["report.json", "result.json", "history.csv", "assignments.npz"])
def test_rot_without_digests_is_one_line_or_a_page(folder, capsys, monkeypatch, name):
    (folder / "digests.jsonl").unlink()
    monkeypatch.setattr(page, "_plotly", lambda markup: markup("0"))  # it is long
    whole = (folder / name).read_bytes()
    for place in np.linspace(0, len(whole) - 1, 10).astype(int):
        for rotten in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :]):
            (folder / name).write_bytes(rotten)
            status = command.main(["report", str(folder)])
            said = capsys.readouterr().err.splitlines()
            assert (status, len(said)) in ((0, 0), (2, 1))


def test_a_page_of_the_worst_images_and_the_longest_names_is_below_six_megabytes(tmp_path):
    random, n, k = np.random.default_rng(0), 8000, 40
    labels = np.arange(n) % k
    ids = np.array([f"{'long ' * 50}{i}" for i in range(n)])
    names = tuple(f"{'long ' * 50}{i}" for i in range(k))
    data = Dataset("noise", random.random((n, 32 * 32 * 3), np.float32), labels, (32, 32, 3), names, None, ids)
    assert len(page.render(write(tmp_path, data, labels=labels)).encode()) < 6e6


@pytest.mark.parametrize("module", ["jinja2", "plotly.offline"])
def test_without_the_extra_one_line_names_it(folder, capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert 'pip install "dec_jax[report]"' in refused(folder, capsys)


def test_what_the_page_is_made_of_is_in_the_wheel():
    import tomllib
    from pathlib import Path

    patterns = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    patterns = patterns["tool"]["setuptools"]["package-data"]["dec_jax"]
    package = Path(str(importlib.resources.files("dec_jax")))
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    made_of = {path for path in (package / "runner" / "webpage").iterdir() if path.suffix not in (".py", "")}
    assert made_of
    assert made_of <= shipped


def test_without_a_command_the_page_says_the_rest(folder):
    (folder / "digests.jsonl").unlink()
    result = result_of(table()) | {"command": None}
    (folder / "result.json").write_text(json.dumps(result))
    html = page.render(folder)
    assert "<dt>command</dt>" not in html
    assert "<dt>seed</dt>" in html
