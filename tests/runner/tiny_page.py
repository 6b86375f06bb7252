"""Folders as finished runs and sweeps leave them, without any training."""

import csv
import itertools
import json
from types import SimpleNamespace

import numpy as np

from dec_jax.data import Dataset
from dec_jax.digests import write_with_digest
from dec_jax.runner import table as table_of_sweep
from dec_jax.runner.plane import lay_out
from dec_jax.runner.webpage import kept

N, K = 60, 3
EVIL = "<script>alert(1)</script>"
LABELS = np.arange(N) % K
HISTORY = [
    {"phase": "fine-tuning", "step": 10, "loss": 2.0, "label_change": "", "acc": ""},
    {"phase": "fine-tuning", "step": 20, "loss": 1.0, "label_change": "", "acc": ""},
    {"phase": "clustering", "step": 10, "loss": 0.5, "label_change": 0.1, "acc": 0.8},
    {"phase": "clustering", "step": 20, "loss": 0.4, "label_change": 0.0, "acc": 0.9},
]


def soft(labels, k=K):
    """A soft assignment (n, k), surer from sample to sample."""
    confidence = np.linspace(0.5, 0.99, len(labels))
    q = np.repeat((1 - confidence)[:, None] / (k - 1), k, axis=1)
    q[np.arange(len(labels)), labels] = confidence
    return q


def table():
    """A table with ids, classes and names that would be markup if nobody looked."""
    random = np.random.default_rng(0)
    x = random.normal(size=(N, 3)) + 8 * np.eye(3)[LABELS]
    ids = np.array([f"<b>row {i}</b>" for i in range(N)])
    names = (EVIL, "a & b", "%{x} </script>")
    return Dataset("people <i>.csv", x, LABELS.astype(np.int64), None, (EVIL, "b", "c"), names, ids)


def images(shape=(6, 5)):
    """Images of three kinds, without labels."""
    x = np.random.default_rng(0).random((N, int(np.prod(shape)))).round(3)
    x[LABELS == 1, 0] += 5
    return Dataset("shapes", x, None, shape)


def run_of(data, labels=LABELS, k=K):
    """What a page reads of a finished run."""
    return SimpleNamespace(data=data, q=soft(labels, k), outcome=SimpleNamespace(labels={"final": labels}))


def result_of(data, labels=LABELS, k=K):
    """The content of result.json."""
    scores = dict.fromkeys(("acc", "nmi", "ari"), None if data.y is None else 0.9)
    scores |= {"cluster_sizes": np.bincount(labels, minlength=k).tolist()}
    return {
        "command": f"dec-jax run --data '{data.name}'",
        "settings": {"seed": 7, "clustering.objective": "dec", "data.labels": None},
        "data": {"name": data.name, "n_samples": len(labels), "n_features": data.x.shape[1], "sha256": "ab" * 32},
        "kmeans": scores,
        "final": scores,
        "seconds": {"kmeans": 1.0, "pretraining": 2.0, "clustering": 3.0},
        "versions": {"jax": "0.10"},
        "device": {"kind": "cpu", "platform": "cpu", "count": 1},
        "git_commit": "c" * 40,
    }


def write(folder, data, *, keep=True, labels=LABELS):
    """Writes the files of a finished run, with what it keeps for its page or without, and returns the folder."""
    k = labels.max() + 1
    run = run_of(data, labels, k)
    z = np.random.default_rng(0).normal(size=(len(labels), 2)) + 6 * np.array([[0, 0], [1, 0], [0, 1]])[labels % 3]
    with write_with_digest(folder / "result.json", "w") as file:
        json.dump(result_of(data, labels, k), file)
    with write_with_digest(folder / "assignments.npz") as file:
        np.savez(file, labels=labels, q=run.q, z=z, labels_of_kmeans=labels[::-1])
    with write_with_digest(folder / "history.csv", "w") as file:
        writer = csv.DictWriter(file, HISTORY[0])
        writer.writeheader()
        writer.writerows(HISTORY)
    if keep:
        kept.write(folder, kept.of_run(run, lay_out(z, labels)))
    return folder


def write_sweep(folder, *, labels=True):
    """Writes the files of a finished sweep over both sizes, a text and two seeds, and returns the folder."""
    lines = []
    for k, m, objective, seed in itertools.product((2, 3, 4), (2, 5), ("dec", EVIL), (0, 1)):
        line = {"trial": len(lines), "id": f"{len(lines)}", "clustering.n_clusters": k, "network.bottleneck": m}
        line |= {"clustering.objective": objective, "seed": seed, "silhouette": 0.1 * k, "commit": "c" * 40}
        lines.append(line | ({"acc": 0.2 * k + 0.01 * seed, "nmi": 0.1 * m, "ari": 0.1} if labels else {}))
    lines.append({"trial": len(lines), "id": "x", "clustering.n_clusters": 5, "seed": 0, "error": "a loss became NaN"})
    table_of_sweep.write(table_of_sweep.to_frame(lines), folder)
    with write_with_digest(folder / "sweep.json", "w") as file:
        json.dump({"data.name": "a/b<i>.csv", "samples": "ab" * 32, "held_out": 0.1}, file)
    kept.write(folder, {"command": "dec-jax sweep --data 'a/b<i>.csv'"})
    return folder
