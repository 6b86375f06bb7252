"""Table 3: the methods that work on any samples, on the embedding of the pretrained autoencoder, beside DEC."""

from functools import cache
from typing import Any

import numpy as np

from dec_jax import networks
from experiments.paper import published, scores, table
from experiments.paper.accuracy import CHOSEN, NAMES, SWEPT
from experiments.paper.context import Context, Unavailable
from experiments.paper.table import Cell


def run(context: Context) -> None:
    """Writes the table."""
    columns = {name: _column(context, name) for name in context.names or NAMES}
    caption = (
        "ACC in per cent, mean ± standard deviation over the seeds, on the embedding that DEC starts from. LDMGI and "
        "SEC: the best by ACC of nine values of their parameter, and the value that needs no labels."
    )
    table.write(context, "autoencoder", table.of_columns("Methods on the embedding", columns, caption))


def _column(context: Context, name: str) -> dict[str, Cell]:
    theirs = {method: figures.get(name) for method, figures in published.ACCURACY.items()}
    try:
        y = context.load(name).y
    except Unavailable as error:
        labels = ["AE + k-means", *(f"AE + {label}{end}" for label in SWEPT for end in ("", CHOSEN)), "DEC"]
        return {label: Cell((), theirs.get(label), str(error)) for label in labels}

    @cache
    def embedding(seed: int) -> Any:
        model, params, x = context.pretrained(context.config(name, seed))
        return np.asarray(networks.embed(model, params, x))

    k = context.config(name).clustering.n_clusters
    column = {"AE + k-means": scores.of_trials(context, name, "autoencoder_kmeans", theirs["AE + k-means"])}
    for label, method in SWEPT.items():
        best, chosen = scores.of_sweep(context, method, embedding, y, k, theirs[f"AE + {label}"])
        column |= {f"AE + {label}": best, f"AE + {label}{CHOSEN}": chosen}
    column["DEC"] = scores.of_trials(context, name, "final", theirs["DEC"])
    return column
