"""The parser of a command: its help fits a screen, and the rest stands behind --help-all."""

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_STATUS = "exit status: 0 done, 2 bad input, 130 interrupted, 143 ended by SIGTERM"
WIDEST = 100


class CommandParser(argparse.ArgumentParser):
    """A parser whose --help shows the options that most need, and --help-all all of them and `more`.

    Args:
        prog: name of the command.
        usage: one line.
        shown: options that --help shows; all where it is empty.
        more: what --help-all ends with.
        **others: as of argparse.
    """

    def __init__(self, prog: str, usage: str, shown: tuple[str, ...] = (), more: str = "", **others: Any) -> None:
        super().__init__(prog, usage, add_help=False, formatter_class=_Formatter, **others)
        self.shown, self.more = shown, more
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="show this")
        if shown:
            self.add_argument("--help-all", action=_Help, nargs=0, help="show all options and settings")

    def format_help(self) -> str:
        """The short help."""
        with self._only_shown():
            return f"{super().format_help()}\n{EXIT_STATUS}\n"

    def format_help_all(self) -> str:
        """The whole help."""
        return "\n".join(filter(None, [super().format_help(), self.more, EXIT_STATUS, ""]))

    @contextmanager
    def _only_shown(self) -> Iterator[None]:
        hidden = {
            action: action.help
            for action in self._actions
            if self.shown
            and action.option_strings
            and not set(action.option_strings) & {*self.shown, "-h", "--help-all"}
        }
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            yield
        finally:
            for action, text in hidden.items():
                action.help = text


class _Formatter(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
        super().__init__(prog, max_help_position=26, width=width)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs in ("+", "*"):
            return f"{action.metavar or default_metavar} …"
        return super()._format_args(action, default_metavar)


class _Help(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        print(parser.format_help_all() if option_string == "--help-all" else parser.format_help(), end="")
        parser.exit()
