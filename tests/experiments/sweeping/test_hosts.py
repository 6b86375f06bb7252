import argparse
import socket
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from tiny_sweep import SETTINGS, X, Y

from dec_jax import checkpoints
from experiments import sweep
from experiments.progress import PhaseProgress
from experiments.sweeping import hosts, table
from experiments.sweeping.engine import SweepTrial
from experiments.sweeping.folder import SweepFolder
from experiments.sweeping.hosts import Place, Team

IDENTITY = {"samples": "abc"}
BATCHES = [[SweepTrial(i + 2 * j, f"{i}{j}", SETTINGS) for j in range(2)] for i in range(2)]
TINY_WORDS = "hidden=16 layer_wise_steps=0 fine_tuning_steps=40 batch_size=64 kmeans_restarts=1 update_interval=10"
TINY_WORDS = [*TINY_WORDS.split(), "max_steps=20", "tolerance=0"]


@pytest.fixture
def port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(hosts, "SECONDS_TO_MEET", 0.5)
    monkeypatch.setattr(hosts, "SECONDS_BETWEEN_LOOKS", 0.05)


def parse(*words):
    cli = argparse.ArgumentParser()
    hosts.add_arguments(cli)
    return hosts.read(cli.parse_args([str(word) for word in words]))


def test_places_are_read():
    assert parse() is None
    words = ("--coordinator", "head:1234", "--n-processes", 3, "--process-id", 2)
    assert parse(*words) == Place("head:1234", 3, 2)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--coordinator", "a:1"), "belong together, got no --n-processes, --process-id"),
        (("--process-id", 0, "--n-processes", 2), "belong together, got no --coordinator"),
        (("--coordinator", "a:1", "--n-processes", 2, "--process-id", 2), "process_id must be between 0 and 1"),
        (("--coordinator", "a:1", "--n-processes", 2, "--process-id", -1), "process_id must be between 0 and 1"),
        (("--coordinator", "a:1", "--n-processes", 0, "--process-id", 0), "n_processes must be at least 1, got 0"),
        (("--coordinator", "a", "--n-processes", 2, "--process-id", 0), "coordinator must be HOST:PORT, got 'a'"),
        (("--coordinator", "a:99999", "--n-processes", 2, "--process-id", 0), "coordinator must be HOST:PORT"),
    ],
)
def test_places_that_are_none(words, problem):
    with pytest.raises(ValueError, match=problem):
        parse(*words)


def test_addresses():
    assert hosts.parse_address("x", "host:80") == ("host", 80)
    assert hosts.parse_address("x", "[::1]:80") == ("::1", 80)


