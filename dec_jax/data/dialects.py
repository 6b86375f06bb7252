"""The dialect of a text table: its encoding, separator, decimal sign, comment lines and header."""

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dec_jax.data.packed import check_unpacked, damaged

MISSING = (
    *("", "NA", "N/A", "n/a", "na", "n.a.", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>"),
    *("#N/A", "#NA", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "?", "-", "--", ".", ".."),
)
SAMPLE_BYTES = 2**20
SAMPLE_LINES = 1000
FEWEST_LINES = 3
ENOUGH_ROWS = 5  # to say how far numbers are spread
WHITESPACE = r"\s+"
SEPARATORS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'", WHITESPACE: "spaces"}
CHUNK = 2**20
PACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


@dataclass(frozen=True)
class Numerals:
    """How numbers are written."""

    decimal: str = "."
    thousands: str | None = None

    def with_groups(self) -> "Numerals":
        """The same, with the thousands sign that goes with a decimal comma where the first rows showed none."""
        return Numerals(",", ".") if self == Numerals(",") else self

    def matches(self, field: str) -> bool:
        """Whether the field is a number, written this way."""
        return bool(NUMBERS[self].fullmatch(field.strip()))


def _number_pattern(numerals: Numerals) -> re.Pattern[str]:
    decimal = re.escape(numerals.decimal)
    grouped = rf"|[1-9]\d{{0,2}}(?:{re.escape(numerals.thousands)}\d{{3}})+" if numerals.thousands else ""
    mantissa = rf"(?:(?:\d+{grouped})(?:{decimal}\d*)?|{decimal}\d+)"
    return re.compile(rf"[+-]?(?:{mantissa}(?:[eE][+-]?\d+)?|inf|infinity)", re.IGNORECASE)


PLAIN = Numerals()
NUMBERS = {
    numerals: _number_pattern(numerals)
    for numerals in (PLAIN, Numerals(","), Numerals(".", ","), Numerals(",", "."), Numerals(".", "'"))
}


@dataclass(frozen=True)
class Dialect:
    """How the lines of a text table are read.

    Attributes:
        separator: between fields; WHITESPACE for any run of spaces and tabs.
        numerals: how numbers are written.
        names: of the columns, "" where the header has none; None where there is no header.
        skipped: lines before the first row: comments, empty lines and the header.
        width: fields of a row; 0 where it is not known.
    """

    separator: str
    numerals: Numerals
    names: tuple[str, ...] | None
    skipped: int
    width: int = 0

    def comments(self) -> re.Pattern[str]:
        """Lines below the header that begin with # and are not rows: a row has as many fields as others."""
        error = r"N/A|NA\b|DIV/0!|VALUE!|REF!|NAME\?|NUM!|NULL!"
        if self.separator == WHITESPACE or self.width < 2:
            return re.compile(rf"(?m)^#(?!{error}).*\n?")
        field = rf"[^{re.escape(self.separator)}\n]*"
        row = rf"\S{field}(?:{re.escape(self.separator)}{field}){{{self.width - 1}}}$"
        return re.compile(rf"(?m)^#(?!{error}|{row}).*\n?")

    def describe(self) -> str:
        """Says in a few words what was found."""
        found = [f"separated by {SEPARATORS.get(self.separator, repr(self.separator))}"]
        if self.numerals.decimal != ".":
            found.append(f"decimal sign '{self.numerals.decimal}'")
        if self.numerals.thousands:
            found.append(f'thousands sign "{self.numerals.thousands}"')
        return ", ".join(found)


def is_missing(field: str) -> bool:
    """Whether a field of a text file stands for a missing value."""
    return field.strip() in MISSING


def decode(content: bytes, path: Path) -> tuple[str, str]:
    """Returns the text of a file, unpacked where it is packed (gzip, bz2, xz), and the name of its encoding.

    Raises:
        ValueError: the file is damaged, is not text, or unpacks to more than a table of its size would.
    """
    for magic, packer in PACKERS.items():
        if content.startswith(magic):
            content = _unpack(content, packer, path)
    text, encoding = _decode_text(content, path)
    check_is_text(text, path)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    return text, encoding


def check_is_text(text: str, path: Path) -> None:
    """Refuses characters at the start of a file that no text has."""
    if re.search(r"[\x00-\x08\x0e-\x1f]", text[:SAMPLE_BYTES]):
        raise damaged(path, "it holds bytes that are not text")


def _unpack(content: bytes, packer: Callable[[io.BytesIO], Any], path: Path) -> bytes:
    try:
        with packer(io.BytesIO(content)) as file:  # counted first: what is too large is never held
            n_bytes = 0
            while chunk := file.read(CHUNK):
                n_bytes += len(chunk)
                check_unpacked(path, n_bytes, len(content))
        with packer(io.BytesIO(content)) as file:
            return file.read()
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise damaged(path, error) from error


def marked_encoding(start: bytes) -> str | None:
    """Returns the encoding that the first 200 bytes of a text show; None where it is UTF-8 or one of single bytes."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    if marked is None and b"\x00" in start[:200]:  # ASCII characters in UTF-16 without its mark
        marked = "utf-16-le" if start[1:200:2].count(0) > start[:200:2].count(0) else "utf-16-be"
    return marked


def _decode_text(content: bytes, path: Path) -> tuple[str, str]:
    marked = marked_encoding(content)
    try:
        return content.decode(marked or "utf-8"), marked or "utf-8"
    except UnicodeDecodeError as error:
        if marked:
            raise damaged(path, error) from error
    return content.decode("cp1252", errors="replace"), "cp1252"


def sniff(text: str, path: Path) -> Dialect:
    """Returns the dialect of a text table, from its first lines.

    Raises:
        ValueError: the table is empty, two columns have one name, or its numbers can be read in two ways.
    """
    lines = text[:SAMPLE_BYTES].split("\n")[:-1] if len(text) > SAMPLE_BYTES else text.split("\n")
    if len(lines) < FEWEST_LINES:  # longer ones than the sample
        lines = text.split("\n", FEWEST_LINES)[:FEWEST_LINES]
    lines = [line.rstrip("\r") for line in lines[: SAMPLE_LINES + 50]]
    start, told, comment = _leading_lines(lines)
    body = lines[start:]
    if not any(line.strip() for line in body):
        raise ValueError(f"{path} must hold at least one sample, got an empty file")
    separator, rows, ends = _separate(body, told)
    if not rows:
        raise damaged(path, "its first line cannot be split into fields")
    _refuse_libsvm(rows, path)
    numerals, width = _numerals(rows[1:] or rows, separator, path), max(map(len, rows))
    names = header_of(rows, numerals)
    if names is not None:
        return Dialect(separator, numerals, names, start + ends[0], width)
    if comment:  # a header behind a comment sign, as numpy.savetxt writes it
        names = _split([comment], separator)[0][0]
        words = [name for i, name in enumerate(names) if i or name.strip()]  # the first may be of an index
        if len(names) == len(rows[0]) > 1 and not any(PLAIN.matches(name) or is_missing(name) for name in words):
            return Dialect(separator, numerals, tuple(name.strip() for name in names), start, width)
    return Dialect(separator, numerals, None, start, width)


def _refuse_libsvm(rows: list[list[str]], path: Path) -> None:
    fields = [field for row in rows for field in row[1:]]
    if fields and all(re.fullmatch(r"\d+:[^:\s]+", field) for field in fields):
        raise ValueError(
            f"{path} looks like a LIBSVM file: read it with sklearn.datasets.load_svmlight_file, and save the matrix "
            "with scipy.sparse.save_npz"
        )


def _leading_lines(lines: list[str]) -> tuple[int, str | None, str | None]:
    """Returns how many lines stand before the table, the separator that one of them names, and the last comment."""
    told, comment = None, None
    for number, line in enumerate(lines):
        if named := re.fullmatch(r"sep=(.)", line.strip(), re.IGNORECASE):
            told = named[1]
        elif line.startswith(("#", "%")):
            comment = line[1:].strip()
        elif line.strip():
            return number, told, comment
    return len(lines), told, None


def _split(lines: list[str], separator: str) -> tuple[list[list[str]], list[int]]:
    """Returns the fields of each line that is not empty, and the number of lines up to its end."""
    if separator == WHITESPACE:
        lines, separator = [re.sub(r"\s+", " ", line).strip() for line in lines], " "
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator, skipinitialspace=True)
    rows, ends = [], []
    try:
        for row in reader:
            if row:
                rows.append(row)
                ends.append(reader.line_num)
            if len(rows) >= SAMPLE_LINES:
                break
    except csv.Error:
        pass
    return rows, ends


def _separate(lines: list[str], told: str | None) -> tuple[str, list[list[str]], list[int]]:
    if told:
        return told, *_split(lines, told)
    if _has_decimal_commas(lines):
        return ";", *_split(lines, ";")
    best, best_score = ",", (0.0, False, 0.0, 0)
    for separator in SEPARATORS:
        rows, _ = _split(lines, separator)
        if not rows:
            continue
        width, count = max(Counter(map(len, rows)).items(), key=lambda item: (item[1], item[0]))
        if width == 1:
            continue
        fields = [field for row in rows[1:] or rows for field in row]
        numbers = max(sum(map(numerals.matches, fields)) for numerals in NUMBERS)
        numeric = (numbers + sum(map(is_missing, fields))) / max(1, len(fields))
        only_header_differs = len(rows) > 2 and count == len(rows) - 1 and len(rows[0]) != width
        even = 1.0 if only_header_differs else count / len(rows)
        if separator == WHITESPACE and numeric < 1 and (best_score[0] == 1 or len(rows[0]) < width - 1):
            continue  # spaces between words of a text
        score = even, count == len(rows), numeric, width  # a header that fits before a value that is a number
        if score > best_score:
            best, best_score = separator, score
    return best, *_split(lines, best)


def _has_decimal_commas(lines: list[str]) -> bool:
    """Whether one column has decimal commas: what stands before these repeats, so it does not name the rows."""
    rows, _ = _split(lines, ",")
    if len(rows) < 3 or len(rows[0]) != 1 or PLAIN.matches(rows[0][0]):
        return False
    first = [row[0].strip() for row in rows[1:]]
    both = all(len(row) == 2 and re.fullmatch(r"-?\d+", row[0].strip()) and row[1].isdecimal() for row in rows[1:])
    return both and len(set(first)) < len(first)


def _numerals(rows: list[list[str]], separator: str, path: Path) -> Numerals:
    fields = [field for row in rows for field in row if not is_missing(field)]
    counts = {numerals: sum(map(numerals.matches, fields)) for numerals in NUMBERS}
    most = max(counts.values())
    best = [numerals for numerals, count in counts.items() if count == most]
    if best[0] == PLAIN or Numerals(".", ",") not in best:
        return best[0]
    if separator == ",":  # of quoted fields
        return Numerals(".", ",")
    if separator == ";":
        return Numerals(",")
    example = next(field for field in fields if "," in field)
    raise ValueError(f"{path} holds {example!r}, which can be read with a decimal comma or as thousands: write '.'")


def header_of(rows: list[list[str]], numerals: Numerals = PLAIN) -> tuple[str, ...] | None:
    """Returns the names of the columns if the first row is a header, with "" for a column without a name.

    A header is a row of words above numbers, or of words that never occur below them; of numbers, beside words or not,
    only where these count up as pandas numbers its columns (0, 1, 2, …) and the rows below do not. Empty fields are
    missing values and never a header, but for the first column, which may be the index, and for a last one that is
    empty.

    Args:
        rows: fields of the first rows, strings.
        numerals: how numbers are written.
    """
    first, below = [field.strip() for field in rows[0]], rows[1:]
    width = max(map(len, below), default=len(first))
    if len(first) == width - 1:  # rows that end in a separator, or begin with a name that the header leaves out
        trailing = all(not row[-1].strip() for row in below if len(row) == width)
        first = [*first, ""] if trailing else ["", *first]
    elif len(first) != width:
        return None
    names = first if first[0] else first[1:]
    if names and not names[-1]:
        names = names[:-1]
    if not all(names) or 2 * sum(map(is_missing, names)) >= len(names):  # NA may be sodium among others
        return None
    columns = [[row[i] for row in below if i < len(row) and not is_missing(row[i])] for i in range(width)]
    if _is_count(names, columns, has_index=first[0] == "") or _are_words(first, columns, numerals):
        return tuple(first)
    return None


def _is_count(names: list[str], columns: list[list[str]], *, has_index: bool) -> bool:
    if not all(re.fullmatch(r"\d+", name) for name in names):
        return False
    numbers = [int(name) for name in names]
    steps = {after - before for before, after in pairwise(numbers)}
    if _rise_apart(numbers, columns[-len(numbers) :]):
        return True
    if has_index and numbers == list(range(len(numbers))):
        return len(set(columns[0])) == len(columns[0])
    if len(numbers) >= 8 and len(steps) == 1 and 0 not in steps:
        return True  # wavelengths, years
    if len(numbers) >= 4 and steps == {1} and numbers[0] in (0, 1):
        return True
    below = {field.strip() for column in columns for field in column}
    if len(numbers) == 1 and any(field.isdecimal() for field in below):
        return False
    return bool(below) and numbers == list(range(len(numbers))) and not below <= set(names)


def _rise_apart(numbers: list[int], columns: list[list[str]]) -> bool:
    """Whether three numbers or more rise or fall, as years do, each farther from those below than these are spread."""
    if len(numbers) < 3 or (sorted(set(numbers)) not in (numbers, numbers[::-1])):
        return False
    for number, column in zip(numbers, columns, strict=True):
        if len(column) < ENOUGH_ROWS or not all(map(PLAIN.matches, column)):
            return False
        low, high = min(map(float, column)), max(map(float, column))
        if max(low - number, number - high) <= high - low:
            return False
    return True


def _are_words(first: list[str], columns: list[list[str]], numerals: Numerals) -> bool:
    words = [not numerals.matches(name) and not is_missing(name) for name in first]
    if not any(words):
        return False
    if not any(columns):  # a line of its own
        return all(word or not name for word, name in zip(words, first, strict=True))
    numeric = [bool(column) and all(map(numerals.matches, column)) for column in columns]
    if any(word and number for word, number in zip(words, numeric, strict=True)):
        return True
    counted = [i for i, name in enumerate(first) if re.fullmatch(r"\d+", name)]
    others = [i for i in range(len(first)) if i not in counted]
    if not all(words[i] or not first[i] for i in others):
        return False
    if counted and not _is_count_beside(first, columns, counted, others):
        return False
    return len(set(first)) == len(first) and all(
        first[i] not in {field.strip() for field in columns[i]} for i in others
    )


def _is_count_beside(first: list[str], columns: list[list[str]], counted: list[int], others: list[int]) -> bool:
    """Whether numbers that count up are names beside the other words, which are not of the kind of those below."""
    if not _is_count([first[i] for i in counted], [columns[i] for i in counted], has_index=False):
        return False
    alike = [_shape(first[i]) for i in others if _shape(first[i]) in map(_shape, columns[i])]
    return not alike if len(counted) < 3 else not any("9" in shape for shape in alike)


def _shape(word: str) -> str:
    """The word with one letter for letters and one digit for digits: a_9 for row_17."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", word.strip()))
