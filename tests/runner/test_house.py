"""What the house is built like: which part knows of which, and how wide a signature may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "dec_jax").rglob("*.py"))
CORE = [path for path in LIBRARY if "runner" not in path.relative_to(ROOT).parts]
# The scikit-learn face is what a user imports: it runs the runner, and nothing of the core imports it.
FACE = ROOT / "dec_jax" / "estimator.py"
MOST_PARAMETERS = 8


def name_of(path):
    return str(path.relative_to(ROOT))


def imported(path):
    """The modules that a file imports, at its top and inside of its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def functions(path):
    """Every function and lambda of a file."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


def parameters(function):
    """The names of a function's parameters, without self and cls."""
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if one]
    return [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("path", [path for path in CORE if path != FACE], ids=name_of)
def test_the_core_does_not_know_the_runner(path):
    assert not {name for name in imported(path) if name.startswith(("dec_jax.runner", "dec_jax.estimator"))}


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_does_not_know_what_uses_it(path):
    outside = ("experiments", "benchmarks", "tests")
    assert not {name for name in imported(path) if name.partition(".")[0] in outside}


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_a_signature_has_at_most_eight_parameters(path):
    wide = {
        f"{getattr(function, 'name', 'lambda')}, line {function.lineno}": len(parameters(function))
        for function in functions(path)
        if len(parameters(function)) > MOST_PARAMETERS
    }
    assert not wide


def test_the_checks_see_what_they_look_for(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "bad.py"
    path.write_text(
        "def f():\n    from dec_jax.runner import run\n\n\nclass A:\n    def g(self, a, /, b, *c, d, **e): ...\n"
    )
    assert imported(path) == {"dec_jax.runner", "dec_jax.runner.run"}
    assert [parameters(function) for function in functions(path)] == [[], ["a", "b", "d", "c", "e"]]
