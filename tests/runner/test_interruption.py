import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from dec_jax.folder_lock import lock
from dec_jax.runner import checkpoint, failures, interruption
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.storage import Store

TREE = {"labels": np.arange(4)}


@pytest.fixture(autouse=True)
def heard():
    """SIGINT as a terminal sends it: a process that nohup or & has started ignores it, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    """Sends a signal to this process and lets its handler run."""
    os.kill(os.getpid(), number)
    time.sleep(0.2)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_work_at_once_where_nothing_is_to_be_saved(number, status, capsys):
    def work():
        send(number)
        pytest.fail("the signal was not heard")

    assert failures.reported(work) == status
    assert capsys.readouterr().err == "\ninterrupted\n"
    assert failures.reported(work, saves=True) == status
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_next_save(number, status, tmp_path):
    kept = Checkpoint(Store(tmp_path), "work")

    def work():
        with interruption.until_saved():
            assert not kept.is_due()
            send(number)
            assert kept.is_due()
            kept.save(TREE, {"done": 7})
        pytest.fail("the work went on after it was saved")

    assert failures.reported(work) == status
    assert kept.metadata() == {"done": 7}


def test_a_second_signal_does_not_wait(tmp_path):
    def work():
        with interruption.until_saved():
            send(signal.SIGTERM)
            send(signal.SIGINT)
            pytest.fail("the second signal was not heard")

    assert failures.reported(work) == 143


def test_a_signal_does_not_break_into_what_is_tidied_up():
    tidied = []

    def work():
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGINT)
            tidied.append(True)

    assert failures.reported(work) == 143
    assert tidied


def test_work_without_a_save_ends_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(interruption, "SECONDS_TO_SAVE", 0.1)

    def work():
        with interruption.until_saved():
            send(signal.SIGTERM)
            time.sleep(5)
            pytest.fail("the time was not over")

    assert failures.reported(work) == 143


def test_a_command_ends_within_ten_seconds():
    assert interruption.SECONDS_TO_SAVE + interruption.SECONDS_TO_END <= 10


def test_a_signal_at_the_end_of_what_is_saved_is_not_forgotten():
    def work():
        with interruption.until_saved():
            send(signal.SIGTERM)
        pytest.fail("the signal was forgotten")

    assert failures.reported(work) == 143


DEAF = """
import time
from dec_jax.runner import failures, interruption
interruption.SECONDS_TO_SAVE = interruption.SECONDS_TO_END = 0.2
def work():
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
failures.reported(work)
"""


def test_a_process_that_does_not_end_is_ended_by_force():
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143


def test_handlers_are_as_before_when_the_work_has_ended():
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    threads = threading.active_count()
    assert failures.reported(lambda: None) == 0
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before
    assert threading.active_count() == threads


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and & leave it
    assert failures.reported(lambda: send(signal.SIGINT)) == 0


def test_outside_the_main_thread_the_work_is_done_without_handlers():
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(failures.reported(lambda: None)))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_handlers_that_a_library_sets_are_undone():
    before = signal.getsignal(signal.SIGTERM)
    with interruption.handlers_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupted_holder_gives_its_folder_up(tmp_path):
    def work():
        with lock(tmp_path):
            send(signal.SIGTERM)

    assert failures.reported(work) == 143
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_cannot_be_written_is_a_warning_and_is_tried_again(tmp_path, monkeypatch):
    (tmp_path / "folder").write_text("a file where the folder should be")
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 0)
    kept = Checkpoint(Store(tmp_path / "folder"), "work")
    with pytest.warns(UserWarning, match=r"folder cannot be written"):
        kept.save(TREE, {"done": 1})
    (tmp_path / "folder").unlink()
    assert kept.is_due()
    kept.save(TREE, {"done": 2})
    assert Checkpoint(Store(tmp_path / "folder"), "work").metadata() == {"done": 2}


def test_too_little_memory_is_one_line(capsys):
    def work():
        raise MemoryError("Unable to allocate 9 TiB")

    assert failures.reported(work) == 2
    assert capsys.readouterr().err == "error: there is not enough memory: Unable to allocate 9 TiB\n"
