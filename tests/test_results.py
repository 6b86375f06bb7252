import csv
import json
import re
from pathlib import Path
from statistics import median

import pytest

from benchmarks import frontier, tables
from dec_jax.runner import methods
from experiments.paper.imbalance import PHASES
from experiments.paper.published import ACCURACY, IMBALANCE
from experiments.paper.table import Cell, Table, _markdown, plus_minus

ROOT = Path(__file__).parents[1]
PAGES = "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
PAPER, VALUES = ROOT / "results" / "paper", "-values"
RUNS = sorted({path.name.rpartition("-seed")[0] for path in (ROOT / "results").glob("*-seed*.json")})


def test_the_frontier_agrees_with_its_file():
    records = json.loads((ROOT / "results" / "benchmarks" / "frontier.json").read_text())
    assert len(records) > 20
    for record in records:
        assert f"| {' | '.join(frontier.cells(record))} |" in PAGES


def test_the_generated_tables_agree_with_their_file():
    records = json.loads((ROOT / "results" / "benchmarks" / "tables.json").read_text())
    assert len(records) == 320
    for row in tables.rows(records):
        assert f"| {' | '.join(row)} |" in PAGES


def results(run):
    paths = sorted((ROOT / "results").glob(f"{run}-seed*.json"))
    found = [json.loads(path.read_text()) for path in paths]
    assert [result["settings"]["seed"] for result in found] == list(range(len(found)))
    return found


def setting(result, name):
    """A setting of a run; those of old runs have neither a section nor the name that they have now."""
    settings = result["settings"]
    old = {"data.name": "data"}.get(name, name.rpartition(".")[2])
    return settings.get(name, settings.get(old))


@pytest.mark.parametrize("run", RUNS)
def test_table_agrees_with_the_files_behind_it(run):
    found = results(run)
    assert {"graph", "kmeans", "autoencoder_kmeans"} & set(found[0])
    for method, name in methods.methods(found[0]).items():
        check_row(found, method, name)


def check_row(found, method, name):
    data, preset = (setting(found[0], name) for name in ("data.name", "preset"))
    objective = setting(found[0], "clustering.objective") or "dec"  # the oldest runs could minimise nothing else
    if method == "final":
        name = methods.objective_name(objective)
    rows = re.findall(rf"\| {data}(?:, .*)?, `{preset}` \| {name} \| (.*) \| (.*) \| (.*) \|", PAGES)
    accuracies = [result[method]["acc"] for result in found]
    nmi = median(result[method]["nmi"] for result in found)
    expected = (f"{median(accuracies):.4f}", ", ".join(f"{acc:.4f}" for acc in accuracies), f"{nmi:.4f}")
    assert expected in rows


@pytest.mark.parametrize(
    ("row", "run", "method"),
    [
        ("k-means", "mnist", "kmeans"),
        ("AE + k-means", "mnist", "autoencoder_kmeans"),
        ("DEC without back-propagation", "mnist-without-backpropagation", "final"),
        ("DEC", "mnist", "final"),
    ],
)
def test_comparison_with_the_paper_agrees_with_the_files_behind_it(row, run, method):
    paper, fast = (
        plus_minus([100 * result[method]["acc"] for result in results(f"{run}-{preset}")])
        for preset in ("paper", "fast")
    )
    assert f"| {row} | {ACCURACY[row]['mnist']:.2f} | {paper} | {fast} |" in PAGES


@pytest.mark.parametrize(("row", "method"), PHASES.items())
def test_comparison_on_imbalanced_classes_agrees_with_the_files_behind_it(row, method):
    cells = []
    for rate in (0.1, 0.9):
        ours = plus_minus([100 * result[method]["acc"] for result in results(f"mnist-rmin{rate}-fast")])
        cells += [f"{IMBALANCE[row][rate]:.2f}", ours]
    assert f"| {row} | {' | '.join(cells)} |" in PAGES


def test_dec_is_above_kmeans_on_its_embedding_for_every_seed():
    for result in results("mnist-fast") + results("mnist-paper"):
        assert result["final"]["acc"] > result["autoencoder_kmeans"]["acc"]


