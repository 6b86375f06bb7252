import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest

from dec_jax.data.files import read_samples
from dec_jax.data.tables import read_table

pd = pytest.importorskip("pandas")
X = np.array([[15249.6, 25634.9, 12396.4], [-0.1, 1e-7, 3.0], [28244.9, 19530.0, 1 / 3]])
NAMES = ["height", "weight, kg", "$ Größe"]


def line(row, separator=",", decimal="."):
    return separator.join(repr(float(value)).replace(".", decimal) for value in row)


def text(separator=",", decimal=".", header=True, end="\n", trailing=""):
    names = [separator.join(f'"{name}"' for name in NAMES)] * header
    return "".join(row + trailing + end for row in [*names, *(line(row, separator, decimal) for row in X)])


DIALECTS = {
    "plain": text().encode(),
    "headerless": text(header=False).encode(),
    "CRLF": text(end="\r\n").encode(),
    "CR": text(end="\r").encode(),
    "no last line end": text().rstrip().encode(),
    "mark": text().encode("utf-8-sig"),
    "latin-1": text().encode("latin-1"),
    "UTF-16": text().encode("utf-16"),
    "packed": gzip.compress(text().encode()),
    "semicolons": text(";").encode(),
    "decimal commas": text(";", ",").encode(),
    "tabs": text("\t").encode(),
    "spaces": text(" ").encode(),
    "bars": text("|").encode(),
    "trailing commas": text(trailing=",").encode(),
    "comments": b"# measured 2021\n#\n" + text().encode() + b"",
    "empty lines": text().replace("\n", "\n\n").encode(),
    "two packings": bz2.compress(text().encode()),
    "a third packing": lzma.compress(text().encode()),
    "UTF-16 without a mark": text().encode("utf-16-le"),
    "UTF-16 from the other end": text().encode("utf-16-be"),
    "UTF-32": text().encode("utf-32"),
    "packed UTF-16 of tabs": gzip.compress(text("\t").encode("utf-16")),
    "headerless semicolons": text(";", header=False).encode(),
    "headerless decimal commas": text(";", ",", header=False).encode(),
    "headerless tabs": text("\t", header=False).encode(),
    "headerless spaces": text(" ", header=False).encode(),
    "tabs and decimal commas": text("\t", ",").encode(),
    "bars and decimal commas": text("|", ",").encode(),
    "aligned spaces": text("   ").encode(),
    "spaces after commas": text(", ").encode(),
    "Excel's first line": b"sep=;\n" + text(";", ",").encode(),
    "Excel in German": text(";", ",", end="\r\n").encode("utf-8-sig"),
    "Excel in German, of old": text(";", ",", end="\r\n").encode("cp1252"),
    "CR and semicolons": text(";", end="\r").encode(),
    "trailing semicolons": text(";", trailing=";").encode(),
    "trailing tabs": text("\t", trailing="\t").encode(),
    "comments of another kind": b"% measured 2021\n%\n" + text().encode(),
    "names in a comment": ("# " + text().replace('"', "").replace(", kg", " kg")).encode(),
    "empty lines first and last": ("\n\n" + text() + "\n\n").encode(),
    "large exponents": text().replace("e-07", "E-7").encode(),
    "names in other quotes": text().replace('"height"', "height").encode(),
    "all of it quoted": "\n".join(",".join(f'"{value}"' for value in row) for row in [NAMES, *X.tolist()]).encode(),
    "quoted": "\n".join(",".join(f'"{value!r}"' for value in row) for row in X.tolist()).encode(),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".TXT"])
def test_the_same_numbers_from_each_dialect(tmp_path, dialect, suffix):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(DIALECTS[dialect])
    frame, notes = read_table(path)
    np.testing.assert_array_equal(frame.to_numpy(), X)
    names = ["0", "1", "2"] if "headerless" in dialect or dialect == "quoted" else NAMES
    if dialect == "names in a comment":
        names = [name.replace(", kg", " kg") for name in NAMES]
    assert list(frame.columns) == names
    assert ("no header" in notes[0]) == (names[0] == "0")
    assert ("cp1252" in notes[0]) == (dialect in ("latin-1", "Excel in German, of old"))


