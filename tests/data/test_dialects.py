import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from dec_jax.data.dialects import MISSING, PLAIN, WHITESPACE, Numerals, decode, header_of, sniff

HERE = Path("mine.csv")
COMMA = Numerals(",")


@pytest.mark.parametrize(
    ("text", "separator", "numerals", "names"),
    [
        ("1.5,2\n0,-4\n5,6.25", ",", PLAIN, None),
        ("a,b\n1.5,2\n0,-4\n", ",", PLAIN, ("a", "b")),
        ("a;b\n1.5;2\n0;-4\n", ";", PLAIN, ("a", "b")),
        ("a;b\n1,5;2\n0;-4\n", ";", COMMA, ("a", "b")),
        ("1,5;2,25\n0,1;-4,0\n", ";", COMMA, None),
        ("1.234,5;2\n1.000.000;-4,0\n", ";", Numerals(",", "."), None),
        ('a,b\n"1,234.5","2"\n"1,000","4"\n', ",", Numerals(".", ","), ("a", "b")),
        ('"1,5","2,25"\n"3,5","4"\n', ",", COMMA, None),
        ("1'234.5\t2\n1'000\t4\n", "\t", Numerals(".", "'"), None),
        ("a\tb\n1\t2\n3\t4\n", "\t", PLAIN, ("a", "b")),
        ("1,5\t2,25\n0,5\t4\n", "\t", COMMA, None),
        ("1|2\n3|4\n", "|", PLAIN, None),
        ("1 2 3\n4 5 6\n", WHITESPACE, PLAIN, None),
        ("  1   2\t3\n  4 5  6\n", WHITESPACE, PLAIN, None),
        ("1,5 2,5 3,5\n4,5 5,5 6,5\n", WHITESPACE, COMMA, None),
        ("1\t2\t\t3\n4\t\t5\t6\n7\t8\t9\n", WHITESPACE, PLAIN, None),
        ("1, 2, 3\n4, 5, 6\n", ",", PLAIN, None),
        ("text\nword 1 2\nword 3 4\nword 5 6\n", ",", PLAIN, ("text",)),
        ("a b\nx 1 2\ny 3 4\nz 5 6\n", WHITESPACE, PLAIN, ("", "a", "b")),
        ("name,text\nx,12 months\ny,3 years\n", ",", PLAIN, ("name", "text")),
        ("sep=;\na;b\n1;2\n", ";", PLAIN, ("a", "b")),
        ("1\n2\n3\n", ",", PLAIN, None),
        ("size\n1\n2\n", ",", PLAIN, ("size",)),
        ("1e5,2E-3\n-1.5e+10,.5\n", ",", PLAIN, None),
        ("a,b\n1,\n,2\n", ",", PLAIN, ("a", "b")),
    ],
)
def test_separator_numbers_and_header(text, separator, numerals, names):
    found = sniff(text, HERE)
    assert (found.separator, found.numerals, found.names) == (separator, numerals, names)


@pytest.mark.parametrize(
    ("text", "skipped", "names"),
    [
        ("# measured 2021\n# units: mm\n\na,b\n1,2\n", 4, ("a", "b")),
        ("% a comment\n1,2\n3,4\n", 1, None),
        ("# width height\n1 2\n3 4\n", 1, ("width", "height")),
        ('"two\nlines",b\n1,2\n', 2, ("two\nlines", "b")),
    ],
)
def test_lines_before_the_table(text, skipped, names):
    found = sniff(text, HERE)
    assert (found.skipped, found.names) == (skipped, names)