def test_every_figure_comes_from_a_committed_state():
    for path in (ROOT / "results").glob("*.json"):
        assert re.fullmatch("[0-9a-f]{40}", json.loads(path.read_text())["git_commit"])


@pytest.mark.parametrize(
    ("name", "objective", "score"),
    [("k-means on the embedding", "dec", "kmeans_"), ("DEC", "dec", ""), ("IDEC", "idec", ""), ("DCN", "dcn", "")],
)
def test_table_of_text_agrees_with_its_file(name, objective, score):
    with open(ROOT / "results" / "r8.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["objective"] == objective]
    acc, nmi = ([float(row[f"{score}{kind}"]) for row in rows] for kind in ("acc", "nmi"))
    table = PAGES[PAGES.index("| R8, text") :]
    cells = f"{median(acc):.4f} | {', '.join(f'{value:.4f}' for value in acc)} | {median(nmi):.4f}"
    assert f"| {name} | {cells} |" in table


def cell(line, seeds):
    if not line["mean"]:
        return line["text"]
    return Cell(
        tuple(float(line[seed]) for seed in seeds if line[seed]),
        float(line["published"]) if line["published"] else None,
    )


# What ends in VALUES lies behind a picture.
@pytest.mark.parametrize(
    "path", sorted(set(PAPER.glob("*.csv")) - set(PAPER.glob(f"*{VALUES}.csv"))), ids=lambda path: path.stem
)
def test_table_of_the_paper_agrees_with_its_file(path):
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    seeds = [name for name in lines[0] if name.startswith("seed ")]
    columns = tuple(dict.fromkeys(line["column"] for line in lines))
    rows = {line["row"]: () for line in lines}
    for line in lines:
        rows[line["row"]] += (cell(line, seeds),)
    assert _markdown(Table("", columns, rows, "")) in PAGES


def test_pictures_of_the_paper_are_all_shown_and_all_there():
    shown = re.findall(r"!\[.*\]\((?:\.\./)?results/paper/(.*\.png)\)", PAGES)
    assert sorted(shown) == sorted(path.name for path in PAPER.glob("*.png"))
    for path in PAPER.glob(f"*{VALUES}.csv"):
        assert path.with_name(path.name.replace(f"{VALUES}.csv", ".png")).exists()


def test_table_of_sec_agrees_with_its_file():
    with open(ROOT / "results" / "sec.csv", newline="") as file:
        accuracies = [f"{100 * float(row['acc']):.1f}" for row in csv.DictReader(file)]
    assert f"| ACC | {' | '.join(accuracies)} |" in PAGES


def benchmark(name):
    return json.loads((ROOT / "results" / "benchmarks" / f"{name}.json").read_text())


@pytest.mark.parametrize("record", benchmark("throughput"), ids=lambda record: record["name"])
def test_table_of_throughput_agrees_with_its_file(record):
    milliseconds = f"{1e3 * record['seconds_per_step']:.2f}"
    assert f"| {record['name']} | {milliseconds} | {record['gflops']:.0f} | {record['fraction']:.2f} |" in PAGES


@pytest.mark.parametrize("record", benchmark("peers"), ids=lambda record: record["name"])
def test_table_of_peers_agrees_with_its_file(record):
    ours, theirs = (f"{1e3 * record[key]:.2f}" for key in ("seconds_per_step", "peer_seconds_per_step"))
    assert f"| {record['name']} | {ours} | {theirs} | {record['ratio']:.2f} |" in PAGES


def test_table_of_scaling_agrees_with_its_file():
    series = {}
    for record in benchmark("scaling"):
        if record["n"] != 20_000:  # where another size than n is swept
            width = f"m = {record['m']}" if record["phase"] == "k-means" else f"d = {record['d']:,}"
            series.setdefault(f"{record['phase']}, {width}", []).append(record)
    assert len(series) == 7
    for name, records in series.items():
        times = [1e6 * record["seconds_per_sample"] for record in records]
        memory = (f"{records[-1][key] / 1e6:,.0f}" for key in ("peak_host_bytes", "data_bytes"))
        cells = [*(f"{time:.2f}" for time in times), f"{max(times) / min(times) - 1:.0%}", *memory]
        assert f"| {name} | {' | '.join(cells)} |" in PAGES
