import numpy as np
import pytest

from dec_jax.data import TableOptions, load
from dec_jax.data.blocks import read_blocks

Image = pytest.importorskip("PIL.Image")
GREY = np.random.default_rng(0).integers(0, 256, (6, 4, 12), np.uint8)
COLOURED = np.random.default_rng(1).integers(0, 256, (6, 4, 12, 3), np.uint8)


def write(folder, images, suffix=".png", **options):
    for i, image in enumerate(images):
        path = folder / ("cats" if i % 2 else "dogs") / f"{i}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, **options)
    return folder


def test_an_image_in_no_subfolder_has_no_class(tmp_path):
    write(tmp_path, GREY)
    Image.fromarray(GREY[0]).save(tmp_path / "stray.png")
    dataset = load(tmp_path, options=TableOptions(label_column="folder"))
    assert (dataset.y.tolist(), dataset.class_names) == ([0, 0, 0, 1, 1, 1, -1], ("cats", "dogs"))


def test_pages_of_one_file_are_not_dropped(tmp_path):
    pages = [Image.fromarray(page) for page in GREY[:3]]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match="must hold one image, got 3 frames"):
        load(tmp_path)


@pytest.mark.parametrize("images", [GREY, COLOURED], ids=["grey", "coloured"])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".TIFF"])
def test_a_folder_is_a_stack_of_images(tmp_path, images, suffix):
    dataset = load(write(tmp_path / "pets", images, suffix))
    order = [1, 3, 5, 0, 2, 4]  # by their names: cats, then dogs
    np.testing.assert_array_equal(dataset.x, images[order].reshape(6, -1))
    assert dataset.x.dtype == np.uint8
    assert dataset.image_shape == images.shape[1:]
    assert dataset.ids.tolist() == [f"{'cats' if i % 2 else 'dogs'}/{i}{suffix}" for i in order]
    assert dataset.y is None
    assert any("6 images of 4 × 12 pixels" in note for note in dataset.notes)


def test_subfolders_are_labels_where_they_are_asked_for(tmp_path):
    dataset = load(write(tmp_path / "pets", GREY), options=TableOptions(label_column="folder"))
    assert dataset.class_names == ("cats", "dogs")
    assert dataset.y.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="unknown column in label_column 'pets'.*accepted: folder"):
        load(tmp_path / "pets", options=TableOptions(label_column="pets"))


def test_one_coloured_image_makes_all_coloured(tmp_path):
    write(tmp_path, GREY)
    Image.fromarray(COLOURED[0]).save(tmp_path / "a.png")
    dataset = load(tmp_path)
    assert dataset.image_shape == (4, 12, 3)
    np.testing.assert_array_equal(dataset.x[0], COLOURED[0].ravel())
    np.testing.assert_array_equal(dataset.x[1].reshape(4, 12, 3), np.repeat(GREY[1][..., None], 3, axis=2))


def test_images_of_different_sizes_are_refused_in_one_line_that_names_two(tmp_path):
    write(tmp_path, GREY)
    Image.fromarray(GREY[0, :, :5]).save(tmp_path / "dogs" / "small.png")
    with pytest.raises(ValueError, match=r"must have one size, got 4 × 12 in cats.1\.png and 4 × 5 in dogs.small\.png"):
        load(tmp_path)


def test_other_files_are_left_out_and_bad_ones_named(tmp_path):
    write(tmp_path, GREY)
    (tmp_path / "readme.txt").write_text("cats and dogs")
    (tmp_path / ".hidden.png").write_bytes(b"")
    assert any("1 files that are not images are left out" in note for note in load(tmp_path).notes)
    (tmp_path / "cats" / "bad.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"bad\.png is damaged, or not an image"):
        load(tmp_path)


def test_deep_images_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold images \(\.png"):
        load(tmp_path)
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(4, 12)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png must have 8 bits a channel"):
        load(tmp_path)


def test_photographs_are_turned_as_they_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    write(tmp_path, COLOURED[:2], exif=exif)
    dataset = load(tmp_path)
    assert dataset.image_shape == (12, 4, 3)
    np.testing.assert_array_equal(dataset.x[0].reshape(12, 4, 3), np.rot90(COLOURED[1], -1))


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    write(tmp_path, GREY)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r'needs Pillow: pip install "dec_jax\[images\]"'):
        load(tmp_path)


def test_blocks_of_a_folder_keep_the_names(tmp_path):
    parts = list(read_blocks(write(tmp_path, GREY), 4).parts)
    assert [part.x.shape for part in parts] == [(4, 4, 12), (2, 4, 12)]
    assert [name for part in parts for name in part.ids] == load(tmp_path).ids.tolist()
