import numpy as np
import pytest
import torch
from PIL import Image

from digitnet.data.dataset import draw_synthetic, load_directories
from digitnet.errors import ConfigError, DatasetError
from digitnet.model.framing import Framing
from tests.images import draw_digit


def quantize(ink):
    """Return ink in [0, 1] as uint8, rounded to the nearest level."""
    return np.floor(np.asarray(ink, np.float64) * 255 + 0.5).astype(np.uint8)


def save(directory, label, name, image):
    (directory / label).mkdir(exist_ok=True)
    image.save(directory / label / name)


def test_images_of_a_directory_are_framed_and_rounded_in_the_order_of_their_labels(tmp_path):
    save(tmp_path, "7", "a.png", draw_digit(7, 90))
    save(tmp_path, "1", "b.png", draw_digit(1, 133))
    (tmp_path / "1" / "notes.txt").write_text("no image")
    images, labels = load_directories(tmp_path)
    assert (labels.dtype, labels.tolist()) == (torch.int64, [1, 7])
    for image, original in zip(images, (draw_digit(1, 133), draw_digit(7, 90)), strict=True):
        ink, _ = Framing()(torch.tensor(np.asarray(original))[None])
        assert np.array_equal(image, quantize(ink[0]))


def test_a_directory_without_images_in_directories_of_labels_is_an_error(tmp_path):
    draw_digit(1).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="no images in directories named 0 to 9"):
        load_directories(tmp_path)


def test_a_blank_image_is_an_error_with_its_name(tmp_path):
    save(tmp_path, "3", "a.png", Image.new("L", (50, 50), 255))
    with pytest.raises(DatasetError, match=r"3/a\.png is blank\. Remove it from"):
        load_directories(tmp_path)


def test_a_file_that_is_not_an_image_is_an_error_with_its_name(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "bad.png").write_text("no image")
    with pytest.raises(DatasetError, match=r"bad\.png: not an image"):
        load_directories(tmp_path)


def test_a_link_to_a_missing_file_is_an_error_with_its_name(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "link.png").symlink_to(tmp_path / "missing.png")
    with pytest.raises(DatasetError, match=r"link\.png.*Remove it from"):
        load_directories(tmp_path)


def test_synthetic_images_are_the_same_in_every_run():
    torch.manual_seed(1)
    images, labels = draw_synthetic(20, 5)
    torch.manual_seed(2)
    again, same_labels = draw_synthetic(20, 5)
    assert torch.equal(images, again)
    assert torch.equal(labels, same_labels)
    assert labels.add(1).bincount().tolist() == [5, *[2] * 10]


def test_synthetic_images_are_rounded_to_the_nearest_level(monkeypatch):
    ink = torch.linspace(0, 1, 28 * 28).reshape(1, 28, 28)
    monkeypatch.setattr(Framing, "forward", lambda self, images: (ink.expand(len(images), -1, -1), None))
    images, _ = draw_synthetic(2, 0)
    assert np.array_equal(images[0], quantize(ink[0]))
