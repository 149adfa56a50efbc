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

# A pair of numbers has the limits of a uniform distribution; of integers, the upper one is left out. A name in _STD is
# a standard deviation. A participle or an adjective is the fraction of images, glyphs or strokes to which it applies.

# Variation of a template; lengths are fractions of the height of a glyph.
DIGIT_WIDTH, LETTER_WIDTH = 0.67, 0.85  # letters and symbols are wider than digits, especially in print
RULED = 0.2  # drawn as if with a ruler: steadier by a factor of RULED_UNSTEADINESS
RULED_UNSTEADINESS = (0, 0.1)
JITTER = (0.005, 0.045)  # standard deviation of the displacement of a point; of a whole stroke, half as much
WAVE_STD, WAVE_FREQUENCY = 0.02, 6  # of the low-frequency displacement; radians per height
ASPECT_RATIO_STD = 0.27  # of the natural logarithm of the horizontal stretch
SHEAR_MEAN, SHEAR_STD = 0.12, 0.2  # horizontal displacement per unit of height; most writing leans to the right
ROTATION_STD = 0.09  # radians
RESTARTED = 0.4  # closed strokes that start at another point than in the template
OVERLAP = (1, 3)  # points of a closed stroke that are passed a second time
SHORTENED = 0.3
MISSING_POSITIONS = (0, 4)  # at each end of a shortened stroke

# The pen.
PEN_WIDTH = (0.02, 0.22)  # of the image; its logarithm is uniform
FLAT = 0.3  # pens that are not round
FLATNESS = (0.3, 1)  # thickness of a flat pen, as a fraction of its width
PRESSED = 0.3  # images in which the pressure varies
PRESSURE = (0, 0.5)
PRESSURE_PHASE = (1, 6)  # radians over the length of a stroke
MARGIN = 2  # pixels around the strokes, both sides together
MIN_EXTENT = 1e-3  # of strokes, so that a dot is not divided by 0
SPARSE = 0.15  # strokes with few positions, as of a mouse with a low sampling rate
SPARSE_STEP = (4, 9)  # positions of the curve for each that is kept
MIN_JOINT = 1.5  # pixels; thinner lines have no round joints

# Cropping.
CROPPED = 0.15
FULL_WIDTH = 0.6  # cropped images that are stretched to the whole width, too
MIN_CROP_WIDTH = 1 / 3  # of the image, for the others

# Non-digits; lengths are fractions of the height of a digit or of the side of a square that the symbol about fills.
LETTERS = 0.65  # of letters and symbols
PAIR_GAP, PAIR_SHIFT_STD, PAIR_SCALE = (0, 0.3), 0.1, (0.7, 1.2)
SCRIBBLED_OVER = 0.4  # crossed-out digits; the others have two lines
SCRIBBLE_SCALE = (0.8, 1.2)  # width and height of the scribble as fractions of the digit's
CROSS_STD = 0.1  # of the ends of the lines
INVENTED_STROKES, INVENTED_STEPS = (2, 6), (2, 6)  # strokes of a symbol, steps of a stroke
FREE_DIRECTION = 0.4  # strokes that start in any direction; the others are horizontal or vertical at first
ANGLE_STDS = (0.1, 0.8, 1.6)  # radians between two steps: straight, curved or jagged
STEP_LENGTH = (0.1, 0.5)
ATTACHED = 0.7  # strokes that start on a previous one
CORNERS = 0.3  # points of a stroke at which it is not smooth
SCRIBBLE_POINTS = (14, 44)  # fewer might form a digit
SCRIBBLE_KINDS = 4  # equally frequent
POINTS_SCALE = (0.5, 1)  # width and height of a scribble of random points
CURVATURE_STD, CURVATURE_CHANGE_STD = 0.5, 0.25  # radians per step of a scribble of loops
LOOP_STEP = (0.3, 1)
ZIGZAG_STD = 0.1  # of the turning points
ZIGZAG_LENGTH = (0.6, 1.2)  # of its width: a slim one would be a 1 if it is filled
SIDEWAYS = 0.3  # zigzags from left to right; the others go down
WORD_IMAGE_SIZES = (48, 64, 96)  # pixels
WORD_PEN_WIDTH = (0.01, 0.06)  # of the image; a word drawn with a thick pen would be a bar
WORD_LETTERS = (2, 7)
LETTER_SPACE = (0.8, 1.25)  # between the left ends of two letters, in letter widths
LETTER_SCALE = (0.75, 1.1)  # height of a letter
JOINED = 0.75  # words whose letters are connected
JOINT_DEPTH = (0.0, 0.3)  # of the middle of a connection below its ends
MAX_LINE_VARIANCE = 0.02  # across a line, as a fraction of the variance along it
MIN_LINE_SINE = 0.6  # of the angle of a steep line to the horizontal: 37 degrees


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