def meet(port, n_processes, *processes):
    """What each process that joins in a thread of its own sees: its team's others, or the error."""
    seen = {}

    def join(place):
        try:
            with hosts.met(place) as team:
                seen[place.process_id] = sorted(team._others)
                everybody.wait(10)
        except ValueError as error:
            seen[place.process_id] = str(error)

    places = [Place(f"localhost:{port}", n_processes, process) for process in processes]
    everybody = threading.Barrier(len(places))
    threads = [threading.Thread(target=join, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def test_processes_meet(port):
    assert meet(port, 3, 2, 0, 1) == {0: [1, 2], 1: [], 2: []}


@pytest.mark.usefixtures("hurry")
def test_a_process_that_does_not_come(port):
    seen = meet(port, 3, 0, 1)
    assert seen[0] == f"process 2 did not come to localhost:{port} in time"
    assert "did not meet all others in time" in seen[1]


@pytest.mark.usefixtures("hurry")
def test_a_coordinator_that_does_not_answer(port):
    assert f"coordinator localhost:{port} does not answer: " in meet(port, 2, 1)[1]


def test_a_coordinator_whose_port_is_taken(port):
    with socket.create_server(("", port)):
        assert f"coordinator localhost:{port} cannot be used: Address already in use" in meet(port, 2, 0)[0]


def test_processes_that_count_otherwise(port):
    other = threading.Thread(target=meet, args=(port, 3, 1))
    other.start()
    assert "n_processes must be the same in all processes, got 3 in process 1" in meet(port, 2, 0)[0]
    other.join()


def test_strangers_are_let_pass(port):
    def visit():
        with hosts._connect(Place(f"localhost:{port}", 2, 1), hosts.time.monotonic() + 10) as connection:
            connection.sendall(b"GET / HTTP/1.1\n")
        seen.update(meet(port, 2, 1))

    seen = {}
    stranger = threading.Thread(target=visit)
    stranger.start()
    with hosts.met(Place(f"localhost:{port}", 2, 0)) as team:
        assert list(team._others) == [1]
    stranger.join()
    assert seen == {1: []}


def test_shares_are_whole_pretrainings_and_make_up_the_sweep():
    teams = [Team(Place("a:1", 3, process), {}) for process in range(3)]
    ids = [[trial.id for trial in team.share(BATCHES)] for team in teams]
    assert ids == [["00", "01"], ["10", "11"], []]
    assert [trial.index for trial in Team(None, {}).share(BATCHES)] == [0, 1, 2, 3]
    assert [team.leads for team in (*teams, Team(None, {}))] == [True, False, False, True]


@pytest.mark.usefixtures("hurry")
def test_who_leads_waits_for_the_rows_of_the_others(tmp_path):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    rows = {trial.id: {"trial": trial.index} for batch in BATCHES for trial in batch}
    team = Team(Place("a:1", 2, 0), {1: ours})

    def work():
        for name, row in rows.items():
            hosts.time.sleep(0.05)
            other.save_row(name, row)
        theirs.close()

    with SweepFolder(tmp_path, IDENTITY, process=0) as kept, SweepFolder(tmp_path, IDENTITY, process=1) as other:
        thread = threading.Thread(target=work)
        thread.start()
        assert team.wait(kept, BATCHES, PhaseProgress()) == rows
        thread.join()
    ours.close()


@pytest.mark.usefixtures("hurry")
def test_a_process_that_ends_too_early(tmp_path):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    with SweepFolder(tmp_path, IDENTITY, process=0) as kept:
        kept.save_row("11", {})
        with pytest.raises(ValueError, match="process 1 has ended with 1 of its trials left; start all processes"):
            Team(Place("a:1", 2, 0), {1: ours}).wait(kept, BATCHES, PhaseProgress())
    ours.close()


def test_journals_of_processes_are_apart(tmp_path):
    with SweepFolder(tmp_path, IDENTITY, process=0) as kept, SweepFolder(tmp_path, IDENTITY, process=1) as other:
        kept.journal("clustering", {})
        other.journal("clustering", {})
        assert sorted(path.name for path in (tmp_path / "unfinished").iterdir()) == ["0-clustering", "1-clustering"]


WORK_ALONE = """
import sys
import jax, numpy as np
from dec_jax import checkpoints
from experiments.sweeping import hosts

process, port, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
with hosts.joined(hosts.Place(f"localhost:{port}", 2, process)):
    assert (jax.process_count(), jax.process_index()) == (2, process)
    assert len(jax.local_devices()) == 1 and len(jax.devices()) == 2
    if process == 1:  # nothing of what one does needs the other
        tree = {"a": jax.numpy.arange(3.0), "b": np.int32(process)}
        checkpoints.save_tree(f"{folder}/own", tree, {})
        for name in ("own", "single"):
            found, _ = checkpoints.load_tree(f"{folder}/{name}", tree)
            np.testing.assert_array_equal(found["a"], tree["a"])
        print(jax.jit(lambda x: x @ x)(np.eye(2)).sum())
"""


def test_jax_knows_of_both_processes_and_each_works_alone(tmp_path, port):
    checkpoints.save_tree(tmp_path / "single", {"a": np.arange(3, dtype=np.float32), "b": np.int32(0)}, {})
    start = [sys.executable, "-c", WORK_ALONE]
    words = [str(port), str(tmp_path)]
    both = [subprocess.Popen([*start, str(i), *words], stderr=subprocess.PIPE) for i in (0, 1)]
    errors = [process.communicate(timeout=100)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    # And a single process reads what one of many wrote.
    np.testing.assert_array_equal(checkpoints.load_tree(tmp_path / "own")[0]["a"], [0, 1, 2])


def command(folder, name, *words):
    out = ("--out", folder / name, "--cache", folder / f"cache-{name}", "--preset", "demo")
    grid = ("--n-clusters", "3,5", "--bottleneck", 2, "--seeds", 3, "--set", *TINY_WORDS)
    data = ("--data", folder / "x.npy", "--labels", folder / "y.npy")
    return [str(word) for word in (*data, *out, *grid, *words)]


def test_two_processes_make_the_table_of_one(tmp_path, port, monkeypatch):
    monkeypatch.setattr(sweep.pictures, "draw", lambda *_: [])
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    start = [sys.executable, "-m", "experiments.sweep"]
    shared = ("--coordinator", f"localhost:{port}", "--n-processes", 2, "--process-id")
    both = [subprocess.Popen([*start, *command(tmp_path, "two", *shared, i)], stderr=subprocess.PIPE) for i in (0, 1)]
    assert sweep.main(command(tmp_path, "one")) == 0
    errors = [process.communicate(timeout=100)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert "pretraining 2 networks" in errors[0]
    assert "pretraining 1 networks" in errors[1]
    one, two = (table.read(tmp_path / name).drop(columns=list(table.TIME_COLUMNS)) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert not (tmp_path / "two" / "unfinished").exists()
