"""What makes two pieces of work the same one: settings, samples, a user's own source, versions, the machine."""

import hashlib
import importlib.util
import json
import math
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.sparse

PACKAGES = ("dec_jax", "jax", "jaxlib", "flax", "optax", "numpy")
PROJECT = "dec_jax"


def identity(**parts: Any) -> str:
    """Returns the SHA-256, 64 hexadecimal digits, of named parts; any change of a name or a value changes it.

    Args:
        **parts: numbers, text, None, paths, arrays; dataclasses, mappings with text as keys, tuples and lists of
            these. Tuples count as lists, numpy scalars as Python's, dataclasses as mappings. Floats count to the last
            bit.

    Raises:
        TypeError: a part holds something else.
    """
    plain = {name: _plain(name, value) for name, value in parts.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray) or scipy.sparse.issparse(value):
        return {"fingerprint": fingerprint(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(f"{name}.{field.name}", getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(f"{name}[{number}]", item) for number, item in enumerate(value)]
    raise TypeError(f"{name} must be made of numbers, text, arrays, lists and mappings, got {type(value).__name__}")


def fingerprint(x: np.ndarray | scipy.sparse.sparray) -> str:
    """Returns the SHA-256, 64 hexadecimal digits, of samples: of their shape, dtype and bytes.

    Args:
        x: dense of any memory order, or scipy sparse of any format; sparse samples that are equal and stored
            differently count as different.
    """
    if scipy.sparse.issparse(x):
        x = x.tocsr()
        kind, parts = "sparse", (x.data, x.indices, x.indptr)
    else:
        kind, parts = "dense", (x,)
    digest = hashlib.sha256(f"{kind} {x.shape} {x.dtype.str}".encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def source_of(path: str) -> str | None:
    """Returns the SHA-256 of the source file of a user's own function.

    Args:
        path: "package.module:function"; a name without a colon is one of the library's own.

    Returns:
        64 hexadecimal digits, or None for a name of the library's own.

    Raises:
        ValueError: there is no such module, or it has no file.
    """
    module, colon, _ = path.partition(":")
    if not colon:
        return None
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path} names a module that cannot be found: {error}") from error
    if found is None or not found.origin or not Path(found.origin).is_file():
        raise ValueError(f"{path} must name a module that has a file")
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Returns the versions of the packages that results depend on, by name."""
    return {name: _version(name) for name in PACKAGES}


_version = cache(version)


def environment() -> dict[str, Any]:
    """Returns what fixes a result to the last bit besides the program and its input, as JSON has it.

    Sums are taken in another order by another kind of device, another version of the compiler and another number of
    cores; a result is the same to the last bit only where all of this is.
    """
    config = jax.config
    return {
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "processor": _processor(),
        "cores": usable_cores(),
        "matmul_precision": config.jax_default_matmul_precision,
        "prng": config.jax_default_prng_impl,
        "x64": config.jax_enable_x64,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def usable_cores() -> int:
    """Returns the number of cores that this process may use: of its affinity, and of its container's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # Linux alone has it
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota(Path("/sys/fs/cgroup")) or cores))


def _quota(cgroup: Path) -> int | None:
    """Cores of the quota of a container, rounded up; None without one."""
    try:
        if (cgroup / "cpu.max").exists():  # cgroup 2
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max" stands for none
        return None


def git_commit(file: str | os.PathLike[str] = __file__) -> str | None:
    """Returns the commit of this library's own checkout, with "-dirty" where it was changed since.

    Args:
        file: a file of the library.

    Returns:
        40 hexadecimal digits and perhaps "-dirty"; None where the library is installed, inside somebody else's
        repository too.
    """
    file = Path(file).resolve()
    top = _git(file.parent, "rev-parse", "--show-toplevel")
    if top is None or not _is_project(Path(top)) or _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    return _git(file.parent, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def _is_project(top: Path) -> bool:
    try:
        return tomllib.loads((top / "pyproject.toml").read_text())["project"]["name"] == PROJECT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _git(folder: Path, *words: str) -> str | None:
    # Variables such as GIT_DIR, which a hook sets, are about a repository of somebody else's.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *words], cwd=folder, env=outside, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