def word_batches(count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw words in batches of one size, the same ones for the same seed.

    Args:
        count: Number of words.
        seed: Seed of the random numbers.

    Yields:
        Images, uint8 (N, S, S), bright strokes on black, and labels, int64 (N,): -1, because a word is a non-digit.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, count, BATCH_SIZE):
        size = int(rng.choice(WORD_IMAGE_SIZES))
        images = [
            render(draw_word(rng), size, rng, WORD_PEN_WIDTH, cropped=0) for _ in range(min(BATCH_SIZE, count - start))
        ]
        yield np.stack(images), np.full(len(images), NON_DIGIT)


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


def draw_word(rng: np.random.Generator) -> list[Stroke]:
    """Draw two to six small letters in a row; in most words, strokes connect them.

    Args:
        rng: Source of the random numbers.

    Returns:
        Strokes, in no particular position or size.
    """
    word: Glyph = []
    joined = rng.random() < JOINED
    x = 0.0
    for _ in range(rng.integers(*WORD_LETTERS)):
        letter = GLYPHS.small_letters[rng.integers(len(GLYPHS.small_letters))]
        scale = rng.uniform(*LETTER_SCALE)
        placed = [
            StrokeTemplate(points * (1, scale) + (x, 1 - scale), corners, closed) for points, corners, closed in letter
        ]
        if word and joined:
            start, stop = word[-1].points[-1], placed[0].points[0]
            middle = (start + stop) / 2 + (0, rng.uniform(*JOINT_DEPTH))
            word.append(StrokeTemplate(np.stack([start, middle, stop]), np.zeros(3, bool), closed=False))
        word += placed
        x += rng.uniform(*LETTER_SPACE)
    return vary(word, rng)


def vary(glyph: Glyph, rng: np.random.Generator, width: float = DIGIT_WIDTH) -> list[Stroke]:
    """Draw a random variation of a template.

    Args:
        glyph: The template.
        rng: Source of the random numbers.
        width: The typical ratio of width to height.

    Returns:
        Strokes, in no particular position or size.
    """
    unsteadiness = rng.uniform(*RULED_UNSTEADINESS) if rng.random() < RULED else 1.0
    jitter = rng.uniform(*JITTER) * unsteadiness
    strokes = [_vary_stroke(stroke, jitter, rng) for stroke in glyph]
    # A low-frequency displacement of the whole glyph, since nobody draws evenly.
    wave = rng.normal(0, WAVE_STD, (2, 2)) * unsteadiness
    phase = rng.uniform(0, 2 * np.pi, 2)
    matrix = _sample_matrix(width, unsteadiness, rng)
    return [(stroke + np.sin(stroke[:, ::-1] * WAVE_FREQUENCY + phase) @ wave) @ matrix.T for stroke in strokes]


def _vary_stroke(template: StrokeTemplate, jitter: float, rng: np.random.Generator) -> Stroke:
    """Return a smooth curve through points that differ from the template's by `jitter`."""
    points, corners, closed = template
    if closed:  # it starts at any point and ends with a gap or an overlap
        points = np.roll(points, rng.integers(len(points)) if rng.random() < RESTARTED else 0, 0)
        points = np.concatenate([points, points[: rng.integers(*OVERLAP)]])
        corners = np.zeros(len(points), bool)
    points = points + rng.normal(0, jitter, points.shape) + rng.normal(0, jitter / 2, 2)
    curve = interpolate(points, corners)
    if rng.random() < SHORTENED:
        curve = curve[rng.integers(*MISSING_POSITIONS) : len(curve) - rng.integers(*MISSING_POSITIONS)]
    return curve


