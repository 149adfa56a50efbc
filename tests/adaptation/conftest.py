import numpy as np
import pytest
import torch
from PIL import Image

from digitnet.adaptation import AdaptationDataModule
from digitnet.training.module import DigitNet


def save_corrections(directory, images, labels):
    """Save images, bright on dark, as dark drawings in the directories 0 to 9, as the sketchpad does."""
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = directory / str(label) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.asarray(image)).save(path)


def framed_images(count):
    """Return images, uint8 (count, 28, 28), that differ after framing: a bar across a line, at the row of its label."""
    images, labels = np.zeros((count, 28, 28), np.uint8), np.arange(count) % 10
    images[:, 4:24, 4:7] = 255
    for image, label in zip(images, labels, strict=True):
        image[4 + 2 * label : 6 + 2 * label, 4:24] = 255
    return images, labels


@pytest.fixture
def corrections(tmp_path):
    """Return a directory with twenty corrections."""
    save_corrections(tmp_path / "corrections", *framed_images(20))
    return tmp_path / "corrections"


@pytest.fixture
def data(corrections, tiny_mnist, monkeypatch):
    """Return a data module with few images and short epochs, whose seed is 0."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    return AdaptationDataModule(
        str(corrections), str(tiny_mnist.directory), batch_size=16, batches=4, synthetic_digits=30, non_digits=10
    )


@pytest.fixture
def checkpoint(tmp_path):
    """Return a checkpoint with random weights."""
    torch.manual_seed(0)
    model = DigitNet()
    path = tmp_path / "start" / "random.ckpt"
    path.parent.mkdir()
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return path
