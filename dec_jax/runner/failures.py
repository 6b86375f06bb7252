"""How a command says what went wrong: one line on stderr, and an exit status."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

BAD_INPUT, INTERRUPTED = 2, 130


def reported(work: Callable[[], None]) -> int:
    """Does the work of a command; returns 0, 2 for bad input, or 130 when it was interrupted."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            work()
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on from the last saved moment", file=sys.stderr)
            return INTERRUPTED
        except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
            say("error", error)
            return BAD_INPUT
    return 0


def say(kind: str, message: Warning | Exception | str) -> None:
    """Prints a warning or an error on one line of stderr."""
    print(f"{kind}: {str(message).replace(chr(10), ' ')}", file=sys.stderr)


@contextlib.contextmanager
def naming(out: Path) -> Iterator[None]:
    """Lets an error of the file system say which folder it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(f"out {out} cannot be written: {error.strerror or error}") from error
