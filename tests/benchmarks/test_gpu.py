"""The commands of benchmarks/gpu.sh are those that the programs have, where no GPU runs them."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks import frontier, peers, throughput
from dec_jax.runner import run, sweep

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
PARSERS = {
    "benchmarks.throughput": throughput.parser,
    "benchmarks.peers": peers.parser,
    "benchmarks.frontier": frontier.parser,
    "experiments.run": run.parser,
    "experiments.sweep": sweep.parser,
}
# Notes what it is called with, and leaves the result of a run.
PYTHON = """#!/usr/bin/env python3
import json, os, sys
from pathlib import Path
words = sys.argv[1:]
with open(os.environ["NOTED"], "a") as file:
    print(json.dumps(words), file=file)
if "paper" in words:
    out = Path(words[words.index("--out") + 1])
    out.mkdir()
    (out / "result.json").write_text("{}")
"""


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize("mnist", [None, "mnist.npz"])
def test_every_command_has_the_options_that_it_is_given(tmp_path, mnist):
    python, noted = tmp_path / "python", tmp_path / "noted"
    python.write_text(PYTHON)
    python.chmod(0o755)
    given = {"NOTED": str(noted), "OUT": str(tmp_path / "out")} | ({"MNIST": mnist} if mnist else {})
    subprocess.run(["bash", str(SCRIPT), str(python)], check=True, env=os.environ | given, capture_output=True)
    called = [json.loads(line) for line in noted.read_text().splitlines()]
    programs = [words[1:] for words in called if words[0] == "-m"]
    assert [name for name, *_ in programs] == [*PARSERS, "experiments.sweep"]
    for name, *words in programs:
        arguments = PARSERS[name]().parse_args(words)
        assert (mnist or "mnist") in str(arguments) or not name.startswith("experiments")
    assert (tmp_path / "out" / "gpu-paper.json").read_text() == "{}"
