"""Synthetic digits and non-digits, drawn from glyph templates with random variation.

They cover styles that the American writers of MNIST did not use. NumPy and Pillow draw about two thousand images per
second.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from digitnet.contract import NUM_CLASSES, REJECTED
from digitnet.data.glyphs import Glyph, Stroke, StrokeTemplate, interpolate, load_glyphs

IMAGE_SIZES = (16, 24, 40, 64, 96)  # pixels; the small ones are as coarse as the bitmaps of early scanners
BATCH_SIZE = 200  # images of one size
NON_DIGIT = REJECTED  # the label of a non-digit
NON_DIGIT_KINDS = {  # the fraction of each kind
    "letter or symbol": 0.44,
    "invented symbol": 0.17,
    "scribble": 0.17,
    "dot": 0.04,
    "two digits": 0.09,
    "crossed-out digit": 0.09,
}
GLYPHS = load_glyphs()


def synthetic_batches(digits: int, non_digits: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw synthetic images in batches of one size, the same ones for the same seed.

    Args:
        digits: Number of digits; each of the ten is equally frequent.
        non_digits: Number of non-digits.
        seed: Seed of the random numbers.

    Yields:
        Images, uint8 (N, S, S), bright strokes on black, and labels, int64 (N,): 0 to 9, or -1 for a non-digit.
    """
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(digits) % NUM_CLASSES, np.full(non_digits, NON_DIGIT)])
    shuffled = rng.permutation(labels)
    for start in range(0, len(shuffled), BATCH_SIZE):
        batch = shuffled[start : start + BATCH_SIZE]
        size = int(rng.choice(IMAGE_SIZES))
        glyphs = (draw_non_digit(rng) if label == NON_DIGIT else draw_digit(int(label), rng) for label in batch)
        yield np.stack([render(strokes, size, rng) for strokes in glyphs]), batch


def draw_digit(label: int, rng: np.random.Generator) -> list[Stroke]:
    """Draw a random variation of one of a digit's templates.

    Args:
        label: The digit, 0 to 9.
        rng: Source of the random numbers.

    Returns:
        Strokes, in no particular position or size.
    """
    glyphs = GLYPHS.digits[label]
    return vary(glyphs[rng.choice(len(glyphs), p=GLYPHS.weights[label])], rng)


def draw_non_digit(rng: np.random.Generator) -> list[Stroke]:
    """Draw a letter or symbol, an invented symbol, a scribble, a dot, two digits, or a crossed-out digit.

    Args:
        rng: Source of the random numbers.

    Returns:
        Strokes, in no particular position or size. Their points never form one steep line, which would be a 1.
    """
    strokes = _draw_any_non_digit(rng)
    return draw_non_digit(rng) if _is_steep_line(strokes) else strokes


def vary(glyph: Glyph, rng: np.random.Generator, width: float = 0.67) -> list[Stroke]:
    """Draw a random variation of a template.

    Args:
        glyph: The template.
        rng: Source of the random numbers.
        width: The typical ratio of width to height.

    Returns:
        Strokes, in no particular position or size.
    """
    unsteadiness = rng.uniform(0, 0.1) if rng.random() < 0.2 else 1.0  # some people draw as if with a ruler
    jitter = rng.uniform(0.005, 0.045) * unsteadiness
    strokes = [_vary_stroke(stroke, jitter, rng) for stroke in glyph]
    # A low-frequency displacement of the whole glyph, since nobody draws evenly.
    wave = rng.normal(0, 0.02, (2, 2)) * unsteadiness
    phase = rng.uniform(0, 2 * np.pi, 2)
    matrix = _sample_matrix(width, unsteadiness, rng)
    return [(stroke + np.sin(stroke[:, ::-1] * 6 + phase) @ wave) @ matrix.T for stroke in strokes]


def _vary_stroke(template: StrokeTemplate, jitter: float, rng: np.random.Generator) -> Stroke:
    """Return a smooth curve through points that differ from the template's by `jitter`."""
    points, corners, closed = template
    if closed:  # it starts at any point and ends with a gap or an overlap
        points = np.roll(points, rng.integers(len(points)) if rng.random() < 0.4 else 0, 0)
        points = np.concatenate([points, points[: rng.integers(1, 3)]])
        corners = np.zeros(len(points), bool)
    points = points + rng.normal(0, jitter, points.shape) + rng.normal(0, jitter / 2, 2)
    curve = interpolate(points, corners)
    if rng.random() < 0.3:  # shortened at both ends
        curve = curve[rng.integers(0, 4) : len(curve) - rng.integers(0, 4)]
    return curve


