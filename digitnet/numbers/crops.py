"""Crops: the pixels of a segment, scaled like a digit of MNIST."""

from functools import lru_cache

import numpy as np

from digitnet.contract import IMAGE_SIZE
from digitnet.numbers.segments import Pieces, Segment

BOX = 20  # pixels: the longer side of the ink
MAX_CACHED = 2000  # pairs of sizes
MARGIN = (IMAGE_SIZE - BOX) // 2  # pixels


def crop(pieces: Pieces, segment: Segment) -> np.ndarray:
    """Return an image of a segment without its neighbors.

    The soft edges of its strokes, a pixel around it, belong to the segment. It is scaled by averaging so that its
    longer side is as long as in MNIST.

    Args:
        pieces: The pieces of a line.
        segment: Some of them.

    Returns:
        Gray levels, uint8 (28, 28), bright on black.
    """
    boxes = pieces.boxes[segment.start : segment.stop]
    (left, top), (right, bottom) = np.maximum(boxes[:, :2].min(0) - 1, 0), boxes[:, 2:].max(0) + 1
    numbers = pieces.numbers[top:bottom, left:right]
    own = (numbers > segment.start) & (numbers <= segment.stop)
    ink = pieces.contrast[top:bottom, left:right] * (own | (_dilate(own) & (numbers == 0)))
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    longest = max(ink.shape)
    scaled: np.ndarray = _weights(ink.shape[0], longest) @ ink @ _weights(ink.shape[1], longest).T
    levels: np.ndarray = (scaled * (255 / max(scaled.max(), 1))).round()
    return levels.astype(np.uint8)


def _dilate(mask: np.ndarray) -> np.ndarray:
    """Return the mask with the eight neighbors of each pixel."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    result = wide.copy()
    result[1:] |= wide[:-1]
    result[:-1] |= wide[1:]
    return result


@lru_cache(MAX_CACHED)
def _weights(length: int, longest: int) -> np.ndarray:
    """Return how much each of `length` pixels counts for each of 28 pixels if the longer side is `longest` pixels."""
    scale = longest / BOX
    half = max(scale, 1) / 2
    shift = (BOX - length / scale) / 2  # centered
    middle = (np.arange(IMAGE_SIZE, dtype=np.float32) + (0.5 - MARGIN - int(shift))) * scale
    start, stop = np.maximum(middle - half, 0)[:, None], np.minimum(middle + half, length)[:, None]
    position = np.arange(length, dtype=np.float32)
    weights: np.ndarray = np.maximum(np.minimum(stop, position + 1) - np.maximum(start, position), 0)
    return weights
