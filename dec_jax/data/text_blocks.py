"""Text tables that are larger than memory: the rows of `tables.read_table`, some at a time."""

import codecs
import io
import lzma
import re
import warnings
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dec_jax.data.dialects import (
    FEWEST_LINES,
    PACKERS,
    SAMPLE_BYTES,
    Dialect,
    check_is_text,
    marked_encoding,
    sniff,
)
from dec_jax.data.packed import check_unpacked, damaged
from dec_jax.data.tables import (
    are_comments,
    column_names,
    describe,
    pandas_version,
    parser_options,
    uneven,
    with_text_names,
    with_thousands,
)

if TYPE_CHECKING:
    import pandas as pd

PIECE_BYTES = 2**20  # of the file that are decoded at a time
MOST_SAMPLED = 2**26  # characters that are looked at where lines are very long


class TextBlocks(NamedTuple):
    """A text table in parts.

    Attributes:
        frames: the parts in their order, each with an index of its own.
        notes: as of `tables.read_table`.
    """

    frames: Iterator["pd.DataFrame"]
    notes: tuple[str, ...]


class _Text(NamedTuple):
    """A text file: how its characters are read.

    Attributes:
        path: of the file, packed or not.
        encoding: of its bytes.
        by_returns: whether carriage returns alone end its lines.
        skipped: lines before the first row.
        comments: lines that are left out, or None.
    """

    path: Path
    encoding: str
    by_returns: bool = False
    skipped: int = 0
    comments: re.Pattern[str] | None = None


class _Columns(NamedTuple):
    """What only the whole table says of its columns.

    Attributes:
        types: what pandas reads a column as, by its place; it finds out about the others alike in each part.
        names: of the columns that are used, the first ones.
        header: what is said about the header.
    """

    types: dict[int, Any]
    names: list[str]
    header: str


def read_text_blocks(path: Path, rows: int, words: Collection[str] = ()) -> TextBlocks:
    """Returns a text table in parts, with the values that `tables.read_table` gives them in one.

    The file is read three times, a piece at a time: for its encoding, for the types of its columns, for its rows.

    Args:
        path: a file that exists, of `tables.TEXT_SUFFIXES`.
        rows: of a part, the last one has fewer.
        words: columns that stay as they are written.

    Raises:
        OSError: it cannot be read.
        ValueError: as `tables.read_table`; but for values that cannot be read, before the first part.
    """
    text, dialect = _survey(path)
    columns = _find_columns(text, dialect, rows)
    written = {place: str for place, name in enumerate(columns.names) if name in words}
    frames = (
        with_text_names(frame.iloc[:, : len(columns.names)].set_axis(columns.names, axis=1), str(path))
        for frame in _parse(text, dialect, rows, columns.types | written)
    )
    return TextBlocks(frames, (describe(path, dialect, text.encoding, columns.header),))


def _survey(path: Path) -> tuple[_Text, Dialect]:
    """Finds the encoding, what ends lines, what is a comment, and the dialect."""
    marked = marked_encoding(next(_read_bytes(path), b""))
    try:
        text, counts, head = _count(_Text(path, marked or "utf-8"))
    except UnicodeDecodeError as error:
        if marked:
            raise damaged(path, error) from error
        text, counts, head = _count(_Text(path, "cp1252"))
    dialect = sniff(head, path)
    above = head.split("\n", dialect.skipped)[: dialect.skipped]
    n_marked = counts["#"] - sum(line.startswith("#") for line in above)
    comments = dialect.comments() if are_comments(n_marked, counts["\n"] - dialect.skipped) else None
    return text._replace(skipped=dialect.skipped, comments=comments), dialect


def _count(text: _Text) -> tuple[_Text, dict[str, int], str]:
    """Counts lines and those that begin with #; returns the first characters too."""
    head, before = "", {"\n": "\n", "\r": "\r"}
    ends, marks = dict.fromkeys("\n\r", 0), dict.fromkeys("\n\r", 0)
    for piece in _decode(text):
        if len(head) <= SAMPLE_BYTES:
            head += piece[: SAMPLE_BYTES + 1 - len(head)]
        elif len(head) <= MOST_SAMPLED and head.count("\n") <= FEWEST_LINES:
            head += piece
        for end in ends:
            ends[end] += piece.count(end)
            marks[end] += (before[end] + piece).count(end + "#")
            before[end] = piece[-1:] or before[end]
    check_is_text(head, text.path)
    end = "\n" if ends["\n"] or not ends["\r"] else "\r"
    return (
        text._replace(by_returns=end == "\r"),
        {"\n": ends[end], "#": marks[end]},
        head.replace("\r", "\n") if end == "\r" else head,
    )


