import dataclasses
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.sparse

import dec_jax
from dec_jax import identity
from dec_jax.identity import fingerprint, git_commit, source_of, usable_cores, versions


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    widths: tuple[int, ...] = (5, 4)


PARTS = {
    "config": Outer(),
    "samples": "abc",
    "table": {"a": 1, "b": [None, True]},
    "rate": 0.1,
    "labels": np.arange(3),
    "path": Path("a/b"),
}


def test_equal_parts_have_an_equal_identity_whatever_their_order_and_types():
    first = identity.identity(**PARTS)
    assert re.fullmatch("[0-9a-f]{64}", first)
    others = PARTS | {
        "config": {"widths": [np.int64(5), 4], "inner": {"rate": np.float64(0.1)}},
        "table": {"b": (None, np.bool_(True)), "a": np.int8(1)},
        "labels": np.arange(6)[::2] // 2,
        "path": "a/b",
    }
    assert identity.identity(**dict(reversed(others.items()))) == first


@pytest.mark.parametrize(
    "changed",
    [
        {"config": Outer(Inner(np.nextafter(0.1, 1)))},
        {"config": Outer(widths=(4, 5))},
        {"samples": "abd"},
        {"table": {"a": True, "b": [None, True]}},
        {"table": {"a": 1, "b": [None, 1]}},
        {"table": {"a": 1, "b": [True, None]}},
        {"table": {"a": 1, "c": [None, True]}},
        {"rate": np.float32(0.1)},
        {"rate": "0.1"},
        {"labels": np.arange(3, dtype=np.int32)},
        {"labels": np.array([0, 2, 1])},
        {"path": None},
        {"more": None},
    ],
    ids=str,
)
def test_any_change_makes_another_identity(changed):
    assert identity.identity(**(PARTS | changed)) != identity.identity(**PARTS)


@pytest.mark.parametrize("pair", [(0.0, -0.0), (1, 1.0), (float("inf"), float("-inf")), (1, "1"), ([], {}), ("", None)])
def test_values_that_look_alike_differ(pair):
    assert identity.identity(a=pair[0]) != identity.identity(a=pair[1])
    assert identity.identity(a=pair[0]) == identity.identity(a=pair[0])


@pytest.mark.parametrize(
    ("value", "name"),
    [({1, 2}, "a"), ({"b": [0, object()]}, r"a\.b\[1\]"), ({1: 2}, "a"), (Outer(print), r"a\.inner"), (Outer, "a")],
)
def test_what_has_no_identity_is_refused_by_its_name(value, name):
    with pytest.raises(
        TypeError, match=rf"^{name} must be made of numbers, text, arrays, lists and mappings, got \w+$"
    ):
        identity.identity(a=value)


# Samples


def test_samples_count_by_shape_dtype_and_bytes():
    x = np.random.default_rng(0).normal(size=(6, 4))
    known = {fingerprint(x)}
    assert known == {fingerprint(np.asfortranarray(x)), fingerprint(np.repeat(x, 2, axis=0)[::2])}
    changed = x.copy()
    changed[3, 2] = np.nextafter(changed[3, 2], 9)
    others = [changed, x[::-1], x.T, x.reshape(4, 6), x.astype(np.float32), x.astype(">f8"), x[:0], x[:, :0]]
    others += [make(x) for make in (scipy.sparse.csr_array,)]
    assert len({fingerprint(other) for other in others} | known) == len(others) + 1


def test_sparse_samples_count_by_their_rows_in_any_format():
    x = scipy.sparse.random_array((7, 5), density=0.4, rng=np.random.default_rng(0), format="csr")
    assert fingerprint(x) == fingerprint(x.tocsc()) == fingerprint(scipy.sparse.csr_matrix(x))
    other = x.copy()
    other.data[0] += 1
    moved = scipy.sparse.csr_array((x.data, (x.indices + 1) % 5, x.indptr), x.shape)
    assert len({fingerprint(x), fingerprint(other), fingerprint(moved)}) == 3


def test_the_fingerprint_is_a_plain_sha256():
    x = np.arange(6, dtype="<f4").reshape(2, 3)
    assert fingerprint(x) == hashlib.sha256(b"dense (2, 3) <f4" + x.tobytes()).hexdigest()


# A user's own function


