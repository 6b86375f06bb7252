import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dec_jax
from dec_jax.data.extras import need

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = sorted(Path(dec_jax.__file__).parent.rglob("*.py"))
# How modules are installed that have another name than their package, or come with one.
PACKAGES = {
    "markupsafe": "jinja2",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "umap": "umap-learn",
    "PIL": "pillow",
    "orbax": "orbax-checkpoint",
}
# Packages that others bring: threadpoolctl comes with scikit-learn, absl with orbax.
BROUGHT = {"threadpoolctl", "absl"}


def names(requirements):
    """The packages of requirements, those of extras they name included."""
    found = set()
    for requirement in requirements:
        name, extras = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", requirement).groups()
        if name == "dec_jax":
            found |= names(one for extra in extras.split(",") for one in EXTRAS[extra])
        else:
            found.add(name.lower().replace("_", "-"))
    return found


def test_extras_hold_what_they_say_and_all_holds_the_others():
    left_out = {"all", "test", "docs", "gpu", "tensorflow"}  # for another machine, or for developers
    assert names(EXTRAS["all"]) == set().union(*(names(EXTRAS[extra]) for extra in EXTRAS if extra not in left_out))


def needed():
    """Calls of `need` with constants: the file, the module and the extra."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "need":
                module, extra = (argument.value for argument in node.args[:2])
                yield path.name, module, extra


def test_what_is_missing_is_named_by_an_extra_that_has_it():
    calls = list(needed())
    assert len(calls) > 10
    for path, module, extra in calls:
        package = PACKAGES.get(module.partition(".")[0], module.partition(".")[0]).lower().replace("_", "-")
        assert package in names(EXTRAS[extra]), (path, module, extra)


def imports(tree, *, at_top):
    """Names of the modules that are imported at the top of a file, or anywhere; what only types need does not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]
        elif not at_top or not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from imports(node, at_top=at_top)


def test_the_core_imports_what_it_depends_on_and_nothing_else():
    core = names(PROJECT["dependencies"]) | BROUGHT | {"dec-jax", "jaxlib"}
    for path in SOURCES:
        for module in imports(ast.parse(path.read_text(encoding="utf-8")), at_top=True):
            package = PACKAGES.get(module, module).replace("_", "-")
            assert module in sys.stdlib_module_names or package in core, (path.name, module)


def test_every_package_that_is_imported_belongs_to_the_core_or_an_extra():
    known = names(PROJECT["dependencies"]) | names(EXTRAS["all"]) | BROUGHT | {"dec-jax", "jaxlib"}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for module in imports(tree, at_top=False):
            package = PACKAGES.get(module, module).lower().replace("_", "-")
            assert module in sys.stdlib_module_names or package in known, (path.name, module)


def test_missing_packages_are_named_in_one_place():
    raising = [path.name for path in SOURCES if "raise ImportError" in path.read_text(encoding="utf-8")]
    assert raising == ["extras.py"]


def test_a_missing_package_is_named_with_its_extra_and_the_name_it_is_installed_by():
    with pytest.raises(ImportError, match=r'a song needs Strange: pip install "dec_jax\[plots\]"'):
        need("strange_module", "plots", "a song", "Strange")


HEAVY = (
    "jax",
    "flax",
    "optax",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "igraph",
    "tensorflow_datasets",
    "ray",
    "umap",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import dec_jax", HEAVY),
        ("from dec_jax.runner import command; command.main([]); command.main(['--version'])", HEAVY),
        ("import dec_jax.data", ("jax", "flax", "matplotlib", "tensorflow_datasets", "h5py", "PIL")),
        ("from dec_jax import DEC", ("matplotlib", "tensorflow_datasets", "ray", "umap", "orbax", "openpyxl")),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(program, absent):
    code = f"{program}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "[]"


def test_the_version_stands_in_one_place():
    assert dec_jax.__version__ == PROJECT["version"]
