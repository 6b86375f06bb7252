import re

import numpy as np
import pytest

from dec_jax.folder_lock import lock
from experiments.paper import __main__ as command
from experiments.paper import targets
from experiments.paper.context import Unavailable


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("accuracyy",), "unknown target .accuracyy.; did you mean .accuracy."),
        (("datasets", "--data", "minst"), "minst"),
        (("datasets", "--data", "nowhere.npy"), "nowhere.npy"),
        (("datasets", "--seeds", "0"), "seeds must be at least 1, got 0"),
        (("datasets", "--scale", "huge"), "scale"),
        (("datasets", "--data", "x.npy"), "--n-clusters K"),
    ],
)
def test_bad_input(words, problem, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.eye(3))
    monkeypatch.setattr(targets, "load", lambda name: pytest.fail("work was begun"))
    assert command.main([*words, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(problem, error)


def test_out_that_is_a_file(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert command.main(["datasets", "--out", str(tmp_path / "out")]) == 2
    assert "out must be a folder" in capsys.readouterr().err


def test_a_target_from_the_command(tmp_path, capsys):
    assert command.main(["datasets", "--data", "digits", "--out", str(tmp_path)]) == 0
    assert "1,797" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datasets.csv", "datasets.md"]


def test_all_goes_on_where_a_target_cannot_be_made(tmp_path, capsys, monkeypatch):
    made = []

    def load(name):
        def run(context):
            if name == "accuracy":
                raise Unavailable("mnist: ask somebody")
            made.append((name, context.seeds))

        return run

    monkeypatch.setattr(targets, "load", load)
    assert command.main(["all", "--seeds", "2", "--out", str(tmp_path)]) == 1
    assert made == [(name, (0, 1)) for name in targets.TARGETS if name != "accuracy"]
    assert capsys.readouterr().err == "error: accuracy: mnist: ask somebody\n"


def test_ctrl_c_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(targets, "load", interrupted)
    assert command.main(["datasets", "--out", str(tmp_path)]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_every_target_has_its_module():
    for name in targets.TARGETS:
        assert callable(targets.load(name))


def test_two_targets_into_one_folder_at_once(tmp_path, capsys):
    with lock(tmp_path):
        assert command.main(["datasets", "--data", "digits", "--out", str(tmp_path)]) == 2
    assert f"error: {tmp_path} is in use by process " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
