"""Figure 4: the embedding at six moments of the clustering phase, laid out by t-SNE from one start, with its ACC."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from dec_jax import clustering, metrics, networks, starts
from dec_jax.clustering import ClusteringInfo, ClusteringState
from dec_jax.identity import fingerprint, git_commit
from dec_jax.runner import build
from dec_jax.runner.config import Config
from dec_jax.runner.drawing import colours_of, tidy
from dec_jax.runner.programs import keys_of
from dec_jax.runner.work import trial_id
from dec_jax.samples import take_rows
from dec_jax.storage import Store
from experiments.paper import figure, table
from experiments.paper.context import Context
from experiments.paper.table import Cell

NAMES = ("mnist",)
N_MOMENTS = 6
MAX_SAMPLES = 1000
PERPLEXITY = 30


class Moments(NamedTuple):
    """The embedding as training proceeds.

    Attributes:
        steps: (t,) updates done.
        labels: (t, n) clusters of all samples.
        shown: (s,) samples that are drawn.
        z: (t, s, m) their embedding.
    """

    steps: np.ndarray
    labels: np.ndarray
    shown: np.ndarray
    z: np.ndarray


def run(context: Context) -> None:
    """Writes a picture and its figures for each data set, of the first seed."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    stem = f"embedding-{Path(name).stem}"
    y = context.load(name).y
    moments = _kept_moments(context, context.config(name, context.seeds[0]))
    percent = [100 * metrics.accuracy(y, labels) for labels in moments.labels]
    colours = colours_of(np.unique(y, return_inverse=True)[1][moments.shown])
    picture = figure.new(9, 6.2)
    axes = picture.subplots(2, 3).ravel()
    for ax, z, step, acc in zip(axes, layouts(moments.z), moments.steps, percent, strict=False):
        ax.scatter(*z.T, s=3, color=colours, linewidths=0)
        ax.set(xticks=[], yticks=[])
        tidy(ax, f"step {step:,}: ACC {acc:.1f} %")
    caption = (
        f"Figure 4 of the paper on {name}: t-SNE of {len(moments.shown):,} samples' embeddings, from the same "
        f"start each time; colours are classes. Seed {context.seeds[0]} alone."
    )
    figure.write(context, stem, picture, caption)
    rows = {f"{step:,}": (Cell((acc,)),) for step, acc in zip(moments.steps, percent, strict=True)}
    caption = f"ACC in per cent of all samples as the embedding moves, seed {context.seeds[0]} alone."
    table.write(context, f"{stem}-values", table.Table(f"Clustering {name}, by step", ("ACC",), rows, caption))


def layouts(z: np.ndarray) -> np.ndarray:
    """t-SNE of each moment's embedding z (t, n, m) → (t, n, 2), all from the first one's principal components."""
    start = PCA(2, random_state=0).fit_transform(z[0]) if z.shape[2] > 1 else np.repeat(z[0], 2, axis=1)
    start = (1e-4 * start / start[:, 0].std()).astype(np.float32)
    perplexity = min(PERPLEXITY, (z.shape[1] - 1) / 3)
    return np.stack([TSNE(init=start, perplexity=perplexity, random_state=0).fit_transform(each) for each in z])


def _kept_moments(context: Context, config: Config) -> Moments:
    """The moments, from their file where they have been there before."""
    store = Store(context.work / "moments")
    name = trial_id(config, fingerprint(context.load(config.data.name).x))
    found = store.get(name)
    if found is None:
        store.put(name, _train(context, config)._asdict(), {"git_commit": git_commit()})
        found = store.get(name)
    arrays, noted = found
    context.commits.add(str(noted["git_commit"]))
    return Moments(**arrays)


def _train(context: Context, config: Config) -> Moments:
    """The clustering phase of a trial of this configuration, watched at its refreshes of P."""
    model, params, x = context.pretrained(config)
    keys, n, one = keys_of(config.seed), x.shape[0], config.clustering
    shown = np.sort(np.random.default_rng(0).choice(n, min(n, MAX_SAMPLES), replace=False))
    rows = take_rows(x, shown)
    seen: list[tuple[int, np.ndarray, np.ndarray]] = []

    def see(state: ClusteringState, _: ClusteringInfo | None = None) -> None:
        z = networks.embed(model, state.params, rows)
        seen.append((int(state.step), np.array(state.labels), np.array(z)))

    recipe = build.recipe(config, model, context.load(config.data.name).image_shape, n)
    n_restarts = config.start.kmeans_restarts
    state = starts.from_kmeans(keys.kmeans, recipe, params, x, one.n_clusters, n_restarts=n_restarts)
    see(state)
    how = {"update_interval": one.update_interval, "tolerance": one.tolerance, "max_steps": one.max_steps}
    clustering.fit(keys.clustering, recipe, state, x, on_interval=see, **how)
    chosen = np.linspace(0, len(seen) - 1, min(N_MOMENTS, len(seen))).round().astype(int)
    steps, labels, z = zip(*(seen[i] for i in chosen), strict=True)
    return Moments(np.array(steps), np.stack(labels), shown, np.stack(z))
