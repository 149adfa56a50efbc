"""Test-time augmentation: several slightly different views of each image, over which the logits are averaged."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from digitnet.contract import IMAGE_SIZE


class View(NamedTuple):
    """A scaled and translated copy of a framed image.

    Attributes:
        scale: Factor of the size, around the center of the image.
        down: Translation in framed pixels.
        right: Translation in framed pixels.
    """

    scale: float
    down: float
    right: float


# Chosen by the loss on MNIST's validation images and on synthetic digits.
VIEWS = (View(1.0, 0.5, -0.5), View(1.0, -0.5, 0.5))


class Views(nn.Module):
    """Make views of framed images, and average what a network computes from them.

    Along each axis, a view is a product with a constant matrix, which every ONNX runtime computes.

    Args:
        views: The views, at least one.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, views: tuple[View, ...] = VIEWS) -> None:
        super().__init__()
        rows = torch.stack([resampling_matrix(view.scale, view.down) for view in views])
        columns = torch.stack([resampling_matrix(view.scale, view.right) for view in views])
        # Constants are not part of a checkpoint.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.mT.contiguous(), persistent=False)

    def forward(self, ink: Tensor) -> Tensor:
        """Return the views of each image.

        Args:
            ink: Stroke intensity, float (N, 1, 28, 28) in [0, 1]; 0 is blank.

        Returns:
            Ink of the V views of each image in turn, (N * V, 1, 28, 28).
        """
        views = self.rows.to(ink.dtype) @ ink @ self.columns.to(ink.dtype)  # (N, V, 28, 28)
        return views.reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE)

    def average(self, logits: Tensor) -> Tensor:
        """Return the mean over the views of each image.

        Args:
            logits: Float (N * V, 10).

        Returns:
            Float (N, 10).
        """
        return logits.reshape(-1, len(self.rows), logits.shape[1]).mean(1)


def resampling_matrix(scale: float, translation: float) -> Tensor:
    """Return the matrix that scales and translates along one axis, with linear interpolation.

    Args:
        scale: Factor of the size, around the center.
        translation: Number of pixels by which the content moves to larger indices.

    Returns:
        Float32 (28, 28): the weights of the old pixels in each new one. Outside of the image, the pixels are 0.
    """
    center = (IMAGE_SIZE - 1) / 2
    index = torch.arange(IMAGE_SIZE, dtype=torch.float32)
    source = (index - center - translation) / scale + center  # where each new pixel is in the old image
    return (1 - (source[:, None] - index).abs()).clamp(min=0)
