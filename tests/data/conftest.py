"""Folders of small prepared data sets, made here."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_generated_pb2

SIZES = {"train": 7, "test": 3}
IMAGE = {"dtype": "uint8", "shape": {"dimensions": ["28", "28", "1"]}}
FEATURES = "tensorflow_datasets.core.features"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder, so that no test sees the user's."""
    monkeypatch.setenv("DEC_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def to_png(picture):
    """A grey picture (height, width) as the bytes of a PNG file."""
    png = io.BytesIO()
    Image.fromarray(picture).save(png, "png")
    return png.getvalue()


def serialize(picture, label):
    """One record as TFDS writes it: a tf.train.Example of a PNG and a label."""
    example = tf_example_generated_pb2.Example()
    example.features.feature["image"].bytes_list.value.append(to_png(picture))
    example.features.feature["label"].int64_list.value.append(int(label))
    return example.SerializeToString()


def write_prepared(data_dir, name="mnist", seed=0, file_format="array_record"):
    """Writes a small data set as TFDS prepares it, and returns its (x, y) for each split."""
    folder = Path(data_dir) / name / "3.0.1"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    splits, content = [], {}
    for split, size in SIZES.items():
        x = rng.integers(0, 256, (size, 28, 28), np.uint8)
        y = rng.integers(0, 10, size)
        writer = ArrayRecordWriter(str(folder / f"{name}-{split}.array_record-00000-of-00001"), "group_size:1")
        for picture, label in zip(x, y, strict=True):
            writer.write(serialize(picture, label))
        writer.close()
        content[split] = x.reshape(size, -1), y
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"name": split, "filepathTemplate": template, "numBytes": "1", "shardLengths": [str(size)]})
    info = {"name": name, "version": "3.0.1", "fileFormat": file_format, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    features = {
        "image": {"image": IMAGE, "pythonClassName": f"{FEATURES}.image_feature.Image"},
        "label": {
            "classLabel": {"numClasses": "10"},
            "pythonClassName": f"{FEATURES}.class_label_feature.ClassLabel",
        },
    }
    kind = f"{FEATURES}.features_dict.FeaturesDict"
    document = {"featuresDict": {"features": features}, "pythonClassName": kind}
    (folder / "features.json").write_text(json.dumps(document))
    return content