def rows(text):
    return [line.split(",") for line in text.split()]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0,1,2,3 5,6,7,8 1,1,2,3", ("0", "1", "2", "3")),
        (",0,1,2 0,5,6,7 1,5,5,5", ("", "0", "1", "2")),
        (",a,b 0,5,6 1,7,8", ("", "a", "b")),
        ("a,b, 5,6, 7,8,", ("a", "b", "")),
        ("a,b 5,6, 7,8,", ("a", "b", "")),
        ("a,b x,5,6 y,7,8", ("", "a", "b")),
        ("1,2,3,4 0.5,0.1,0.2,0.3 0.1,0.1,0.2,0.3", ("1", "2", "3", "4")),
        ("400,402,404,406,408,410,412,414 5,6,7,8,9,1,2,2 5,6,7,8,9,1,2,3", tuple(map(str, range(400, 416, 2)))),
        ("0,1 5,6 7,8", ("0", "1")),
        ("0 0.5 0.7", ("0",)),
        ("sex,size f,1 m,2", ("sex", "size")),
        ("sex,place f,x m,y f,y", ("sex", "place")),
        ("0,1,2,sample_id 0.5,0.1,3,s0 0.1,0.1,3,s1", ("0", "1", "2", "sample_id")),
        ("0,1,sample_id 0.5,0.1,s0 0.1,0.1,s1", ("0", "1", "sample_id")),
        (",0,1,2,kind 0,5,6,7,red 1,5,5,5,blue", ("", "0", "1", "2", "kind")),
        ("a,b", ("a", "b")),
        ("a,b NA,5 3,NA", ("a", "b")),
    ],
)
def test_what_is_a_header(text, names):
    assert header_of(rows(text)) == names


@pytest.mark.parametrize(
    "text",
    [
        "5,6 7,8",
        "0,1 1,0 1,1",
        "0 1 2",
        "5.1,0.2 3,4",
        "NA,NA 5,6",
        ", 5,6",
        "NA,5 5,6",
        ",5,6 1,2,3",
        "f,1 m,2",
        "f,x m,y f,y m,x",
        "1,2,3 4,5,6",
        "nan,a 5,6",
        "a,b,c,d 1,2",
        "s0,0,1,2 s1,5,6,7 s2,7,8,9",
        "red,0,1 blue,5,6 red,7,8 blue,3,4",
        "yellow,0,1 blue,5,6 red,7,8 blue,3,4",
    ],
)
def test_what_is_no_header(text):
    assert header_of(rows(text)) is None


def test_two_ways_to_read_a_number():
    with pytest.raises(ValueError, match="holds '3,456', which can be read with a decimal comma or as thousands"):
        sniff("1,234\t2,345\n3,456\t4,567\n", HERE)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "\ufeff"])
def test_an_empty_file(text):
    with pytest.raises(ValueError, match=r"mine\.csv must hold at least one sample, got an empty file"):
        sniff(decode(text.encode(), HERE)[0], HERE)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(encoding):
    assert decode("Größe,b\r\n1,2\r\n".encode(encoding), HERE)[0] == "Größe,b\r\n1,2\r\n"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_text(pack):
    assert decode(pack(b"a,b\n1,2\n"), HERE)[0] == "a,b\n1,2\n"
    with pytest.raises(ValueError, match="is damaged"):
        decode(pack(b"a,b\n1,2\n" * 100)[:-20], HERE)


def test_a_packed_file_that_would_fill_the_memory(monkeypatch):
    monkeypatch.setattr("dec_jax.data.packed.LIMIT", 1000)
    with pytest.raises(ValueError, match="unpacks to more than"):
        decode(gzip.compress(b"0" * 10**6), HERE)


@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02", b"\x89PNG\r\n\x1a\n\xff\xfe" * 50, b"\xff\xfe\x00", b"a,b\n\x07,1"]
)
def test_bytes_that_are_no_text(content):
    with pytest.raises(ValueError, match=r"mine\.csv is damaged, or is not a \.csv file"):
        decode(content, HERE)


def test_carriage_returns_alone_end_lines():
    assert decode(b"a,b\r1,2\r", HERE)[0] == "a,b\n1,2\n"


def test_no_missing_value_is_a_number():
    assert not any(PLAIN.matches(word) for word in MISSING)
