"""The talk's autoencoders: what a bottleneck keeps, what denoising removes, layer-wise against joint pretraining."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from dec_jax import corruption, networks
from dec_jax.runner.config import Config
from dec_jax.runner.drawing import tick, tidy
from dec_jax.runner.image_sheet import as_images, cell_size, draw_sheet
from dec_jax.runner.presets import JOINT
from dec_jax.samples import take_rows
from experiments.paper import figure, table
from experiments.paper.context import Context, Run
from experiments.paper.table import Cell

NAMES = ("mnist", "fashion_mnist")
N_IMAGES = 10
NOISE = 0.2  # standard deviation, of pixels in [0, 1]
PIXELS = JOINT | {"data.scaling": "unit", "pretraining.loss": "mse", "network.reconstruction_activation": "sigmoid"}
BOTTLENECK = PIXELS | {"network.hidden": (), "network.bottleneck": 10, "network.embedding_activation": "relu"}
DENOISING = PIXELS | {"pretraining.noise": NOISE}


def run(context: Context) -> None:
    """Writes two pictures, a table and its curves for each data set."""
    context.each(NAMES, _make)


def _make(context: Context, name: str) -> None:
    if context.load(name).image_shape is None:
        context.console.print(f"{name}: no images, so reconstructions are not drawn", soft_wrap=True)
    else:
        _draw_bottleneck(context, name)
        _draw_denoising(context, name)
    _compare_pretraining(context, name)


def _draw_bottleneck(context: Context, name: str) -> None:
    x, x_hat = _images_and_outputs(context, context.config(name, context.seeds[0], BOTTLENECK))
    d = x.shape[1]
    caption = f"The {d}–10–{d} autoencoder on {name}, ReLU then sigmoid, seed {context.seeds[0]}."
    _draw(context, f"bottleneck-{Path(name).stem}", name, {"original": x, "reconstruction": x_hat}, caption)


def _draw_denoising(context: Context, name: str) -> None:
    model, params, x = context.pretrained(context.config(name, context.seeds[0], DENOISING))
    clean = _first(x)
    noisy = corruption.gaussian_noise(jax.random.key(0), clean, standard_deviation=NOISE, minimum=0.0, maximum=1.0)
    output = networks.reconstruct(model, params, noisy)
    caption = (
        f"A denoising autoencoder on {name}: Gaussian noise of {NOISE}, clipped to [0, 1], seed {context.seeds[0]}."
    )
    rows = {"original": clean, "noisy input": noisy, "output": output}
    _draw(context, f"denoising-{Path(name).stem}", name, rows, caption)


def _images_and_outputs(context: Context, config: Config) -> tuple[np.ndarray, np.ndarray]:
    model, params, x = context.pretrained(config)
    rows = _first(x)
    return np.asarray(rows), np.asarray(networks.reconstruct(model, params, rows))


def _first(x: Any) -> jax.Array:
    return take_rows(x, np.arange(min(N_IMAGES, x.shape[0])))


def _draw(context: Context, target: str, name: str, rows: dict[str, Any], caption: str) -> None:
    samples = np.stack([np.asarray(row) for row in rows.values()])
    images = as_images(samples, context.load(name).image_shape)
    picture, ax = draw_sheet(images, 0.0, 1.0)
    tidy(ax)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    tick(ax, "y", (np.arange(len(rows)) + 0.5) * cell_size(images)[0], rows)
    figure.write(context, target, picture, caption)


def _compare_pretraining(context: Context, name: str) -> None:
    """As many steps in both: layer by layer half of them, in equal parts, before the whole is trained."""
    joint = [context.config(name, seed, JOINT) for seed in context.seeds]
    total, n_layers = joint[0].pretraining.fine_tuning_steps, len(joint[0].network.hidden) + 1
    steps = {"layer_wise": total // (2 * n_layers), "fine_tuning": total - total // 2}
    halved = JOINT | {f"pretraining.{stage}_steps": n for stage, n in steps.items()}
    layer_wise = [context.config(name, seed, halved) for seed in context.seeds]
    runs = {
        "joint": [context.run(config) for config in joint],
        "layer-wise, then joint": [context.run(config) for config in layer_wise],
    }
    rows = {label: (_errors(found), *_accuracies(found)) for label, found in runs.items()}
    columns = ("reconstruction loss", "AE + k-means", "DEC")
    caption = f"{total:,} steps each; ACC in per cent, mean ± standard deviation over the seeds."
    stem = f"pretraining-{Path(name).stem}"
    table.write(context, f"{stem}-values", table.Table(f"Pretraining on {name}", columns, rows, caption))
    _draw_curves(context, stem, name, runs)


def _errors(runs: list[Run]) -> str:
    losses = [_losses(run)[-1][1] for run in runs]
    return f"{np.mean(losses):.4g}"


def _accuracies(runs: list[Run]) -> list[Cell]:
    phases = ("autoencoder_kmeans", "final")
    return [Cell(tuple(100 * run.result[phase]["acc"] for run in runs)) for phase in phases]


def _losses(run: Run) -> list[tuple[int, float]]:
    """Steps and losses of the fine-tuning, its steps counted from the first step of pretraining."""
    settings = run.result["settings"]
    before = settings["pretraining.layer_wise_steps"] * (len(settings["network.hidden"]) + 1)
    rows = [row for row in run.history if row["phase"] == "fine-tuning"]
    return [(before + int(row["step"]), float(row["loss"])) for row in rows]


def _draw_curves(context: Context, stem: str, name: str, runs: dict[str, list[Run]]) -> None:
    picture = figure.new(6, 3.4)
    ax = picture.add_subplot()
    for number, (label, found) in enumerate(runs.items()):
        for i, run in enumerate(found):
            ax.plot(*zip(*_losses(run), strict=True), color=f"C{number}", linewidth=1, label=label if i == 0 else None)
    ax.set(xlabel="steps of pretraining", ylabel="loss of the whole autoencoder", yscale="log")
    ax.legend(frameon=False)
    tidy(ax)
    figure.write(context, stem, picture, f"Layer-wise against joint pretraining on {name}, a line per seed.")
