"""Deep embedded clustering in JAX: pure functions, compiled loops, reproducible results."""

from dec_jax import (
    assignment,
    augmentation,
    autoencoder,
    checkpoints,
    clustering,
    convolutional,
    corruption,
    data,
    kmeans,
    losses,
    metrics,
    n2d,
    objectives,
    partition,
    pretraining,
    resets,
    samples,
    trained_model,
)
from dec_jax.assignment import Assignment
from dec_jax.autoencoder import Autoencoder
from dec_jax.checkpoints import load_model, save_model
from dec_jax.clustering import fit
from dec_jax.convolutional import ConvolutionalAutoencoder
from dec_jax.samples import to_device
from dec_jax.trained_model import TrainedModel, assign, embed, soft_assign

__all__ = [
    "Assignment",
    "Autoencoder",
    "ConvolutionalAutoencoder",
    "TrainedModel",
    "assign",
    "assignment",
    "augmentation",
    "autoencoder",
    "checkpoints",
    "clustering",
    "convolutional",
    "corruption",
    "data",
    "embed",
    "fit",
    "kmeans",
    "load_model",
    "losses",
    "metrics",
    "n2d",
    "objectives",
    "partition",
    "pretraining",
    "resets",
    "samples",
    "save_model",
    "soft_assign",
    "to_device",
    "trained_model",
]
