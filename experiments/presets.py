"""Named sets of settings: what each one changes from the DEC paper's."""

from types import MappingProxyType
from typing import Any

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

PRESETS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "demo": _JOINT | {"fine_tuning_steps": 1000, "max_steps": 2000},
        "fast": _JOINT | {"fine_tuning_steps": 6000, "max_steps": 3200},
        "augmented": _AUGMENTED,
        "paper": {},
    }
)

# How many clusters a named data set is divided into by those who made it; a file of the user's own needs --n-clusters.
N_CLUSTERS = MappingProxyType(
    {"digits": 10, "mnist": 10, "mnist-test": 10, "fashion_mnist": 10, "stl10-hog": 10, "reuters": 4, "reuters10k": 4}
)
