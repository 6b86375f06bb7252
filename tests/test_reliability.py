"""Every promise of docs/reliability.md names a test that there is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (?!promise|-)(.+) \| (.+) \|$", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE)


def test_there_are_promises():
    assert len(ROWS) >= 20
    assert len({test for _, test in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("promise", "test"), ROWS)
def test_a_promise_names_a_test(promise, test):
    path, _, name = test.strip("`").partition("::")
    found = [node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.FunctionDef)]
    assert name in found, f"{promise}: {path} has no {name}"
