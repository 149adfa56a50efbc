"""Distortions that keep a digit what it is, for a whole batch at once, on whatever device it lies."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# How far the distortions go, chosen on the validation images. All but the last are even, from minus to plus this.
TURN = 10  # degrees
SCALE = 0.10  # natural log of the factor: 0.90 to 1.11
STRETCH = 0.05  # natural log of width against height
SLANT = 0.10  # sideways shift per height
SHIFT = 1.5  # pixels
CELLS = 5  # across and down: places that are pushed apart, with all between them following smoothly
BEND = 0.6  # pixels: standard deviation of the push, across and down


def augment(ink: Tensor) -> Tensor:
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
    push = torch.randn(count, 2, CELLS**2, device=ink.device) * (BEND * 2 / width)
    ways = torch.cat([torch.stack([x, y], 1), push], 2)  # (N, 2, 3 + 25)
    grid = (ways @ _moved(height, width, ink.device)).view(count, 2, height, width).permute(0, 2, 3, 1)
    return F.grid_sample(ink, grid, align_corners=False)


@cache
def _moved(height: int, width: int, device: torch.device) -> Tensor:
    """How far pixels go for 1 of each of the `ways`, float (3 + 25, H * W): its x, its y, 1, and 25 soft bumps."""
    y, x = ((torch.arange(size, device=device) + 0.5) * 2 / size - 1 for size in (height, width))
    ways = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), torch.ones(height, width, device=device)])
    bumps = torch.eye(CELLS**2, device=device).view(-1, 1, CELLS, CELLS)
    bumps = F.interpolate(bumps, (height, width), mode="bicubic")
    return torch.cat([ways.flatten(1), bumps.flatten(1)])
