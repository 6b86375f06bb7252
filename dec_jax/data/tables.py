"""Tables from files: CSV and TSV of any dialect, Parquet, Feather and Excel, as pandas frames."""

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dec_jax.data.columns import as_text
from dec_jax.data.dialects import MISSING, WHITESPACE, Dialect, Numerals, decode, header_of, sniff
from dec_jax.data.extras import need
from dec_jax.data.packed import check_unpacked, check_zip, damaged

if TYPE_CHECKING:
    import pandas as pd

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
BINARY_SUFFIXES = (".parquet", ".feather", ".xlsx")
EXCEL_SAMPLE = 200
BYTES_OF_A_VALUE = 8


class Table(NamedTuple):
    """A table as it was read.

    Attributes:
        frame: columns named by strings; an index column without a name is the first column, named "".
        notes: what was taken for separator, header and encoding, one line each.
    """

    frame: "pd.DataFrame"
    notes: tuple[str, ...]


def kind_of_file(path: Path) -> str:
    """Returns the suffix that says what a file is, in lower case: ".csv" for Data.CSV and packed.csv.gz."""
    suffix, packed = path.suffix.lower(), Path(path.stem).suffix.lower()
    return packed if suffix in PACKED_SUFFIXES and packed in TEXT_SUFFIXES else suffix


def read_table(path: Path) -> Table:
    """Returns the table in a file.

    A text file may be separated by commas, semicolons, tabs, bars or spaces, with decimal points or commas, with
    thousands signs, in UTF-8, UTF-16, UTF-32 or Windows' Latin-1, packed or not, with comment lines or not, with a
    header or not (the columns are named "0", "1", … then). Numbers keep the value that Python reads.

    Args:
        path: a file that exists, of TEXT_SUFFIXES or BINARY_SUFFIXES.

    Raises:
        ImportError: pandas or what the kind of file needs is missing.
        OSError: it cannot be read.
        ValueError: it is empty or damaged, rows have different lengths, two columns have one name, or its numbers
            can be read in two ways.
    """
    kind = kind_of_file(path)
    need("pandas", "tables", f"a {kind} file")
    if kind not in BINARY_SUFFIXES:
        return _read_text(path)
    if kind == ".xlsx":
        return _read_excel(path)
    return Table(with_text_names(_read_arrow(path, kind), str(path)), ())


def with_text_names(frame: "pd.DataFrame", name: str) -> "pd.DataFrame":
    """Returns the frame with its column names as strings.

    Raises:
        ValueError: two columns have one name.
    """
    names = [str(column) for column in frame.columns]
    counts = Counter(names)
    if twice := [column for column, count in counts.items() if count > 1]:
        raise ValueError(
            f"{name} must have a name of its own for each column, got {twice[0]!r} {counts[twice[0]]} times"
        )
    return frame.set_axis(names, axis=1)


def _read_text(path: Path) -> Table:
    import pandas as pd

    with open(path, "rb") as file:
        text, encoding = decode(file.read(), path)
    dialect = sniff(text, path)
    lines = text.split("\n", dialect.skipped)
    body = _without_comments(lines[dialect.skipped] if len(lines) > dialect.skipped else "", dialect)
    if not body.strip():
        raise ValueError(f"{path} must hold at least one sample, got a header alone")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            frame = pd.read_csv(io.BytesIO(body.encode("utf-8", "surrogatepass")), **parser_options(dialect))
            frame = with_thousands(frame, dialect.numerals)
        except Exception as error:  # what the parser raises for damaged bytes is not one family
            raise uneven(path, io.StringIO(body), dialect) or damaged(path, error) from error
    if frame.iloc[:, -1].isna().any() and (problem := uneven(path, io.StringIO(body), dialect)):
        raise problem
    return Table(*_named(frame, dialect, path, encoding))


def parser_options(dialect: Dialect) -> dict[str, Any]:
    """Returns how pandas reads the rows below the header of a text table, but for `with_thousands`."""
    return {
        "sep": dialect.separator,
        "header": None,
        "decimal": dialect.numerals.decimal,
        "na_values": list(MISSING),
        "keep_default_na": False,
        "skipinitialspace": True,
        "low_memory": False,
        **_exact_floats(),
    }


def with_thousands(frame: "pd.DataFrame", numerals: Numerals, words: Container[int] = frozenset()) -> "pd.DataFrame":
    """Returns the frame with numbers in each column whose fields are all numbers, some with a thousands sign.

    pandas would take the sign out of dates and versions too.

    Args:
        frame: as pandas reads it, columns named by their places.
        numerals: how numbers are written.
        words: places of columns that are not numbers elsewhere in the table.
    """
    numerals = numerals.with_groups()
    if numerals.thousands is None:
        return frame
    for place in frame.columns:
        column = frame[place]
        if place in words or column.dtype.kind in "biuf":
            continue
        if all(numerals.matches(str(field)) for field in column.dropna()):
            frame[place] = _numbers(column, numerals)
    return frame


def _numbers(column: "pd.Series", numerals: Numerals) -> "pd.Series":
    import pandas as pd

    plain = column.str.strip().str.replace(numerals.thousands, "").str.replace(numerals.decimal, ".")
    numbers = pd.to_numeric(plain)
    return numbers if numbers.dtype.kind in "iu" else plain.astype(float)  # the number that Python reads


