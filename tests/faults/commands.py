"""Real commands in processes of their own, to which something happens at some moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from .counts import SCALE

ROOT = Path(__file__).parents[2]
UNBROKEN = ("exit",)


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        status: its exit status, −9 where it was killed.
        seconds: from the first signal until it had ended; 0 where none was sent.
        advances: how often it has said that it went on.
        log: what it has written to stderr.
    """

    status: int
    seconds: float
    advances: int
    log: str


class Starter:
    """Starts commands one after the other.

    Args:
        compiled: folder of compiled programs.
        folder: where logs go.
    """

    def __init__(self, compiled, folder):
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "True",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "PYTHONWARNINGS": "ignore",
        }
        self._log = Path(folder) / "log.txt"
        words = [sys.executable, "-u", "-m", "faults.zygote"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=os.environ | environment
        )
        assert self._process.stdout.readline() == b"ready\n"

    def close(self):
        self._process.stdin.close()
        self._process.wait()

    def start(self, command, words, seconds_between_saves=30.0, clock=None):
        """Starts a command, perhaps with a `Clock` of this kind and moment; returns its process's number."""
        self._log.unlink(missing_ok=True)
        what = {"command": command, "words": [str(word) for word in words], "log": str(self._log)}
        what |= {"seconds_between_saves": seconds_between_saves, "clock": clock}
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()
        return self._pid()

    def _pid(self):
        word, number = self._process.stdout.readline().split()
        assert word == b"pid"
        return int(number)

    def finish(self, pid, breaking=UNBROKEN, after=0, delay=0.0):
        """Lets a command go on, and lets something happen to it.

        Args:
            pid: of the command.
            breaking: what happens to it, one after the other: signals, seconds to wait, functions to call, and "exit"
                for nothing more.
            after: how often it has gone on before.
            delay: seconds after that.
        """
        advances, sent_at = 0, None
        if not after:
            sent_at = self._break(pid, breaking, delay)
        for line in self._process.stdout:
            if line.startswith(b"exit"):
                seconds = 0.0 if sent_at is None else time.monotonic() - sent_at
                log = self._log.read_text() if self._log.exists() else ""
                return Ended(int(line.split()[1]), seconds, advances, log)
            advances += line == b"at\n"
            if advances == after and sent_at is None:
                sent_at = self._break(pid, breaking, delay)
        raise AssertionError("the starter has ended")

    def _break(self, pid, breaking, delay):
        if breaking == UNBROKEN:
            return None
        time.sleep(delay)
        at = time.monotonic()
        for what in breaking:
            if isinstance(what, signal.Signals):
                try:
                    os.kill(pid, what)
                except ProcessLookupError:
                    return at
            elif callable(what):
                what()
            else:
                time.sleep(what)
        return at


TERM, INT, KILL, STOP, CONT = signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
SECONDS_STOPPED = 0.3 if SCALE == 1 else 60.0
WAYS = {
    "kill -9": (KILL,),
    "SIGTERM": (TERM,),
    "SIGINT": (INT,),
    "SIGINT twice": (INT, 0.02, INT),
    "SIGSTOP": (STOP, SECONDS_STOPPED, CONT),
    "SIGSTOP, kill -9": (STOP, 0.1, KILL),
    "SIGTERM while stopped": (STOP, TERM, 0.1, CONT),
}
STATUSES = {"kill -9": -9, "SIGTERM": 143, "SIGINT": 130, "SIGINT twice": 130, "SIGSTOP, kill -9": -9}
STATUSES["SIGTERM while stopped"] = 143
GRACEFUL = ("SIGTERM", "SIGINT", "SIGINT twice", "SIGTERM while stopped")


def draw(seed, advances):
    """A way to break a command, and a moment: how often it has gone on, and seconds after that."""
    chance = random.Random(seed)
    way = list(WAYS)[seed % len(WAYS)]
    return way, chance.randint(0, advances), chance.choice([0.0, chance.uniform(0, 0.05)])
