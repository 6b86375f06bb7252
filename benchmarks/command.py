"""What the benchmarks' command lines have in common."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from dec_jax.data.atomic import atomic_write
from dec_jax.validation import check_choice

DEVICES = ("cpu", "gpu", "tpu")
PACKAGES = ("dec_jax", "jax", "jaxlib", "numpy")
ERRORS = (ValueError, TypeError, OSError, MemoryError, ArithmeticError, ImportError, jax.errors.JaxRuntimeError)

Record = dict[str, Any]


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """A command line with the options of all benchmarks."""
    cli = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    cli.add_argument("--device", metavar="NAME", help=f"{', '.join(DEVICES)} (default: the one that JAX chooses)")
    cli.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    return cli


def main(cli: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], words: Sequence[str] | None) -> int:
    """Runs a benchmark and returns its exit status: 2 for bad input, said in one line on standard error."""
    arguments = cli.parse_args(words)
    try:
        choose_device(arguments.device)
        check_writable(arguments.out)
        return run(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except ERRORS as error:
        complain(error)
        return 2


def complain(error: object) -> None:
    """Says in one line on standard error what is wrong."""
    print(f"error: {str(error).splitlines()[0] if str(error) else repr(error)}", file=sys.stderr, flush=True)


def console() -> Console:
    """The screen, and 110 columns where there is none."""
    return Console(width=None if sys.stdout.isatty() else 110, highlight=False)


def choose_device(name: str | None) -> None:
    """Makes a kind of device the one that computes.

    Raises:
        ValueError: there is no such kind, or none of it here.
    """
    if name is None:
        return
    check_choice("device", name, DEVICES)
    try:
        device = jax.devices(name)[0]
    except RuntimeError:
        raise ValueError(f"device {name} is not there, JAX sees: {jax.devices()}") from None
    jax.config.update("jax_default_device", device)


def device() -> jax.Device:
    """The device that computes."""
    return jax.config.jax_default_device or jax.devices()[0]


def describe_device() -> str:
    """Its kind, and of a CPU the number of cores."""
    return f"{os.cpu_count()}-core CPU" if device().platform == "cpu" else device().device_kind


def check_writable(path: Path | None) -> None:
    """Refuses a file that could not be written in the end.

    Raises:
        OSError: its folder is not there, or it is a folder itself.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise OSError(f"{path} cannot be written: it is a folder, or its folder is not there")


def write(path: Path | None, records: Sequence[Record]) -> None:
    """Writes the records as JSON, each with the machine and the versions it was measured with."""
    if path is None:
        return
    where = environment()
    with atomic_write(path, "w") as file:
        json.dump([record | where for record in records], file, indent=2)
        file.write("\n")


def environment() -> Record:
    """Device and versions."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return {"device": describe_device(), "versions": versions}


def si(value: float) -> str:
    """A number in three digits, for a table."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
