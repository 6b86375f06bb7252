"""report.html of a finished run or sweep, from the files of its folder."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dec_jax.data.atomic import atomic_write
from dec_jax.data.extras import need
from dec_jax.runner.command_line import CommandParser
from dec_jax.runner.failures import naming, reported
from dec_jax.runner.webpage import PAGE_FILE, run_page, sweep_page, text

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent
# What stands in a page as it is: the program that draws, and ours that says what. They are the only ones that may run.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {}; base-uri 'none'; form-action 'none'"
)


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        prog="dec-jax report",
        usage="dec-jax report FOLDER",
        description="Makes the page report.html of a finished run or sweep again, from the files of its folder.",
    )
    cli.add_argument("folder", type=Path, metavar="FOLDER", help="of a finished run or sweep")
    return cli


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, or 2 for bad input."""
    folder = parser().parse_args(words).folder
    return reported(lambda: print(f"to look at it, open {write(folder)}"))


def write(folder: Path) -> Path:
    """Writes the page of a finished run or sweep into its folder and returns its path.

    Raises:
        ValueError: the folder holds neither, or is damaged.
        ImportError: an extra is missing.
        OSError: the folder cannot be written.
    """
    page = render(folder)
    with naming(folder), atomic_write(folder / PAGE_FILE) as file:
        file.write(page.encode("utf-8", "replace"))
    return folder / PAGE_FILE


def render(folder: Path) -> str:
    """Returns the page of a finished run or sweep; arguments and errors as in `write`."""
    kinds = ((run_page, "run.html.j2"), (sweep_page, "sweep.html.j2"))
    found = [(kind, template) for kind, template in kinds if kind.is_here(folder)]
    if not found:
        raise ValueError(f"folder {folder} holds neither a finished run nor a finished sweep")
    kind, template = found[0]
    try:
        return _rendered(template, kind.content(folder))
    except (ImportError, OSError, ValueError):
        raise
    except Exception as error:  # whatever a damaged file makes of the rest
        raise ValueError(f"folder {folder} does not hold what this version reads: {error!r}") from error


def _rendered(template: str, content: dict[str, Any]) -> str:
    jinja2 = need("jinja2", "report", PAGE_FILE)
    markup = need("markupsafe", "report", PAGE_FILE).Markup
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": text.figure, "percent": text.percent, "duration": text.duration}
    scripts = [_plotly(markup), markup(_file("plots.js"))]
    figures = {plot.id: plot.figure for plot in content["plots"].values()}
    return environment.get_template(template).render(
        content,
        scripts=scripts,
        figures=_as_json(figures, markup),
        style=markup(_file("style.css")),
        policy=POLICY.format(" ".join(map(_hash, scripts))),
    )


def _plotly(markup: "type[Markup]") -> "Markup":
    return markup(need("plotly.offline", "report", PAGE_FILE).get_plotlyjs().replace("\r\n", "\n"))


def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """How a policy names a script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _as_json(value: Any, markup: "type[Markup]") -> "Markup":
    """A value as JSON that may stand in a script element: no sign of HTML is in it."""
    plain = json.dumps(value, allow_nan=False)
    return markup(plain.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&'"}))
