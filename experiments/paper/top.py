"""Figure 5: the ten samples of each cluster that belong to it most."""

from pathlib import Path

from dec_jax.runner.pictures import draw_top_samples
from experiments.paper import figure
from experiments.paper.context import Context

NAMES = ("mnist",)


def run(context: Context) -> None:
    """Writes a picture for each data set, of the first seed."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    dataset = context.load(name)
    found = context.run(context.config(name, context.seeds[0]))
    picture = draw_top_samples(dataset.x, found.q, image_shape=dataset.image_shape)
    accuracy = 100 * found.result["final"]["acc"]
    caption = f"Figure 5 of the paper on {name}: seed {context.seeds[0]} alone, ACC {accuracy:.1f} %."
    figure.write(context, f"top-{Path(name).stem}", picture, caption)
