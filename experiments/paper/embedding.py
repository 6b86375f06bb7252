"""Figure 4: the embedding at six moments of the clustering phase, laid out by t-SNE from one start, with its ACC."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from dec_jax import clustering, metrics
from dec_jax.clustering import ClusteringInfo, ClusteringState
from dec_jax.data.atomic import atomic_write
from dec_jax.samples import take_rows
from experiments import plan, trial
from experiments.paper import figure, table
from experiments.paper.context import Context
from experiments.paper.table import Cell
from experiments.pictures import _colours, _tidy
from experiments.settings import Settings

NAMES = ("mnist",)
N_MOMENTS = 6
MAX_SAMPLES = 1000
PERPLEXITY = 30


class Moments(NamedTuple):
    """The embedding as training proceeds.

    Attributes:
        steps: (t,) updates done.
        acc: (t,) of all samples, in [0, 1].
        z: (t, n, m) embedding of those that are drawn.
        classes: (n,) of these, for their colour.
    """

    steps: np.ndarray
    acc: np.ndarray
    z: np.ndarray
    classes: np.ndarray


def run(context: Context) -> None:
    """Writes a picture and its figures for each data set, of the first seed."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    stem = f"embedding-{Path(name).stem}"
    moments = _kept_moments(context, context.settings(name, context.seeds[0]))
    plane = layouts(moments.z)
    picture = figure.new(9, 6.2)
    for ax, z, step, acc in zip(picture.subplots(2, 3).ravel(), plane, moments.steps, moments.acc, strict=False):
        ax.scatter(*z.T, s=3, color=_colours(moments.classes), linewidths=0)
        ax.set(xticks=[], yticks=[])
        _tidy(ax, f"step {step:,}: ACC {100 * acc:.1f} %")
    caption = (
        f"Figure 4 of the paper on {name}: t-SNE of {len(moments.classes):,} samples' embeddings, from the same "
        f"start each time; colours are classes. Seed {context.seeds[0]} alone."
    )
    figure.write(context, stem, picture, caption)
    rows = {f"{step:,}": (Cell((100 * acc,)),) for step, acc in zip(moments.steps, moments.acc, strict=True)}
    caption = f"ACC in per cent of all samples as the embedding moves, seed {context.seeds[0]} alone."
    table.write(context, f"{stem}-values", table.Table(f"Clustering {name}, by step", ("ACC",), rows, caption))


def layouts(z: np.ndarray) -> np.ndarray:
    """t-SNE of each moment's embedding z (t, n, m) → (t, n, 2), all from the first one's principal components."""
    start = PCA(2, random_state=0).fit_transform(z[0]) if z.shape[2] > 1 else np.repeat(z[0], 2, axis=1)
    start = (1e-4 * start / start[:, 0].std()).astype(np.float32)
    perplexity = min(PERPLEXITY, (z.shape[1] - 1) / 3)
    return np.stack([TSNE(init=start, perplexity=perplexity, random_state=0).fit_transform(each) for each in z])


def _kept_moments(context: Context, settings: Settings) -> Moments:
    """The moments, from their file where they have been there before."""
    path = context.folder_of(settings, context.load(settings.data)) / "moments.npz"
    if not path.exists():
        moments = _train(context, settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez_compressed(file, **moments._asdict())
    with np.load(path) as file:
        return Moments(**file)


def _train(context: Context, settings: Settings) -> Moments:
    """The clustering phase of a trial of these settings, watched at its refreshes of P."""
    y = context.load(settings.data).y
    model, params, x = context.pretrained(settings)
    keys = trial.keys_of(settings.seed)
    n = x.shape[0]
    shown = np.sort(np.random.default_rng(0).choice(n, min(n, MAX_SAMPLES), replace=False))
    rows = take_rows(x, shown)
    seen: list[tuple[int, float, np.ndarray]] = []

    def see(state: ClusteringState, _: ClusteringInfo | None = None) -> None:
        accuracy = metrics.accuracy(y, np.asarray(state.labels))
        seen.append((int(state.step), accuracy, np.asarray(clustering.embed(model, state.params, rows))))

    how = {"optimizer": plan.clustering_optimizer(settings), "assignment": plan.assignment(settings)}
    restarts = settings.kmeans_restarts
    state = clustering.init(keys.kmeans, model, params, x, settings.n_clusters, n_restarts=restarts, **how)
    see(state)
    names = ("batch_size", "update_interval", "tolerance", "max_steps")
    how |= {name: getattr(settings, name) for name in names}
    clustering.fit(keys.clustering, model, state, x, on_refresh=see, **how)
    chosen = np.linspace(0, len(seen) - 1, min(N_MOMENTS, len(seen))).round().astype(int)
    steps, accuracies, z = zip(*(seen[i] for i in chosen), strict=True)
    return Moments(np.array(steps), np.array(accuracies), np.stack(z), np.unique(y, return_inverse=True)[1][shown])
