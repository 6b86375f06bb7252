import pytest

from benchmarks import matmul_rate


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """Keeps the product rate from taking longer than what is tested."""
    monkeypatch.setattr(matmul_rate, "SIZES", {"cpu": (64,)})
    monkeypatch.setattr(matmul_rate, "ACCELERATOR_SIZES", (64,))


@pytest.fixture
def error_line(capfd):
    """Tells the one line on standard error."""

    def line():
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return line
