"""Says at the end how many faults were injected."""

from .counts import INJECTED


def pytest_terminal_summary(terminalreporter):
    if INJECTED:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(INJECTED.items()))
        terminalreporter.write_line(f"{sum(INJECTED.values()):,} faults injected: {kinds}")
