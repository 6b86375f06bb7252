"""A process that is stopped for a while and continued: its folder stays its own, and others go on."""

import os
import time

import pytest
from runner.tiny_run import check_identical, read

from dec_jax.row_log import read_rows

from .commands import CONT, SECONDS_STOPPED, STOP
from .counts import INJECTED
from .wholes import lines, names, of_two, run_to, sweep_to

pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
SECONDS_TO_GO_ON = 300.0  # of the other process, while one is stopped


def stopped(starter, pid, after, look):
    """Stops a command after so many advances, looks at the world, and lets the command go on; returns how it ended."""
    ended = starter.finish(pid, (STOP, look, SECONDS_STOPPED, CONT), after)
    assert ended.status == 0, ended.log
    assert ended.seconds > SECONDS_STOPPED
    INJECTED["SIGSTOP while others look"] += 1


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_who_is_stopped_keeps_its_folder_and_goes_on_to_the_same_bits(
    starter, second_starter, whole_run, whole_sweep, tmp_path, command
):
    whole, to = {"run": (whole_run, run_to), "sweep": (whole_sweep, sweep_to)}[command]
    words = [*whole.words, *to(tmp_path)]
    pid = starter.start(command, words, seconds_between_saves=0.05)

    def another_is_refused():
        ended = second_starter.finish(second_starter.start(command, words))
        assert ended.status == 2, ended.log
        assert f"is in use by process {pid} on host" in ended.log
        assert "Traceback" not in ended.log

    stopped(starter, pid, whole.advances // 2, another_is_refused)
    if command == "run":
        check_identical(read(tmp_path / "out"), read(whole.folder / "out"))
    else:
        assert lines(tmp_path / "out") == lines(whole.folder / "out")
    assert names(tmp_path) == names(whole.folder)


@pytest.mark.parametrize("number", [0, 1])
def test_while_one_of_two_is_stopped_the_other_does_its_share_and_no_more(
    starter, second_starter, whole_shared, tmp_path, number
):
    words, rows = [*whole_shared.words, *of_two(tmp_path)], tmp_path / "out" / "rows"
    shares = [set(read_rows([whole_shared.folder / "out" / "rows" / f"{one}.jsonl"])) for one in (0, 1)]
    other = second_starter.start("sweep", [*words, 1 - number])

    def other_goes_on():
        end_at = time.monotonic() + SECONDS_TO_GO_ON
        while set(read_rows([rows / f"{1 - number}.jsonl"])) != shares[1 - number]:
            assert time.monotonic() < end_at
            time.sleep(0.05)

    stopped(starter, starter.start("sweep", [*words, number]), whole_shared.advances // 2, other_goes_on)
    assert second_starter.finish(other).status == 0
    assert lines(tmp_path / "out") == lines(whole_shared.folder / "out")
    for one in (0, 1):  # every row once, by whose it is
        content = (rows / f"{one}.jsonl").read_bytes()
        assert content.count(b"\n") == len(shares[one])
        assert set(read_rows([rows / f"{one}.jsonl"])) == shares[one]
    assert [name for name in names(tmp_path / "out") if name.startswith(".")] == []
