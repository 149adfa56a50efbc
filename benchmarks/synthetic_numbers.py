"""Synthetic numbers with several digits: MNIST's digits and glyph templates in a row, written in several ways."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from digitnet.data.synthetic import draw_digit, draw_non_digit

KINDS = ("spaced", "close", "sizes", "sloping line", "ruled", "boxes", "touching")
MAX_DIGITS = 6
MARGIN = 0.6  # around a number, in heights of a digit
SLOPE_DEGREES = (4, 10)
RULE_WIDTH = (1, 4)  # pixels
PEN_WIDTH = (0.05, 0.17)  # of the height of a digit
BOX_MARGIN = 0.5  # more around boxes
SUPERSAMPLING = 3
SIMILAR_PENS = 4  # MNIST images of which the one with the most similar pen is taken
EDGES_PER_LENGTH = 2.55  # horizontal and vertical steps along both edges of a stroke, per pixel of its length
LOWER = 0.2  # fraction of digits that extend below the line
MAX_NESTED = 0.5  # of the width of the narrower of two digits that have the same columns
MAX_OVERLAP = 1.0  # of touching digits, as a fraction of the pen width


class WrittenNumber(NamedTuple):
    """A synthetic number.

    Attributes:
        image: Gray levels, uint8 (H, W).
        text: Its digits; "?" for a non-digit.
        owner: For each pixel, the index of the digit whose ink it is, or -1, int16 (H, W).
    """

    image: np.ndarray
    text: str
    owner: np.ndarray


class DigitSource:
    """Draw single digits in high resolution.

    Args:
        images: MNIST images, uint8 (N, 28, 28).
        labels: Their labels, (N,).
        mnist: Fraction of numbers with digits from MNIST; the others have glyph templates.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, mnist: float = 0.5) -> None:
        self.images, self.mnist = images, mnist
        self.by_label = [np.flatnonzero(labels == label) for label in range(10)]

    def draw(self, label: int, height: int, pen: float, is_template: bool, rng: np.random.Generator) -> np.ndarray:
        """Draw one digit.

        Args:
            label: The digit, or -1 for a non-digit, which is always drawn from a template.
            height: Its height in pixels.
            pen: Width of the pen as a fraction of the height; an MNIST image has a similar one.
            is_template: Whether a glyph template is drawn instead of an MNIST image.
            rng: Source of the random numbers.

        Returns:
            Ink, float32 (height, width) in [0, 1], without empty rows or columns at its ends.
        """
        if label >= 0 and not is_template:
            candidates = self.images[rng.choice(self.by_label[label], SIMILAR_PENS)]
            return _enlarge(min(candidates, key=lambda image: abs(_pen_width(image) - pen)), height)
        strokes = draw_digit(label, rng) if label >= 0 else draw_non_digit(rng)
        return _draw(strokes, height, max(2.0, pen * height))


def _pen_width(image: np.ndarray) -> float:
    """Return the typical width of the strokes of an MNIST image as a fraction of the height of its ink."""
    ink = np.pad(_crop(image) / 255, 1)
    edges = abs(np.diff(ink, axis=0)).sum() + abs(np.diff(ink, axis=1)).sum()
    return float(EDGES_PER_LENGTH * ink.sum() / edges / (len(ink) - 2))


def _enlarge(image: np.ndarray, height: int) -> np.ndarray:
    """Return an MNIST image with smooth edges and the given height."""
    enlarged = Image.fromarray(_crop(image)).resize(
        (max(3, round(height * _crop(image).shape[1] / _crop(image).shape[0])), height), Image.Resampling.BICUBIC
    )
    ink = np.asarray(enlarged, np.float32) / 255
    return np.clip((ink - 0.35) * 4, 0, 1)  # a pen has sharp edges


