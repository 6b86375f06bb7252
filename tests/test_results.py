import json
import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
METHODS = {
    "kmeans": "k-means on the input",
    "autoencoder_kmeans": "k-means on the embedding",
    "final": "DEC",
}


def results(run):
    paths = sorted((ROOT / "results").glob(f"{run}-seed*.json"))
    found = [json.loads(path.read_text()) for path in paths]
    assert [result["settings"]["seed"] for result in found] == list(range(len(found)))
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("run", ["digits-demo", "mnist-fast"])
def test_table_agrees_with_the_files_behind_it(run, method):
    data, preset = run.split("-")
    row = re.search(rf"\| {data}.*`{preset}` \| {METHODS[method]} \| (.*) \| (.*) \| (.*) \|", README)
    accuracies = [result[method]["acc"] for result in results(run)]
    nmi = median(result[method]["nmi"] for result in results(run))
    expected = (f"{median(accuracies):.4f}", ", ".join(f"{acc:.4f}" for acc in accuracies), f"{nmi:.4f}")
    assert row.groups() == expected


def test_every_figure_comes_from_a_committed_state():
    for path in (ROOT / "results").glob("*.json"):
        assert re.fullmatch("[0-9a-f]{40}", json.loads(path.read_text())["git_commit"])
