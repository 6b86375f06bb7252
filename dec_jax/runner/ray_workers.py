"""Runs trials on the workers of a Ray cluster: in groups that share pretrainings, each one a remote task.

Ray is imported where it is used: nothing else needs it.
"""

import atexit
import os
import socket
import threading
import time
import types
import uuid
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from dec_jax.data.extras import need
from dec_jax.runner import capacity, interruption
from dec_jax.runner.config import Config
from dec_jax.runner.layout import make_layout
from dec_jax.runner.programs import Sizes, sizes_of
from dec_jax.runner.progress import PhaseProgress
from dec_jax.runner.split import Split
from dec_jax.runner.table import make_row
from dec_jax.runner.trainer import train
from dec_jax.runner.work import Trial, Workshop
from dec_jax.storage import Store

Row = dict[str, Any]
MAX_TRIALS = 64  # of a group with more than one pretraining: as many as lie side by side
MAX_RETRIES = 3  # of a group
SECONDS_TO_ANSWER = 10.0
SECONDS_TO_LEAVE = 30.0
SECONDS_TO_FETCH = 300.0  # a row, from a node that may have frozen
SECONDS_BETWEEN_BEATS = 30.0  # of a worker
SECONDS_BETWEEN_LOOKS = 10.0
LOOKS_WITHOUT_HEAD = 3  # one after the other; after a minute Ray itself ends the process
LOOKS_OF_SILENCE = 60
GOES_ON = "finished trials are kept, and the same command goes on with the others"


class Options(NamedTuple):
    """What workers run trials with.

    Attributes:
        cache: folder of pretrained networks on the worker.
        memory: what a device may use, as `capacity.memory_limit` reads it.
        data_shards: devices that share one trial's samples.
        name: of the sweep, by which it knows its own pretrainings again.
    """

    cache: Path
    memory: str | None
    data_shards: int
    name: str


class Work(NamedTuple):
    """What all tasks of one sweep share: a name, and what a worker's workshop is made of."""

    name: str
    split: Split
    sizes: Sizes
    options: Options
    neighbours: int


class Workers(NamedTuple):
    """What the cluster offers: tasks at the same time, those of them on one node, what each one asks Ray for."""

    count: int
    neighbours: int
    needs: dict[str, int]


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray, as it is where it runs already; else the cluster at the address, or at RAY_ADDRESS; else one of its own.

    Raises:
        ImportError: Ray is not installed.
        ValueError: no Ray cluster answers, or this machine is not a part of it.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    if address:
        _check_answers(address)
    try:
        with warnings.catch_warnings(), interruption.handlers_kept():
            # JAX warns of the forks by which Ray starts its processes; these run other programs at once.
            warnings.filterwarnings("ignore", message=r"os\.fork")
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:  # it ends the process where something else than Ray answers
        raise ValueError(f"Ray cannot be used at {address or 'this machine'}: {error}") from error
    try:
        yield
    finally:
        _shut_down(ray)


def _shut_down(ray: types.ModuleType) -> None:
    """Leaves the cluster. A head that has frozen is not waited for: Ray itself would wait for it without end."""
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(SECONDS_TO_LEAVE)
    if leaving.is_alive():
        atexit.unregister(ray.shutdown)


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"ray_address must be HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)


