import itertools
import math
import sys

import numpy as np
import pytest
from PIL import Image

from dec_jax.runner import sweep_pictures
from dec_jax.runner.config import Config
from dec_jax.runner.sweep_pictures import draw
from dec_jax.runner.table import to_frame

pytestmark = pytest.mark.slow

K, M = "clustering.n_clusters", "network.bottleneck"
SIZES = {M: (2, 5, 10), K: (7, 8, 9, 10, 11), "seed": (0, 1)}
SCORES = ("acc", "nmi", "ari")
HEATMAPS = ["heatmap_acc.png", "heatmap_nmi.png", "heatmap_silhouette.png"]
OF_SIZES = ["n_clusters.png", "curves_network.bottleneck.png", "curves_clustering.n_clusters.png", "seconds.png"]


def sweep(axes, labels=True, failed=lambda settings: False):
    """The table of a sweep whose scores are best, and whose G falls, at nine clusters."""
    rows = []
    for trial, values in enumerate(itertools.product(*axes.values())):
        settings = Config().with_values({K: 9} | dict(zip(axes, values, strict=True)))
        row = settings.flat() | {"trial": trial, "id": f"{trial:016x}"}
        if failed(settings):
            rows.append(row | {"error": "the loss became NaN", "seconds": 1000.0})
            continue
        k, noise = settings.clustering.n_clusters, 0.01 * math.sin(trial)
        quality = 0.8 - 0.03 * abs(k - 9) - 0.02 * abs(math.log(settings.network.bottleneck / 10)) + noise
        row |= {"silhouette": quality / 2, "confidence": quality, "generalisability": 0.9 - 0.2 * (k > 9)}
        row |= dict.fromkeys(SCORES, quality) if labels else {}
        rows.append(row | {"seconds": 20.0 + k + 2 * settings.seed})
    return to_frame(rows)


def swept(axes):
    return tuple(name for name, values in axes.items() if len(values) > 1)


def drawn(monkeypatch, folder, axes, **kwargs):
    """The figures that are saved, by the names of their files."""
    figures = {}
    monkeypatch.setattr(sweep_pictures, "save", lambda figure, path: figures.update({path.name: figure}))
    draw(sweep(axes, **kwargs), swept(axes), folder)
    return figures


def texts(figure):
    """All that is written above the axes of a figure."""
    titles = [ax.get_title(loc=loc) for ax in figure.axes for loc in ("left", "right")]
    return "\n".join([figure.get_suptitle(), *titles])


def ticks(ax, axis="x"):
    return [label.get_text() for label in (ax.get_xticklabels() if axis == "x" else ax.get_yticklabels())]


@pytest.mark.parametrize(
    ("axes", "labels", "names"),
    [
        (SIZES, True, HEATMAPS + OF_SIZES),
        (SIZES, False, HEATMAPS[2:] + OF_SIZES),
        ({K: (8, 9, 10)}, True, ["n_clusters.png", "curves_clustering.n_clusters.png", "seconds.png"]),
        ({"clustering.alpha": (0.1, 1.0, 10.0), "seed": (0, 1)}, False, ["curves_clustering.alpha.png", "seconds.png"]),
        ({"network.hidden": ((), (8,), (16, 8)), "clustering.train_encoder": (True, False)}, True, None),
        ({"seed": (0, 1, 2)}, True, ["seconds.png"]),
        ({"seed": (0,)}, True, ["seconds.png"]),
    ],
)
def test_the_same_whole_files_of_the_same_table(tmp_path, axes, labels, names):
    names = names or ["curves_network.hidden.png", "curves_clustering.train_encoder.png", "seconds.png"]
    frame = sweep(axes, labels)
    contents = []
    for _ in range(2):
        paths = draw(frame, swept(axes), tmp_path)
        assert paths == [tmp_path / name for name in names]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert np.ptp(np.asarray(image)[..., :3]) > 100
            assert all(100 < side < 3000 for side in image.size)


def test_heatmap_has_the_means_in_its_cells(tmp_path, monkeypatch):
    axes = SIZES | {"clustering.alpha": (0.5, 1.0)}
    figure = drawn(monkeypatch, tmp_path, axes)["heatmap_acc.png"]
    ax = figure.axes[0]
    means = sweep(axes).groupby([M, K])["acc"].mean().to_numpy().reshape(3, 5)
    np.testing.assert_allclose(ax.images[0].get_array(), means)
    assert [text.get_text() for text in ax.texts] == [f"{value:.2f}" for value in means.ravel()]
    assert ticks(ax) == ["7", "8", "9", "10", "11"]
    assert ticks(ax, "y") == ["2", "5", "10"]
    assert ax.get_title(loc="left") == "ACC\nmean over seeds, degrees of freedom α"


def test_heatmap_of_many_cells_has_no_values_in_them(tmp_path, monkeypatch):
    axes = {M: (2, 3), K: tuple(range(2, 40))}
    ax = drawn(monkeypatch, tmp_path, axes)["heatmap_silhouette.png"].axes[0]
    assert not ax.texts
    assert len(ticks(ax)) <= 13
    assert ax.get_title(loc="left") == "silhouette"


def test_heatmap_leaves_cells_without_a_trial_empty(tmp_path, monkeypatch):
    def failed(settings):
        return settings.network.bottleneck == 5 and settings.clustering.n_clusters == 8

    ax = drawn(monkeypatch, tmp_path, SIZES, failed=failed)["heatmap_acc.png"].axes[0]
    assert len(ax.texts) == 14
    assert not np.isfinite(np.ma.filled(ax.images[0].get_array(), np.nan)[1, 1])


