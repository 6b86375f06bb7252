"""Figure 3: samples that a cluster is sure of pull hardest: |∂L/∂z_i| against q_ij, before the first update."""

from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dec_jax import networks, starts
from dec_jax.data import Dataset
from dec_jax.losses import kl_divergence, log_soft_assignment
from dec_jax.runner import build
from dec_jax.runner.drawing import GREY, tidy
from dec_jax.runner.image_sheet import as_images
from dec_jax.runner.pictures import dense_rows
from dec_jax.runner.programs import keys_of
from experiments.paper import figure
from experiments.paper.context import Context

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = ("mnist",)
N_IMAGES = 10


def run(context: Context) -> None:
    """Writes a picture for each data set, of the first seed."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    config = context.config(name, context.seeds[0])
    model, params, x = context.pretrained(config)
    recipe = build.recipe(config, model, context.load(name).image_shape, x.shape[0])
    k, n_restarts = config.clustering.n_clusters, config.start.kmeans_restarts
    state = starts.from_kmeans(keys_of(config.seed).kmeans, recipe, params, x, k, n_restarts=n_restarts)
    z = networks.embed(model, state.params, x)
    cluster = int(np.bincount(state.labels).argmax())
    q = np.asarray(jnp.exp(recipe.assignment.log_q(z, state.centroids)))[:, cluster]
    pull = magnitudes(z, state.centroids, state.target, config.clustering.alpha)
    _draw(context, name, q, pull, np.asarray(state.labels) == cluster)


def magnitudes(z: jax.Array, centroids: jax.Array, p: jax.Array, alpha: float = 1.0) -> np.ndarray:
    """|∂L/∂z_i|, (n,): the gradient of L = Σ_i KL(p_i‖q_i) for fixed P (equation 4 of Xie et al. 2016).

    Args:
        z: (n, m) embedding.
        centroids: (k, m).
        p: (n, k) target distribution.
        alpha: degrees of freedom.
    """

    def loss(z: jax.Array) -> jax.Array:
        return jnp.sum(kl_divergence(p, log_soft_assignment(z, centroids, alpha)))

    return np.asarray(jnp.linalg.norm(jax.grad(loss)(z), axis=1))


def _draw(context: Context, name: str, q: np.ndarray, pull: np.ndarray, own: np.ndarray) -> None:
    dataset = context.load(name)
    picture = figure.new(7, 4.6)
    above, below = picture.subplots(2, 1, height_ratios=(5, 1), sharex=True)
    above.scatter(q[~own], pull[~own], s=2, linewidths=0, color=GREY, label="samples of other clusters")
    above.scatter(q[own], pull[own], s=4, linewidths=0, label="samples of the cluster")
    above.set_ylabel("|∂L/∂z|")
    above.legend(frameon=False, fontsize=8, markerscale=3)
    tidy(above, f"{name}, largest cluster")
    below.set(xlabel="q", xlim=(0, 1.05 * q.max()), ylim=(0, 1))
    below.set_yticks([])
    tidy(below)
    if dataset.image_shape is not None:
        _draw_images(below, dataset, q, np.flatnonzero(own))
    caption = (
        f"Figure 3 of the paper on {name}: each point is a sample, q its soft assignment to the largest cluster before "
        f"the first update, seed {context.seeds[0]}; below, samples of the cluster at their place on the axis."
    )
    figure.write(context, f"gradient-{Path(name).stem}", picture, caption)


def _draw_images(ax: "Axes", dataset: Dataset, q: np.ndarray, own: np.ndarray) -> None:
    """Images of the cluster's samples that lie closest to evenly spaced places of the axis, as ink on paper."""
    width = ax.get_xlim()[1] / N_IMAGES
    places = (np.arange(N_IMAGES) + 0.5) * width
    places = places[places > q[own].min()]
    rows = np.array([own[np.abs(q[own] - place).argmin()] for place in places])
    images = as_images(dense_rows(dataset.x, rows)[None], dataset.image_shape)[0]
    for place, image in zip(places, images, strict=True):
        bounds = (place - 0.45 * width, 0.02, 0.9 * width, 0.96)
        shown = ax.inset_axes(bounds, transform=ax.get_xaxis_transform())
        shown.imshow(image, cmap="gray_r" if image.ndim == 2 else None)
        shown.axis("off")
