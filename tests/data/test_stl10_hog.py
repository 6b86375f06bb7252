import importlib.util
import json
import sys

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import DatasetBuilder

from dec_jax import pretraining, to_device
from dec_jax.data import apply_scaling, default_rule, fit_scaling, load, load_unlabelled, prepared, stl10_hog
from dec_jax.data.stl10_hog import hog_features
from dec_jax.runner import report, run

from .conftest import FEATURES, serialize

pytestmark = pytest.mark.slow

SIZES = {"train": 5, "test": 8, "unlabelled": 3}
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
N_HOG = 1300
RNG = np.random.default_rng(0)


def write_stl10(data_dir, seed=0):
    """Writes a small STL-10 as TFDS prepares it, and returns its (pictures, y) for each split."""
    folder = data_dir / "stl10" / "1.0.0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    splits, content = [], {}
    for split, size in SIZES.items():
        pictures = rng.integers(0, 256, (size, 96, 96, 3), np.uint8)
        y = np.full(size, -1) if split == "unlabelled" else rng.integers(0, 10, size)
        writer = ArrayRecordWriter(str(folder / f"stl10-{split}.array_record-00000-of-00001"), "group_size:1")
        for picture, label in zip(pictures, y, strict=True):
            writer.write(serialize(picture, label))
        writer.close()
        content[split] = pictures, y
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"name": split, "filepathTemplate": template, "numBytes": "1", "shardLengths": [str(size)]})
    info = {"name": "stl10", "version": "1.0.0", "fileFormat": "array_record", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    features = {
        "image": {
            "image": {"dtype": "uint8", "shape": {"dimensions": ["96", "96", "3"]}},
            "pythonClassName": f"{FEATURES}.image_feature.Image",
        },
        "label": {
            "classLabel": {"numClasses": "10"},
            "pythonClassName": f"{FEATURES}.class_label_feature.ClassLabel",
        },
    }
    kind = f"{FEATURES}.features_dict.FeaturesDict"
    document = {"featuresDict": {"features": features}, "pythonClassName": kind}
    (folder / "features.json").write_text(json.dumps(document))
    (folder / "label.labels.txt").write_text("\n".join(CLASSES))
    return content


def expected(content, *splits):
    pictures = np.concatenate([content[split][0] for split in splits])
    return np.stack([hog_features(picture) for picture in pictures]).astype(np.float16).astype(np.float32)


def never(*_):
    raise AssertionError("computed again")


def slow_hog(picture):
    """The definition, a pixel and a cell at a time."""
    values = picture.astype(float)
    cells = np.zeros((12, 12, 9))
    for row in range(96):
        for column in range(96):
            gradients = [(0.0, 0.0)] * 3
            for channel in range(3):
                plane = values[:, :, channel]
                down = plane[row + 1, column] - plane[row - 1, column] if 0 < row < 95 else 0.0
                right = plane[row, column + 1] - plane[row, column - 1] if 0 < column < 95 else 0.0
                gradients[channel] = down, right
            down, right = max(gradients, key=lambda gradient: np.hypot(*gradient))
            angle = np.rad2deg(np.arctan2(down, right)) % 180
            cells[row // 8, column // 8, min(int(angle // 20), 8)] += np.hypot(down, right)
    features = np.zeros((10, 10, 13))
    for row in range(1, 11):
        for column in range(1, 11):
            blocks = [(top, left) for top in (row - 1, row) for left in (column - 1, column)]
            for corner, (top, left) in enumerate(blocks):
                energy = np.sqrt(np.sum(cells[top : top + 2, left : left + 2] ** 2))
                share = np.minimum(cells[row, column] / energy, 0.2)
                features[row - 1, column - 1, :9] += 0.5 * share
                features[row - 1, column - 1, 9 + corner] = 0.2357 * share.sum()
    return features.ravel()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_constant_picture_has_no_gradients(colour):
    features = hog_features(np.full((96, 96, 3), colour, np.uint8))
    assert features.shape == (1428,)
    np.testing.assert_allclose(features[:N_HOG], (0 - 0.2) * 10)


def test_grey_picture_has_no_chroma():
    grey = np.repeat(RNG.integers(0, 256, (96, 96, 1), np.uint8), 3, axis=2)
    np.testing.assert_allclose(hog_features(grey)[N_HOG:], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("colour", "chroma"),
    [((255, 0, 0), (127.5, -43.0)), ((0, 0, 255), (-20.7, 127.5)), ((0, 255, 0), (-106.7, -84.4))],
)
def test_chroma_of_pure_colours(colour, chroma):
    chromas = hog_features(np.full((96, 96, 3), colour, np.uint8))[N_HOG:].reshape(8, 8, 2)
    np.testing.assert_allclose(chromas, np.broadcast_to(np.array(chroma) / 10, (8, 8, 2)), atol=0.01)


def test_each_place_of_the_map_shows_its_middle():
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[29:31, 65:67] = (255, 0, 0)  # the middle of rows 24–35 and columns 60–71
    picture[0, 0] = (255, 0, 0)
    chroma = hog_features(picture)[N_HOG:].reshape(8, 8, 2)
    assert np.argwhere(chroma.any(axis=-1)).tolist() == [[2, 5]]
    assert round(chroma[2, 5, 0], 2) == 12.75


@pytest.mark.parametrize(("axis", "orientation"), [(1, 0), (0, 4)])
def test_ramp_has_one_orientation(axis, orientation):
    ramp = np.broadcast_to(2 * np.arange(96, dtype=np.uint8), (96, 96))
    picture = np.repeat((ramp if axis else ramp.T)[..., None], 3, axis=2)
    cells = hog_features(picture)[:N_HOG].reshape(100, 13) / 10 + 0.2
    wanted = np.zeros(13)
    wanted[orientation] = 4 * 0.2 / 2  # each of four shares is half of its block's energy, more than may be
    wanted[9:] = 0.2 / np.sqrt(18)
    np.testing.assert_allclose(cells, np.broadcast_to(wanted, (100, 13)), atol=1e-9)


def test_features_follow_their_definition():
    picture = RNG.integers(0, 256, (96, 96, 3), np.uint8)
    picture[20:60, 30:50] //= 8
    np.testing.assert_allclose(hog_features(picture)[:N_HOG] / 10 + 0.2, slow_hog(picture), atol=1e-4)


def test_picture_of_another_shape():
    with pytest.raises(ValueError, match=r"picture must have the shape \(96, 96, 3\), got \(96, 96\)"):
        hog_features(np.zeros((96, 96), np.uint8))


def test_labelled_samples_are_loaded_scaled_and_put_on_the_device(tmp_path):
    content = write_stl10(tmp_path)
    dataset = load("stl10-hog", data_dir=tmp_path)
    assert dataset.name == "stl10-hog"
    assert (dataset.x.shape, dataset.x.dtype) == ((13, 1428), np.float32)
    np.testing.assert_array_equal(dataset.x, expected(content, "train", "test"))
    np.testing.assert_array_equal(dataset.y, np.concatenate([content["train"][1], content["test"][1]]))
    assert dataset.class_names == CLASSES
    assert dataset.image_shape is None
    assert default_rule(dataset).rule == "none"
    x = to_device(apply_scaling(fit_scaling(default_rule(dataset).rule, dataset.x), dataset.x))
    np.testing.assert_array_equal(x, dataset.x)


def test_unlabelled_samples_are_read_when_they_are_asked_for(tmp_path, capsys):
    content = write_stl10(tmp_path)
    load("stl10-hog", data_dir=tmp_path)
    assert "unlabelled" not in capsys.readouterr().err
    x = load_unlabelled("stl10-hog", tmp_path)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, expected(content, "unlabelled"))


def test_only_named_data_sets_have_unlabelled_samples():
    with pytest.raises(ValueError, match=r"unknown data set with unlabelled samples 'mnist'.*accepted: stl10-hog"):
        load_unlabelled("mnist")


def test_features_are_computed_once_and_kept_in_float16(tmp_path, cache, monkeypatch):
    content = write_stl10(tmp_path)
    first = load("stl10-hog", data_dir=tmp_path)
    assert sorted(path.name.rpartition("-")[0] for path in cache.iterdir()) == [
        "stl10-1.0.0-test-hog",
        "stl10-1.0.0-train-hog",
    ]
    for path in cache.iterdir():
        with np.load(path) as arrays:
            assert arrays["x"].dtype == np.float16
    monkeypatch.setattr(prepared, "_decode", never)
    second = load("stl10-hog", data_dir=tmp_path)
    np.testing.assert_array_equal(second.x, first.x, strict=True)
    np.testing.assert_array_equal(second.x, expected(content, "train", "test"))


def test_damaged_cache_is_computed_again(tmp_path, cache):
    content = write_stl10(tmp_path)
    load("stl10-hog", data_dir=tmp_path)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged or stale"):
        dataset = load("stl10-hog", data_dir=tmp_path)
    np.testing.assert_array_equal(dataset.x, expected(content, "train", "test"))


def test_pixels_and_features_do_not_share_a_cache_file(tmp_path):
    content = write_stl10(tmp_path)
    load("stl10-hog", data_dir=tmp_path)
    pictures = prepared.load_pictures("stl10", ("test",), tmp_path)
    np.testing.assert_array_equal(pictures.x, content["test"][0].reshape(8, -1))


def test_pictures_are_read_as_a_stream(tmp_path, monkeypatch, capsys):
    content = write_stl10(tmp_path)
    monkeypatch.setattr(prepared, "BATCH", 2)
    np.testing.assert_array_equal(load("stl10-hog", data_dir=tmp_path).x, expected(content, "train", "test"))
    assert "stl10 test: decoding: 2 of 8\n" in capsys.readouterr().err


def test_scikit_image_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    monkeypatch.setattr(stl10_hog, "load_pictures", never)
    for read in (lambda: load("stl10-hog", data_dir=tmp_path), lambda: load_unlabelled("stl10-hog", tmp_path)):
        with pytest.raises(ImportError, match=r'stl10-hog needs scikit-image: pip install "dec_jax\[hog\]"'):
            read()


def test_data_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match="stl10 is not prepared") as raised:
        load("stl10-hog", data_dir=tmp_path)
    for word in (str(tmp_path), "TFDS_DATA_DIR", 'pip install "dec_jax[tensorflow]"'):
        assert word in str(raised.value)


