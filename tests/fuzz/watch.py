"""What no input may do: raise another error than ours, take long, or take much memory."""

import contextlib
import resource
import signal
import sys
import warnings
from pathlib import Path

OURS = (ValueError, TypeError, OSError, MemoryError, ImportError)
SECONDS = 20  # of a processor: a machine that others work on is slower, and nothing hangs
MEMORY = 200 * 2**20
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Hangs(BaseException):
    """An input took too long."""


def peak():
    """The most bytes that this process has held, on Linux since `forget_peak`."""
    if CLEAR.exists():
        return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak():
    """Lets the peak begin at what is held now, where that can be done."""
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")


@contextlib.contextmanager
def watched(n_bytes=0):
    """Turns an alarm into an error, and checks what memory was taken.

    Yields:
        A function that calls another one: what it returns, or the text of its error.
    """

    def hang(*_):
        raise Hangs

    before = signal.signal(signal.SIGPROF, hang)

    def call(function, *arguments):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        forget_peak()
        held = peak()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = function(*arguments)
        except OURS as error:
            found = f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        assert not str(found).endswith("Error: "), f"{found} has no message"
        taken = peak() - held
        assert taken <= MEMORY + 10 * n_bytes, f"took {taken / 2**20:.0f} MB"
        return found

    try:
        yield call
    finally:
        signal.signal(signal.SIGPROF, before)