def _crop(image: np.ndarray) -> np.ndarray:
    """Return an image without empty rows and columns."""
    rows, columns = np.flatnonzero(image.max(1) > 60), np.flatnonzero(image.max(0) > 60)
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _draw(strokes: list[np.ndarray], height: int, width: float) -> np.ndarray:
    """Return strokes drawn with a round pen."""
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    span = max(high[1] - low[1], (high[0] - low[0]) / 1.5, 1e-3)
    scale, pen = (height - width) * SUPERSAMPLING / span, width * SUPERSAMPLING
    size = np.ceil((high - low) * scale + pen + 2).astype(int)
    image = Image.new("L", tuple(size.tolist()))
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        path = [tuple(point) for point in ((stroke - low) * scale + pen / 2 + 1).tolist()]
        draw.line(path, fill=255, width=max(1, round(pen)), joint="curve")
        for x, y in path:
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
    small = image.resize(tuple(np.maximum(1, size // SUPERSAMPLING).tolist()), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def write_number(source: DigitSource, labels: list[int], kind: str, rng: np.random.Generator) -> WrittenNumber:
    """Write one number.

    Args:
        source: Draws the digits.
        labels: The digits, -1 for a non-digit.
        kind: One of KINDS.
        rng: Source of the random numbers.

    Returns:
        The number.
    """
    height = int(rng.integers(40, 110))
    pen = float(np.exp(rng.uniform(*np.log(PEN_WIDTH))))
    is_template = bool(rng.random() >= source.mnist)  # one person writes a number
    spread = 0.45 if kind == "sizes" else 0.12
    inks = [
        source.draw(label, int(height * np.exp(rng.uniform(-spread, spread))), pen, is_template, rng)
        for label in labels
    ]
    corners = _place(inks, kind, height, pen, rng)
    return _compose(inks, corners, labels, kind, height, rng)


def _place(
    inks: list[np.ndarray], kind: str, height: int, pen: float, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return the top and left of each digit."""
    slope = 0.0
    if kind == "sloping line":
        slope = np.tan(np.radians(rng.uniform(*SLOPE_DEGREES))) * rng.choice([-1, 1])
    elif kind not in ("boxes", "ruled"):
        slope = rng.normal(0, 0.02)
    corners: list[tuple[int, int]] = []
    cell = round(height * rng.uniform(1.2, 1.5))
    cell = max(cell, max(ink.shape[1] for ink in inks) + 8)
    for index, ink in enumerate(inks):
        if kind == "boxes":
            left = index * cell + (cell - ink.shape[1]) // 2 + round(rng.normal(0, 0.03) * height)
            corners.append((-ink.shape[0] // 2 + round(rng.normal(0, 0.03) * height), left))
            continue
        is_lower = kind != "touching" and rng.random() < LOWER
        top = -ink.shape[0] * 3 // 4 if is_lower else -ink.shape[0] + round(rng.normal(0, 0.06) * height)
        if not corners:
            corners.append((top, 0))
            continue
        right = max(left + other.shape[1] for (_, left), other in zip(corners, inks, strict=False))
        base = round(slope * right)
        if kind == "close":
            left = _nest(inks, corners, ink, top + base, round(rng.uniform(0.04, 0.14) * height) + 1)
        elif kind == "touching":
            left = _nest(inks, corners, ink, top + base, -round(rng.uniform(0, MAX_OVERLAP) * pen * height) - 1)
        else:
            left = right + round(rng.uniform(0.12, 0.5) * height)
        corners.append((top + base, left))
    return corners


def _nest(inks: list[np.ndarray], corners: list[tuple[int, int]], ink: np.ndarray, top: int, distance: int) -> int:
    """Return the left at which the smallest horizontal distance from the digit before is `distance`."""
    (other_top, other_left), other = corners[-1], inks[len(corners) - 1]
    reach, gaps = max(0, distance), []
    for row in range(ink.shape[0]):
        own = np.flatnonzero(ink[row] > 0.5)
        first = max(0, top + row - other_top - reach)
        near = other[first : max(0, top + row - other_top + reach + 1)]
        columns = np.flatnonzero((near > 0.5).any(0)) if len(near) else []
        if len(own) and len(columns):
            gaps.append(other_left + columns[-1] + 1 - own[0])
    nested = max(gaps) + distance if gaps else other_left + other.shape[1] + max(distance, 0)
    return max(nested, other_left + other.shape[1] - round(MAX_NESTED * min(other.shape[1], ink.shape[1])))


def _compose(
    inks: list[np.ndarray],
    corners: list[tuple[int, int]],
    labels: list[int],
    kind: str,
    height: int,
    rng: np.random.Generator,
) -> WrittenNumber:
    """Return the number on a page."""
    margin = round(height * (rng.uniform(0.25, 1.0) + (kind == "boxes") * BOX_MARGIN))
    top = min(top for top, _ in corners) - margin
    left = min(left for _, left in corners) - margin
    bottom = max(top + ink.shape[0] for (top, _), ink in zip(corners, inks, strict=True)) + margin
    right = max(left + ink.shape[1] for (_, left), ink in zip(corners, inks, strict=True)) + margin
    ink_map = np.zeros((bottom - top, right - left), np.float32)
    owner = np.full(ink_map.shape, -1, np.int16)
    for index, ((y, x), ink) in enumerate(zip(corners, inks, strict=True)):
        area = slice(y - top, y - top + ink.shape[0]), slice(x - left, x - left + ink.shape[1])
        owner[area][ink > np.maximum(ink_map[area], 0.3)] = index
        ink_map[area] = np.maximum(ink_map[area], ink * rng.uniform(0.8, 1))
    if kind in ("ruled", "boxes"):
        lines = Image.new("L", (ink_map.shape[1], ink_map.shape[0]))
        draw = ImageDraw.Draw(lines)
        if kind == "ruled":
            _draw_rules(draw, ink_map.shape, -top, height, rng)
        else:
            _draw_boxes(draw, [(y - top, x - left, *ink.shape) for (y, x), ink in zip(corners, inks, strict=True)], rng)
        ink_map = np.maximum(ink_map, np.asarray(lines, np.float32) / 255 * rng.uniform(0.35, 1))
    return WrittenNumber(_on_paper(ink_map, rng), "".join("?" if label < 0 else str(label) for label in labels), owner)


def _draw_rules(
    draw: ImageDraw.ImageDraw, shape: tuple[int, ...], base: int, height: int, rng: np.random.Generator
) -> None:
    """Draw the lines of ruled paper; one is near the lower end of the digits and may touch or cross them."""
    period = round(height * rng.uniform(1.15, 1.7))
    start = base + round(rng.uniform(-0.12, 0.12) * height)
    width, rise = int(rng.integers(*RULE_WIDTH)), round(rng.normal(0, 0.004) * shape[1])
    for y in range(start % period - period, shape[0] + period, period):
        draw.line((0, y, shape[1], y + rise), fill=255, width=width)


def _draw_boxes(draw: ImageDraw.ImageDraw, boxes: list[tuple[int, int, int, int]], rng: np.random.Generator) -> None:
    """Draw a cell around each digit, (top, left, height, width); cells may be joined or separate."""
    middles = [left + width / 2 for _, left, _, width in boxes]
    step = np.diff(middles).mean() if len(boxes) > 1 else max(boxes[0][2:]) * 1.4
    low = min(top for top, *_ in boxes) - round(rng.uniform(0.0, 0.2) * boxes[0][2])
    high = max(top + height for top, _, height, _ in boxes) + round(rng.uniform(0.0, 0.2) * boxes[0][2])
    width, gap = int(rng.integers(*RULE_WIDTH)), rng.choice([0.0, rng.uniform(0.02, 0.12)]) * step
    start = np.mean([middle - index * step for index, middle in enumerate(middles)]) - step / 2
    for index in range(len(boxes)):
        left = start + index * step
        draw.rectangle((left + gap / 2, low, left + step - gap / 2, high), outline=255, width=width)


def _on_paper(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return gray levels of ink on uneven, noisy paper, uint8 (H, W)."""
    blurred = Image.fromarray((ink * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    opacity = np.asarray(blurred, np.float32) / 255
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]] / np.array(ink.shape)[:, None, None] - 0.5
    paper = rng.uniform(170, 250) + rng.normal(0, 10) * x + rng.normal(0, 10) * y
    pen = rng.uniform(10, 100)
    gray = paper * (1 - opacity) + pen * opacity + rng.normal(0, rng.uniform(0, 4), ink.shape)
    gray = np.clip(gray, 0, 255).round().astype(np.uint8)
    return 255 - gray if rng.random() < 0.15 else gray