@pytest.mark.parametrize("labels", [True, False])
def test_number_of_clusters_is_suggested_by_each_criterion(tmp_path, monkeypatch, labels):
    figure = drawn(monkeypatch, tmp_path, SIZES, labels=labels)["n_clusters.png"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["NMI", "generalisability G", "silhouette"][not labels :]
    assert "generalisability suggests 9: before the sharpest drop" in texts(figure)
    assert "silhouette suggests 9: the highest" in texts(figure)
    assert "NMI suggests" not in texts(figure)
    for ax in figure.axes:
        lines = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in lines] == [9, 9]


def test_a_criterion_without_a_suggestion_is_drawn_alone(tmp_path, monkeypatch):
    figure = drawn(monkeypatch, tmp_path, {K: (7, 8, 9)})["n_clusters.png"]  # where G does not fall
    assert "generalisability suggests" not in texts(figure)
    assert "silhouette suggests 9" in texts(figure)


@pytest.mark.parametrize(
    ("setting", "values", "scale"),
    [
        ("clustering.alpha", (0.1, 1.0, 10.0), "log"),
        ("clustering.alpha", (1.0, 10.0), "linear"),
        ("clustering.update_interval", (10, 20, 40, 80, 160), "log"),
        ("pretraining.noise", (0.0, 0.1, 5.0), "linear"),
    ],
)
def test_curves_of_numbers(tmp_path, monkeypatch, setting, values, scale):
    axes = {setting: values, "seed": (0, 1, 2)}
    figure = drawn(monkeypatch, tmp_path, axes)[f"curves_{setting}.png"]
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "agreement with the classes",
        "silhouette",
        "confidence (mean max q)",
    ]
    assert "band: ± one standard deviation between seeds" in texts(figure)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["ACC", "NMI", "ARI"]
    for ax in figure.axes:
        assert ax.get_xscale() == scale
        assert ax.lines[0].get_xdata().tolist() == list(values)
        assert len(ax.collections) == len(ax.lines)  # a band for each line
    by_value = sweep(axes).groupby(setting)["confidence"]
    np.testing.assert_allclose(figure.axes[2].lines[0].get_ydata(), by_value.mean())
    heights = figure.axes[2].collections[0].get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx((by_value.mean() + by_value.std()).max())


def test_ticks_on_a_logarithmic_axis_stand_apart(tmp_path, monkeypatch):
    axes = {K: tuple(range(2, 60))}
    ax = drawn(monkeypatch, tmp_path, axes)["n_clusters.png"].axes[-1]
    assert ax.get_xscale() == "log"
    assert np.diff(np.log([int(text) for text in ticks(ax)])).min() >= math.log(59 / 2) / 12 - 1e-9


def test_an_open_value_has_no_place_on_an_axis_of_numbers(tmp_path, monkeypatch):
    figure = drawn(monkeypatch, tmp_path, {"clustering.update_interval": (None, 10, 20)})[
        "curves_clustering.update_interval.png"
    ]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [10, 20]


def test_settings_that_are_no_numbers_have_names_and_bars(tmp_path, monkeypatch):
    figures = drawn(
        monkeypatch, tmp_path, {"network.hidden": ((16, 8), (), (8,)), "clustering.train_encoder": (True, False)}
    )
    assert ticks(figures["curves_network.hidden.png"].axes[0]) == ["16,8", "none", "8"]
    assert ticks(figures["curves_clustering.train_encoder.png"].axes[0]) == ["true", "false"]
    assert len(figures["curves_network.hidden.png"].axes[0].containers) == 3


def test_without_labels_there_is_no_agreement(tmp_path, monkeypatch):
    figure = drawn(monkeypatch, tmp_path, {"clustering.alpha": (1.0, 2.0)}, labels=False)["curves_clustering.alpha.png"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["silhouette", "confidence (mean max q)"]
    assert "band" not in texts(figure)


def test_seconds_by_the_sizes_that_were_swept(tmp_path, monkeypatch):
    figure = drawn(monkeypatch, tmp_path, SIZES, failed=lambda settings: settings.seed == 1)["seconds.png"]
    assert [ticks(ax) for ax in figure.axes] == [["7", "8", "9", "10", "11"], ["2", "5", "10"]]
    assert texts(figure).startswith("Seconds of 15 trials")
    points = np.concatenate([group.get_offsets() for group in figure.axes[0].collections])
    assert sorted(points[:, 1]) == sorted([20.0 + k for k in range(7, 12)] * 3)  # without those of failed trials


def test_a_value_of_which_every_trial_failed_is_left_out(tmp_path):
    frame = sweep(SIZES, failed=lambda settings: settings.clustering.n_clusters == 8)
    assert [path.name for path in draw(frame, swept(SIZES), tmp_path)] == HEATMAPS + OF_SIZES


def test_where_every_trial_failed_nothing_is_drawn(tmp_path):
    assert draw(sweep(SIZES, failed=lambda settings: True), swept(SIZES), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_table_without_a_swept_setting_is_refused(tmp_path):
    with pytest.raises(ValueError, match="frame must have the columns depth"):
        draw(sweep({"seed": (0, 1)}), ("seed", "depth"), tmp_path)


def test_a_failed_save_leaves_the_previous_file(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def disk_full(self, target, **kwargs):
        raise OSError("No space left on device")

    path = tmp_path / "seconds.png"
    path.write_bytes(b"previous")
    monkeypatch.setattr(Figure, "savefig", disk_full)
    with pytest.raises(OSError, match="No space left"):
        draw(sweep({"seed": (0, 1)}), ("seed",), tmp_path)
    assert path.read_bytes() == b"previous"


def test_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "dec_jax\[plots\]"'):
        draw(sweep(SIZES), swept(SIZES), tmp_path)
