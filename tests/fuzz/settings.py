"""Settings of all kinds: refused at once, or trained with for some steps without a NaN."""

import numpy as np

from dec_jax.data import Dataset
from dec_jax.data.scaling import RULES
from dec_jax.runner import fitting, presets
from dec_jax.runner.config import FIELDS, Config, parse
from dec_jax.runner.resolving import resolve

RNG = np.random.default_rng(0)
IMAGES = Dataset("images", RNG.integers(0, 255, (40, 64)).astype(np.uint8), image_shape=(8, 8))
ROWS = Dataset("rows", RNG.normal(size=(40, 6)) + np.repeat(np.eye(4), 10, axis=0) @ RNG.normal(size=(4, 6)) * 4)
ODD = (
    None,
    True,
    0,
    1,
    -1,
    2,
    3,
    10**9,
    2**63,
    0.0,
    0.5,
    -0.5,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "a",
    "none",
)
ODD += (
    "dec",
    "kmeans",
    "graph",
    (),
    (3,),
    (0,),
    [4, 4],
    {},
    {"a": 1.0},
    b"x",
    np.float32(0.1),
    np.int64(3),
    "os:system",
)
WORDS = (
    "1",
    "0.1",
    "none",
    "",
    "true",
    "3,4",
    "1e400",
    "nan",
    "-",
    "=",
    "a=b",
    "0x10",
    "１",
    "dec",
    "__class__",
    "1_0",
)
RATES = {"learning_rate": (1e-4, 1e-3, 1e-2), "alpha": (0.5, 1.0, 5.0), "target_power": (1.0, 2.0, 3.0)}
# One that may blow up by what is asked for, and one that only names something.
LEFT_ALONE = ("pretraining.bias_factor", "data.name", "data.labels", "data.unlabelled", "preset")


def choices_of(name):
    """The names that a setting accepts, but for functions of the user's own; () for other settings."""
    found = getattr(FIELDS[name].metadata["check"], "keywords", {}).get("choices", ())
    return [choice for choice in found if ":" not in choice]


def _resolve(rng, call):
    """Any value for any setting."""
    names = rng.choice(list(FIELDS), int(rng.integers(1, 5)), replace=False)
    values = {str(name): _any_value(rng, name) for name in names}
    data = (IMAGES, ROWS)[rng.integers(2)]
    base = presets.config_of(str(rng.choice(list(presets.PRESETS)))).with_values({"clustering.n_clusters": 4})
    found = call(lambda: resolve(base.with_values(values), data))
    assert isinstance(found, Config | str), f"{values}: {found!r}"


def _any_value(rng, name):
    choices = choices_of(name)
    if choices and rng.random() < 0.5:
        return str(rng.choice(choices))
    return ODD[rng.integers(len(ODD))]


def _parse(rng, call):
    """Any words for --set."""
    names = [*FIELDS, *(name.rpartition(".")[2] for name in FIELDS), "objective.x", "", "lr", "clustering"]
    words = [f"{names[rng.integers(len(names))]}={WORDS[rng.integers(len(WORDS))]}" for _ in range(rng.integers(1, 4))]
    call(lambda: Config().with_values(parse(words)))


def _train(rng, call):
    """Sensible values for many settings: refused at once, or 20 steps without a NaN."""
    values = {"clustering.n_clusters": 4, "network.hidden": (8,), "network.bottleneck": 3, "batch_size": 16}
    values = {"pretraining.batch_size": 16, "clustering.batch_size": 16, **values}
    del values["batch_size"]
    for name in rng.choice(list(FIELDS), int(rng.integers(1, 8)), replace=False):
        if name not in LEFT_ALONE:
            values[str(name)] = _sensible_value(rng, str(name))
    steps = {"pretraining.layer_wise_steps": 20, "pretraining.fine_tuning_steps": 20, "clustering.max_steps": 20}
    values |= {name: n if rng.random() < 0.8 else 0 for name, n in steps.items()}
    values["start.kmeans_restarts"] = 2
    data = (IMAGES, ROWS)[rng.integers(2)]
    preset = str(rng.choice(["fast", "demo", "auto", "plain", "augmented", "paper"]))
    config = call(lambda: resolve(presets.config_of(preset).with_values(values), data))
    if isinstance(config, str):
        return
    found = fitting.fit_model(config, data)
    assert np.isfinite(found.outcome.z).all(), f"{preset} {values}"
    losses = [row["loss"] for row in found.outcome.history]
    assert np.isfinite(losses).all(), f"{preset} {values}: {losses}"


def _sensible_value(rng, name):
    choices, default = choices_of(name), FIELDS[name].default
    short = name.rpartition(".")[2]
    if name == "data.scaling":
        return str(rng.choice(["auto", *RULES]))
    if choices:
        return str(rng.choice(choices))
    if short in RATES:
        return float(rng.choice(RATES[short]))
    if isinstance(default, bool):
        return bool(rng.integers(2))
    if isinstance(default, float):
        return float(rng.choice([0.0, 0.1, 0.5, default]))
    if isinstance(default, tuple):
        return ((), (8,), (8, 5))[rng.integers(3)] if name == "network.hidden" else default
    return default if default is None else int(rng.choice([1, 2, 5, 16]))


FUNCTIONS = {"resolve": _resolve, "parse": _parse}
TRAINING = {"train": _train}
