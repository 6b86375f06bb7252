"""Commands to which nothing happens, what starts them, and a line that says how many faults were injected."""

import numpy as np
import pytest
from runner.tiny_run import X, Y

from .commands import Starter
from .counts import INJECTED
from .wholes import Whole, of_two, run_to, sweep_to, words_of_run, words_of_sweep


def pytest_terminal_summary(terminalreporter):
    if INJECTED:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(INJECTED.items()))
        terminalreporter.write_line(f"{sum(INJECTED.values()):,} faults injected: {kinds}")


@pytest.fixture(scope="package")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "x.npy", X[:120])
    np.save(folder / "y.npy", Y[:120])
    return folder


@pytest.fixture(scope="package")
def starter(tmp_path_factory):
    starter = Starter(tmp_path_factory.mktemp("compiled"), tmp_path_factory.mktemp("logs"))
    yield starter
    starter.close()


@pytest.fixture(scope="package")
def second_starter(tmp_path_factory):
    starter = Starter(tmp_path_factory.mktemp("compiled"), tmp_path_factory.mktemp("logs"))
    yield starter
    starter.close()


def whole(starter, command, words, folder, to):
    ended = starter.finish(starter.start(command, [*words, *to(folder)]))
    assert ended.status == 0, ended.log
    return Whole(words, folder, ended.advances)


@pytest.fixture(scope="package")
def whole_run(starter, files, tmp_path_factory):
    return whole(starter, "run", words_of_run(files), tmp_path_factory.mktemp("run"), run_to)


@pytest.fixture(scope="package")
def whole_sweep(starter, files, tmp_path_factory):
    return whole(starter, "sweep", words_of_sweep(files), tmp_path_factory.mktemp("sweep"), sweep_to)


@pytest.fixture(scope="package")
def whole_shared(starter, second_starter, whole_sweep, tmp_path_factory):
    """What two processes leave: side by side lie other trials than in one, which may change the last bits."""
    folder = tmp_path_factory.mktemp("shared")
    words = [*whole_sweep.words, *of_two(folder)]
    first = second_starter.start("sweep", [*words, 0])
    assert starter.finish(starter.start("sweep", [*words, 1])).status == 0
    assert second_starter.finish(first).status == 0
    return Whole(whole_sweep.words, folder, whole_sweep.advances // 2)
