"""Table 2: clustering accuracy of the baselines, of DEC, and of DEC whose encoder stays as pretraining left it."""

from experiments.paper import published, scores, table
from experiments.paper.context import Context, Unavailable
from experiments.paper.table import Cell

NAMES = ("mnist", "stl10-hog", "reuters10k", "reuters")
PLAIN = {
    "spectral clustering": "spectral_clustering",
    "Gaussian mixture": "gaussian_mixture",
    "PCA + k-means": "pca_kmeans",
}
SWEPT = {"LDMGI": "ldmgi", "SEC": "sec"}
CHOSEN = ", value chosen by modularity"


def run(context: Context) -> None:
    """Writes the table."""
    columns = {name: _column(context, name) for name in context.names or NAMES}
    caption = (
        "ACC in per cent, mean ± standard deviation over the seeds. LDMGI and SEC: the best by ACC of nine values of "
        "their parameter, as the paper shows it, and the value that needs no labels."
    )
    table.write(context, "accuracy", table.of_columns("Unsupervised clustering accuracy", columns, caption))


def _column(context: Context, name: str) -> dict[str, Cell]:
    theirs = {method: figures.get(name) for method, figures in published.ACCURACY.items()}
    try:
        y, x = context.load(name).y, context.scaled(name)
    except Unavailable as error:
        return _empty(theirs, str(error))
    k = context.config(name).clustering.n_clusters
    column = {"k-means": scores.of_trials(context, name, "kmeans", theirs["k-means"])}
    for label, method in SWEPT.items():
        best, chosen = scores.of_sweep(context, method, lambda _: x, y, k, theirs[label])
        column |= {label: best, label + CHOSEN: chosen}
    for label, method in PLAIN.items():
        column[label] = scores.of_baseline(context, method, lambda _: x, y, k)
    without = "DEC without back-propagation"
    column[without] = scores.of_trials(context, name, "final", theirs[without], {"clustering.train_encoder": False})
    column["DEC"] = scores.of_trials(context, name, "final", theirs["DEC"])
    return column


def _empty(theirs: dict[str, float | None], note: str) -> dict[str, Cell]:
    labels = ["k-means", *(label + end for label in SWEPT for end in ("", CHOSEN)), *PLAIN]
    return {label: Cell((), theirs.get(label), note) for label in [*labels, "DEC without back-propagation", "DEC"]}
