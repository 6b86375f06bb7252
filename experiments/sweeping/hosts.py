"""Several processes, on one host or many, that share a sweep: how they meet, what each one does, who writes the table.

All meet at process 0 before they begin, and are then one program to JAX (`jax.distributed`), which some hosts need to
use their devices at all. JAX itself would abort where a process does not come, without a word that helps. The
connections stay: process 0 sees by them which other one has ended too early. What was saved is kept, and the same
commands go on.
"""

import argparse
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import jax

from dec_jax.validation import check_integer
from experiments.progress import PhaseProgress
from experiments.sweeping.engine import Row, SweepTrial
from experiments.sweeping.folder import SweepFolder

SECONDS_TO_MEET = 120.0  # hosts of a cluster do not start at the same time
SECONDS_BETWEEN_TRIES = 0.2
SECONDS_BETWEEN_LOOKS = 2.0
WELCOME = b"welcome\n"
MAX_HELLO = 1000  # bytes
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}  # seconds, seconds, times


class Place(NamedTuple):
    """A process's place among those that share a sweep: where they meet, how many they are, which one it is."""

    coordinator: str
    n_processes: int
    process_id: int


class Team:
    """The processes of a sweep, as one of them sees them.

    Args:
        place: this process's place; None where it is alone.
        others: process 0's connections to the others, by their numbers.
    """

    def __init__(self, place: Place | None, others: Mapping[int, socket.socket]) -> None:
        self._place = place
        self._others = others

    @property
    def number(self) -> int | None:
        """The process's number; None where it is alone."""
        return None if self._place is None else self._place.process_id

    @property
    def leads(self) -> bool:
        """Whether this process tells what is done, and writes the table."""
        return not self.number

    def share(self, groups: Sequence[Sequence[SweepTrial]], process: int | None = None) -> list[SweepTrial]:
        """The trials of a process, this one where none is named: each group, of one pretraining, goes to one process.

        All processes deal alike: `groups` are those of the whole sweep, whatever is done of it.
        """
        start = (self.number or 0) if process is None else process
        step = 1 if self._place is None else self._place.n_processes
        trials = [trial for group in groups[start::step] for trial in group]
        return sorted(trials, key=lambda trial: trial.index)

    def see_off(self) -> None:
        """Lets process 0 be the last to end: JAX aborts the others where it is gone."""
        while not all(map(_has_ended, self._others.values())):
            time.sleep(SECONDS_BETWEEN_TRIES)

    def wait(
        self, folder: SweepFolder, groups: Sequence[Sequence[SweepTrial]], progress: PhaseProgress
    ) -> dict[str, Row]:
        """The rows of all trials by their ids, once the other processes have saved theirs.

        Raises:
            ValueError: a process has ended before its trials were done.
        """
        wanted = {trial.id for group in groups for trial in group}
        rows = folder.rows()
        if wanted <= rows.keys():
            return rows
        progress.start("other processes", len(wanted), len(wanted & rows.keys()))
        while not wanted <= rows.keys():
            time.sleep(SECONDS_BETWEEN_LOOKS)
            ended = [process for process, connection in self._others.items() if _has_ended(connection)]
            rows = folder.rows()  # after the look at who has ended: what a process had saved is seen
            progress.advance(len(wanted & rows.keys()))
            for process in ended:
                n_left = sum(trial.id not in rows for trial in self.share(groups, process))
                if n_left:
                    raise ValueError(
                        f"process {process} has ended with {n_left} of its trials left; "
                        "start all processes again to go on"
                    )
        progress.finish()
        return rows


def add_arguments(cli: argparse.ArgumentParser) -> None:
    """Adds the options that `read` reads."""
    cli.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 of many is met, on its host")
    cli.add_argument("--n-processes", type=int, metavar="N", help="processes that share the sweep and its folder")
    cli.add_argument("--process-id", type=int, metavar="I", help="which one this is, from 0 on")


def read(arguments: argparse.Namespace) -> Place | None:
    """The place that a command line names; None where the process is alone.

    Raises:
        ValueError: a part is missing, or is none that is accepted.
    """
    parts = {f"--{name.replace('_', '-')}": getattr(arguments, name) for name in Place._fields}
    missing = [option for option, value in parts.items() if value is None]
    if len(missing) == len(parts):
        return None
    if missing:
        raise ValueError(f"{', '.join(parts)} belong together, got no {', '.join(missing)}")
    place = Place(*parts.values())
    parse_address("coordinator", place.coordinator)
    check_integer("n_processes", place.n_processes, 1)
    check_integer("process_id", place.process_id, 0, place.n_processes - 1, why="the last of n_processes")
    return place


