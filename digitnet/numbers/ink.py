"""Ink: the contrast of strokes to the background, which may be uneven, and which pixels belong to strokes."""

from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_GRAY = 255.0
GRID = 32  # cells along the shorter side of the image, on which the background is estimated
WINDOW = 11  # cells: what is narrower may be a stroke
SURROUNDINGS = 15  # cells with which a cell is compared to find the polarity
EVEN = 8  # gray levels by which an even border may differ
MIN_CONTRAST = 16  # gray levels, below which an image is blank
MIN_SIGNAL = 6  # strokes have more than this many times the noise
EDGE_NOISE = 4  # times the noise: the faintest pixels at the edges of strokes
FAINTEST = 0.25  # contrast of strokes as a fraction of the strongest
CLEAN = 0.75  # fraction of the border that has one gray level if the background is even
NOISE_STEP = 3  # pixels between those from which the noise is estimated
STD_PER_MEDIAN = 1.48  # standard deviation of normal noise per median of its absolute value
FAINT_LINES = 0.6  # contrast of lines as a fraction of the threshold of strokes
DARKEST = 24.0  # gray level of the darkest paper
STRONGEST = 1 / 512  # fraction of the pixels whose contrast counts as the strongest


class Ink(NamedTuple):
    """The ink of an image.

    Attributes:
        contrast: Contrast of the strokes, uint8 (H, W), 0 where it does not exceed the noise.
        mask: Which pixels belong to strokes, bool (H, W).
        faint: Which pixels may belong to faint lines, bool (H, W); it contains the mask.
    """

    contrast: np.ndarray
    mask: np.ndarray
    faint: np.ndarray


def to_gray(image: np.ndarray) -> np.ndarray:
    """Return gray levels, with transparent pixels replaced by a background.

    Args:
        image: Uint8 (H, W, C) with C = 1 (gray), 3 (RGB) or 4 (RGBA).

    Returns:
        Uint8 (H, W).
    """
    if image.shape[2] == 1:
        return image[:, :, 0]
    gray = image[:, :, :3].mean(2, dtype=np.float32)
    if image.shape[2] == 4:
        opacity = image[:, :, 3] / np.float32(MAX_GRAY)
        background = MAX_GRAY if (gray * opacity).sum() < MAX_GRAY / 2 * opacity.sum() else 0.0
        gray = (gray - background) * opacity + background
    levels: np.ndarray = gray.round()
    return levels.astype(np.uint8)


def find_ink(gray: np.ndarray) -> Ink:
    """Separate the ink from the background.

    Args:
        gray: Uint8 (H, W).

    Returns:
        The ink.
    """
    contrast, noise = _subtract_background(gray)
    levels = np.minimum(contrast, MAX_GRAY).astype(np.uint8)
    histogram = np.bincount(levels.ravel(), minlength=256)
    strongest = _strongest_level(histogram)
    if strongest < max(MIN_CONTRAST, MIN_SIGNAL * noise):
        return Ink(np.zeros(gray.shape, np.uint8), np.zeros(gray.shape, bool), np.zeros(gray.shape, bool))
    threshold = max(_otsu_threshold(histogram), FAINTEST * strongest, EDGE_NOISE * noise)
    threshold = min(threshold, strongest / 2)
    brightened = np.minimum(np.arange(256) * MAX_GRAY / strongest, MAX_GRAY).round()
    brightened[: int(EDGE_NOISE * noise) + 1] = 0
    faintest = max(threshold * FAINT_LINES, min(EDGE_NOISE * noise, threshold))
    return Ink(brightened.astype(np.uint8)[levels], levels > threshold, levels > faintest)


def reduce(gray: np.ndarray, scale: int) -> np.ndarray:
    """Return the rounded means over squares; those at the right and bottom may be incomplete.

    Args:
        gray: Uint8 (H, W).
        scale: Side of the squares in pixels, at least 1.

    Returns:
        Uint8 (ceil(H / scale), ceil(W / scale)).
    """
    return gray if scale == 1 else np.asarray(Image.fromarray(gray).reduce(scale))


