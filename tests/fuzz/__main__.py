"""Tries many inputs: python -m fuzz PART …, in the folder tests; `make fuzz` runs all parts.

Inputs are tried in processes of their own, some hundreds in each, so that one that crashes or hangs is only counted.
What has been tried is noted in a log, from which the same command goes on.
"""

import argparse
import json
import mmap
import os
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from dec_jax import n2d

from . import arrays, prepared, readers, settings
from .mutation import mutate
from .watch import watched

CHUNK = {"readers": 400, "arrays": 2000, "settings": 400, "training": 20}
SECONDS_OF_AN_INPUT = 300  # without any sign of life; `watched` ends sooner what computes


def try_readers(name, number, call, state):
    if name not in state:
        folder = tempfile.mkdtemp(dir=state["folder"])
        state[name] = readers.sound(READERS[name], folder)
        others = [content for content, _ in (one for key, one in state.items() if key != "folder")]
        state["others"] = (b"".join(others), None)
    content, path = state[name]
    rng = np.random.default_rng([number, sum(map(ord, name))])
    path.write_bytes(mutate(content, rng, state["others"][0]))
    call(READERS[name].read, path)


def try_arrays(name, number, call, _):
    arrays.FUNCTIONS[name](np.random.default_rng([number, len(name)]), call)


def try_settings(name, number, call, _):
    (settings.FUNCTIONS | settings.TRAINING)[name](np.random.default_rng([number, len(name)]), call)


READERS = readers.KINDS | prepared.KINDS
PARTS = {
    "readers": (list(READERS), try_readers),
    "arrays": (list(arrays.FUNCTIONS), try_arrays),
    "settings": (list(settings.FUNCTIONS), try_settings),
    "training": (list(settings.TRAINING), try_settings),
}


def chunk(part, name, numbers, seconds, place, errors):
    """Tries some inputs in this process until the time is over; notes which one it is at, and what went wrong.

    Time is counted from the end of the first input, which prepares what all of them use.
    """
    one, until = PARTS[part][1], float("inf")
    with tempfile.TemporaryDirectory() as folder, watched(100_000) as call:
        os.environ["DEC_JAX_CACHE"] = folder
        state = {"folder": folder}
        for number in numbers:
            if time.monotonic() > until:
                break
            place[:8] = struct.pack("q", number)
            try:
                one(name, number, call, state)
            except BaseException as error:
                where = traceback.format_exc().strip().splitlines()[-8:]
                errors.write(json.dumps([part, name, number, repr(error)[:300], where]) + "\n")
                errors.flush()
            if number == numbers[0]:
                until = time.monotonic() + seconds


def forked(part, name, numbers, seconds, errors):
    """Tries inputs in processes of their own; one that ends a process is noted, and the next one follows.

    Returns the number of the first input that was not tried.
    """
    first, until = numbers[0], time.monotonic() + seconds
    while first < numbers.stop and (first == numbers[0] or time.monotonic() < until):
        place = mmap.mmap(-1, 8)
        place[:8] = struct.pack("q", first)
        pid = os.fork()
        if not pid:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            chunk(part, name, range(first, numbers.stop), seconds, place, errors)
            os._exit(0)
        at, since = first, time.monotonic()
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if at != (now_at := _number(place)):
                at, since = now_at, time.monotonic()
            elif time.monotonic() - since > SECONDS_OF_AN_INPUT:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        at = _number(place)
        if ended[1]:
            what = f"the process ended with status {os.waitstatus_to_exitcode(ended[1])}"
            errors.write(json.dumps([part, name, at, what, []]) + "\n")
            errors.flush()
        first = at + 1
    return first


def _number(place):
    """The input that a process has noted that it is at."""
    return struct.unpack("q", place[:8])[0]


def main():
    cli = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    cli.add_argument("parts", nargs="+", choices=PARTS)
    cli.add_argument("--n", type=int, default=100_000, help="inputs of each part (default: 100000)")
    cli.add_argument("--seconds", type=float, default=float("inf"), help="for all of them")
    cli.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / "dec-jax-fuzz")
    arguments = cli.parse_args()
    if "settings" in arguments.parts:
        n2d.import_umap()  # which takes long, and once is enough
    arguments.log.mkdir(parents=True, exist_ok=True)
    done_path = arguments.log / "done.json"
    done = Counter(json.loads(done_path.read_text()) if done_path.exists() else {})
    began = time.monotonic()
    with open(arguments.log / "errors.jsonl", "a+") as errors:
        for part in arguments.parts:
            names = PARTS[part][0]
            each = -(-arguments.n // len(names))
            while left := [name for name in names if done[f"{part} {name}"] < each]:
                for name in left:
                    first = done[f"{part} {name}"]
                    numbers = range(first, min(first + CHUNK[part], each))
                    share = arguments.seconds / len(names)  # each of them has its turn
                    done[f"{part} {name}"] = forked(part, name, numbers, share, errors)
                    done_path.write_text(json.dumps(done))
                    if time.monotonic() - began > arguments.seconds:
                        return report(done, errors)
        return report(done, errors)


def report(done, errors):
    errors.seek(0)
    wrong = [json.loads(line) for line in errors]
    for part in PARTS:
        total = sum(count for key, count in done.items() if key.startswith(f"{part} "))
        print(f"{part}: {total:,} inputs, {sum(one[0] == part for one in wrong):,} wrong outcomes")
    for (part, name, what), count in Counter((one[0], one[1], one[3]) for one in wrong).most_common(40):
        print(f"  {count} × {part} {name}: {what}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
