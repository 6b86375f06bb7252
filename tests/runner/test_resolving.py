import sys

import numpy as np
import pytest
import scipy.sparse

from dec_jax.data import Dataset
from dec_jax.runner import presets
from dec_jax.runner.resolving import resolve

from .tiny_config import DATA, IMAGES, config, resolved


def test_what_depends_on_the_data_is_filled_in():
    found = resolved()
    expected = {"data__scaling": "standardize", "clustering__update_interval": 20, "clustering__n_clusters": 3}
    assert found == config(**expected)
    assert resolved(clustering__batch_size=301, pretraining__batch_size=301).clustering.batch_size == 300
    assert resolved(pretraining__batch_size=301).pretraining.batch_size == 300


def test_given_values_stay():
    given = config(
        clustering__n_clusters=300,
        pretraining__batch_size=7,
        clustering__batch_size=8,
        clustering__update_interval=9,
        data__scaling="unit",
    )
    assert resolve(given, DATA) == given
    assert resolve(resolved(), DATA) == resolved()


def test_the_steps_of_a_start_from_a_partition_are_two_epochs():
    assert resolved(start__kind="n2d").start.steps == 200
    assert resolved(start__kind="n2d", clustering__batch_size=2).start.steps == 300
    assert resolved(start__kind="n2d", clustering__max_steps=0).start.steps == 600  # nothing else is learnt
    assert resolved(start__kind="n2d", start__steps=0).start.steps == 0
    assert resolved().start.steps is None


def test_a_start_without_its_extra_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r'pip install "dec_jax\[n2d\]"'):
        resolved(start__kind="n2d")


@pytest.mark.parametrize(
    ("dataset", "rule"),
    [(Dataset("mnist", DATA.x), "pixels"), (Dataset("text.npz", scipy.sparse.csr_array(DATA.x)), "tfidf")],
)
def test_scaling_follows_the_data(dataset, rule):
    assert resolved(dataset).data.scaling == rule


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"clustering__n_clusters": None}, "n_clusters is missing.*--n-clusters K"),
        ({"clustering__n_clusters": 301}, r"n_clusters must be between 1 and 300 \(the number of samples\), got 301"),
        (
            {"clustering__n_clusters": 300, "start__kind": "n2d"},
            r"n_clusters must be between 2 and 299 \(with start.kind=n2d one less",
        ),
        ({"start__kind": "n2d", "start__steps": 10**7}, "start.steps must be between 0 and 8388607"),
        (
            {"clustering__max_steps": 10**7},
            r"clustering.max_steps must be between 0 and 8388607 \(2³¹ samples in batches of 256\)",
        ),
        (
            {"pretraining__layer_wise_steps": 0, "pretraining__fine_tuning_steps": 0},
            "layer_wise_steps and fine_tuning_steps must not both be 0",
        ),
        ({"pretraining__layer_wise_steps": 10**7}, "pretraining.layer_wise_steps must be"),
        ({"pretraining__fine_tuning_steps": 10**7}, "pretraining.fine_tuning_steps must be"),
        ({"data__unlabelled": True}, "unknown data set with unlabelled samples"),
        (
            {"pretraining__loss": "bce"},
            "pretraining.loss=bce needs samples between 0 and 1, and data.scaling=standardize makes them lie between -",
        ),
        (
            {"pretraining__loss": "bce", "data__scaling": "unit"},
            "pretraining.loss=bce needs network.reconstruction_activation=sigmoid, got linear",
        ),
        (
            {"pretraining__loss": "bce", "data__scaling": "unit", "network__reconstruction_activation": "sigmoid"},
            "needs network.activation=sigmoid in layer-wise pretraining, got relu",
        ),
        (
            {"pretraining__loss": "bce_logits", "data__scaling": "unit"},
            "needs pretraining.loss=bce in layer-wise pretraining, got bce_logits",
        ),
        ({"clustering__resets": 1, "clustering__train_encoder": False}, "resets=1 pull the encoder and need train_enc"),
        (
            {"clustering__resets": 1, "clustering__max_steps": 23},
            "max_steps must be more than 23, the step of the last of 1 resets, got 23",
        ),
        (
            {"clustering__objective": "idec", "clustering__train_encoder": False},
            "objective=idec reads the reconstruction and needs train_encoder=true",
        ),
        ({"clustering__objective": "imsat"}, "objective=imsat reads 'clean', which needs an augmentation"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values, problem):
    with pytest.raises(ValueError, match=problem):
        resolved(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"loss": "bce", "reconstruction_activation": "sigmoid", "activation": "sigmoid"},
        {"loss": "bce", "reconstruction_activation": "sigmoid", "layer_wise_steps": 0},
        {"loss": "bce_logits", "layer_wise_steps": 0},
        {"loss": "bce_logits", "hidden": ()},
    ],
)
def test_cross_entropy_is_accepted_where_it_fits(values):
    sections = {"loss": "pretraining", "layer_wise_steps": "pretraining"}
    named = {f"{sections.get(name, 'network')}__{name}": value for name, value in values.items()}
    assert resolved(data__scaling="unit", **named).pretraining.loss == values["loss"]


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        ({"network__kind": "convolutional"}, "network.kind=convolutional"),
        ({"augmentation__rotation": 10.0}, "augmentation.rotation"),
        ({"augmentation__flip": 0.5, "augmentation__crop": 0.5}, "augmentation.flip, augmentation.crop"),
    ],
)
def test_a_table_is_not_taken_for_images(values, needs):
    square = Dataset("mine.npy", np.random.default_rng(0).normal(size=(300, 64)))
    with pytest.raises(ValueError, match=rf"{needs} needs images, .*\(--image-shape H,W\[,C\]\)"):
        resolved(square, **values)
    assert resolved(IMAGES, **values)


