import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dec_jax.runner.webpage import text


@given(st.text())
def test_what_a_plot_shows_is_no_markup_and_reads_as_it_was(value):
    plotted = text.plotted(value)
    assert "<" not in plotted
    assert html.unescape(plotted) == text.short(value)
    assert len(text.short(value)) <= text.MAX_LENGTH
    assert "\n" not in plotted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (3.0, "3"),
        (-0.12345, "−0.123"),
        (79464.2, "79,464"),
        (1e-9, "1e−09"),
    ],
)
def test_numbers(value, expected):
    assert text.figure(value) == expected


def test_shares_and_seconds():
    assert [text.percent(share) for share in (None, float("nan"), 0.1234)] == ["–", "–", "12.3 %"]
    assert [text.duration(seconds) for seconds in (3, 90, 7200)] == ["3.0 s", "1.5 min", "2.0 h"]
