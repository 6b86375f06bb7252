import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import compilations, transfers


def test_compilations_are_counted_once():
    function = jax.jit(lambda x: jnp.tanh(x) * 3.25)
    x = jnp.ones(3)
    with compilations.watch() as first:
        function(x)
    with compilations.watch() as second:
        function(x)
    assert first.count == 1
    assert first.seconds > 0
    assert second.count == 0
    assert second.seconds == 0


def test_nested_spans_count_once():
    seen = compilations.Compilations(spans=[(0, 4), (1, 2), (3, 5), (7, 8)])
    assert seen.seconds == 6


def test_copies_to_the_device_are_counted():
    with transfers.watch() as seen:
        jax.device_put(np.ones((4, 8), np.float32))
    assert (seen.host_to_device_copies, seen.host_to_device_bytes, seen.copies_without_size) == (1, 128, 0)


def test_work_on_the_device_copies_nothing():
    x = jnp.ones((4, 8))
    function = jax.jit(lambda x: x + x)
    function(x)
    with transfers.watch() as seen:
        function(x).block_until_ready()
    assert seen == transfers.Transfers()


def test_other_output_on_standard_error_is_passed_on(capfd):
    with transfers.watch():
        jax.device_put(np.ones(3, np.float32))
        print("hello", file=sys.stderr)
    assert capfd.readouterr().err == "hello\n"


def test_lines_of_both_directions():
    seen = transfers.Transfers()
    assert transfers._count(seen, "W1 guard_lib.cc:125] device-to-host transfer: shape=(3, 2), dtype=float32, device=x")
    assert transfers._count(seen, "W1 guard_lib.cc:125] host-to-device transfer: aval=ShapedArray(int32[], weak_type)")
    assert transfers._count(seen, "W1 guard_lib.cc:125] host-to-device transfer: ")
    assert not transfers._count(seen, "something else")
    assert vars(seen) == {
        "host_to_device_copies": 2,
        "host_to_device_bytes": 4,
        "device_to_host_copies": 1,
        "device_to_host_bytes": 24,
        "copies_without_size": 1,
    }
