"""Ending early on SIGTERM or Ctrl-C: at the next save, within seconds, or at once when asked twice."""

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # SLURM and Kubernetes send the second one
SECONDS_TO_SAVE = 6.0  # until work ends where it is, without a save
SECONDS_TO_END = 2.0  # from then on; the process is ended by force where it is still busy
SIGNAL_IS_STATUS = 128  # added to a signal's number: 130 for SIGINT, 143 for SIGTERM


class Interrupted(KeyboardInterrupt):
    """A signal has asked the process to end.

    Attributes:
        status: the exit status that says so.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = SIGNAL_IS_STATUS + number


class _State:
    """What the signals have asked for, and whether it can wait for a save. Signals are a process's, and so is this."""

    asked: int | None = None
    is_ending = False
    n_waiting = 0


def is_asked() -> bool:
    """Whether a signal has asked the process to end: it is time to save."""
    return _State.asked is not None


def end_if_asked() -> None:
    """Ends the work where a signal has asked for it.

    Raises:
        Interrupted: a signal has.
    """
    if _State.asked is not None and not _State.is_ending:
        _State.is_ending = True
        raise Interrupted(_State.asked)


@contextlib.contextmanager
def until_saved() -> Iterator[None]:
    """Lets the first signal wait for the next save inside the block or for its end, for at most SECONDS_TO_SAVE."""
    _State.n_waiting += 1
    try:
        yield
    finally:
        _State.n_waiting -= 1
    end_if_asked()


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Undoes what the block does to the handlers of signals, as libraries do that start processes."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turns SIGTERM and SIGINT inside the block into `Interrupted`.

    The first signal ends the work at once, or inside `until_saved` after the next save; the second one ends it at
    once. It is raised only once, so that it does not break into what is tidied up. A process that compiles or computes
    and does not hear it is ended by force. Outside the main thread, and for signals that are ignored, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.asked, _State.is_ending, _State.n_waiting = None, False, 0
    heard, written = socket.socketpair()
    written.setblocking(False)
    # The system itself writes to the socket, while the main thread may be busy for minutes in compiled code.
    socket_before = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    used = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in used:
        signal.signal(number, _on_signal)
    watch = threading.Thread(target=_watch, args=(heard, threading.get_ident()), daemon=True, name="signals")
    watch.start()
    try:
        yield
    finally:
        for number in used:
            signal.signal(number, before[number] or signal.SIG_DFL)
        signal.set_wakeup_fd(socket_before)
        written.close()  # which ends the thread
        watch.join()
        heard.close()
        _State.asked, _State.is_ending = None, False


def _on_signal(number: int, _: FrameType | None) -> None:
    waits = _State.asked is None and _State.n_waiting
    _State.asked = _State.asked or number
    if not waits:
        end_if_asked()


def _watch(heard: socket.socket, main: int) -> None:
    """Waits for signals: repeats one after which nothing was saved, and ends the process that does not hear it."""
    number = _next_signal(heard, None)
    if number is None:
        return
    again = _next_signal(heard, SECONDS_TO_SAVE)
    if again == 0 and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)
    end_at = time.monotonic() + SECONDS_TO_END
    while again is not None:
        if time.monotonic() >= end_at:
            os._exit(SIGNAL_IS_STATUS + number)
        again = _next_signal(heard, max(0.0, end_at - time.monotonic()))


def _next_signal(heard: socket.socket, seconds: float | None) -> int | None:
    """The number of the next of SIGNALS; 0 where none came within the time, None where the block has ended."""
    while select.select([heard], [], [], seconds)[0]:
        number = heard.recv(1)
        if not number:
            return None
        if number[0] in SIGNALS:
            return number[0]
    return 0