def _sample_matrix(width: float, unsteadiness: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random linear map, float (2, 2): aspect ratio, shear and rotation."""
    shear, rotation = rng.normal(SHEAR_MEAN, SHEAR_STD) * unsteadiness, rng.normal(0, ROTATION_STD) * unsteadiness
    sheared = np.array([[width * np.exp(rng.normal(0, ASPECT_RATIO_STD)), -shear], [0, 1]])
    rotated = np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    matrix: np.ndarray = rotated @ sheared
    return matrix


def render(
    strokes: list[Stroke],
    size: int,
    rng: np.random.Generator,
    pen_width: tuple[float, float] = PEN_WIDTH,
    cropped: float = CROPPED,
) -> np.ndarray:
    """Render strokes with a pen of random width, shape and pressure.

    Args:
        strokes: The strokes, in any position and size; they are scaled to fit.
        size: Width and height S of the image in pixels.
        rng: Source of the random numbers.
        pen_width: Range of the width of the pen as a fraction of S.
        cropped: Fraction of images that are cropped and stretched.

    Returns:
        A grayscale image, uint8 (S, S), bright on black.
    """
    pen = _sample_pen(size, pen_width, rng)
    image = Image.new("L", (size, size))
    for path in _fit(strokes, size, pen.width):
        path = _sample_positions(path, rng)
        _draw_path(image, path, _sample_widths(path, pen, rng))
    return _crop_at_random(image, cropped, rng)


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


def _sample_pen(size: int, pen_width: tuple[float, float], rng: np.random.Generator) -> _Pen:
    """Return a random pen for an image of `size` pixels, round in seven of ten images."""
    width = np.exp(rng.uniform(*np.log(pen_width))) * size
    flatness, angle = (rng.uniform(*FLATNESS), rng.uniform(0, np.pi)) if rng.random() < FLAT else (1.0, 0.0)
    return _Pen(width, flatness, angle, pressure=rng.uniform(*PRESSURE) if rng.random() < PRESSED else 0.0)


def _fit(strokes: list[Stroke], size: int, width: float) -> list[Stroke]:
    """Return the strokes scaled and centered, so that a pen of this width fits into the image."""
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    scale = max(size - width - MARGIN, size / 2) / max(*(high - low), MIN_EXTENT)
    offset = (size - (high - low) * scale) / 2 - low * scale
    return [stroke * scale + offset for stroke in strokes]


def _sample_positions(path: Stroke, rng: np.random.Generator) -> Stroke:
    """Return the positions of a stroke, for some strokes only a few of them."""
    if rng.random() < SPARSE:
        return np.concatenate([path[:: rng.integers(*SPARSE_STEP)], path[-1:]])
    return path


def _sample_widths(path: Stroke, pen: _Pen, rng: np.random.Generator) -> np.ndarray:
    """Return the width of a stroke at each of its positions, float (n,) in pixels."""
    directions = np.diff(path, axis=0, append=2 * path[-1:] - path[-2:-1])
    angle = np.arctan2(directions[:, 1], directions[:, 0]) - pen.angle
    widths = pen.width * np.sqrt(np.sin(angle) ** 2 + (pen.flatness * np.cos(angle)) ** 2)
    phase = np.linspace(0, rng.uniform(*PRESSURE_PHASE), len(path))
    return widths * (1 - pen.pressure * (0.5 + 0.5 * np.sin(phase)))  # thinner by at most the pressure


def _draw_path(image: Image.Image, path: Stroke, widths: np.ndarray) -> None:
    """Draw a polyline, (n, 2) in pixels, with round joints and a width at each point, (n,) in pixels."""
    pen = ImageDraw.Draw(image)
    points = list(map(tuple, path.tolist()))
    for (x, y), (x2, y2), width in zip(points, [*points[1:], points[-1]], widths.tolist(), strict=True):
        if width > MIN_JOINT:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
        pen.line((x, y, x2, y2), fill=255, width=max(1, round(width)))


def _crop_at_random(image: Image.Image, cropped: float, rng: np.random.Generator) -> np.ndarray:
    """Return the image; some images are cropped and stretched to the whole height, as by early scanners."""
    size = image.width
    box = image.getbbox()
    if box and rng.random() < cropped:
        width = size if rng.random() < FULL_WIDTH else rng.integers(int(size * MIN_CROP_WIDTH), size + 1)
        image = image.crop(box).resize((int(width), size), Image.Resampling.BOX)
        return np.asarray(ImageOps.pad(image, (size, size)))
    return np.asarray(image)


def _draw_any_non_digit(rng: np.random.Generator) -> list[Stroke]:
    """Draw a non-digit of a random kind."""
    kinds = list(NON_DIGIT_KINDS)
    kind = kinds[rng.choice(len(kinds), p=list(NON_DIGIT_KINDS.values()))]
    if kind == "letter or symbol":
        glyphs = GLYPHS.letters if rng.random() < LETTERS else GLYPHS.symbols
        return vary(glyphs[rng.integers(len(glyphs))], rng, LETTER_WIDTH)
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
    x = np.concatenate(digit).max(0)[0] + rng.uniform(*PAIR_GAP)
    return digit + _move(other, x, rng.normal(0, PAIR_SHIFT_STD), rng.uniform(*PAIR_SCALE))


def _draw_crossed_out(digit: list[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """Return a digit with a scribble over it or crossed out by two lines; with one line it would remain a digit."""
    size = np.concatenate(digit).max(0)
    if rng.random() < SCRIBBLED_OVER:
        (scribble,) = _move(_draw_scribble(rng))
        return [*digit, scribble / scribble.max(0) * size * rng.uniform(*SCRIBBLE_SCALE, 2)]
    corners = np.array([[0, 0], [1, 1], [1, 0], [0, 1]]) * size
    corners = corners + rng.normal(0, CROSS_STD, corners.shape)
    return [*digit, *(interpolate(pair, np.zeros(2, bool)) for pair in (corners[:2], corners[2:]))]


def _draw_invented(rng: np.random.Generator) -> list[Stroke]:
    """Draw a symbol that belongs to no script: two to five strokes; most start on a previous one."""
    strokes: list[Stroke] = []
    for _ in range(rng.integers(*INVENTED_STROKES)):
        count = rng.integers(*INVENTED_STEPS)
        direction = rng.uniform(0, 2 * np.pi) if rng.random() < FREE_DIRECTION else rng.integers(4) * np.pi / 2
        directions = direction + np.cumsum(rng.normal(0, rng.choice(ANGLE_STDS), count))
        steps = np.stack([np.cos(directions), np.sin(directions)], 1) * rng.uniform(*STEP_LENGTH, (count, 1))
        start = rng.uniform(0, 1, 2)
        if strokes and rng.random() < ATTACHED:
            other = strokes[rng.integers(len(strokes))]
            start = other[rng.integers(len(other))]
        points = np.concatenate([[start], start + np.cumsum(steps, 0)])
        strokes.append(interpolate(points, rng.random(len(points)) < CORNERS))
    return strokes


def _draw_scribble(rng: np.random.Generator) -> list[Stroke]:
    """Draw a scribble: a random walk, random points, random loops, or a zigzag."""
    count = rng.integers(*SCRIBBLE_POINTS)
    kind = int(rng.random() * SCRIBBLE_KINDS)
    if kind == 0:
        points = np.cumsum(rng.normal(0, 1, (count, 2)), 0)
    elif kind == 1:
        points = rng.normal(0, 1, (count, 2)) * rng.uniform(*POINTS_SCALE, 2)
    elif kind == 2:  # the curvature is a random walk
        directions = np.cumsum(rng.normal(0, CURVATURE_STD) + np.cumsum(rng.normal(0, CURVATURE_CHANGE_STD, count)))
        steps = np.stack([np.cos(directions), np.sin(directions)], 1) * rng.uniform(*LOOP_STEP, (count, 1))
        points = np.cumsum(steps, 0)
    else:
        across = np.where(np.arange(count) % 2, 1.0, 0) + rng.normal(0, ZIGZAG_STD, count)
        points = np.stack([across, np.linspace(0, rng.uniform(*ZIGZAG_LENGTH), count)], 1)
        points = points[:, ::-1] if rng.random() < SIDEWAYS else points
    return [interpolate(points, np.zeros(count, bool))]


def _move(strokes: list[Stroke], x: float = 0, y: float = 0, scale: float = 1) -> list[Stroke]:
    """Return the strokes with the top left corner of their bounding box at (x, y)."""
    low = np.concatenate(strokes).min(0)
    return [(stroke - low) * scale + (x, y) for stroke in strokes]


def _is_steep_line(strokes: list[Stroke]) -> bool:
    """Return whether all points are close to one line that is steeper than 37 degrees."""
    points = np.concatenate(strokes)
    (narrow, long), axes = np.linalg.eigh(np.cov(points.T))  # the second axis is that of the largest variance
    return bool(narrow < MAX_LINE_VARIANCE * long and abs(axes[1, 1]) > MIN_LINE_SINE)