def parse_address(name: str, text: str) -> tuple[str, int]:
    """The host and the port of an address.

    Raises:
        ValueError: it is no HOST:PORT; the message calls it `name`.
    """
    host, _, port = text.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"{name} must be HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)


@contextmanager
def joined(place: Place | None) -> Iterator[Team]:
    """The processes, once all have met and JAX knows of them; it must not have used a device before.

    Raises:
        ValueError: somebody did not come in time, or the places do not fit together.
    """
    with met(place) as team:
        if place is None:
            yield team
            return
        # No trial needs another process: one that ends, early or late, leaves the others at work.
        jax.config.update("jax_enable_recoverability", True)
        jax.distributed.initialize(*place, cluster_detection_method="deactivate")
        try:
            jax.devices()  # each process waits here for all others, and never again
            yield team
            team.see_off()
        finally:
            jax.distributed.shutdown()


@contextmanager
def met(place: Place | None) -> Iterator[Team]:
    """The processes, once all have met; errors as in `joined`."""
    if place is None:
        yield Team(None, {})
        return
    with ExitStack() as opened:
        others: dict[int, socket.socket] = {}
        if place.process_id == 0:
            others = _meet_others(place, opened)
        else:
            _meet_coordinator(place, opened)
        yield Team(place, others)


def _meet_others(place: Place, opened: ExitStack) -> dict[int, socket.socket]:
    """Connections to all other processes, each welcomed once all are there."""
    others: dict[int, socket.socket] = {}
    give_up_at = time.monotonic() + SECONDS_TO_MEET
    with _listen(place) as server:
        while len(others) < place.n_processes - 1:
            server.settimeout(max(give_up_at - time.monotonic(), 0.001))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(1, place.n_processes) if i not in others)
                raise ValueError(f"process {missing} did not come to {place.coordinator} in time") from None
            opened.enter_context(connection)
            process = _read_hello(connection, place)
            if process in others:
                raise ValueError(f"process_id must differ between processes, got {process} from two")
            if process is not None:
                others[process] = connection
    for connection in others.values():
        _keep_alive(connection)
        connection.sendall(WELCOME)
        connection.setblocking(False)
    return others


def _listen(place: Place) -> socket.socket:
    _, port = parse_address("coordinator", place.coordinator)
    dual = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual, backlog=1024
        )
    except OSError as error:
        raise ValueError(f"coordinator {place.coordinator} cannot be used: {error.strerror}") from error


def _read_hello(connection: socket.socket, place: Place) -> int | None:
    """The number of a process that has come; None where it is none of a sweep's.

    Raises:
        ValueError: it counts the processes otherwise.
    """
    connection.settimeout(SECONDS_BETWEEN_LOOKS)
    try:
        with connection.makefile("rb") as file:
            process, n_processes = json.loads(file.readline(MAX_HELLO))
    except (OSError, ValueError, TypeError):
        return None
    if n_processes != place.n_processes:
        raise ValueError(
            f"n_processes must be the same in all processes, got {n_processes} in process {process} "
            f"and {place.n_processes} in process 0"
        )
    return process


def _meet_coordinator(place: Place, opened: ExitStack) -> None:
    """Says hello to process 0, and waits until all others are there too."""
    give_up_at = time.monotonic() + SECONDS_TO_MEET
    connection = opened.enter_context(_connect(place, give_up_at))
    connection.settimeout(max(give_up_at - time.monotonic(), 0.001))
    try:
        connection.sendall(json.dumps([place.process_id, place.n_processes]).encode() + b"\n")
        answer = connection.recv(len(WELCOME))
    except OSError:
        answer = b""
    if answer != WELCOME:
        raise ValueError(f"process 0 at coordinator {place.coordinator} has ended, or did not meet all others in time")


def _connect(place: Place, give_up_at: float) -> socket.socket:
    address = parse_address("coordinator", place.coordinator)
    while True:
        try:
            return socket.create_connection(address, timeout=max(give_up_at - time.monotonic(), 0.001))
        except OSError as error:
            if time.monotonic() > give_up_at:
                reason = error.strerror or error
                raise ValueError(f"coordinator {place.coordinator} does not answer: {reason}") from error
            time.sleep(SECONDS_BETWEEN_TRIES)


def _keep_alive(connection: socket.socket) -> None:
    """Lets the connection break within two minutes where the other host is gone without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not every system lets it be chosen
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
