"""Named sets of settings: what each one changes from the DEC paper's."""

from types import MappingProxyType
from typing import Any

from dec_jax import scan
from dec_jax.runner.build import OF_VIEWS
from dec_jax.runner.config import Config, rate_of
from dec_jax.validation import check_choice


def _trained(phase: str, optimizer: str, rate: float) -> dict[str, Any]:
    """The optimiser of a phase, one of `PHASES`, and its learning rate."""
    return {f"{phase}.optimizer": optimizer, rate_of(phase): rate}


# Weights that start larger than N(0, 0.01²) need no layer-wise pretraining: the whole stack is trained at once.
JOINT = MappingProxyType(
    {"network.weight_init": "glorot", "pretraining.layer_wise_steps": 0, "pretraining.schedule": "cosine"}
    | _trained("pretraining", "adam", 0.001)
)
_DEMO = JOINT | {
    "pretraining.loss": "half_squared",
    "pretraining.fine_tuning_steps": 1000,
    "clustering.max_steps": 2000,
}
_FAST = _DEMO | {"pretraining.fine_tuning_steps": 6000, "clustering.max_steps": 3200}

# A partition is learnt more closely by Adam than by SGD at the paper's rate, and Adam keeps what is right in it.
_ADAM = _trained("clustering", "adam", 0.0003)

# SGD at a high constant rate leaves an embedding whose clusters are better apart than Adam's, although its
# reconstructions are worse; small batches more so.
_SGD = {
    "data.scaling": "unit",
    "network.weight_init": "fan_in",
    "pretraining.loss": "mse",
    "pretraining.batch_size": 64,
    "pretraining.layer_wise_steps": 0,
    "pretraining.fine_tuning_steps": 40_000,
    **_trained("pretraining", "sgd", 1.0),
    "pretraining.schedule": "constant",
    "clustering.update_interval": 140,
}

# The paper's clustering after 300 epochs of MNIST at batches of 256: what public implementations of DEC do.
_PLAIN = _SGD | {
    "pretraining.batch_size": 256,
    "pretraining.fine_tuning_steps": 82_031,
    "clustering.max_steps": 8000,
}

# Augmented samples (Guo et al., DEC-DA, ACML 2018).
_AUGMENTED = (
    _SGD
    | _ADAM
    | {
        "augmentation.rotation": 10.0,
        "augmentation.shift": 0.1,
        "clustering.batch_size": 64,
        "clustering.max_steps": 4000,
    }
)

# No autoencoder: the network has an output for each cluster. It learns a partition of the graph of neighbours, and then
# that neighbours, and augmentations of one sample, share their cluster (Van Gansbeke et al., SCAN, ECCV 2020).
_AUTO = {
    "network.kind": "auto",
    "network.hidden": scan.HIDDEN,
    "network.weight_init": scan.KERNEL_INIT,
    "pretraining.layer_wise_steps": 0,
    "pretraining.fine_tuning_steps": 0,
    "start.kind": "auto",
    "start.features": "auto",
    "start.candidates": 4,
    "augmentation.auto": True,
    "clustering.objective": "scan",
    "clustering.kernel": "logits",
    **_trained("clustering", "adam", scan.LEARNING_RATE),
    "clustering.schedule": "cosine",
    "clustering.tolerance": 0.0,
    "clustering.fade": True,
    "clustering.max_steps": None,
}

PRESETS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "demo": _DEMO,
        "fast": _FAST,
        "n2d": _FAST | _ADAM | {"start.kind": "n2d"},
        "auto": _AUTO,
        "plain": _PLAIN,
        "augmented": _AUGMENTED,
        "paper": {},
    }
)

# Objectives that keep the decoder hold the embedding back: SGD at DEC's rate has hardly begun when DEC is done.
_DECODER_KEPT = _trained("clustering", "adam", 0.001)
_BY_OBJECTIVE = {
    **{("demo", objective): _DECODER_KEPT for objective in ("idec", "dcn", "dkm")},
    **{("fast", objective): _DECODER_KEPT | {"clustering.max_steps": 8000} for objective in ("idec", "dcn", "dkm")},
}

# How many clusters a named data set is divided into by those who made it; a file of the user's own needs --n-clusters.
N_CLUSTERS = MappingProxyType(
    {"digits": 10, "mnist": 10, "mnist-test": 10, "fashion_mnist": 10, "stl10-hog": 10, "reuters": 4, "reuters10k": 4}
)


def config_of(preset: str | None, objective: str | None = None) -> Config:
    """The configuration of a preset where clustering minimises an objective.

    Args:
        preset: one of PRESETS; None for "auto", or for "fast" where an objective is named that `auto` is not made for.
        objective: as in `ClusteringConfig`; None for the preset's. One of the user's own has its settings as they are.

    Raises:
        ValueError: a name is unknown.
    """
    if preset is None:
        preset = "auto" if objective in (None, *OF_VIEWS) else "fast"
    changes = PRESETS[check_choice("preset", preset, PRESETS)] | _BY_OBJECTIVE.get((preset, objective), {})
    named = {"clustering.objective": objective} if objective else {}
    return Config().with_values({**changes, "preset": preset, **named})
