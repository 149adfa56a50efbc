"""Non-digits made from digits: mirrored, rotated by 90 degrees, several side by side, or one above another."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from digitnet.contract import IMAGE_SIZE
from digitnet.data.printed import load_printed_glyphs
from digitnet.errors import ConfigError
from digitnet.model.framing import Framing

KINDS = {"mirrored": 0.3, "rotated": 0.3, "side by side": 0.25, "above another": 0.15}  # the fraction of each kind
# A mirrored 0, 1 or 8 is the same digit. A mirrored 2 has a straight foot, which a 5 has not, and a mirrored 5 has a
# straight top, which a 2 has not. From top to bottom, a mirrored 3 is a 3, too, and a mirrored 2 or 5 may be a 5 or 2.
MIRRORED_LEFT_TO_RIGHT = (2, 3, 4, 5, 6, 7, 9)
MIRRORED_TOP_TO_BOTTOM = (4, 6, 7, 9)
# A rotated 0 or 8 may be a 0. Written digits are rotated if they are upright, a 6 or a 9 if it leans to the right, so
# that its tail is horizontal afterwards. A written 2 with a loop, a 4 and some 5s look like a digit even then.
ROTATED_UPRIGHT = (1, 3, 7)
ROTATED_LEANING = (6, 9)
ROTATED_IN_PRINT = (1, 2, 3, 4, 5, 6, 7, 9)
PRINTED = 1 / 3  # the fraction of rotated digits that are printed
LEAN = {"upright": (-0.15, 0.15), "leaning": (0.2, 0.5)}  # horizontal displacement per unit of height, by moments
MAX_WIDTH = 0.85  # of a 6 or a 9, relative to its height: a wide one may be a 0 with a short tail
# A 0, 1, 6, 8 or 9 above or below another digit may form an 8, a 6 or a 9.
STACKED = (2, 3, 4, 5, 7)

# A pair of numbers has the limits of a uniform distribution; lengths are fractions of the side of an image of a digit.
NUMBER_LENGTHS = (2, 2, 2, 3, 4)  # digits side by side, one of which is sampled for each batch
SCALE = (0.8, 1.1)
SHIFT = 0.08  # of a digit perpendicular to the row, in either direction
GAP = (-0.05, 0.3)  # between two digits; below 0, they touch
WIDE_GAP = (0.12, 0.35)  # next to a 1: otherwise "13" could be an 8
STACK_GAP = (0.2, 0.45)  # between two digits one above the other: a 7 just above a 3 could be a 3
BATCH_SIZE = 500

MAX_INK = 255
INK = 0.2  # above which a pixel belongs to a stroke
MAX_LINE_VARIANCE = 0.06
MIN_LINE_SINE = 0.5  # of the angle of a steep line to the horizontal: 30 degrees


def draw_altered(images: Tensor, labels: Tensor, count: int, seed: int) -> Tensor:
    """Make non-digits from random digits.

    Args:
        images: Framed digits, uint8 (N, 28, 28), 255 = ink.
        labels: Their labels, int64 (N,), 0 to 9.
        count: Number of non-digits.
        seed: Seed of the random numbers.

    Returns:
        Framed non-digits, uint8 (count, 28, 28), in random order. None of them is a steep line, which would be a 1.

    Raises:
        ConfigError: If a kind needs digits that do not occur.
    """
    if not count:
        return images[:0]
    generator = torch.Generator().manual_seed(seed)
    source = _Digits(images, labels, generator)
    makers = {"mirrored": _mirror, "rotated": _rotate, "side by side": _join, "above another": _stack}
    made = []
    for kind, fraction in KINDS.items():
        size, accepted = math.ceil(count * fraction), images[:0]
        while len(accepted) < size:
            ink, _ = Framing()((makers[kind](source, BATCH_SIZE) * MAX_INK).round().to(torch.uint8)[..., None])
            accepted = torch.cat([accepted, (ink[~is_steep_line(ink)] * MAX_INK).round().to(torch.uint8)])
        made.append(accepted[:size])
    every = torch.cat(made)
    return every[torch.randperm(len(every), generator=generator)[:count]]


def is_steep_line(ink: Tensor, max_variance: float = MAX_LINE_VARIANCE) -> Tensor:
    """Find images whose ink is close to one line that is steeper than 30 degrees.

    Args:
        ink: Float32 (N, 28, 28) in [0, 1].
        max_variance: Variance of the ink across the line below which it is close, as a fraction of that along it.

    Returns:
        Bool (N,).
    """
    xx, xy, yy = _second_moments(ink)
    values, axes = torch.linalg.eigh(torch.stack([torch.stack([xx, xy], 1), torch.stack([xy, yy], 1)], 2))
    narrow, long = values.unbind(1)  # the second axis is that of the largest variance
    found: Tensor = (narrow < max_variance * long) & (axes[:, 1, 1].abs() > MIN_LINE_SINE)
    return found


def _second_moments(ink: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the variance of x, the covariance of x and y, and the variance of y of the ink, each (N,)."""
    position = torch.arange(IMAGE_SIZE, dtype=torch.float32)
    rows, columns, mass = ink.sum(2), ink.sum(1), ink.sum((1, 2)).clamp(min=1e-6)
    y, x = rows @ position / mass, columns @ position / mass
    covariance = (ink @ position) @ position / mass - x * y
    return columns @ position**2 / mass - x**2, covariance, rows @ position**2 / mass - y**2


