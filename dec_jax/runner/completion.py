"""dec-jax completion: a script that lets a shell complete the command."""

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

from dec_jax.data.extras import need
from dec_jax.data.options import MISSING_RULES, PARTS
from dec_jax.runner.command_line import CommandParser
from dec_jax.runner.config import FIELDS
from dec_jax.runner.failures import reported
from dec_jax.runner.presets import PRESETS
from dec_jax.validation import check_choice

SHELLS = ("bash", "zsh", "fish")
# Words that are offered; others may be accepted too.
OFFERED = {
    "--preset": tuple(PRESETS),
    "--objective": FIELDS["clustering.objective"].metadata["check"].keywords["choices"][:-1],
    "--missing": MISSING_RULES,
    "--part": PARTS,
}


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        prog="dec-jax completion",
        usage="dec-jax completion SHELL",
        description=(
            "Prints a script that lets a shell complete dec-jax: for bash, source it or save it in "
            "~/.local/share/bash-completion/completions/dec-jax; for zsh, save it as _dec-jax in a folder of $fpath; "
            "for fish, save it as ~/.config/fish/completions/dec-jax.fish."
        ),
    )
    cli.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    arguments = parser().parse_args(words)
    return reported(lambda: print(script(arguments.shell)))


def script(shell: str) -> str:
    """Returns the script of a shell.

    Raises:
        ImportError: shtab is missing.
        ValueError: the shell is another one.
    """
    check_choice("shell", shell, SHELLS)
    shtab = need("shtab", "completion", "shell completion")
    return shtab.complete(_whole_parser(shtab), shell)


def _whole_parser(shtab: Any) -> argparse.ArgumentParser:
    """All commands as one parser, whose arguments say how they are completed."""
    from dec_jax.runner.command import COMMANDS

    whole = argparse.ArgumentParser("dec-jax")
    whole.add_argument("--version", action="version")
    commands = whole.add_subparsers(dest="command")
    for name, (module, what) in COMMANDS.items():
        one = importlib.import_module(f"dec_jax.runner.{module}").parser()
        for action in one._actions:
            _say_how(action, shtab)
        commands.add_parser(name, help=what, parents=[one], add_help=False)
    return whole


def _say_how(action: argparse.Action, shtab: Any) -> None:
    offered = next((OFFERED[option] for option in action.option_strings if option in OFFERED), None)
    if action.dest == "shell":
        offered = SHELLS
    if offered:
        action.choices = offered
    elif action.metavar in ("FILE", "NAME|FILE", "MODEL"):
        action.complete = shtab.FILE
    elif action.metavar in ("DIR", "FOLDER"):
        action.complete = shtab.DIRECTORY
