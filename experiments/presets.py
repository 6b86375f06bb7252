"""Named sets of settings: what each one changes from the DEC paper's."""

from types import MappingProxyType
from typing import Any

from dec_jax.validation import check_choice

# Weights that start larger than N(0, 0.01²) need no layer-wise pretraining: the whole stack is trained at once.
_JOINT = {
    "loss": "half_squared",
    "weight_init": "glorot",
    "layer_wise_steps": 0,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "learning_rate_schedule": "cosine",
}

# Augmented samples (Guo et al., DEC-DA, ACML 2018). SGD at a high constant rate leaves an embedding whose clusters are
# better apart than Adam's, although its reconstructions are worse; small batches more so.
_AUGMENTED = {
    "scaling": "unit",
    "loss": "mse",
    "weight_init": "fan_in",
    "layer_wise_steps": 0,
    "batch_size": 64,
    "fine_tuning_steps": 40_000,
    "learning_rate": 1.0,
    "learning_rate_schedule": "constant",
    "augment_rotation": 10.0,
    "augment_shift": 0.1,
    "cluster_optimizer": "adam",
    "cluster_learning_rate": 0.0003,
    "update_interval": 140,
    "max_steps": 4000,
}

_FAST = _JOINT | {"fine_tuning_steps": 6000, "max_steps": 3200}

# A partition is learnt more closely by Adam than by SGD at the paper's rate, and Adam keeps what is right in it.
_N2D = {"start": "n2d", "cluster_optimizer": "adam", "cluster_learning_rate": 0.0003}

PRESETS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "demo": _JOINT | {"fine_tuning_steps": 1000, "max_steps": 2000},
        "fast": _FAST,
        "n2d": _FAST | _N2D,
        "augmented": _AUGMENTED,
        "paper": {},
    }
)

# Objectives that keep the decoder hold the embedding back: SGD at DEC's rate has hardly begun when DEC is done.
_DECODER_KEPT = {"cluster_optimizer": "adam", "cluster_learning_rate": 0.001}
_BY_OBJECTIVE = {
    **{("demo", objective): _DECODER_KEPT for objective in ("idec", "dcn", "dkm")},
    **{("fast", objective): _DECODER_KEPT | {"max_steps": 8000} for objective in ("idec", "dcn", "dkm")},
}


def changes_of(preset: str, objective: str) -> dict[str, Any]:
    """What a preset changes from the paper's settings where clustering minimises an objective.

    Args:
        preset: one of PRESETS.
        objective: as in `Settings`; one of the user's own has the preset's settings as they are.

    Raises:
        ValueError: the preset is unknown.
    """
    return PRESETS[check_choice("preset", preset, PRESETS)] | _BY_OBJECTIVE.get((preset, objective), {})


# How many clusters a named data set is divided into by those who made it; a file of the user's own needs --n-clusters.
N_CLUSTERS = MappingProxyType(
    {"digits": 10, "mnist": 10, "mnist-test": 10, "fashion_mnist": 10, "stl10-hog": 10, "reuters": 4, "reuters10k": 4}
)
