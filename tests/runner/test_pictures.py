import sys
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from matplotlib import cbook
from matplotlib.figure import Figure
from PIL import Image

from dec_jax.metrics import matched_confusion
from dec_jax.runner import image_sheet, pictures
from dec_jax.runner.plane import lay_out

pytestmark = pytest.mark.slow

N, K = 60, 4
RANDOM = np.random.default_rng(0)
LABELS = np.arange(N) % K
Q = RANDOM.dirichlet(np.ones(K), N)


def embedding(n_dimensions):
    return RANDOM.normal(size=(N, n_dimensions)) + 5 * RANDOM.normal(size=(K, n_dimensions))[LABELS]


def samples(n_features):
    return RANDOM.random((N, n_features)) * (RANDOM.random((N, n_features)) < 0.3)


def history(*phases, **extra):
    return [{"phase": phase, "step": step, "loss": 1 / (1 + step), **extra} for phase in phases for step in (0, 10, 20)]


def check_picture(path):
    """Opens the picture, which fails where it is not a whole PNG, and checks that it is one to look at."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    assert np.ptp(pixels[..., :3]) > 100
    assert all(100 < side < 3000 for side in pixels.shape[:2])


def drawn(monkeypatch, draw, *args, **kwargs):
    """The figure that `draw` saves."""
    figures = []
    monkeypatch.setattr(pictures, "save", lambda figure, path: figures.append(figure))
    draw(*args, **kwargs)
    return figures[0]


PICTURES = {
    "curves": (pictures.loss_curves, (history("layer 1", "clustering"),), {}),
    "embedding": (pictures.embedding_2d, (lay_out(embedding(2), LABELS), LABELS), {"title": "Embedding"}),
    "samples": (pictures.top_samples, (samples(64), Q), {"image_shape": (8, 8)}),
    "reconstructions": (pictures.reconstructions, (samples(64), samples(64)), {"image_shape": (8, 8)}),
    "confusion": (pictures.confusion, (matched_confusion(LABELS, LABELS[::-1]),), {}),
}
every_picture = pytest.mark.parametrize(("draw", "args", "kwargs"), PICTURES.values(), ids=PICTURES)


@every_picture
def test_same_input_same_file(tmp_path, draw, args, kwargs):
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, *args, **kwargs)
        check_picture(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


@every_picture
def test_a_failed_save_leaves_the_previous_file(tmp_path, monkeypatch, draw, args, kwargs):
    path = tmp_path / "picture.png"
    path.write_bytes(b"previous")

    def disk_full(self, target, **kwargs):
        target.write_bytes(b"half a pict")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", disk_full)
    with pytest.raises(OSError, match="No space left"):
        draw(path, *args, **kwargs)
    assert path.read_bytes() == b"previous"
    assert list(tmp_path.iterdir()) == [path]


@every_picture
def test_without_matplotlib_says_what_to_install(tmp_path, monkeypatch, draw, args, kwargs):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "dec_jax\[plots\]"'):
        draw(tmp_path / "picture.png", *args, **kwargs)


@pytest.mark.parametrize(
    ("rows", "panels"),
    [
        (history("layer 1", "layer 2", "fine-tuning"), ["Pretraining loss"]),
        (history("clustering"), ["Clustering loss"]),
        (history("clustering", label_change=None, acc=None), ["Clustering loss"]),
        (history("clustering", label_change=float("nan")), ["Clustering loss"]),
        (history("clustering", label_change=0.0), ["Clustering loss", "Samples that changed their cluster"]),
        (
            history("fine-tuning") + history("clustering", label_change=0.1, acc=0.8, nmi=0.7, ari=-0.1),
            [
                "Pretraining loss",
                "Clustering loss",
                "Samples that changed their cluster",
                "Agreement with the classes during clustering",
            ],
        ),
        ([{"phase": "joint", "step": 0, "loss": -1.0, "acc": 0.5}], None),
    ],
)
def test_curves_have_a_panel_for_each_kind(tmp_path, monkeypatch, rows, panels):
    pictures.loss_curves(tmp_path / "curves.png", rows)
    check_picture(tmp_path / "curves.png")
    figure = drawn(monkeypatch, pictures.loss_curves, tmp_path, rows)
    panels = panels or ["Pretraining loss", "Agreement with the classes during joint"]
    assert [ax.get_title(loc="left") for ax in figure.axes] == panels


@pytest.mark.parametrize("rows", [[], history("clustering", loss=float("nan"))])
def test_curves_refuse_a_history_without_values(tmp_path, rows):
    with pytest.raises(ValueError, match="history must hold at least one finite loss"):
        pictures.loss_curves(tmp_path / "curves.png", rows)


@pytest.mark.parametrize("n_dimensions", [1, 2, 10])
@pytest.mark.parametrize("with_centroids", [False, True])
def test_embedding_of_any_dimension(tmp_path, n_dimensions, with_centroids):
    z = jnp.asarray(embedding(n_dimensions))
    centroids = z[:K] if with_centroids else None
    for name in ("a.png", "b.png"):
        plane = lay_out(z, LABELS, centroids=centroids)
        pictures.embedding_2d(tmp_path / name, plane, LABELS, title="Embedding")
    check_picture(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_embedding_draws_a_subsample_and_every_label(tmp_path, monkeypatch):
    z, labels = embedding(2), LABELS * 10 - 5
    plane = lay_out(z, labels)
    figure = drawn(monkeypatch, pictures.embedding_2d, tmp_path, plane, labels, title="E", max_samples=40)
    points = figure.axes[0].collections[0].get_offsets()
    assert len(points) == 40
    assert {tuple(point) for point in points} <= {tuple(point) for point in z}
    assert {text.get_text() for text in figure.axes[0].texts} == {"-5", "5", "15", "25"}


@pytest.mark.parametrize("z", [np.zeros((N, 5)), embedding(5)[:2], embedding(5)[:1]], ids=["collapsed", "two", "one"])
def test_embedding_without_neighbours(tmp_path, z):
    plane = lay_out(z, LABELS[: len(z)])
    pictures.embedding_2d(tmp_path / "embedding.png", plane, LABELS[: len(z)], title="Embedding")
    check_picture(tmp_path / "embedding.png")


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray, scipy.sparse.csr_array, scipy.sparse.coo_matrix])
@pytest.mark.parametrize(
    ("n_features", "image_shape"),
    [(24, (4, 6)), (24, (4, 6, 1)), (24, (2, 4, 3)), (24, None), (1, None), (400, None)],
)
def test_samples_of_every_kind(tmp_path, make, n_features, image_shape):
    x, x_hat = samples(n_features), samples(n_features) - 0.1
    pictures.top_samples(tmp_path / "top.png", make(x), Q, image_shape=image_shape)
    pictures.reconstructions(tmp_path / "both.png", make(x), jnp.asarray(x_hat), image_shape=image_shape)
    check_picture(tmp_path / "top.png")
    check_picture(tmp_path / "both.png")


def test_top_samples_are_those_of_the_highest_q(tmp_path, monkeypatch):
    x = np.arange(5.0)[:, None] * np.ones(4)
    q = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5], [0.9, 0.1]])
    seen = []
    monkeypatch.setattr(pictures, "_draw_top_profiles", lambda samples, title: seen.append(samples) or Figure())
    pictures.top_samples(tmp_path / "top.png", x, q, image_shape=None, n_top=2)
    assert seen[0][..., 0].tolist() == [[4, 1], [0, 2]]


def test_top_samples_say_when_clusters_are_left_out(tmp_path, monkeypatch):
    q = RANDOM.dirichlet(np.ones(25), N)
    figure = drawn(monkeypatch, pictures.top_samples, tmp_path, samples(4), q, image_shape=(2, 2))
    assert "the first 20 of 25 clusters" in figure.axes[0].get_title(loc="left")


def test_heat_map_holds_what_varies(tmp_path, monkeypatch):
    x = np.zeros((N, 300))
    x[:, 100:150] = samples(50) + np.eye(K)[LABELS][:, np.arange(50) % K]
    figure = drawn(monkeypatch, pictures.top_samples, tmp_path, x, np.eye(K)[LABELS], image_shape=None, n_top=5)
    features = [int(text.get_text()) for text in figure.axes[0].get_xticklabels()]
    assert sorted(features) == list(range(100, 150))
    assert [feature % K for feature in features] == sorted(feature % K for feature in features)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int16, np.uint8])
def test_images_of_any_type_are_drawn(dtype):
    largest = 1 if dtype is bool else np.iinfo(dtype).max
    samples = np.array([[[0, largest], [largest, 0]]], dtype)
    _, ax = image_sheet.draw_sheet(image_sheet.as_images(samples, (1, 2)), 0, largest)
    sheet = np.asarray(ax.images[0].get_array())
    np.testing.assert_array_equal(sheet[sheet < 1], 0)
    assert (sheet < 1).sum() == 2  # as ink on paper


def test_sheet_places_every_image():
    images = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6) / 144.0
    _, ax = image_sheet.draw_sheet(images, 0.0, 1.0)
    sheet = np.asarray(ax.images[0].get_array())
    height, width = image_sheet.cell_size(images)
    assert sheet.shape == (2 * height, 3 * width)
    np.testing.assert_allclose(np.sort(sheet[sheet < 1]), np.sort(1 - images[images > 0]))
    np.testing.assert_allclose(sheet[height : height + 4, width : width + 6], 1 - images[1, 1])


@pytest.mark.parametrize("image_shape", [(3, 3), (8,), (2, 2, 2), (1, 2, 4)])
@pytest.mark.parametrize("draw", [pictures.top_samples, pictures.reconstructions])
def test_image_shape_must_fit(tmp_path, draw, image_shape):
    second = Q if draw is pictures.top_samples else samples(8)
    with pytest.raises(ValueError, match="image_shape must be"):
        draw(tmp_path / "picture.png", samples(8), second, image_shape=image_shape)


def test_shapes_must_agree(tmp_path):
    with pytest.raises(ValueError, match="q must hold one row per sample"):
        pictures.top_samples(tmp_path / "top.png", samples(4), Q[1:], image_shape=None)
    with pytest.raises(ValueError, match=r"x_hat must have the shape of x, \(60, 4\), got \(60, 3\)"):
        pictures.reconstructions(tmp_path / "both.png", samples(4), samples(3), image_shape=None)


@pytest.mark.parametrize(("n_classes", "n_clusters"), [(4, 4), (3, 7), (7, 3), (1, 1), (4, 30)])
def test_confusion_of_every_shape(tmp_path, n_classes, n_clusters):
    matrix = matched_confusion(np.arange(420) % n_classes, np.arange(420) // 7 % n_clusters)
    pictures.confusion(tmp_path / "confusion.png", matrix)
    check_picture(tmp_path / "confusion.png")


@pytest.mark.parametrize("class_names", [["zero", "one", "two", "three"], {0: "zero", 1: "one", 3: "three"}])
def test_confusion_writes_names_and_counts(tmp_path, monkeypatch, class_names):
    matrix = matched_confusion([0, 0, 0, 1, 1, 3, 3], [8, 8, 5, 5, 5, 2, 2])
    figure = drawn(monkeypatch, pictures.confusion, tmp_path, matrix, class_names)
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["zero", "one", "three"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["8", "5", "2"]
    assert [text.get_text() for text in ax.texts] == ["2", "1", "2", "2"]
    assert "85.7 %" in ax.get_title(loc="left")


def test_names_are_drawn_as_they_are(tmp_path, monkeypatch):
    names = ["$5", "$x_", "a$b$^{", "中文"]
    matrix = matched_confusion(LABELS, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.confusion(tmp_path / "confusion.png", matrix, names)
        plane = lay_out(embedding(2), LABELS)
        pictures.embedding_2d(tmp_path / "embedding.png", plane, LABELS, title="x$_$ and y$^$.npy")
    check_picture(tmp_path / "confusion.png")
    check_picture(tmp_path / "embedding.png")
    ax = drawn(monkeypatch, pictures.confusion, tmp_path, matrix, names).axes[0]
    assert [text.get_text().replace(r"\$", "$") for text in ax.get_yticklabels()] == names
    assert not any(cbook.is_math_text(text.get_text()) for text in ax.get_yticklabels())
