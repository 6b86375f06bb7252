import io
import sys

import pytest

from dec_jax.data.progress import LINES, in_batches


@pytest.mark.parametrize(("total", "size"), [(10, 3), (9, 3), (2, 5), (1, 1), (0, 4)])
def test_batches_cover_all_items_in_order(total, size):
    batches = list(in_batches(total, size, "reading"))
    assert [item for batch in batches for item in batch] == list(range(total))
    assert all(len(batch) == size for batch in batches[:-1])


def test_plain_lines_without_a_terminal(capsys):
    list(in_batches(10_000, 100, "reading"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "reading: 2,000 of 10,000"
    assert err.splitlines()[-1] == "reading: 10,000 of 10,000"
    assert len(err.splitlines()) == LINES


def test_bar_in_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(in_batches(4, 2, "reading")) == [range(0, 2), range(2, 4)]
    assert "reading" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