def test_thousands(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('a,b\n"15,249.6","1,000,000"\n"12.5","7"\n')
    np.testing.assert_array_equal(read_table(path).frame.to_numpy(), [[15249.6, 1e6], [12.5, 7]])


def test_dates_and_versions_are_no_numbers_with_thousands(tmp_path):
    path = tmp_path / "mine.csv"
    rows = ["1.007,00;02.02.2020;2.1.1;1,5;7", "12,5;03.02.2020;2.1.2;;8", "-1.250.000;04.02.2020;2.2.0;2;9"]
    path.write_text("\n".join(["betrag;datum;version;z;n", *rows]))
    frame = read_table(path).frame
    assert frame["betrag"].tolist() == [1007, 12.5, -1250000]
    assert frame["datum"].tolist() == ["02.02.2020", "03.02.2020", "04.02.2020"]
    assert frame["version"].tolist() == ["2.1.1", "2.1.2", "2.2.0"]
    assert frame["n"].dtype.kind == "i"
    np.testing.assert_array_equal(frame["z"], [1.5, np.nan, 2])


@pytest.mark.parametrize("header", ["sorte;wert", "datum;zeit;wert", "betrag;datum;z"])
def test_semicolons_between_decimal_commas(tmp_path, header):
    names = header.split(";")
    rows = [";".join([f"{i % 7},{i}" if name in ("wert", "betrag") else f"w{i}" for name in names]) for i in range(9)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([header, *rows]))
    frame = read_table(path).frame
    assert list(frame.columns) == names
    assert frame["betrag" if "betrag" in names else "wert"].tolist() == [i % 7 + i / 10 for i in range(9)]


@pytest.mark.parametrize("error", ["#N/A", "#DIV/0!", "#ff0000"])
def test_a_row_that_begins_with_a_hash_is_a_row(tmp_path, error):
    lines = [f"{i},{i / 2}" for i in range(40)]
    lines[7] = f"{error},0.3"
    lines.insert(20, "# a remark")
    (tmp_path / "mine.csv").write_text("\n".join(["a,b", *lines]))
    frame = read_table(tmp_path / "mine.csv").frame
    assert (len(frame), frame["b"][7]) == (40, 0.3)
    assert frame["a"].isna()[7] if error != "#ff0000" else frame["a"][7] == error


@pytest.mark.parametrize("header", ["country,2018,2019,2020", "country,1990,1995,2000", "sample,4000,3998,3996"])
def test_years_are_a_header(tmp_path, header):
    rows = [f"c{i},{i % 5}.5,{i % 3},{i % 7}.25" for i in range(20)]
    (tmp_path / "mine.csv").write_text("\n".join([header, *rows]))
    frame = read_table(tmp_path / "mine.csv").frame
    assert (list(frame.columns), len(frame)) == (header.split(","), 20)


def test_years_are_a_header_in_excel(tmp_path):
    frame = pd.DataFrame({str(year): np.arange(12) / 4 for year in range(2010, 2020)})
    pd.DataFrame([list(range(2010, 2020)), *frame.to_numpy().tolist()]).to_excel(
        tmp_path / "mine.xlsx", index=False, header=False
    )
    assert list(read_table(tmp_path / "mine.xlsx").frame.columns) == list(frame.columns)


def test_thousands_that_come_late(tmp_path):
    rows = [f"12,5;{i % 900}" for i in range(1100)] + ["5,1;5.104"]
    (tmp_path / "mine.csv").write_text("\n".join(["preis;menge", *rows]))
    assert read_table(tmp_path / "mine.csv").frame["menge"].iloc[-1] == 5104


def test_one_column_with_decimal_commas(tmp_path):
    (tmp_path / "mine.csv").write_text("Temperatur\n20,0\n21,1\n20,7\n22,2\n")
    frame = read_table(tmp_path / "mine.csv").frame
    assert (list(frame.columns), frame["Temperatur"].tolist()) == (["Temperatur"], [20.0, 21.1, 20.7, 22.2])


def test_a_table_with_very_long_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("dec_jax.data.dialects.SAMPLE_BYTES", 50)
    names = [f"feature {i}" for i in range(30)]
    rows = [",".join(str(i + j) for j in range(30)) for i in range(4)]
    (tmp_path / "mine.csv").write_text("\n".join([",".join(names), *rows]))
    assert read_table(tmp_path / "mine.csv").frame.shape == (4, 30)


def test_a_libsvm_file_is_named(tmp_path):
    (tmp_path / "mine.txt").write_text("0 1:0.126 2:-0.132\n1 1:0.5 2:0.64\n")
    with pytest.raises(ValueError, match="looks like a LIBSVM file"):
        read_table(tmp_path / "mine.txt")


@pytest.mark.parametrize("text", ["#,Name,HP\n1,Abra,25\n2,Onix,35\n", "RI,NA,MG\n1.5,13.6,4.4\n1.6,13.8,3.6\n"])
def test_headers_that_look_like_something_else(tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    assert list(read_table(tmp_path / "mine.csv").frame.columns)[1:] == text.split("\n")[0].split(",")[1:]


def test_a_packed_array_is_not_a_packed_table(tmp_path):
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress(b"1"))
    with pytest.raises(ValueError, match=r"unknown kind of data file.*x\.npy\.gz"):
        read_samples(tmp_path / "x.npy.gz")


@pytest.mark.parametrize("to_file", ["to_csv", "to_parquet", "to_feather", "to_excel"])
def test_what_pandas_writes(tmp_path, to_file):
    frame = pd.DataFrame({"a": [1.5, np.nan, 3.0], "b": ["x", "y", None], "c": [1, 2, 3]})
    suffix = {"to_csv": "csv", "to_parquet": "parquet", "to_feather": "feather", "to_excel": "xlsx"}[to_file]
    path = tmp_path / f"my table #1.{suffix}"
    getattr(frame, to_file)(path, **({} if suffix in ("parquet", "feather") else {"index": False}))
    read = read_table(path).frame
    assert list(read.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(read["a"], frame["a"])
    np.testing.assert_array_equal(read["c"], frame["c"])
    assert read["b"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_numbers_as_names(tmp_path, index, suffix):
    path = tmp_path / f"mine.{suffix}"
    frame = pd.DataFrame(np.random.default_rng(0).integers(0, 17, (30, 8)))
    frame.to_csv(path, index=index) if suffix == "csv" else frame.to_excel(path, index=index)
    read, notes = read_table(path)
    assert len(read) == 30
    assert list(read.columns) == ([""] if index else []) + [str(i) for i in range(8)]
    assert "the first line is the header" in notes[0]


def test_empty_fields_are_missing_values_and_never_a_header(tmp_path):
    path = tmp_path / "mine.csv"
    for first in (",", "NA,NA", "NA,2"):
        path.write_text(f"{first}\n1,2\n3,4\n")
        frame = read_table(path).frame
        assert len(frame) == 3
        assert frame.iloc[0].isna().any()


def test_a_row_that_ends_in_a_comment_sign_stays(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n" + "1,C#\n" * 12 + "# the end\n")
    assert read_table(path).frame["b"].tolist() == ["C#"] * 12


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("1,2\n3\n", "line 2 holds 1, the lines above hold 2"),
        ("a,b\n1,2\n\n3,4\n5,6,7\n", "line 5 holds 3, the lines above hold 2"),
        ("# c\na;b\n1;2\n3\n", "line 4 holds 1, the lines above hold 2 .separated by ';'"),
        ("a,a\n1,2\n", "a name of its own for each column, got 'a' 2 times"),
        ("a,b\n", "at least one sample, got a header alone"),
        ("", "at least one sample, got an empty file"),
    ],
)
def test_text_that_is_no_table(tmp_path, content, problem):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=problem) as raised:
        read_table(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather", ".xlsx"])
@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\xff\xfe" * 50, b"PK\x03\x04" + b"\x00" * 64, b"PAR1"])
def test_damaged_files(tmp_path, suffix, content):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content)
    if (suffix, content) == (".csv", b"PAR1"):
        content = b"PAR1\x00"
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"is damaged, or is not a \{suffix} file") as raised:
        read_table(Path(path))
    assert "\n" not in str(raised.value)


def test_an_empty_sheet(tmp_path):
    pd.DataFrame().to_excel(tmp_path / "mine.xlsx")
    with pytest.raises(ValueError, match="got an empty sheet"):
        read_table(tmp_path / "mine.xlsx")


def test_what_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (tmp_path / "mine.xlsx").write_bytes(b"")
    with pytest.raises(ImportError, match=r'a \.xlsx file needs openpyxl: pip install "dec_jax\[tables\]"'):
        read_table(tmp_path / "mine.xlsx")
