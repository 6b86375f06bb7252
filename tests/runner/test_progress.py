import pytest

from dec_jax.runner import progress
from dec_jax.runner.progress import PhaseProgress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_where_there_is_no_terminal(capsys, clock):
    with PhaseProgress() as shown:
        shown.start("layer 1", 5000)
        clock[0] = 5
        shown.advance(1000, loss=0.25)
        clock[0] = 20
        shown.advance(2000, loss=0.125, label_change=0.5)
        clock[0] = 80
        shown.finish("loss 0.1")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().splitlines() == [  # rich before 14.3 ends with an empty line
        "layer 1: 0/5,000",
        "layer 1: 2,000/5,000  ETA 0:30  loss 0.125  label change 0.5",
        "layer 1: done in 80.0 s, loss 0.1",
    ]


def test_what_lies_behind_does_not_count_for_the_rest(capsys, clock):
    with PhaseProgress() as shown:
        shown.start("clustering", 1000, done=600)
        clock[0] = 30
        shown.advance(700)
        shown.finish()
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["clustering: 600/1,000", "clustering: 700/1,000  ETA 1:30  "]
    assert lines[2] == "clustering: done in 30.0 s"


def test_a_phase_that_has_just_gone_on_has_an_eta(capsys, clock):
    with PhaseProgress() as shown:
        shown.start("clustering", 1000, done=600)
        clock[0] = 30
        shown.advance(600)
    assert "clustering: 600/1,000  ETA" in capsys.readouterr().err


def test_a_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with PhaseProgress() as shown:
        shown.start("k-means", 20)
        shown.advance(20, inertia=3.5)
        shown.finish()
        shown.start("clustering", 1000)
        shown.advance(160, loss=0.25, label_change=0.5)
        shown.finish()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(text in captured.err for text in ("k-means", "20/20", "inertia 3.5", "━"))
    assert all(text in captured.err for text in ("clustering", "loss 0.25  label change 0.5"))
    assert "160/160" in captured.err  # where it stopped is its end
    assert "done in" not in captured.err