def _read_bytes(path: Path) -> Iterator[bytes]:
    """The bytes of a file, unpacked where it is packed."""
    total = 0
    with open(path, "rb") as file:
        packer = next((packer for magic, packer in PACKERS.items() if file.peek(8).startswith(magic)), None)
        if packer is None:
            yield from iter(lambda: file.read(PIECE_BYTES), b"")
            return
        try:
            with packer(file) as unpacked:
                while piece := unpacked.read(PIECE_BYTES):
                    total += len(piece)
                    check_unpacked(path, total)
                    yield piece
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise damaged(path, error) from error


def _decode(text: _Text) -> Iterator[str]:
    errors = "replace" if text.encoding == "cp1252" else "strict"
    decoder = codecs.getincrementaldecoder(text.encoding)(errors)
    for piece in _read_bytes(text.path):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _body(text: _Text) -> Iterator[str]:
    """What stands below the header, in pieces that end with a line."""
    to_skip = text.skipped
    for piece in _whole_lines(_decode(text), text.by_returns):
        while to_skip and piece:
            piece = piece.partition("\n")[2]
            to_skip -= 1
        yield text.comments.sub("", piece) if text.comments else piece


def _whole_lines(pieces: Iterable[str], by_returns: bool) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        lines, end, rest_of_piece = (piece.replace("\r", "\n") if by_returns else piece).rpartition("\n")
        if end:
            yield rest + lines + end
            rest = ""
        rest += rest_of_piece
    if rest:
        yield rest


class _Source(io.TextIOBase):
    """A file that pandas reads from."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces, self._piece, self._at = pieces, "", 0

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> str:
        while self._at >= len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return ""
            self._piece, self._at = piece, 0
        start, self._at = self._at, len(self._piece) if size is None or size < 0 else self._at + size
        return self._piece[start : self._at]


def _parse(text: _Text, dialect: Dialect, rows: int, types: dict[int, Any]) -> Iterator["pd.DataFrame"]:
    """The rows as pandas reads them, columns named by their places."""
    import pandas as pd

    words = {place for place, kind in types.items() if kind is str}
    if dialect.numerals.with_groups().thousands:  # pandas reads those numbers as text
        types = dict.fromkeys(words, str)
    options = parser_options(dialect) | {"chunksize": rows, "dtype": types or None}
    parts = None
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                parts = parts or pd.read_csv(_Source(_body(text)), **options)
                part = next(parts, None)
            except pd.errors.EmptyDataError:
                raise ValueError(f"{text.path} must hold at least one sample, got a header alone") from None
            except Exception as error:  # what the parser raises for damaged bytes is not one family
                raise _uneven(text, dialect) or damaged(text.path, error) from error
        if part is None:
            return
        yield with_thousands(part.reset_index(drop=True), dialect.numerals, words)


def _uneven(text: _Text, dialect: Dialect) -> ValueError | None:
    lines = (line for piece in _body(text) for line in io.StringIO(piece))
    return uneven(text.path, lines, dialect)


def _find_columns(text: _Text, dialect: Dialect, rows: int) -> _Columns:
    kinds: list[set[Any]] = []
    ends_with_gap, last_is_empty = False, True
    for frame in _parse(text, dialect, rows, {}):
        kinds = kinds or [set() for _ in frame.columns]
        for seen, dtype in zip(kinds, frame.dtypes, strict=True):
            seen.add(dtype)
        gaps = frame.iloc[:, -1].isna()
        ends_with_gap |= bool(gaps.any())
        last_is_empty &= bool(gaps.all())
    # Before version 3 pandas cuts a row that is too long where it is the first one of a part.
    if (ends_with_gap or pandas_version() < (3, 0)) and (problem := _uneven(text, dialect)):
        raise problem
    types = {place: kind for place, seen in enumerate(kinds) if (kind := _common_type(seen))}
    return _Columns(types, *column_names(dialect.names, len(kinds), last_is_empty=last_is_empty, path=text.path))


def _common_type(seen: set[Any]) -> Any:
    """The type of a column whose parts were read as these; None where pandas finds it in each of them."""
    if len(seen) == 1 and next(iter(seen)).kind in "biuf":
        return None
    kinds = {dtype.kind for dtype in seen}
    # Integers that need 64 bits without a sign keep them as text.
    return "float64" if "f" in kinds and kinds <= set("iuf") else str
