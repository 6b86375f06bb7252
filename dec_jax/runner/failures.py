"""How a command says what went wrong: one line on stderr, and an exit status."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from dec_jax.runner import interruption
from dec_jax.runner.address_space import check_address_space

BAD_INPUT, INTERRUPTED = 2, 130
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # what XLA says


def reported(work: Callable[[], int | None], *, saves: bool = False) -> int:
    """Does the work of a command, and returns its exit status.

    Args:
        work: what it does.
        saves: whether the same command goes on from where this one was interrupted.

    Returns:
        What the work returned, or 0; 2 for bad input or too little memory; 130 when it was interrupted, 143 by SIGTERM.
    """
    try:
        check_address_space()
    except ValueError as error:
        say("error", error)
        return BAD_INPUT
    with warnings.catch_warnings(), interruption.interruptible():
        warnings.showwarning = lambda message, *_, **__: say("warning", message)
        try:
            return work() or 0
        except KeyboardInterrupt as error:
            goes_on = "; the same command goes on from the last saved moment" if saves else ""
            print(f"\ninterrupted{goes_on}", file=sys.stderr)
            return getattr(error, "status", INTERRUPTED)
        except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
            say("error", error)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and OUT_OF_MEMORY not in str(error):
                raise
            say("error", f"there is not enough memory: {str(error).partition(chr(10))[0] or 'an array does not fit'}")
    return BAD_INPUT


def say(kind: str, message: Warning | Exception | str) -> None:
    """Prints a warning or an error on one line of stderr."""
    print(f"{kind}: {str(message).replace(chr(10), ' ')}", file=sys.stderr)


@contextlib.contextmanager
def naming(out: Path) -> Iterator[None]:
    """Lets an error of the file system say which folder it is about, unless it is about another file."""
    try:
        yield
    except OSError as error:
        whole, of = out.absolute(), Path(error.filename or out).absolute()
        if error.errno is None or not (of.is_relative_to(whole) or whole.is_relative_to(of)):
            raise
        raise OSError(f"out {out} cannot be written: {error.strerror or error}") from error
