"""Text that comes from data, as a page and a plot may show it."""

import html
import math
from typing import Any

MAX_LENGTH = 80


def short(value: Any, length: int = MAX_LENGTH) -> str:
    """Returns a value as text of one line and so many characters at most; what cannot be printed is a �."""
    text = "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(str(value).split()))
    return text if len(text) <= length else text[: length - 1] + "…"


def plotted(value: Any, length: int = MAX_LENGTH) -> str:
    """Returns `short` text for a plot: Plotly takes text for HTML of a kind, in which this is as it was."""
    return html.escape(short(value, length), quote=False)


def figure(value: float | None, digits: int = 3) -> str:
    """Returns a number with so many significant digits, or those before its point; "–" where it is not known."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    whole = abs(value) < 1e12 and (value == int(value) or abs(value) >= 1000)
    return (f"{value:,.0f}" if whole else f"{value:.{digits}g}").replace("-", "−")


def percent(share: float | None) -> str:
    """Returns a share of 1 in percent; "–" where it is not known."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Returns seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
