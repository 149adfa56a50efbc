"""Seven-segment digits, as the displays of clocks and meters show them."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from digitnet.contract import NUM_CLASSES

# The lit segments of each form of a digit and its probability. From a at the top, the names go clockwise to f; g is the
# one in the middle.
FORMS = (
    {"abcdef": 1.0}, {"bc": 0.9, "ef": 0.1}, {"abdeg": 1.0}, {"abcdg": 1.0}, {"bcfg": 1.0},
    {"acdfg": 1.0}, {"acdefg": 0.7, "cdefg": 0.3}, {"abc": 0.7, "abcf": 0.3}, {"abcdefg": 1.0},
    {"abcdfg": 0.7, "abcfg": 0.3},
)  # fmt: skip
NAMES = "abcdefg"
# The two ends of each segment as x and y; the outside of the digit is to the left of the way from the first one.
SEGMENTS = np.array([
    [(0, 0), (1, 0)], [(1, 0), (1, 0.5)], [(1, 0.5), (1, 1)], [(1, 1), (0, 1)], [(0, 1), (0, 0.5)], [(0, 0.5), (0, 0)],
    [(0, 0.5), (1, 0.5)],
])  # fmt: skip
ALONG = np.sign(SEGMENTS[:, 1] - SEGMENTS[:, 0])
ACROSS = ALONG[:, ::-1] * (1, -1)  # to the outside
# By how much the tip of an end, its outer and its inner corner are inside the segment, in half widths. The segment in
# the middle has no outside, so its ends are pointed instead of mitered.
ENDS = {"pointed": (0, 1, 1), "square": (0, 0, 0), "extended": (-1, -1, -1), "mitered": (0, -1, 1), "round": (1, 1, 1)}
IMAGE_SIZES = (24, 40, 64, 96)  # pixels
BATCH_SIZE = 200  # images of one size
SUPERSAMPLING = 2
MARGIN = 3  # pixels

# A pair of numbers has the limits of a uniform distribution; lengths are fractions of the height of a digit.
WIDTH = (0.45, 0.75)
THICKNESS = (0.03, 0.18)
GAP = (0.0, 0.04)  # between two segments, on each side
SHEARED, SHEAR = 0.5, (0.05, 0.3)  # fraction of digits; horizontal displacement per unit of height
DIM, DIM_INK = 0.15, (0.05, 0.3)  # fraction of digits with visible unlit segments; their ink


def seven_segment_batches(count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw seven-segment digits in batches of one size, the same ones for the same seed.

    Args:
        count: Number of digits; each of the ten is equally frequent.
        seed: Seed of the random numbers.

    Yields:
        Images, uint8 (N, S, S), bright segments on black, and labels, int64 (N,).
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % NUM_CLASSES)
    for start in range(0, count, BATCH_SIZE):
        batch, size = labels[start : start + BATCH_SIZE], int(rng.choice(IMAGE_SIZES))
        yield np.stack([draw_seven_segment(int(label), size, rng) for label in batch]), batch


def draw_seven_segment(label: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a seven-segment digit of random proportions.

    Args:
        label: The digit, 0 to 9.
        size: Width and height S of the image in pixels.
        rng: Source of the random numbers.

    Returns:
        A grayscale image, uint8 (S, S), bright on black.
    """
    forms = FORMS[label]
    lit = list(forms)[rng.choice(len(forms), p=list(forms.values()))]
    dim_ink = round(255 * rng.uniform(*DIM_INK)) if rng.random() < DIM else 0
    shape = list(ENDS)[rng.integers(len(ENDS))]
    half_width = rng.uniform(*THICKNESS) / 2
    outlines = _draw_outlines(shape, half_width, rng.uniform(*WIDTH), rng.uniform(*GAP))
    shear = rng.uniform(*SHEAR) if rng.random() < SHEARED else 0.0
    side, margin = size * SUPERSAMPLING, MARGIN * SUPERSAMPLING
    scale = side - 2 * margin
    outlines = outlines @ (np.array([[1, 0], [-shear, 1]]) * scale) + (side / 2 + shear * scale / 2, margin)
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    for name, outline in sorted(zip(NAMES, outlines.tolist(), strict=True), key=lambda item: item[0] in lit):
        ink = 255 if name in lit else dim_ink
        if ink:
            pen.polygon([tuple(point) for point in outline], fill=ink)
            if shape == "round":
                for x, y in (outline[0], outline[3]):
                    radius = half_width * scale
                    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    return np.asarray(image.reduce(SUPERSAMPLING))


def _draw_outlines(shape: str, half_width: float, width: float, gap: float) -> np.ndarray:
    """Return the corners of all segments, float (7, 6, 2): tip, two outer corners, tip, two inner corners.

    Args:
        shape: The name of the shape of the ends.
        half_width: Half the width of a segment.
        width: The width of the digit, which is 1 high.
        gap: The distance of each end from the corner of the digit.

    Returns:
        Corners with x in [-width / 2, width / 2] and y in [0, 1].
    """
    size = np.array([width - 2 * half_width, 1 - 2 * half_width])
    ends = (SEGMENTS - (0.5, 0)) * size + (0, half_width)  # (7, 2, 2)
    insets = np.tile(ENDS[shape], (len(NAMES), 1)).astype(float)
    if shape == "mitered":
        insets[-1] = ENDS["pointed"]
    insets = (insets * half_width + gap)[:, :, None] * ALONG[:, None]  # (7, 3, 2)
    tip, outer, inner = insets.swapaxes(0, 1)
    across = ACROSS * half_width
    start, stop = ends[:, 0], ends[:, 1]
    corners = [start + tip, start + outer + across, stop - outer + across, stop - tip]
    return np.stack([*corners, stop - inner - across, start + inner - across], 1)