@pytest.mark.parametrize(
    ("activation", "low", "high", "is_refused"),
    [
        ("sigmoid", 0, 1, False),
        ("sigmoid", 0, 1.1, True),
        ("sigmoid", -0.1, 1, True),
        ("tanh", -1, 1, False),
        ("tanh", -1, 2, True),
        ("relu", 0, 99, False),
        ("relu", -1, 99, True),
        ("linear", -99, 99, False),
    ],
)
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_a_reconstruction_that_does_not_reach_the_scaled_samples_is_refused(make, activation, low, high, is_refused):
    x = np.linspace(low, high, 300).reshape(100, 3)
    values = {"network__reconstruction_activation": activation, "data__scaling": "none", "clustering__n_clusters": 3}
    if not is_refused:
        resolve(config(**values), Dataset("x", make(x)))
        return
    with pytest.raises(
        ValueError, match=f"reconstruction_activation={activation} needs samples between .* -?[0-9.]+ and"
    ):
        resolve(config(**values), Dataset("x", make(x)))


def test_what_is_not_reconstructed_needs_no_activation_that_reaches_it():
    x = np.random.default_rng(0).normal(size=(60, 3))
    values = {"network.reconstruction_activation": "sigmoid", "clustering.n_clusters": 3}
    resolve(presets.config_of("auto").with_values(values), Dataset("x", x))
    resolve(presets.config_of("fast").with_values(values | {"data.scaling": "unit"}), Dataset("x", x))
    with pytest.raises(ValueError, match="needs samples between 0 and 1, and data.scaling=standardize"):
        resolve(presets.config_of("fast").with_values(values), Dataset("x", x))


@pytest.mark.parametrize("n", [2, 3, 5, 12])
@pytest.mark.parametrize("preset", ["auto", "fast", "demo"])
def test_a_few_samples_fit_every_preset_with_as_many_clusters(preset, n):
    x = np.random.default_rng(0).normal(size=(n, 3))
    found = resolve(presets.config_of(preset).with_values({"clustering.n_clusters": n}), Dataset("x", x))
    assert found.clustering.batch_size == n
    if preset == "auto":
        assert found.clustering.neighbors == min(5, n - 1)
