from types import SimpleNamespace

import pytest

from dec_jax.runner import capacity
from dec_jax.runner.programs import Compiled


def fake(needed):
    """A program that needs this many bytes per slot, and the numbers of slots it was built for."""
    compiled, built = Compiled(), []

    def build(n_slots):
        analysis = SimpleNamespace(
            argument_size_in_bytes=needed * n_slots,
            output_size_in_bytes=100,
            alias_size_in_bytes=100,
            temp_size_in_bytes=0,
        )
        built.append(n_slots)
        compiled.programs[n_slots] = SimpleNamespace(memory_analysis=lambda: analysis)
        return {n_slots: compiled.programs[n_slots]}

    return compiled, built, build


@pytest.mark.parametrize(
    ("wanted", "step", "limit", "tried"),
    [(8, 1, 800, [8]), (8, 1, 799, [8, 4]), (8, 1, 100, [8, 4, 2, 1]), (12, 4, 500, [12, 4]), (2, 4, 400, [4])],
)
def test_slots_are_halved_until_they_fit(wanted, step, limit, tried):
    compiled, built, build = fake(100)
    assert capacity.fitting(compiled, wanted, step, limit, build) == tried[-1]
    assert built == tried
    assert list(compiled.programs) == tried[-1:]


def test_a_trial_that_does_not_fit_is_refused():
    compiled, _, build = fake(3 * 2**20)
    with pytest.raises(ValueError, match="memory must hold at least one trial, which needs 3 MB, got 2 MB"):
        capacity.fitting(compiled, 4, 1, 2 * 2**20, build)
    assert not compiled.programs


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("800M", 800 * 2**20), ("8GB", 2**33), ("8 GiB", 2**33), ("0.5g", 2**29), ("4096", 4096), ("1TB", 2**40)],
)
def test_sizes_of_memory(text, bytes_):
    assert capacity.memory_limit(text) == bytes_


@pytest.mark.parametrize("text", ["", "0", "0GB", "-1G", "8X", "eight", "1e9", "nan"])
def test_words_that_are_not_a_size(text):
    with pytest.raises(ValueError, match=f"memory must be a size like 800M or 8GB, got '{text}'"):
        capacity.memory_limit(text)


def test_without_a_size_a_part_of_what_there_is_may_be_used():
    assert 2**20 < capacity.memory_limit(None) < 2**50


def test_the_memory_of_windows(monkeypatch):
    def status(pointer):
        pointer._obj.physical = 2**34
        assert pointer._obj.length == 64

    monkeypatch.delattr(capacity.os, "sysconf")
    kernel = SimpleNamespace(GlobalMemoryStatusEx=status)
    monkeypatch.setattr(capacity.ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert capacity._physical_memory() == 2**34


@pytest.mark.parametrize("limit", [2**24, None])
def test_a_container_may_not_use_the_memory_of_its_host(monkeypatch, limit):
    monkeypatch.setattr(capacity, "_physical_memory", lambda: 2**30)
    monkeypatch.setattr(capacity, "container_limit", lambda: limit)
    monkeypatch.setattr(capacity.jax, "local_devices", lambda: [SimpleNamespace(memory_stats=lambda: None)])
    monkeypatch.setattr(capacity.jax, "local_device_count", lambda: 2)
    assert capacity.memory_limit(None) == (limit or 2**30) // 4


def groups(root, files):
    """Control groups with these limits, by their files' paths."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": 2**30, "memory.max": 2**32}, 2**30),
        ("0::/a/b\n", {"a/b/memory.max": 2**20, "a/memory.max": 2**30}, 2**20),
        ("0::/\n", {"memory.max": 2**21}, 2**21),
        ("0::/of/the/host\n", {"memory.max": 2**22}, 2**22),
        ("0::/a\n", {"a/memory.max": "max"}, None),
        ("0::/a\n", {}, None),
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": 2**23}, 2**23),
        ("4:memory:/of/the/host\n3:cpu:/x\n", {"memory/memory.limit_in_bytes": 2**24, "memory.max": 5}, 2**24),
    ],
)
def test_the_smallest_limit_around_a_process_counts(tmp_path, membership, files, limit):
    (tmp_path / "membership").write_text(membership)
    root = groups(tmp_path / "cgroup", files)
    assert capacity.container_limit(root, tmp_path / "membership") == limit


def test_where_there_are_no_control_groups_there_is_no_limit(tmp_path):
    assert capacity.container_limit(tmp_path, tmp_path / "gone") is None
