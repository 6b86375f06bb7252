import csv

import pytest

from experiments.paper import figure, table
from experiments.paper.table import Cell, Table

TABLE = Table(
    "Accuracy",
    ("mnist", "reuters"),
    {"ours": (Cell((80.0, 82.0), 84.3), Cell((), 75.6, "no data")), "other": (Cell((50.0,)), "text")},
    "A caption.",
)


def test_cells():
    assert str(Cell((80.0, 82.0), 84.3)) == "81.0 ± 1.4 (published 84.3)"
    assert str(Cell((50.04,))) == "50.0"
    assert str(Cell((), 75.63, "no data")) == "– (published 75.63)"


def test_screen_csv_and_markdown(tiny):
    table.write(tiny, "accuracy", TABLE)
    shown = tiny.console.file.getvalue()
    markdown = (tiny.out / "accuracy.md").read_text()
    for text in (shown, markdown):
        assert "81.0 ± 1.4 (published 84.3)" in text
    assert "| ours | 81.0 ± 1.4 (published 84.3) | – (published 75.6) |" in markdown
    assert "A caption. – no data. Scale laptop" in markdown
    with open(tiny.out / "accuracy.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["column"]) for row in rows] == [
        ("ours", "mnist"),
        ("ours", "reuters"),
        ("other", "mnist"),
        ("other", "reuters"),
    ]
    assert (float(rows[0]["mean"]), float(rows[0]["std"])) == (81.0, pytest.approx(2**0.5))
    assert (rows[0]["seed 0"], rows[0]["seed 1"], rows[0]["published"]) == ("80.0", "82.0", "84.3")
    assert (rows[1]["mean"], rows[1]["published"], rows[1]["text"]) == ("", "75.6", "no data")
    assert (rows[2]["std"], rows[3]["text"]) == ("", "text")


def test_rows_of_another_width_are_no_table(tiny):
    with pytest.raises(ValueError, match="zip"):
        table.write(tiny, "bad", Table("x", ("a",), {"row": ("1", "2")}, ""))


def test_a_picture_is_the_same_twice_and_has_its_caption(tiny):
    def draw(name):
        picture = figure.new(3, 2)
        picture.add_subplot().plot([1, 2], [3, 4])
        figure.write(tiny, name, picture, "What is seen.")
        return [(tiny.out / f"{name}.{kind}").read_bytes() for kind in ("png", "svg")]

    assert draw("curve") == draw("curve")
    assert (tiny.out / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert "![curve](curve.png)\n\nWhat is seen. Scale laptop" in (tiny.out / "curve.md").read_text()
