"""Non-digits without strokes: noise, clouds, stripes, grids, checkers, gradients, and paper with specks or without."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from digitnet.data.altered import is_steep_line
from digitnet.model.framing import Framing

IMAGE_SIZES = (28, 40, 64, 96)  # pixels, one of which is sampled for each batch
BATCH_SIZE = 200
MAX_GRAY = 255

# A pair of numbers has the limits of a uniform distribution; lengths are fractions of the side of the image. Each
# pattern repeats often enough that no part of it is a digit: a single stripe would be a 1.
NOISE_STD = (0.01, 0.4)
CLOUD_CELLS = (9, 21)  # random numbers along each axis, between which clouds are interpolated
PERIOD = (0.06, 0.2)  # of stripes, grids and checkers, at least four pixels
MIN_PERIOD_PIXELS = 4
STRIPE_WIDTH, GRID_WIDTH = (0.15, 0.85), (0.15, 0.5)  # of the period
SHADING = (0.2, 1.0)  # darkness that a gradient adds
SPECKS = 12  # at most
SPECK_RADIUS = (0.01, 0.05)
PAPER_NOISE_STD = (0.0, 0.03)  # of all images
MAX_BAR_VARIANCE = 0.3  # across a steep bar, as a fraction of that along it
BRIGHTNESS, CONTRAST = (0.0, 0.3), (0.3, 1.0)


def draw_textures(count: int, seed: int) -> Tensor:
    """Draw textures, and frame what framing takes for ink.

    Args:
        count: Number of images.
        seed: Seed of the random numbers.

    Returns:
        Framed images, uint8 (count, 28, 28), none of them blank or a steep line, which would be a 1.
    """
    generator = torch.Generator().manual_seed(seed)
    framed = [torch.empty(0, 28, 28, dtype=torch.uint8)]
    while sum(map(len, framed)) < count:
        size = IMAGE_SIZES[int(torch.randint(len(IMAGE_SIZES), (), generator=generator))]
        textures = torch.cat([draw(BATCH_SIZE // len(KINDS), size, generator) for draw in KINDS])
        images = _develop(textures[torch.randperm(len(textures), generator=generator)], generator)
        ink, blank = Framing()(images)
        framed.append((ink[~blank & ~is_steep_line(ink, MAX_BAR_VARIANCE)] * MAX_GRAY).round().to(torch.uint8))
    return torch.cat(framed)[:count]


def _develop(textures: Tensor, generator: torch.Generator) -> Tensor:
    """Return gray images, uint8 (N, S, S, 1), of textures, float32 (N, S, S), with noise and random contrast."""
    brightness, contrast = (_uniform(len(textures), *limits, generator) for limits in (BRIGHTNESS, CONTRAST))
    noise = torch.randn(textures.shape, generator=generator) * _uniform(len(textures), *PAPER_NOISE_STD, generator)
    images = (brightness + textures.clamp(0, 1) * (1 - brightness) * contrast + noise).clamp(0, 1)
    images = torch.where(_uniform(len(images), 0, 1, generator) < 0.5, images, 1 - images)
    return (images * MAX_GRAY).round().to(torch.uint8)[..., None]


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return one uniform random number per image, (count, 1, 1)."""
    return torch.rand(count, 1, 1, generator=generator) * (high - low) + low


def _draw_noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return independent noise in each pixel, (count, S, S), as all other functions of `KINDS`."""
    return 0.5 + torch.randn(count, size, size, generator=generator) * _uniform(count, *NOISE_STD, generator)


def _draw_clouds(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return smooth noise, half of it with sharp edges."""
    cells = int(torch.randint(*CLOUD_CELLS, (), generator=generator))
    noise = torch.rand(count, 1, cells, cells, generator=generator)
    clouds = F.interpolate(noise, (size, size), mode="bicubic")[:, 0]
    return torch.where(_uniform(count, 0, 1, generator) < 0.5, clouds, (clouds > 0.5).float())


def _sample_axes(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return two perpendicular coordinates in periods, (count, S, S) each."""
    steps = torch.arange(size, dtype=torch.float32) / size
    angle = _uniform(count, 0, math.pi, generator)
    period = _uniform(count, *PERIOD, generator).clamp(min=MIN_PERIOD_PIXELS / size)
    phases = _uniform(count, 0, 1, generator), _uniform(count, 0, 1, generator)
    x, y = steps[None, None, :], steps[None, :, None]
    along = (x * angle.cos() + y * angle.sin()) / period + phases[0]
    across = (y * angle.cos() - x * angle.sin()) / period + phases[1]
    return along, across


def _draw_stripes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return stripes at any angle."""
    along, _ = _sample_axes(count, size, generator)
    return (along % 1 < _uniform(count, *STRIPE_WIDTH, generator)).float()


def _draw_grids(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return crossed stripes."""
    along, across = _sample_axes(count, size, generator)
    width = _uniform(count, *GRID_WIDTH, generator)
    return ((along % 1 < width) | (across % 1 < width)).float()


def _draw_checkers(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return checkers."""
    along, across = _sample_axes(count, size, generator)
    return ((along % 1 < 0.5) ^ (across % 1 < 0.5)).float()


def _draw_gradients(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return darkness that grows toward the corners, from a random center."""
    steps = torch.arange(size, dtype=torch.float32) / size
    x = steps[None, None, :] - _uniform(count, 0.2, 0.8, generator)
    y = steps[None, :, None] - _uniform(count, 0.2, 0.8, generator)
    return (x**2 + y**2) * 2 * _uniform(count, *SHADING, generator)


def _draw_specks(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return paper with up to twelve round specks, or without any."""
    steps = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    used = torch.arange(SPECKS)[:, None, None] < _uniform(count, 0, SPECKS, generator)[:, None]
    low, high = SPECK_RADIUS
    x, y, radius = torch.rand(3, count, SPECKS, 1, 1, generator=generator)
    radius = radius * (high - low) + low
    distance = ((steps[None, :] - x) ** 2 + (steps[:, None] - y) ** 2).sqrt()
    darkness: Tensor = ((radius - distance) * size + 0.5).clamp(0, 1) * used
    return darkness.amax(1)


KINDS = (
    _draw_noise, _draw_clouds, _draw_stripes, _draw_grids, _draw_checkers, _draw_gradients, _draw_specks,
)  # fmt: skip
