"""Distortions that keep a digit what it is, for a whole batch at once, on whatever device it lies."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# How far the distortions go, chosen on the validation images: all but the last are drawn evenly from minus to plus this.
TURN = 10  # degrees
SCALE = 0.10  # natural log of the factor: 0.90 to 1.11
STRETCH = 0.05  # natural log of width against height
SLANT = 0.10  # sideways shift per height
SHIFT = 1.5  # pixels
BEND = 0.6  # pixels: standard deviation of the push, each way, that each of 5 x 5 places gets, smooth between them


def distort(ink: Tensor) -> Tensor:
    """Turns, scales, slants, shifts and bends each image in its own way.

    Takes and returns ink, float (N, 1, 28, 28) in [0, 1]. Draws from torch's generator of the device. Bending is after
    P. Simard et al., "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis" (2003).
    """
    count, _, height, width = ink.shape

    def uniform(limit: float) -> Tensor:
        return torch.empty(count, device=ink.device).uniform_(-limit, limit)

    angle, slant = uniform(math.radians(TURN)), uniform(SLANT)
    scale, stretch = uniform(SCALE).exp(), uniform(STRETCH).exp()
    # For every output pixel, where in the input it is taken from, in grid_sample's coordinates: [-1, 1] over the image.
    x = torch.stack([angle.cos() / scale * stretch, slant - angle.sin() / scale, uniform(SHIFT * 2 / width)], -1)
    y = torch.stack([angle.sin() / scale, angle.cos() / scale / stretch, uniform(SHIFT * 2 / height)], -1)
    grid = F.affine_grid(torch.stack([x, y], 1), list(ink.shape), align_corners=False)  # (N, 28, 28, 2)
    push = torch.randn(count, 2, 5, 5, device=ink.device) * (BEND * 2 / width)
    grid = grid + F.interpolate(push, (height, width), mode="bicubic").permute(0, 2, 3, 1)
    return F.grid_sample(ink, grid, align_corners=False)