def _sample_matrix(width: float, unsteadiness: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random linear map, float (2, 2): aspect ratio, shear and rotation."""
    shear, rotation = rng.normal(0.12, 0.2) * unsteadiness, rng.normal(0, 0.09) * unsteadiness
    sheared = np.array([[width * np.exp(rng.normal(0, 0.27)), -shear], [0, 1]])
    rotated = np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    return rotated @ sheared


def render(strokes: list[Stroke], size: int, rng: np.random.Generator) -> np.ndarray:
    """Render strokes with a pen of random width, shape and pressure.

    Args:
        strokes: The strokes, in any position and size; they are scaled to fit.
        size: Width and height S of the image in pixels.
        rng: Source of the random numbers.

    Returns:
        A grayscale image, uint8 (S, S), bright on black.
    """
    pen = _sample_pen(size, rng)
    image = Image.new("L", (size, size))
    for path in _fit(strokes, size, pen.width):
        path = _sample_positions(path, rng)
        _draw_path(image, path, _sample_widths(path, pen, rng))
    return _crop_at_random(image, rng)


class _Pen(NamedTuple):
    """A pen.

    Attributes:
        width: Its width in pixels.
        flatness: The ratio of its thickness to its width; 1 is round.
        angle: The angle at which it is held, in radians.
        pressure: How much the pressure varies, 0 to 1.
    """

    width: float
    flatness: float
    angle: float
    pressure: float


def _sample_pen(size: int, rng: np.random.Generator) -> _Pen:
    """Return a random pen for an image of `size` pixels: 2 to 22 % as wide, and round in seven of ten images."""
    width = np.exp(rng.uniform(np.log(0.02), np.log(0.22))) * size
    flatness, angle = (rng.uniform(0.3, 1), rng.uniform(0, np.pi)) if rng.random() < 0.3 else (1.0, 0.0)
    return _Pen(width, flatness, angle, pressure=rng.uniform(0, 0.5) if rng.random() < 0.3 else 0.0)


def _fit(strokes: list[Stroke], size: int, width: float) -> list[Stroke]:
    """Return the strokes scaled and centered, so that a pen of this width fits into the image."""
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    scale = max(size - width - 2, size / 2) / max(*(high - low), 1e-3)
    offset = (size - (high - low) * scale) / 2 - low * scale
    return [stroke * scale + offset for stroke in strokes]


def _sample_positions(path: Stroke, rng: np.random.Generator) -> Stroke:
    """Return the positions of a stroke, in some images only a few, as a mouse with a low sampling rate would."""
    if rng.random() < 0.15:
        return np.concatenate([path[:: rng.integers(4, 9)], path[-1:]])
    return path


def _sample_widths(path: Stroke, pen: _Pen, rng: np.random.Generator) -> np.ndarray:
    """Return the width of a stroke at each of its positions, float (n,) in pixels."""
    directions = np.diff(path, axis=0, append=2 * path[-1:] - path[-2:-1])
    angle = np.arctan2(directions[:, 1], directions[:, 0]) - pen.angle
    widths = pen.width * np.sqrt(np.sin(angle) ** 2 + (pen.flatness * np.cos(angle)) ** 2)
    return widths * (1 - pen.pressure * (0.5 + 0.5 * np.sin(np.linspace(0, rng.uniform(1, 6), len(path)))))


def _draw_path(image: Image.Image, path: Stroke, widths: np.ndarray) -> None:
    """Draw a polyline, (n, 2) in pixels, with round joints and a width at each point, (n,) in pixels."""
    pen = ImageDraw.Draw(image)
    points = list(map(tuple, path.tolist()))
    for (x, y), (x2, y2), width in zip(points, [*points[1:], points[-1]], widths.tolist(), strict=True):
        if width > 1.5:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
        pen.line((x, y, x2, y2), fill=255, width=max(1, round(width)))


def _crop_at_random(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Return the image; some images are cropped and stretched to the whole height, as by early scanners."""
    size = image.width
    box = image.getbbox()
    if box and rng.random() < 0.15:
        width = size if rng.random() < 0.6 else rng.integers(size // 3, size + 1)
        image = image.crop(box).resize((int(width), size), Image.Resampling.BOX)
        return np.asarray(ImageOps.pad(image, (size, size)))
    return np.asarray(image)


def _draw_any_non_digit(rng: np.random.Generator) -> list[Stroke]:
    """Draw a non-digit of a random kind."""
    kinds = list(NON_DIGIT_KINDS)
    kind = kinds[rng.choice(len(kinds), p=list(NON_DIGIT_KINDS.values()))]
    if kind == "letter or symbol":
        glyphs = GLYPHS.letters if rng.random() < 0.65 else GLYPHS.symbols
        return vary(glyphs[rng.integers(len(glyphs))], rng, width=0.85)  # wider than digits, especially in print
    if kind == "invented symbol":
        return _draw_invented(rng)
    if kind == "scribble":
        return _draw_scribble(rng)
    if kind == "dot":
        return [np.zeros((2, 2))]  # two equal points: `render` draws a disc as wide as the pen
    digit, other = (_move(draw_digit(int(rng.integers(NUM_CLASSES)), rng)) for _ in range(2))
    return _draw_pair(digit, other, rng) if kind == "two digits" else _draw_crossed_out(digit, rng)


def _draw_pair(digit: list[Stroke], other: list[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """Return two digits side by side, close together or touching."""
    x = np.concatenate(digit).max(0)[0] + rng.uniform(0, 0.3)
    return digit + _move(other, x, rng.normal(0, 0.1), rng.uniform(0.7, 1.2))


def _draw_crossed_out(digit: list[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """Return a digit with a scribble over it or crossed out by two lines; with one line it would remain a digit."""
    size = np.concatenate(digit).max(0)
    if rng.random() < 0.4:
        (scribble,) = _move(_draw_scribble(rng))
        return [*digit, scribble / scribble.max(0) * size * rng.uniform(0.8, 1.2, 2)]
    corners = np.array([[0, 0], [1, 1], [1, 0], [0, 1]]) * size
    corners = corners + rng.normal(0, 0.1, corners.shape)
    return [*digit, *(interpolate(pair, np.zeros(2, bool)) for pair in (corners[:2], corners[2:]))]


def _draw_invented(rng: np.random.Generator) -> list[Stroke]:
    """Draw a symbol that belongs to no script: two to five strokes; most start on a previous one."""
    strokes: list[Stroke] = []
    for _ in range(rng.integers(2, 6)):
        count = rng.integers(2, 6)
        direction = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else rng.integers(4) * np.pi / 2
        directions = direction + np.cumsum(rng.normal(0, rng.choice([0.1, 0.8, 1.6]), count))
        steps = np.stack([np.cos(directions), np.sin(directions)], 1) * rng.uniform(0.1, 0.5, (count, 1))
        start = rng.uniform(0, 1, 2)
        if strokes and rng.random() < 0.7:
            other = strokes[rng.integers(len(strokes))]
            start = other[rng.integers(len(other))]
        points = np.concatenate([[start], start + np.cumsum(steps, 0)])
        strokes.append(interpolate(points, rng.random(len(points)) < 0.3))
    return strokes


def _draw_scribble(rng: np.random.Generator) -> list[Stroke]:
    """Draw a scribble: a random walk, random points, random loops, or a zigzag."""
    count = rng.integers(14, 44)  # fewer points might form a digit
    kind = rng.random()
    if kind < 0.25:
        points = np.cumsum(rng.normal(0, 1, (count, 2)), 0)
    elif kind < 0.5:
        points = rng.normal(0, 1, (count, 2)) * rng.uniform(0.5, 1, 2)
    elif kind < 0.75:  # the curvature is a random walk
        directions = np.cumsum(rng.normal(0, 0.5) + np.cumsum(rng.normal(0, 0.25, count)))
        points = np.cumsum(np.stack([np.cos(directions), np.sin(directions)], 1) * rng.uniform(0.3, 1, (count, 1)), 0)
    else:
        across = np.where(np.arange(count) % 2, 1.0, 0) + rng.normal(0, 0.1, count)
        # About as wide as high, because a slim one would be a 1 if it is filled.
        points = np.stack([across, np.linspace(0, rng.uniform(0.6, 1.2), count)], 1)
        points = points[:, ::-1] if rng.random() < 0.3 else points
    return [interpolate(points, np.zeros(count, bool))]


def _move(strokes: list[Stroke], x: float = 0, y: float = 0, scale: float = 1) -> list[Stroke]:
    """Return the strokes with the top left corner of their bounding box at (x, y)."""
    low = np.concatenate(strokes).min(0)
    return [(stroke - low) * scale + (x, y) for stroke in strokes]


def _is_steep_line(strokes: list[Stroke]) -> bool:
    """Return whether all points are close to one line that is steeper than 37 degrees."""
    points = np.concatenate(strokes)
    (narrow, long), axes = np.linalg.eigh(np.cov(points.T))  # the second axis is that of the largest variance
    return narrow < 0.02 * long and abs(axes[1, 1]) > 0.6