def test_download_fails(tmp_path, monkeypatch):
    def download_and_prepare(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(DatasetBuilder, "download_and_prepare", download_and_prepare)
    with pytest.raises(OSError, match=r"stl10 could not be downloaded .*no route to host"):
        load("stl10-hog", data_dir=tmp_path)


def test_damaged_files(tmp_path):
    write_stl10(tmp_path)
    shard = tmp_path / "stl10" / "1.0.0" / "stl10-train.array_record-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:70_000])
    with pytest.raises(ValueError, match=r"stl10 in .* cannot be read.*array_record"):
        load("stl10-hog", data_dir=tmp_path)


@pytest.mark.parametrize(("unlabelled", "n"), [("true", 16), ("false", 13)])
def test_unlabelled_pictures_are_pretrained_on_and_not_clustered(tmp_path, monkeypatch, unlabelled, n):
    write_stl10(tmp_path)
    shapes = []
    pretrain = pretraining.run

    def watched(program, *arguments):
        shapes.append(program.x.shape)
        return pretrain(program, *arguments)

    monkeypatch.setattr(pretraining, "run", watched)
    monkeypatch.setattr(report, "_draw", lambda *_, **__: None)
    words = ["--data", "stl10-hog", "--data-dir", str(tmp_path), "--n-clusters", "2", "--out", str(tmp_path / "out")]
    sizes = ["hidden=4", "bottleneck=2", "fine_tuning_steps=5", "max_steps=5", "batch_size=8"]
    assert run.main([*words, "--set", f"unlabelled={unlabelled}", *sizes]) == 0
    assert set(shapes) == {(n, 1428)}
    with np.load(tmp_path / "out" / "assignments.npz") as file:
        assert file["q"].shape == (13, 2)


def test_data_without_unlabelled_samples(tmp_path, capsys):
    assert run.main(["--data", "digits", "--set", "unlabelled=true", "--out", str(tmp_path / "out")]) == 2
    assert "unknown data set with unlabelled samples 'digits'" in capsys.readouterr().err
