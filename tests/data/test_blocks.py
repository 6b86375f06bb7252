import gzip

import numpy as np
import pytest

from dec_jax.data.blocks import read_blocks
from dec_jax.data.files import read_samples
from dec_jax.data.tables import read_table

from .test_tables import DIALECTS

pd = pytest.importorskip("pandas")


def whole(path, rows):
    """The parts of a file as one frame, and how many rows each has."""
    parts = [part.x for part in read_blocks(path, rows).parts]
    return pd.concat(parts, ignore_index=True), [len(part) for part in parts]


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_text_table_in_blocks_is_the_table(tmp_path, dialect, rows):
    path = tmp_path / "mine.csv"
    path.write_bytes(DIALECTS[dialect])
    expected = read_table(path)
    frame, sizes = whole(path, rows)
    pd.testing.assert_frame_equal(frame, expected.frame)
    assert read_blocks(path, rows).notes == expected.notes
    assert max(sizes) <= rows


@pytest.mark.parametrize(
    "column",
    [
        ["1.0", "2", "a", "1"],  # words, of which some parts would be numbers
        ["1", "2", "", "4"],
        ["True", "False", "", "True"],
        ["True", "1", "no", ""],
        ["", "", "x", "y"],
        ["", "", "", ""],
        ["9007199254740993", "1", "0.1", "1e300"],
        ["18446744073709551615", "1", "2", "3"],
        ["0.1", "1e-320", "123456789.123456789", "5e-324"],
        ["-", "NA", "?", "nan"],
    ],
)
def test_a_column_has_one_type_in_all_blocks(tmp_path, column):
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["first,mixed,last", *(f"{i},{value},x" for i, value in enumerate(column))]))
    expected = read_table(path).frame["mixed"]
    found = whole(path, 1)[0]["mixed"]
    assert [str(value) for value in found] == [str(value) for value in expected]


def test_words_stay_as_they_are_written(tmp_path):
    (tmp_path / "mine.csv").write_text("zip,yes,a\n01067,TRUE,1.5\n04103,FALSE,2\n,TRUE,3\n")
    (part,) = read_blocks(tmp_path / "mine.csv", 10, words=("zip", "yes")).parts
    assert part.x["zip"].fillna("").tolist() == ["01067", "04103", ""]
    assert part.x["yes"].tolist() == ["TRUE", "FALSE", "TRUE"]
    assert part.x["a"].tolist() == [1.5, 2, 3]


@pytest.mark.parametrize(
    "column", [["1.007,00", "1", "2,5"], ["1.007", "02.02.2020", "5"], ["5", "1.007", ""], ["1.007", "2.008", "3"]]
)
def test_thousands_in_blocks(tmp_path, column):
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["first;mixed;last", *(f"1.234,5;{value};x" for value in column)]))
    expected, found = read_table(path).frame, whole(path, 1)[0]
    assert expected["first"].tolist() == found["first"].tolist() == [1234.5] * len(column)
    assert [str(value) for value in found["mixed"]] == [str(value) for value in expected["mixed"]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a,b\n1,2\n3,4\n5\n", "line 4 holds 1, the lines above hold 2"),
        ("a,b\n1,2\n3,4\n5,6,7\n", "line 4 holds 3, the lines above hold 2"),
        ("a,b\n", "a header alone"),
        ("", "empty file"),
        ("a,a\n1,2\n3,4\n", "a name of its own for each column, got 'a' 2 times"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_as_in_one(tmp_path, content, problem):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=problem):
        read_table(path)
    with pytest.raises(ValueError, match=problem):
        whole(path, 1)


def test_pieces_of_a_text_end_anywhere(tmp_path, monkeypatch):
    # Pieces of a few bytes cut characters, line ends, comments and fields.
    monkeypatch.setattr("dec_jax.data.text_blocks.PIECE_BYTES", 7)
    lines = ["größe,naïve", *(f"{i},ü{i}" for i in range(40))]
    lines.insert(20, "# a remark: é")
    for end in ("\n", "\r\n", "\r"):
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
            path = tmp_path / "mine.csv"
            content = (end.join(lines) + end).encode(encoding)
            path.write_bytes(gzip.compress(content))
            frame, sizes = whole(path, 9)
            assert sizes == [9, 9, 9, 9, 4]
            pd.testing.assert_frame_equal(frame, read_table(path).frame)


def test_parquet_is_read_by_blocks_with_its_index(tmp_path):
    table = pd.DataFrame({"a": [1, 2, None, 4], "b": list("xyzx")}, index=pd.Index(list("stuv"), name="sample"))
    table.astype({"a": "Int64", "b": "category"}).to_parquet(tmp_path / "mine.parquet", row_group_size=2)
    blocks = list(read_blocks(tmp_path / "mine.parquet", 3).parts)
    assert max(len(block.x) for block in blocks) <= 3
    assert np.concatenate([block.ids for block in blocks]).tolist() == list("stuv")
    assert {block.id_name for block in blocks} == {"sample"}
    assert list(blocks[0].x.columns) == ["a", "b"]
    content = read_samples(tmp_path / "mine.parquet")
    assert (content.ids.tolist(), content.id_name) == (list("stuv"), "sample")


def test_arrays_are_mapped_and_sliced(tmp_path):
    x = np.arange(70, dtype=np.float32).reshape(10, 7)
    np.save(tmp_path / "x.npy", x)
    parts = [part.x for part in read_blocks(tmp_path / "x.npy", 4).parts]
    assert [len(part) for part in parts] == [4, 4, 2]
    assert all(isinstance(part, np.memmap) for part in parts)
    np.testing.assert_array_equal(np.concatenate(parts), x)
    np.savez(tmp_path / "x.npz", x=x)
    np.testing.assert_array_equal(np.concatenate([part.x for part in read_blocks(tmp_path / "x.npz", 3).parts]), x)


def test_a_reader_asks_for_no_more_of_the_file_than_a_block_needs(tmp_path, monkeypatch):
    from dec_jax.data import text_blocks

    path = tmp_path / "mine.csv"
    path.write_text("a,b\n" + "1.5,2.5\n" * 50_000)
    monkeypatch.setattr(text_blocks, "PIECE_BYTES", 1000)
    asked = []
    read = text_blocks._read_bytes

    def counted(of):
        for piece in read(of):
            asked.append(len(piece))
            yield piece

    monkeypatch.setattr(text_blocks, "_read_bytes", counted)
    parts = read_blocks(path, 100).parts
    asked.clear()
    assert len(next(parts).x) == 100
    assert max(asked) <= 1000
    assert sum(asked) < path.stat().st_size / 2