class _Digits:
    """Digits to sample from, and the generator of the random numbers."""

    def __init__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        self.images, self.generator = images, generator
        used = images > INK * MAX_INK
        height, width = used.any(2).sum(1), used.any(1).sum(1)
        wide = ((labels == 6) | (labels == 9)) & (width > MAX_WIDTH * height)
        self.labels = labels.masked_fill(wide, -1)
        _, xy, yy = _second_moments(images.float())
        self.lean = -xy / yy

    def sample(self, count: int, digits: tuple[int, ...], lean: str | None = None) -> tuple[Tensor, Tensor]:
        """Return random ink of some digits, float32 (N, 28, 28) in [0, 1], and their labels."""
        usable = torch.isin(self.labels, torch.tensor(digits))
        if lean:
            low, high = LEAN[lean]
            usable = usable & (self.lean > low) & (self.lean < high)
        candidates = usable.nonzero()[:, 0]
        if not len(candidates):
            raise ConfigError(
                f"data.altered_digits needs digits among {', '.join(map(str, digits))} that are {lean or 'present'},"
                " and the training set has none; use 0"
            )
        index = candidates[torch.randint(len(candidates), (count,), generator=self.generator)]
        return self.images[index].float() / MAX_INK, self.labels[index]

    def uniform(self, count: int, low: float, high: float) -> Tensor:
        """Return uniform random numbers, float32 (count,)."""
        return torch.rand(count, generator=self.generator) * (high - low) + low


def _mirror(digits: _Digits, count: int) -> Tensor:
    """Return mirrored digits, two thirds of them from left to right."""
    upright, _ = digits.sample(count - count // 3, MIRRORED_LEFT_TO_RIGHT)
    inverted, _ = digits.sample(count // 3, MIRRORED_TOP_TO_BOTTOM)
    return torch.cat([upright.flip(2), inverted.flip(1)])


def _rotate(digits: _Digits, count: int) -> Tensor:
    """Return digits rotated by 90 degrees, half of them in each direction."""
    printed = round(count * PRINTED)
    leaning = (count - printed) * len(ROTATED_LEANING) // len(ROTATED_UPRIGHT + ROTATED_LEANING)
    ink = torch.cat([
        _sample_printed(printed, digits.generator),
        digits.sample(leaning, ROTATED_LEANING, "leaning")[0],
        digits.sample(count - printed - leaning, ROTATED_UPRIGHT, "upright")[0],
    ])  # fmt: skip
    return torch.cat([ink[::2].rot90(1, (1, 2)), ink[1::2].rot90(-1, (1, 2))])


def _sample_printed(count: int, generator: torch.Generator) -> Tensor:
    """Return printed digits that are not digits when rotated, float32 (count, 28, 28) in [0, 1]."""
    glyphs = torch.from_numpy(load_printed_glyphs().digits[:, ROTATED_IN_PRINT]).flatten(0, 1)
    return glyphs[torch.randint(len(glyphs), (count,), generator=generator)].float() / MAX_INK


def _stack(digits: _Digits, count: int) -> Tensor:
    """Return two digits, one above the other."""
    return _arrange(digits, count, 2, STACKED, STACK_GAP, transposed=True)


def _join(digits: _Digits, count: int) -> Tensor:
    """Return two to four digits side by side."""
    length = NUMBER_LENGTHS[int(torch.randint(len(NUMBER_LENGTHS), (), generator=digits.generator))]
    return _arrange(digits, count, length, tuple(range(10)), GAP, transposed=False)


def _arrange(
    digits: _Digits, count: int, length: int, kinds: tuple[int, ...], gap: tuple[float, float], transposed: bool
) -> Tensor:
    """Return images of several digits in a row, or in a column if `transposed`, float32 (count, H, W)."""
    size = math.ceil(IMAGE_SIZE * (SCALE[1] + 2 * SHIFT))
    canvas = torch.zeros(count, size, length * size)
    stop, previous = torch.full((count,), 0.0), torch.full((count,), -1)
    for _ in range(length):
        ink, labels = digits.sample(count, kinds)
        ink = ink.mT if transposed else ink
        distance = torch.where(
            (labels == 1) | (previous == 1), digits.uniform(count, *WIDE_GAP), digits.uniform(count, *gap)
        )
        scale = digits.uniform(count, *SCALE)
        columns = ink.amax(1) > INK
        position = torch.arange(IMAGE_SIZE)
        first = torch.where(columns, position, IMAGE_SIZE).amin(1) / IMAGE_SIZE
        last = (torch.where(columns, position, -1).amax(1) + 1) / IMAGE_SIZE
        start = stop + distance * (previous >= 0)
        canvas = torch.maximum(
            canvas, _place(ink, canvas.shape, start - first * scale, digits.uniform(count, -SHIFT, SHIFT), scale)
        )
        stop, previous = start + (last - first) * scale, labels
    return F.pad((canvas.mT if transposed else canvas), (2, 2, 2, 2))


def _place(ink: Tensor, shape: torch.Size, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """Return the digits on canvases, (N, H, W).

    Args:
        ink: Digits, float32 (N, 28, 28).
        shape: The shape of the result.
        x: The left end of each image of a digit on its canvas, (N,); all lengths are fractions of 28 pixels.
        y: The displacement of its center from that of the canvas, (N,).
        scale: Its size, (N,).
    """
    _, height, width = (size / IMAGE_SIZE for size in shape)
    zero = torch.zeros_like(scale)
    # Coordinates of `affine_grid` are from -1 to 1: 2 * position / size - 1, on the canvas and on the image.
    rows = [
        torch.stack([width / scale, zero, (width - 2 * x) / scale - 1], 1),
        torch.stack([zero, height / scale, -2 * y / scale], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [len(ink), 1, shape[1], shape[2]], align_corners=False)
    placed = F.grid_sample(ink[:, None], grid, align_corners=False)[:, 0]
    # As dark as its neighbors: beside a faint digit that fades, the other one would be alone.
    return placed / placed.amax((1, 2), keepdim=True).clamp(min=1e-6)
