"""The command dec-jax: run, sweep, report, assign, embed."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import dec_jax
from dec_jax import data
from dec_jax.data import files
from dec_jax.data.atomic import atomic_write
from dec_jax.runner import failures

USAGE = """usage: dec-jax COMMAND …

  run      clusters one data set, and writes a result, a model and pictures
  sweep    runs a grid of trials, and writes a table and pictures
  report   makes the page report.html of a finished run or sweep again
  assign   writes the cluster of each row of a file by a trained model
  embed    writes the embedding of each row of a file by a trained model

dec-jax COMMAND --help tells more. Exit status: 0, 2 for bad input, 130 when it was interrupted, 143 by SIGTERM.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    words = sys.argv[1:] if words is None else list(words)
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if name == "--version":
        print(dec_jax.__version__)
        return 0
    if name not in COMMANDS:
        failures.say("error", f"unknown command {name!r} (accepted: {', '.join(COMMANDS)})")
        return 2
    return COMMANDS[name](rest)


def _run(words: Sequence[str]) -> int:
    from dec_jax.runner import run

    return run.main(words)


def _sweep(words: Sequence[str]) -> int:
    from dec_jax.runner import sweep

    return sweep.main(words)


def _report(words: Sequence[str]) -> int:
    from dec_jax.runner.webpage import page

    return page.main(words)


def _assign(words: Sequence[str]) -> int:
    arguments = _parser("assign", "labels.csv").parse_args(words)
    return failures.reported(lambda: assign(arguments))


def _embed(words: Sequence[str]) -> int:
    arguments = _parser("embed", "embedding.npy").parse_args(words)
    return failures.reported(lambda: embed(arguments))


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": _run,
    "sweep": _sweep,
    "report": _report,
    "assign": _assign,
    "embed": _embed,
}


def _parser(name: str, out: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog=f"dec-jax {name}", description=f"{name} the rows of a file by a trained model")
    cli.add_argument("model", type=Path, metavar="MODEL", help="folder of the model, or of the run that has it")
    cli.add_argument("file", metavar="FILE", help="samples as they were trained on: a table or an array")
    cli.add_argument("--out", type=Path, default=Path(out), metavar="FILE", help=f"default: {out}")
    return cli


def assign(arguments: argparse.Namespace) -> None:
    """Writes id, label, confidence, and the second-best cluster of each row.

    Raises:
        TypeError, ValueError, OSError: the model or the file cannot be read, or they do not fit.
    """
    from dec_jax import trained_model

    model = _load_model(arguments.model)
    x, ids = _samples(arguments.file, model)
    q = trained_model.soft_assign(model, x)
    order = np.argsort(-q, axis=1, kind="stable")
    second = order[:, 1] if q.shape[1] > 1 else order[:, 0]
    with atomic_write(arguments.out, "w") as file:
        file.write("id,label,confidence,second_best\n")
        for i, name in enumerate(ids):
            file.write(f"{_cell(name)},{order[i, 0]},{q[i, order[i, 0]]:.6g},{second[i]}\n")
    print(f"{len(q):,} rows are in {arguments.out}")


def embed(arguments: argparse.Namespace) -> None:
    """Writes the embedding (n, m) float32 of each row, as .npy.

    Raises:
        TypeError, ValueError, OSError: the model or the file cannot be read, or they do not fit.
    """
    from dec_jax import trained_model

    if arguments.out.suffix != ".npy":
        raise ValueError(f"out must be a .npy file, got {arguments.out}")
    model = _load_model(arguments.model)
    z = trained_model.embed(model, _samples(arguments.file, model)[0])
    with atomic_write(arguments.out) as file:
        np.save(file, z)
    print(f"{len(z):,} rows are in {arguments.out}")


def _load_model(folder: Path) -> Any:
    from dec_jax.checkpoints import load_model

    return load_model(folder / "model" if (folder / "result.json").exists() else folder)


def _samples(path: str, model: Any) -> tuple[Any, Any]:
    """The samples of a file as the model was trained on them, and what names them."""
    if model.encoding is None:
        dataset = data.load(path)
        ids = np.arange(dataset.x.shape[0]) if dataset.ids is None else dataset.ids
        return dataset.x, ids
    encoded = data.encode(model.encoding, data.to_table(files.read_samples(path).x, path))
    for note in encoded.notes:
        failures.say("note", note)
    return encoded.x, np.arange(len(encoded.x)) if encoded.ids is None else encoded.ids


def _cell(value: Any) -> str:
    """A value as a cell of a CSV file."""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text
