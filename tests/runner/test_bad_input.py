"""Files that cannot be clustered: one line that names what is wrong, and nothing is written."""

import numpy as np
import pytest

from dec_jax.runner import run

pytest.importorskip("pandas")
NUMBERS = "a,b\n" + "".join(f"{i % 7},{i % 5}.5\n" for i in range(30))


def text(content):
    return lambda path: path.write_text(content)


def annotated(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.create_group("obs")


def images(path):
    image = pytest.importorskip("PIL.Image")
    path.mkdir()
    for i, size in enumerate([(4, 4), (4, 4), (4, 5)]):
        image.fromarray(np.zeros(size, np.uint8)).save(path / f"{i}.png")


CASES = {
    "a name twice": ("x.csv", text("a,b,a\n1,2,3\n4,5,6\n"), (), "got 'a' 2 times"),
    "one column of text": ("x.csv", text("a\n" + "".join(f"so {i} words\n" for i in range(60))), (), "'a' (free text)"),
    "one column, left out": ("x.csv", text("a\n1\n2\n3.5\n"), ("--drop", "a"), "'a' (number, left out)"),
    "one column of labels": ("x.csv", text("a\n1\n2\n3.5\n"), ("--label-column", "a"), "'a' (category, labels)"),
    "one constant column": ("x.csv", text("a\n1\n1\n1\n"), (), "must not be constant"),
    "no X": ("x.h5ad", annotated, (), "must hold the matrix X, got obs"),
    "images of two sizes": ("images", images, (), "got 4 × 4 in 0.png and 4 × 5 in 2.png"),
    "no images": ("images", lambda path: path.mkdir(), (), "must hold images"),
    "no file": ("x.csv", lambda path: None, (), "does not exist"),
    "no such column to use": ("x.csv", text(NUMBERS), ("--columns", "c"), "unknown column in columns 'c'"),
    "no such column to drop": ("x.csv", text(NUMBERS), ("--drop", "c"), "unknown column in drop 'c'"),
    "no such ids": ("x.csv", text(NUMBERS), ("--id-column", "c"), "unknown column in id_column 'c'"),
    "no such labels": ("x.csv", text(NUMBERS), ("--label-column", "c"), "unknown column in label_column 'c'"),
    "a rule that is not one": ("x.csv", text(NUMBERS), ("--missing", "mean"), "unknown missing 'mean'"),
    "gaps": ("x.csv", text(NUMBERS + ",1\n"), (), "values are missing in the columns 'a' (1)"),
    "a shape that does not fit": ("x.csv", text(NUMBERS), ("--image-shape", "3,3"), "image_shape (3, 3) needs 9"),
    "uneven rows": ("x.csv", text(NUMBERS + "1\n"), (), "line 32 holds 1, the lines above hold 2"),
    "a header alone": ("x.csv", text("a,b\n"), (), "a header alone"),
    "an empty file": ("x.csv", text(""), (), "an empty file"),
    "an unknown kind": ("x.doc", text(NUMBERS), (), "unknown kind of data file"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_is_wrong_and_nothing_is_written(tmp_path, capsys, case):
    name, write, words, problem = CASES[case]
    write(tmp_path / name)
    out = tmp_path / "out"
    command = ["--data", str(tmp_path / name), "--n-clusters", "3", "--preset", "demo", "--out", str(out), *words]
    assert run.main(command) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(said) == 1
    assert problem in said[0]
    assert not out.exists()