def _subtract_background(gray: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the contrast of strokes, float32 (H, W), as if on white paper in gray levels, and its noise."""
    size = max(1, min(gray.shape) // GRID)
    cells = reduce(gray, size).astype(np.float32)
    sign = _find_polarity(cells)
    level = _open(sign * cells)
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    middle = float(np.median(border))
    border_sign = 1 if float(gray.max()) - middle >= middle - float(gray.min()) else -1
    ring = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
    agrees = np.ptp(ring) <= EVEN and border_sign == sign and abs(sign * middle - float(np.median(ring))) <= EVEN
    if agrees or (border_sign != sign and np.count_nonzero(border == middle) > CLEAN * len(border)):
        sign, difference = border_sign, border_sign * gray.astype(np.float32) - np.float32(border_sign * middle)
        paper: np.ndarray | np.float32 = np.float32(MAX_GRAY * (sign > 0) - sign * middle)
    else:
        enlarged = _enlarge(level, gray.shape, size)
        difference = sign * gray.astype(np.float32) - enlarged
        paper = np.float32(MAX_GRAY * (sign > 0)) - enlarged
    noise = float(np.median(np.abs(difference[::NOISE_STEP, ::NOISE_STEP]))) * STD_PER_MEDIAN
    gain = np.float32(MAX_GRAY) / np.maximum(paper, np.float32(DARKEST))
    return np.maximum(difference, 0) * gain, noise * float(np.median(gain))


def _find_polarity(cells: np.ndarray) -> int:
    """Return 1 if strokes are brighter than their surroundings, else -1: they differ more than the background does."""
    difference = (cells - _average_around(cells)) / MAX_GRAY
    return -1 if float((difference**3).sum()) < 0 else 1


def _average_around(cells: np.ndarray) -> np.ndarray:
    """Return the mean of the 15 x 15 cells around each cell."""
    for axis in (0, 1):
        sums = np.cumsum(cells, axis=axis, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        index = np.arange(cells.shape[axis])
        start = np.maximum(index - SURROUNDINGS // 2, 0)
        stop = np.minimum(index + SURROUNDINGS // 2 + 1, len(index))
        count = (stop - start).reshape((-1, 1) if axis == 0 else (1, -1))
        cells = (sums.take(stop, axis) - sums.take(start, axis)) / count
    return cells


def _open(level: np.ndarray) -> np.ndarray:
    """Return the morphological opening with a square of 11 x 11 cells: without what is bright and narrower."""
    return _dilate(-_dilate(-level))


def _dilate(level: np.ndarray) -> np.ndarray:
    """Return the maximum over squares of 11 x 11 cells."""
    reach = WINDOW // 2
    for axis in (0, 1):
        widths = [(reach, reach) if axis == 0 else (0, 0), (reach, reach) if axis == 1 else (0, 0)]
        padded = np.pad(level, widths, mode="edge")
        level = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis).max(2)
    return level


def _enlarge(level: np.ndarray, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Return the level of each pixel by bilinear interpolation between the cells' centers."""
    rows, columns = (_cell_weights(length, count, size) for length, count in zip(shape, level.shape, strict=True))
    resized: np.ndarray = rows @ level @ columns.T
    return resized


def _cell_weights(length: int, count: int, size: int) -> np.ndarray:
    """Return the weight of each of `count` cells at each of `length` pixels, float32 (length, count)."""
    position = np.clip((np.arange(length, dtype=np.float32) + 0.5) / size - 0.5, 0, count - 1)[:, None]
    return np.maximum(0, 1 - abs(position - np.arange(count, dtype=np.float32)))


def _strongest_level(histogram: np.ndarray) -> int:
    """Return the level that only one in 512 pixels exceed, or of fewer pixels if the image has less ink."""
    count = max(1, round(histogram.sum() * STRONGEST))
    above = np.cumsum(histogram[::-1])[::-1]
    levels = np.arange(256)
    typical = int(levels[above >= count].max())
    highest = int(levels[above >= min(count, 12)].max())
    return typical if typical * 2 > highest else highest


def _otsu_threshold(histogram: np.ndarray) -> int:
    """Return the level that separates the histogram into two classes with the largest variance between them."""
    levels = np.arange(256)
    below = np.cumsum(histogram).astype(np.float64)
    mass = np.cumsum(histogram * levels).astype(np.float64)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    return int(np.nanargmax(np.where(np.isfinite(variance), variance, -1)))
