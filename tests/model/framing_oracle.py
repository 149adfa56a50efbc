"""An independent implementation of framing for one image at a time in NumPy, which tests compare with the module."""

import math

import numpy as np


def frame(image: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the ink of an image, uint8 (H, W, C), as float64 (28, 28), and whether it is blank."""
    blank = np.zeros((28, 28)), True
    ink = find_ink(to_gray(image.astype(np.float64)))
    by_row, by_column = remove_specks(ink.sum(1)), remove_specks(ink.sum(0))
    if not by_row.any():
        return blank
    ys, xs = np.nonzero(by_row)[0], np.nonzero(by_column)[0]
    box = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
    scale = max(box[1] - box[0], box[3] - box[2]) / 20
    framed = resample(ink, 0, by_row, box[0], box[1], scale)
    framed = resample(framed, 1, by_column, box[2], box[3], scale)
    return framed / framed.max(), False


def to_gray(image: np.ndarray) -> np.ndarray:
    """Return integer gray levels, with transparent pixels replaced by the opposite of the strokes."""
    if image.shape[2] < 4:
        return np.rint(image.mean(2))
    gray, alpha = image[..., :3].mean(2), image[..., 3]
    strokes_are_dark = np.rint(gray * alpha / 255).sum() < alpha.sum() / 2
    return np.rint((gray * alpha + 255 * strokes_are_dark * (255 - alpha)) / 255)


def find_ink(gray: np.ndarray) -> np.ndarray:
    """Return what differs from the border's median by more than noise or lines on the paper."""
    height, width = gray.shape
    samples = [((2 * sample + 1) * height // 128, (2 * sample + 1) * width // 128) for sample in range(64)]
    ys, xs = zip(*samples, strict=True)
    sides = np.stack([gray[0, xs], gray[-1, xs], gray[ys, 0], gray[ys, -1]])
    border = np.sort(sides.ravel())
    low, background, high = border[64], border[128], border[192]
    darker, brighter = background - gray.min(), gray.max() - background
    sign = -1 if darker > brighter else 1
    contrast = max(darker, brighter)
    depth, sides = (gray - background) * sign, (sides - background) * sign
    noise = 9 * min(high - background, background - low)
    top, bottom, left, right = sides.max(1)
    lines = max(min(top, bottom), min(left, right))
    if lines < contrast / 2:  # otherwise these are strokes of a tight crop
        noise = max(noise, lines)
    noise = min(noise, contrast / 2) if contrast >= 16 else 999
    return np.where(depth > noise, depth, 0)


def remove_specks(mass: np.ndarray) -> np.ndarray:
    """Return the ink along an axis without up to 1/32 at each end that twelve empty pixels separate from it."""
    padded = np.concatenate([np.zeros(12), mass, np.zeros(12)])
    begin, end = 0, len(padded)
    for index in range(12, len(padded) + 1):
        if not padded[index - 12 : index].any():
            if padded[:index].sum() <= mass.sum() / 32:
                begin = index
            if padded[index:].sum() <= mass.sum() / 32:
                end = min(end, index)
    padded[:begin], padded[end:] = 0, 0
    return padded[12:-12]


def resample(ink: np.ndarray, axis: int, mass: np.ndarray, start: int, stop: int, scale: float) -> np.ndarray:
    """Resample one axis to 28 pixels with a box filter, moved by whole pixels to its center of mass."""
    center = (mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum()
    shift = math.floor(14.5 - (center - start) / scale + 0.5 + 1e-4)
    shift = min(max(shift, 0), max(math.floor(28 - (stop - start) / scale + 1e-3), 0))
    width = max(scale, 1)
    pixels = []
    for pixel in range(28):
        middle = start + (pixel + 0.5 - shift) * scale
        left, right = max(middle - width / 2, start), min(middle + width / 2, stop)
        total = 0
        for source in range(max(math.floor(left), 0), min(math.ceil(right), len(mass))):
            overlap = min(right, source + 1) - max(left, source)
            if overlap > 0:
                total = total + overlap / width * ink.take(source, axis)
        pixels.append(total if not isinstance(total, int) else np.zeros(ink.shape[1 - axis]))
    return np.stack(pixels, axis)
