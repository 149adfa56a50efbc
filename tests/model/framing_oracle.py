"""The rule of digitnet/framing.py said a second time, one picture and one step after the other in numpy: an oracle."""

import math

import numpy as np


def frame(image: np.ndarray) -> tuple[np.ndarray, bool]:
    """uint8 (H, W, C) to float64 (28, 28) with ink = 1, and True where there is nothing to read."""
    blank = np.zeros((28, 28)), True
    ink = find_ink(paint(image.astype(np.float64)))
    by_row, by_column = without_specks(ink.sum(1)), without_specks(ink.sum(0))
    if not by_row.any():
        return blank
    ys, xs = np.nonzero(by_row)[0], np.nonzero(by_column)[0]
    box = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    scale = max(box[1] - box[0], box[3] - box[2]) / 20
    framed = resample(ink, 0, by_row, box[0], box[1], scale)
    framed = resample(framed, 1, by_column, box[2], box[3], scale)
    return framed / framed.max(), False


def paint(image: np.ndarray) -> np.ndarray:
    """Whole grey levels, transparent pixels painted with the opposite of the strokes."""
    if image.shape[2] < 4:
        return np.rint(image.mean(2))
    grey, alpha = image[..., :3].mean(2), image[..., 3]
    strokes_are_dark = np.rint(grey * alpha / 255).sum() < alpha.sum() / 2
    return np.rint((grey * alpha + 255 * strokes_are_dark * (255 - alpha)) / 255)


def find_ink(grey: np.ndarray) -> np.ndarray:
    """What differs from the border's median by more than noise, or lines on the paper."""
    height, width = grey.shape
    places = [((2 * sample + 1) * height // 128, (2 * sample + 1) * width // 128) for sample in range(64)]
    ys, xs = zip(*places, strict=True)
    sides = np.stack([grey[0, xs], grey[-1, xs], grey[ys, 0], grey[ys, -1]])
    border = np.sort(sides.ravel())
    low, ground, high = border[64], border[128], border[192]
    darker, lighter = ground - grey.min(), grey.max() - ground
    sign = -1 if darker > lighter else 1
    contrast = max(darker, lighter)
    depth, sides = (grey - ground) * sign, (sides - ground) * sign
    noise = 9 * min(high - ground, ground - low)
    top, bottom, left, right = sides.max(1)
    lines = max(min(top, bottom), min(left, right))
    if lines < contrast / 2:  # else it is strokes in a tight crop
        noise = max(noise, lines)
    noise = min(noise, contrast / 2) if contrast >= 16 else 999
    return np.where(depth > noise, depth, 0)


def without_specks(mass: np.ndarray) -> np.ndarray:
    """The ink in each place of an axis, but for up to 1/32 at each end that twelve empty places part from it."""
    padded = np.concatenate([np.zeros(12), mass, np.zeros(12)])
    begin, end = 0, len(padded)
    for place in range(12, len(padded) + 1):
        if not padded[place - 12 : place].any():
            if padded[:place].sum() <= mass.sum() / 32:
                begin = place
            if padded[place:].sum() <= mass.sum() / 32:
                end = min(end, place)
    padded[:begin], padded[end:] = 0, 0
    return padded[12:-12]


def resample(ink: np.ndarray, axis: int, mass: np.ndarray, start: int, stop: int, scale: float) -> np.ndarray:
    """One axis of the ink to 28 pixels: box-filtered, its centre of mass on pixel 14, moved by whole pixels."""
    centre = (mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum()
    shift = math.floor(14.5 - (centre - start) / scale + 0.5 + 1e-4)
    shift = min(max(shift, 0), max(math.floor(28 - (stop - start) / scale + 1e-3), 0))
    width = max(scale, 1)
    pixels = []
    for pixel in range(28):
        middle = start + (pixel + 0.5 - shift) * scale
        left, right = max(middle - width / 2, start), min(middle + width / 2, stop)
        total = 0
        for source in range(max(math.floor(left), 0), min(math.ceil(right), len(mass))):
            part = min(right, source + 1) - max(left, source)
            if part > 0:
                total = total + part / width * ink.take(source, axis)
        pixels.append(total if not isinstance(total, int) else np.zeros(ink.shape[1 - axis]))
    return np.stack(pixels, axis)
