import json
import re

import pytest

from dec_jax.runner import table
from dec_jax.runner.webpage import page, sweep_page, sweep_plots

from ..tiny_page import EVIL, write_sweep


@pytest.fixture
def folder(tmp_path):
    return write_sweep(tmp_path)


def plots_of(folder):
    frame = table.read(folder)
    return {plot.id: plot for plot in sweep_plots.plots(frame, table.swept(frame))}


def test_there_is_a_heat_map_of_each_measure_and_a_curve_of_each_setting(folder):
    heats = {f"heatmap-{name}" for name in ("acc", "nmi", "ari", "silhouette")}
    settings = ("network-bottleneck", "clustering-n_clusters", "clustering-objective")
    curves = {f"curves-{measure}-{setting}" for measure in ("acc", "silhouette") for setting in settings}
    assert set(plots_of(folder)) == heats | curves


def test_heat_maps_are_means_over_the_rest(folder):
    (heat,) = plots_of(folder)["heatmap-acc"].figure["data"]
    assert (heat["x"], heat["y"]) == (["2", "3", "4"], ["2", "5"])
    assert heat["z"] == [[0.405, 0.605, 0.805]] * 2


def test_curves_have_the_mean_the_deviation_between_seeds_and_each_trial(folder):
    traces = plots_of(folder)["curves-acc-clustering-n_clusters"].figure["data"]
    seeds, mean = traces[:2]
    assert len(seeds["x"]) == len(seeds["y"]) == 24  # the failed one is left out
    assert set(seeds["customdata"]) == {0, 1}
    assert mean["x"] == [2, 3, 4]
    assert mean["y"] == [0.405, 0.605, 0.805]
    assert mean["error_y"]["array"] == pytest.approx([0.01 / 2**0.5] * 3, abs=1e-5)


def test_a_setting_that_is_text_is_text(folder):
    html = page.render(folder)
    assert EVIL not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    mean = plots_of(folder)["curves-acc-clustering-objective"].figure["data"][1]
    assert set(mean["x"]) == {"dec", "&lt;script&gt;alert(1)&lt;/script&gt;"}


def test_the_page_says_how_to_get_the_same(folder):
    html = page.render(folder)
    for text in (
        "dec-jax sweep --data &#39;a/b&lt;i&gt;.csv&#39;",
        "ab" * 32,
        "c" * 40,
        "0, 1",
        "<dt>failed</dt><dd>1",
    ):
        assert text in html
    assert "<title>b&lt;i&gt;.csv" in html
    assert "Silhouette suggests <strong>4</strong>" in html
    assert len(html.encode()) < 6e6


def test_a_long_table_is_cut_and_says_so(folder, monkeypatch):
    monkeypatch.setattr(sweep_page, "MAX_ROWS", 5)
    html = page.render(folder)
    assert "8 more combinations" in html
    (body,) = re.findall(r'<section id="table".*?<tbody>(.*?)</tbody>', html, re.DOTALL)
    assert body.count("<tr>") == 5


def test_without_labels_there_are_criteria(tmp_path):
    write_sweep(tmp_path, labels=False)
    assert {"heatmap-silhouette"} == {name for name in plots_of(tmp_path) if name.startswith("heat")}
    assert "best silhouette" in page.render(tmp_path)


def test_a_sweep_of_an_earlier_version_has_a_page(folder):
    (folder / "report.json").unlink()
    assert "<dt>command</dt>" not in page.render(folder)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"samples": "x"})])
def test_a_damaged_sweep_without_digests_is_refused(folder, content):
    (folder / "digests.jsonl").unlink()
    (folder / "sweep.json").write_text(content)
    with pytest.raises(ValueError, match="does not hold|Expecting"):
        page.render(folder)
