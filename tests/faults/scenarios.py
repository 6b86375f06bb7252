"""What is written to a folder, how it is done, and what can be read there before and after."""

import contextlib
import json
import warnings
from types import SimpleNamespace

import jax
import numpy as np

from dec_jax import load_model, networks
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.checkpoints import save_model
from dec_jax.data import Dataset, Scaling
from dec_jax.data.atomic import atomic_write
from dec_jax.data.cache import cached
from dec_jax.folder_lock import lock
from dec_jax.row_log import RowLog, read_rows
from dec_jax.runner import report, runs, table
from dec_jax.runner.checkpoint import Checkpoint
from dec_jax.runner.config import Config
from dec_jax.runner.resolving import resolve
from dec_jax.runner.sweep_folder import SweepFolder
from dec_jax.storage import Store
from dec_jax.trained_model import TrainedModel

BIG = np.random.default_rng(0).bytes(300_000)
MODEL = Autoencoder((6, 4, 2))


def tree_of(number):
    return {"a": np.full((40, 50), number, np.float32), "b": {"c": np.arange(number)}}


def trained(number):
    params = networks.init(jax.random.key(number), MODEL, 6)
    return TrainedModel(MODEL, params, np.full((3, 2), number, np.float32), Scaling("rms", 0.0, 1.0), Assignment())


TRAINED = {number: trained(number) for number in (1, 2)}
DATA = Dataset("made", np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32))
CONFIG = resolve(Config().with_values({"clustering.n_clusters": 3}), DATA)


class Scenario:
    """Writes something in the place of what was written before.

    Attributes:
        begins: whether there is nothing before.
        goes_on: whether it must end well whatever fails.
        may_be_absent: whether there may be nothing for a moment, from which its maker goes on.
    """

    begins, goes_on, may_be_absent = False, False, False

    def set_up(self, folder):
        if not self.begins:
            self.write(folder, 1)

    def write(self, folder, number):
        raise NotImplementedError

    def read(self, folder):
        """What a reader finds: equal values where it finds the same."""
        raise NotImplementedError

    def __str__(self):
        return type(self).__name__


class WholeFile(Scenario):
    def write(self, folder, number):
        with lock(folder, name="lock"), atomic_write(folder / "file.bin") as file:
            file.write(BIG[:200_000])
            file.write(b"%d" % number)

    def read(self, folder):
        return (folder / "file.bin").read_bytes()


class TextFile(Scenario):
    begins = True

    def write(self, folder, number):
        with atomic_write(folder / "file.csv", "w") as file:
            file.write(f"α,{number}\n" * 100)

    def read(self, folder):
        return (folder / "file.csv").read_text() if (folder / "file.csv").exists() else None


class Entry(Scenario):
    def write(self, folder, number):
        Store(folder / "store").put("entry", tree_of(number), {"number": number})

    def read(self, folder):
        found = Store(folder / "store").get("entry")
        return found and (found[1], [leaf.tolist() for leaf in jax.tree.leaves(found[0])])


class FirstEntry(Entry):
    begins = True


class OptionalEntry(Entry):
    goes_on = True

    def write(self, folder, number):
        store = Store(folder / "store")
        store.put("entry", tree_of(number), {"number": number}, required=False)
        assert store.metadata("entry") == {"number": number}


class Save(Entry):
    """The last moment of work in progress."""

    goes_on = True

    def write(self, folder, number):
        Checkpoint(Store(folder / "store"), "entry").save(tree_of(number), {"number": number})


class Cache(Scenario):
    goes_on = True

    def write(self, folder, number):
        arrays = {"x": np.full(5000, number)}
        with _environment("DEC_JAX_CACHE", folder / "cache"):
            assert cached("made", f"{number:064x}", lambda: arrays)["x"].tolist() == arrays["x"].tolist()

    def read(self, folder):
        return None  # what it says is always what was built


class RowAppended(Scenario):
    def set_up(self, folder):
        for number in (0, 1):
            RowLog(folder / "rows" / "0.jsonl").append(str(number), {"n": number, "labels": np.arange(400)})

    def write(self, folder, number):
        RowLog(folder / "rows" / "0.jsonl").append(str(number), {"n": number, "labels": np.arange(400)})

    def read(self, folder):
        return sorted(read_rows([folder / "rows" / "0.jsonl"]))


class FirstRow(RowAppended):
    def set_up(self, folder):
        pass


class RowOfASweep(Scenario):
    def write(self, folder, number):
        with SweepFolder(folder / "out", {"grid": 1}) as kept:
            kept.save_row(str(number), {"n": number})

    def read(self, folder):
        with contextlib.suppress(FileNotFoundError):
            assert json.loads((folder / "out" / "sweep.json").read_bytes()) == {"grid": 1}
        return sorted(read_rows([folder / "out" / "rows" / "0.jsonl"]))


class FirstRowOfASweep(RowOfASweep):
    begins = True


class SavedModel(Scenario):
    def write(self, folder, number):
        save_model(folder / "model", TRAINED[number])

    def read(self, folder):
        return np.asarray(load_model(folder / "model").centroids).tolist()


class Claim(Scenario):
    begins = True

    def write(self, folder, number):
        with lock(folder / "out"):
            runs.claim(CONFIG, DATA, folder / "out")
            Store(folder / "out" / runs.UNFINISHED).put("work", tree_of(number), {})

    def read(self, folder):
        found = Store(folder / "out" / runs.UNFINISHED).get("work")
        return found and [leaf.tolist() for leaf in jax.tree.leaves(found[0])]


class TableOfASweep(Scenario):
    def write(self, folder, number):
        with lock(folder):
            table.write(table.to_frame([{"id": str(number), "trial": number}]), folder)

    def read(self, folder):
        return table.read(folder)["trial"].tolist()


class Result(Scenario):
    """All files of a finished run, but for its pictures; without them it goes on from its last save."""

    may_be_absent = True

    def write(self, folder, number):
        labels = np.full(30, number % 3, np.int32)
        outcome = SimpleNamespace(labels={"final": labels}, z=np.full((30, 2), number), history=[])
        with lock(folder / "out"):
            run = SimpleNamespace(trained=TRAINED[number], outcome=outcome, q=np.full((30, 3), number))
            report.write(folder / "out", run, {"number": number}, draw=False)

    def read(self, folder):
        try:
            number = json.loads((folder / "out" / report.RESULT_FILE).read_text())["number"]
        except FileNotFoundError:
            return None
        model = load_model(folder / "out" / "model")
        with np.load(folder / "out" / "assignments.npz") as arrays:
            assert {number} == set(np.unique(arrays["q"])) == set(np.unique(np.asarray(model.centroids)))
        return number


class FirstResult(Result):
    begins = True


SCENARIOS = [kind() for kind in (WholeFile, TextFile, Entry, FirstEntry, OptionalEntry, Save, Cache, RowAppended)]
SCENARIOS += [kind() for kind in (FirstRow, RowOfASweep, FirstRowOfASweep, SavedModel, Claim, TableOfASweep)]
SCENARIOS += [Result(), FirstResult()]


@contextlib.contextmanager
def _environment(name, value):
    import os

    before = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def quietly(function, *arguments):
    """Calls it without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)
