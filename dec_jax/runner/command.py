"""The command dec-jax: which of its commands is meant."""

import importlib
import os
import sys
from collections.abc import Sequence

import dec_jax
from dec_jax.runner import failures
from dec_jax.runner.command_line import EXIT_STATUS

# The module of each command, with `parser` and `main`, and what it does.
COMMANDS = {
    "run": ("run", "clusters one data set, and writes a result, a model and pictures"),
    "sweep": ("sweep", "runs a grid of trials, and writes a table and pictures"),
    "report": ("webpage.page", "makes the page report.html of a finished run or sweep again"),
    "assign": ("assigning", "writes the cluster of each row of a file by a trained model"),
    "embed": ("embedding", "writes the embedding of each row of a file by a trained model"),
    "completion": ("completion", "writes a script that lets a shell complete this command"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 2 for bad input, 130 when it was interrupted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    words = sys.argv[1:] if words is None else list(words)
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in ("-h", "--help", "--help-all"):
        print(usage(), end="")
        return 0
    if name == "--version":
        print(dec_jax.__version__)
        return 0
    if name not in COMMANDS:
        failures.say("error", f"unknown command {name!r} (accepted: {', '.join(COMMANDS)})")
        return failures.BAD_INPUT
    sys.path.append(os.getcwd())  # where a function of the user's own is, as package.module:function
    return importlib.import_module(f"dec_jax.runner.{COMMANDS[name][0]}").main(rest)


def usage() -> str:
    """What there is, a line each."""
    lines = [f"  {name:<12}{what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: dec-jax COMMAND …",
            "",
            *lines,
            "",
            "dec-jax COMMAND --help tells more; dec-jax run, without anything else, clusters handwritten digits.",
            EXIT_STATUS,
            "",
        ]
    )
