"""The other end of the opponents' process: requests go down its standard input, answers come up its output."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
WORKER = ("-m", "benchmarks.peer_worker")


class PeerError(RuntimeError):
    """A peer is not installed, refused a request, or died."""


class PeerProcess:
    """A worker that lives as long as the block it is used in.

    Args:
        command: how to start it.

    Raises:
        PeerError: its Python is not there.
    """

    def __init__(self, command: Sequence[str] = (str(PYTHON), *WORKER)) -> None:
        if not Path(command[0]).exists():
            raise PeerError(f"no peers are installed ({command[0]} is missing): run `make peers`")
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed by __exit__)
        # Threads that spin while they wait would take a core from the side whose turn it is.
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, task: str, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            PeerError: the worker answered with an error, or not at all.
        """
        try:
            print(json.dumps({"task": task} | request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"the peers' process ended: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else f"exit status {self._process.returncode}"