def _check_answers(address: str) -> None:
    """Ray itself tries for two minutes, and then ends the process."""
    try:
        socket.create_connection(_parse_address(address), timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise ValueError(f"ray_address {address} does not answer: {error.strerror or error}") from error


def run(
    split: Split,
    batches: Sequence[Sequence[Trial]],
    configs: Sequence[Config],
    options: Options,
    progress: PhaseProgress,
) -> Iterator[Row]:
    """Rows of the trials, as they arrive from the workers of the connected cluster.

    Args:
        split: the samples.
        batches: the trials that are left, those of one pretraining together.
        configs: of the whole sweep.
        options: what workers run them with.
        progress: where it is shown how many are done.

    Raises:
        ValueError: the cluster has no fitting workers or does not answer any more, or a group's worker died again and
            again.
        Exception: what a trial raised on its worker.
    """
    ray = _ray()
    workers = _workers(ray, options.data_shards)
    work = Work(uuid.uuid4().hex, split.portable(), sizes_of(configs, workers.count), options, workers.neighbours)
    groups = make_groups(batches, workers.count)
    tasks = _Tasks(ray, work, workers, groups)
    total = sum(map(len, groups))
    progress.start(f"trials on {workers.count} workers", total)
    try:
        for done, row in enumerate(tasks.rows(), 1):
            progress.advance(done, left=total - done)
            yield row
    finally:
        tasks.cancel()
    progress.finish(f"{total} trials")


class _Tasks:
    """The remote tasks of groups; one that loses its worker is started again with the trials that are left of it.

    Args:
        ray: the module, connected.
        work: what all tasks share.
        workers: what the cluster offers.
        groups: trials, from `make_groups`.
    """

    def __init__(self, ray: types.ModuleType, work: Work, workers: Workers, groups: Sequence[list[Trial]]) -> None:
        self._ray = ray
        self._task = ray.remote(max_retries=0, **workers.needs)(_run_group)
        self._shared = ray.put(work)
        self._watch = _Watch(ray.get_runtime_context().gcs_address)
        self._running = {self._start(group): (group, MAX_RETRIES) for group in groups}
        self._begun: set[Any] = set()

    def _start(self, group: list[Trial]) -> Any:
        return self._task.remote(self._shared, group, SECONDS_BETWEEN_BEATS)

    def rows(self) -> Iterator[Row]:
        """Rows of the trials, as they arrive."""
        while self._running:
            heard, _ = self._ray.wait(
                list(self._running), num_returns=1, timeout=SECONDS_BETWEEN_LOOKS, fetch_local=False
            )
            # A group that has not begun waits for a worker that others may have.
            self._watch.look(is_silent=not heard and not self._begun.isdisjoint(self._running))
            for stream in heard:
                self._begun.add(stream)
                row = self._next(stream)
                if row is not None:
                    yield row

    def _next(self, stream: Any) -> Row | None:
        """What a task says next: a row, or None where it only lives, has ended, or was started again."""
        group, _ = self._running[stream]
        try:
            row = self._ray.get(next(stream), timeout=SECONDS_TO_FETCH)
        except StopIteration:
            del self._running[stream]
            return None
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            self._start_again(stream, error)
            return None
        if row is not None:
            group[:] = [trial for trial in group if trial.id != row["id"]]
        return row

    def _start_again(self, stream: Any, error: Exception) -> None:
        group, retries = self._running.pop(stream)
        if not retries:
            raise ValueError(
                f"a group of {len(group)} trials lost its worker again and again ({GOES_ON}): {error}"
            ) from None
        again = self._start(group)
        self._running[again] = group, retries - 1
        self._begun.add(again)  # there was a worker for it

    def cancel(self) -> None:
        """Ends the tasks that are left."""
        for stream in self._running:
            self._ray.cancel(stream, force=True)


class _Watch:
    """Notices a cluster that does not answer any more, by looks in a row: this process may be stopped itself.

    Args:
        head: its address.
    """

    def __init__(self, head: str) -> None:
        self._head, self._looked_at = head, time.monotonic()
        self._n_silent = self._n_without_head = 0

    def look(self, *, is_silent: bool) -> None:
        """Notes whether no worker was heard of in SECONDS_BETWEEN_LOOKS, and looks at the head as often as that.

        Raises:
            ValueError: the workers were silent, or the head did not answer, for too long.
        """
        self._n_silent = self._n_silent + 1 if is_silent else 0
        if self._n_silent >= LOOKS_OF_SILENCE:
            minutes = LOOKS_OF_SILENCE * SECONDS_BETWEEN_LOOKS / 60
            raise ValueError(f"no worker of the Ray cluster has been heard of for {minutes:.0f} minutes; {GOES_ON}")
        if time.monotonic() - self._looked_at < SECONDS_BETWEEN_LOOKS:
            return
        self._looked_at = time.monotonic()
        try:
            _check_answers(self._head)
            self._n_without_head = 0
        except ValueError as error:
            self._n_without_head += 1
            if self._n_without_head >= LOOKS_WITHOUT_HEAD:
                raise ValueError(f"{error}; {GOES_ON}") from None


def make_groups(batches: Sequence[Sequence[Trial]], n_workers: int) -> list[list[Trial]]:
    """Puts batches of one pretraining together, as many groups as workers or more where there are enough batches."""
    most = max(1, len(batches) // n_workers)
    groups: list[list[Trial]] = []
    n_batches = most
    for batch in batches:
        if n_batches < most and len(groups[-1]) + len(batch) <= MAX_TRIALS:
            groups[-1] += batch
            n_batches += 1
        else:
            groups.append(list(batch))
            n_batches = 1
    return groups


def _workers(ray: types.ModuleType, data_shards: int) -> Workers:
    """A task has `data_shards` GPUs where there are any, else a CPU."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    kind, share = ("GPU", data_shards) if any(node.get("GPU") for node in nodes) else ("CPU", 1)
    counts = [int(node.get(kind, 0)) // share for node in nodes]
    if not sum(counts):
        most = max((int(node.get(kind, 0)) for node in nodes), default=0)
        raise ValueError(f"the Ray cluster must have a node with {share} {kind}s, got {most} on the largest")
    needs = {"num_cpus": 1, "num_gpus": share} if kind == "GPU" else {"num_cpus": 1}
    return Workers(sum(counts), max(counts) if kind == "CPU" else 1, needs)


# -------------------------------------------------------------------------------------------------------- on a worker

_workshops: dict[str, Workshop] = {}  # a worker has many groups of one sweep: its programs are compiled once


def _run_group(work: Work, trials: list[Trial], seconds_between_beats: float) -> Iterator[Row | None]:
    """Rows of one group; None at once, and wherever there is none for so long: the worker lives."""
    yield None
    rows = _rows(work, trials)
    with ThreadPoolExecutor(1) as thread:
        while True:
            coming = thread.submit(next, rows, None)
            while not wait([coming], seconds_between_beats).done:
                yield None
            if (row := coming.result()) is None:
                return
            yield row


def _rows(work: Work, trials: list[Trial]) -> Iterator[Row]:
    if work.name not in _workshops:
        _workshops.clear()
        _workshops[work.name] = _make_workshop(work)
    shop = _workshops[work.name]
    for outcome in train(shop, trials, work.sizes):
        yield make_row(outcome, shop.split.held_out)


def _make_workshop(work: Work) -> Workshop:
    options = work.options
    limit = capacity.memory_limit(options.memory)
    if options.memory is None:  # the processor's memory is shared by all tasks on a node
        limit //= work.neighbours
    split = replace(work.split, layout=make_layout(options.data_shards))
    return Workshop(split, Store(options.cache), Store(None), limit, PhaseProgress(), options.name)


def _ray() -> types.ModuleType:
    return need("ray", "ray", "engine ray", "Ray")
