"""The rule of digitnet/framing.py said a second time, one picture and one step after the other in numpy: an oracle."""

import math

import numpy as np


def frame(image: np.ndarray) -> tuple[np.ndarray, bool]:
    """uint8 (H, W, C) to float64 (28, 28) with ink = 1, and True where there is nothing to read."""
    blank = np.zeros((28, 28)), True
    grey = paint(image.astype(np.float64))
    ink = find_ink(grey)
    if ink is None or not ink.any():
        return blank
    ys, xs = np.nonzero(ink)
    box = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    scale = max(box[1] - box[0], box[3] - box[2]) / 20
    framed = resample(ink, 0, ink.sum(1), box[0], box[1], scale)
    framed = resample(framed, 1, ink.sum(0), box[2], box[3], scale)
    return framed / framed.max(), False


def paint(image: np.ndarray) -> np.ndarray:
    """Whole grey levels, transparent pixels painted with the opposite of the strokes."""
    if image.shape[2] < 4:
        return np.rint(image.mean(2))
    grey, alpha = np.rint(image[..., :3].mean(2)), image[..., 3]
    over = np.rint(grey * alpha / 255)
    strokes_are_dark = over.sum() / max(alpha.sum(), 1) < 0.5 if alpha.sum() else False
    return over + (255 - alpha) * strokes_are_dark


def find_ink(grey: np.ndarray) -> np.ndarray | None:
    """What differs from the border's median by more than noise; None where nothing stands out."""
    height, width = grey.shape
    border = []
    for sample in range(64):
        y, x = (2 * sample + 1) * height // 128, (2 * sample + 1) * width // 128
        border += [grey[0, x], grey[-1, x], grey[y, 0], grey[y, -1]]
    border.sort()
    ground = border[128]
    if ground > (grey.min() + grey.max()) / 2:  # dark strokes
        contrast, spread, depth = ground - grey.min(), border[192] - ground, ground - grey
    else:
        contrast, spread, depth = grey.max() - ground, ground - border[64], grey - ground
    return None if contrast < 16 else np.where(depth > min(9 * spread, contrast / 2), depth, 0)


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
