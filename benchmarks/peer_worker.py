"""The opponents' process: reads one JSON request a line, runs it, answers with one JSON line.

It imports no JAX, runs in the peers' own environment (k-means in ours), and waits without using a core between two
requests. Requests:

    {"task": "load", "x": FILE.npy, "dims": [...], "batch_size": b, "n_clusters": k, "threads": t, "device": "cpu"}
    {"task": "train", "peer": one of BUILDERS, "phase": "fine_tuning" | "clustering", "steps": s}
    {"task": "kmeans", "z": FILE.npy, "n_clusters": k, "n_restarts": r, "tolerance": t, "seed": s}

Answers: {"seconds": …, …}, and {"error": "one line"} where a request failed.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


class Peers:
    """The opponents that were asked for so far, each built when it is asked for first."""

    def __init__(self) -> None:
        self._arguments: tuple = ()
        self._built: dict[str, Any] = {}

    def load(self, x: str, dims: list[int], batch_size: int, n_clusters: int, threads: int, device: str) -> dict:
        """Takes samples and sizes, puts them where training will find them."""
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        if device == "gpu":
            torch.set_float32_matmul_precision("high")  # as JAX does by itself
        samples = torch.from_numpy(np.load(x)).to("cuda" if device == "gpu" else device)
        self._arguments = (samples, dims, batch_size, n_clusters)
        return {"torch": torch.__version__}

    def train(self, peer: str, phase: str, steps: int) -> dict:
        """Times some steps of one opponent."""
        import torch

        if peer not in self._built:
            self._built[peer] = BUILDERS[peer](*self._arguments)
        work = getattr(self._built[peer], phase)
        began = time.perf_counter()
        work(steps)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return {"seconds": time.perf_counter() - began}

    def kmeans(self, z: str, n_clusters: int, n_restarts: int, tolerance: float, seed: int) -> dict:
        """Times scikit-learn's k-means."""
        from sklearn.cluster import KMeans

        points = np.load(z)
        model = KMeans(n_clusters, n_init=n_restarts, tol=tolerance, random_state=seed)
        began = time.perf_counter()
        model.fit(points)
        return {"seconds": time.perf_counter() - began, "inertia": float(model.inertia_)}


def build_torch(*arguments: Any, compiled: bool = False) -> Any:
    """The plain loop."""
    from benchmarks.torch_loop import TorchLoop

    return TorchLoop(*arguments, compiled=compiled)


def build_compiled(*arguments: Any) -> Any:
    """The same with torch.compile."""
    return build_torch(*arguments, compiled=True)


def build_clustpy(*arguments: Any) -> Any:
    """ClustPy."""
    from benchmarks.clustpy_epochs import ClustPyEpochs

    return ClustPyEpochs(*arguments)


BUILDERS: dict[str, Callable[..., Any]] = {
    "PyTorch": build_torch,
    "torch.compile": build_compiled,
    "ClustPy": build_clustpy,
}


def main() -> None:
    """Answers requests until its input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not look like an answer
    peers = Peers()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(peers, request.pop("task"))(**request)
        except Exception as error:  # whatever goes wrong in a peer is told, and the next request is served
            answer = {"error": " ".join([f"{type(error).__name__}:", *str(error).strip().splitlines()[:1]])}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