def _exact_floats() -> dict[str, str]:
    """The option that makes pandas read the number that Python reads, which it does by itself from version 3.1."""
    return {"float_precision": "round_trip"} if pandas_version() < (3, 1) else {}


def pandas_version() -> tuple[int, ...]:
    """Returns the first two numbers of its version."""
    import pandas as pd

    return tuple(int(part) for part in pd.__version__.split(".")[:2])


def _without_comments(body: str, dialect: Dialect) -> str:
    comments = dialect.comments()
    return comments.sub("", body) if are_comments(len(comments.findall(body)), body.count("\n")) else body


def are_comments(n_marked: int, n_lines: int) -> bool:
    """Whether lines below the header that begin with # are comments: there are few of them."""
    return 0 < n_marked < 0.1 * n_lines


def uneven(path: Path, lines: Iterable[str], dialect: Dialect) -> ValueError | None:
    """Returns the error of the first row that is longer or shorter than those above it, if there is one.

    Args:
        path: for the message.
        lines: below the header.
        dialect: how they are read.
    """
    separator = dialect.separator
    if separator == WHITESPACE:
        lines, separator = (re.sub(r"\s+", " ", line).strip() for line in lines), " "
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    width = 0
    try:
        for row in reader:
            width = width or len(row)
            if row and len(row) != width:
                line = reader.line_num + dialect.skipped
                return ValueError(
                    f"{path} must have as many fields in each row: line {line} holds {len(row)}, "
                    f"the lines above hold {width} ({dialect.describe()})"
                )
    except csv.Error as error:
        return damaged(path, error)
    return None


def _named(
    frame: "pd.DataFrame", dialect: Dialect, path: Path, encoding: str
) -> tuple["pd.DataFrame", tuple[str, ...]]:
    frame, header = _with_header(frame, dialect.names, path)
    return frame, (describe(path, dialect, encoding, header),)


def describe(path: Path, dialect: Dialect, encoding: str, header: str) -> str:
    """Says how a text table was read."""
    latin = ", not UTF-8 and so read as Windows' Latin-1 (cp1252)" if encoding == "cp1252" else ""
    return f"{path.name}: {dialect.describe()}{latin}, {header}"


def _with_header(frame: "pd.DataFrame", names: tuple[str, ...] | None, path: Path) -> tuple["pd.DataFrame", str]:
    """Returns the frame with the names of its header, without an empty last column, and says what the header is."""
    names, header = column_names(names, frame.shape[1], last_is_empty=frame.iloc[:, -1].isna().all(), path=path)
    return with_text_names(frame.iloc[:, : len(names)].set_axis(names, axis=1), str(path)), header


def column_names(
    header: tuple[str, ...] | None, width: int, *, last_is_empty: bool, path: Path
) -> tuple[list[str], str]:
    """Returns the names of the columns, without an empty last one that has none, and says what the header is.

    Raises:
        ValueError: the header has more or fewer fields than the rows.
    """
    if header is None:
        return [str(i) for i in range(width)], "no header"
    if len(header) != width:
        raise ValueError(
            f"{path} must have as many fields in each row: the header holds {len(header)}, the rows {width}"
        )
    if not header[-1] and last_is_empty and width > 1:
        header = header[:-1]
    shown = ", ".join(map(repr, header[:3])) + (", …" if len(header) > 3 else "")
    return list(header), f"the first line is the header ({shown})"


def _read_excel(path: Path) -> Table:
    import pandas as pd

    need("openpyxl", "tables", "a .xlsx file")
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_zip(path, file)
            frame = pd.read_excel(file, header=None, engine="openpyxl", na_values=list(MISSING), keep_default_na=False)
    except Exception as error:  # zipfile, openpyxl and pandas have no family of errors in common
        raise damaged(path, error) from error
    frame = frame.dropna(axis=0, how="all").dropna(axis=1, how="all")
    if frame.empty:
        raise ValueError(f"{path} must hold at least one sample, got an empty sheet")
    sample = frame.head(EXCEL_SAMPLE)
    rows = [list(map(as_text, row)) for row in sample.astype(object).where(sample.notna(), "").to_numpy().tolist()]
    names = header_of(rows)
    if names is not None:
        frame = frame.iloc[1:]
    frame = frame.reset_index(drop=True).infer_objects()
    frame, header = _with_header(frame, names, path)
    return Table(frame, (f"{path.name}: first sheet, {header}",))


def _read_arrow(path: Path, kind: str) -> "pd.DataFrame":
    parquet = need("pyarrow.parquet", "tables", f"a {kind} file")
    feather = need("pyarrow.feather", "tables", f"a {kind} file")
    try:
        with open(path, "rb") as file:
            if kind == ".parquet":
                # A few bytes can stand for any number of equal values.
                rows = parquet.read_metadata(file)
                check_unpacked(path, BYTES_OF_A_VALUE * rows.num_rows * rows.num_columns)
                file.seek(0)
            table = parquet.read_table(file) if kind == ".parquet" else feather.read_table(file)
        return check_arrow(table).to_pandas()
    except Exception as error:  # pyarrow has no error of its own for damaged files
        raise damaged(path, error) from error


def check_arrow(table: Any) -> Any:
    """Returns a table or a batch of pyarrow once no offset in it is out of range, which would read foreign memory."""
    table.validate(full=True)
    return table