def test_the_source_of_a_users_function_is_that_of_its_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").touch()
    source = tmp_path / "own_package" / "terms.py"
    source.write_text("def mine(): return 1\n")
    before = source_of("own_package.terms:mine")
    assert before == hashlib.sha256(source.read_bytes()).hexdigest()
    source.write_text("def mine(): return 2\n")
    assert source_of("own_package.terms:mine") not in (before, None)
    assert source_of("own_package.terms:other") == source_of("own_package.terms:mine")


def test_names_of_the_library_have_no_source():
    assert source_of("idec") is None


@pytest.mark.parametrize("path", ["nowhere:f", "nowhere.deep:f", "sys:exit", ":f", "dec_jax.:f"])
def test_modules_without_a_file(path):
    with pytest.raises(ValueError, match=f"^{path} "):
        source_of(path)


# Versions and the machine


def test_versions_are_those_that_are_imported():
    found = versions()
    assert set(found) == {"dec_jax", "jax", "jaxlib", "flax", "optax", "numpy"}
    assert (found["jax"], found["numpy"]) == (jax.__version__, np.__version__)


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        (identity, "versions", lambda: {"jaxlib": "0"}),
        (identity, "usable_cores", lambda: 0),
        (identity, "_processor", lambda: "other"),
        (jax, "devices", lambda: [type("Device", (), {"device_kind": "other"})]),
    ],
)
def test_what_fixes_bits_changes_the_environment(monkeypatch, place, name, value):
    before = identity.environment()
    assert before == identity.environment()
    monkeypatch.setattr(place, name, value)
    assert identity.environment() != before


@pytest.mark.parametrize(
    ("name", "value"),
    [("jax_default_matmul_precision", "highest"), ("jax_default_prng_impl", "rbg"), ("jax_enable_x64", True)],
)
def test_what_jax_is_told_changes_the_environment(name, value):
    before = identity.environment()
    usual = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        assert identity.environment() != before
    finally:
        jax.config.update(name, usual)


def test_flags_of_the_compiler_change_the_environment(monkeypatch):
    before = identity.environment()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert identity.environment() != before


def test_the_environment_has_an_identity():
    assert identity.identity(environment=identity.environment())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin processes to cores")
def test_cores_are_those_of_the_process():
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, usual)
    assert 1 <= usable_cores() <= len(usual)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "damaged"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert identity._quota(tmp_path) == cores


# The commit


def git(folder, *words):
    command = ["git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.com", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository of this project, with one file of its package."""
    (tmp_path / "dec_jax").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "dec_jax"\n')
    (tmp_path / "dec_jax" / "identity.py").write_text("a = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_the_commit_of_a_checkout(checkout):
    file = checkout / "dec_jax" / "identity.py"
    assert git_commit(file) == git(checkout, "rev-parse", "HEAD")
    file.write_text("a = 2\n")
    assert git_commit(file) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_variables_of_a_hook_do_not_lead_elsewhere(checkout, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(checkout / "nowhere"))
    assert git_commit(checkout / "dec_jax" / "identity.py") is not None


def test_a_library_installed_in_a_repository_of_the_users_own_has_no_commit(checkout):
    installed = checkout / ".venv" / "site-packages" / "dec_jax" / "identity.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("a = 1\n")
    assert git_commit(installed) is None  # not tracked
    (checkout / "pyproject.toml").write_text('[project]\nname = "study"\n')
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "a copy of the library")
    assert git_commit(installed) is None  # tracked, by another project
    for text in ("", "[", "project = 3", "[tool]"):
        (checkout / "pyproject.toml").write_text(text)
        assert git_commit(installed) is None


def test_no_commit_without_git(checkout, monkeypatch, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone") / "identity.py"
    alone.touch()
    assert git_commit(alone) is None
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout / "dec_jax" / "identity.py") is None


def test_identities_are_the_same_in_another_process():
    script = (
        "from dec_jax.identity import environment, identity; "
        "print(identity(a={'b': 0.1, 'a': [1, None]}), identity(environment=environment()))"
    )
    root = Path(dec_jax.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True, env=os.environ
    )
    here = identity.identity(a={"a": (1, None), "b": 0.1}), identity.identity(environment=identity.environment())
    assert tuple(done.stdout.split()) == here
