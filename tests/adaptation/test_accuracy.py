"""The claim of the command, on synthetic writers: MNIST's validation images, distorted in one way for each writer."""

import math

import pytest
import torch
import torch.nn.functional as F

from digitnet.adaptation import AdaptationDataModule
from digitnet.adaptation.adapt import load_for_adaptation, released_checkpoint_path
from digitnet.adaptation.module import fit, score
from digitnet.data.datamodule import split_indices
from digitnet.data.dataset import LabeledImages, load_mnist
from digitnet.model.framing import Framing
from tests.adaptation.conftest import save_corrections

WRITERS = [(25, 0.3, 1.0), (0, 0.8, 1.0)]  # rotation in degrees, shear, ratio of width to height
CORRECTIONS, OTHERS = 30, 1000


def distort(images, rotation, shear, aspect_ratio):
    """Return images, uint8 (N, 28, 28), as a writer with this habit would have written them."""
    angle = math.radians(rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[cos / aspect_ratio, shear - sin, 0], [sin, cos, 0]]) * 1.3  # smaller, to fit
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), [len(images), 1, 56, 56], align_corners=False)
    distorted = F.grid_sample(images[:, None].float(), grid, align_corners=False)
    framed, _ = Framing()(distorted.round().to(torch.uint8).permute(0, 2, 3, 1))
    return (framed * 255).round().to(torch.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_thirty_corrections_remove_a_seventh_of_the_errors_on_the_other_images(
    mnist_dir, tmp_path, monkeypatch, writer
):
    images, labels = load_mnist(str(mnist_dir), train=True)
    chosen = split_indices(len(images), val_fraction=0.1)[0][: CORRECTIONS + OTHERS]
    images, labels = distort(images[chosen], *writer), labels[chosen]
    save_corrections(tmp_path, images[:CORRECTIONS], labels[:CORRECTIONS].tolist())
    others = LabeledImages(images[CORRECTIONS:], labels[CORRECTIONS:])
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    torch.manual_seed(0)

    model, data = load_for_adaptation(released_checkpoint_path()), AdaptationDataModule(str(tmp_path), str(mnist_dir))
    before = score(model, others)
    fit(model, data, on_step=lambda: None)
    after = score(model, others)

    assert before.errors > 20
    assert after.errors <= before.errors * 6 / 7
    assert after.misclassified <= before.misclassified * 6 / 7
