"""Deep clustering in JAX: pure functions, compiled loops, reproducible results.

A part is imported when it is first used, so that `import dec_jax` costs next to nothing.
"""

import importlib
from importlib.metadata import version
from typing import Any

_MODULES = (
    "assignment",
    "augmentation",
    "autoencoder",
    "checkpoints",
    "clustering",
    "convolutional",
    "corruption",
    "data",
    "estimator",
    "graph",
    "hog",
    "kmeans",
    "losses",
    "metrics",
    "mixture",
    "n2d",
    "neighbors",
    "networks",
    "objectives",
    "optimizers",
    "pretraining",
    "representation",
    "resets",
    "samples",
    "scan",
    "side",
    "slots",
    "starts",
    "trained_model",
)
_HOMES = {
    "Assignment": "assignment",
    "Autoencoder": "autoencoder",
    "ConvolutionalAutoencoder": "convolutional",
    "DEC": "estimator",
    "Recipe": "clustering",
    "TrainedModel": "trained_model",
    "assign": "trained_model",
    "embed": "trained_model",
    "fit": "clustering",
    "load_model": "checkpoints",
    "save_model": "checkpoints",
    "soft_assign": "trained_model",
    "to_device": "samples",
}
__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("dec_jax")
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
