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
    """Return what differs from the background by more than noise or lines on the paper."""
    cells = average_cells(gray)
    border_sign, border_level, border_noise = inspect_border(gray)
    difference = cells - average_around(cells)
    sign = -1 if ((difference / 255) ** 3).sum() < -1e-3 else 1
    level = dilate(-dilate(-(sign * cells), 5), 5)
    ring = np.concatenate([level[0], level[-1], level[:, 0], level[:, -1]])
    is_even = np.ptp(ring) <= 8 and abs(border_level - (ring.max() + ring.min()) / 2) <= 8 and border_sign == sign
    is_filled = np.ptp(level) >= 0.75 * np.ptp(cells) and abs(difference).max() >= 0.3 * np.ptp(cells)
    by_border = is_even or is_filled
    if by_border:
        sign, level = border_sign, np.full((32, 32), border_level)
    paper = np.maximum(255 - level if sign > 0 else -level, 24)
    contrast = np.maximum(sign * cells - level, 0) / paper
    strokes, was_removed = select_cells(contrast)
    is_clean = by_border and not was_removed and border_noise == 0
    kept = np.ones((32, 32)) if is_clean else dilate(strokes, 1)
    noise = border_noise if by_border else math.floor(contrast.max() / 4 * paper.min() + 1e-3) + 0.5
    depth = sign * gray - enlarge(np.where(kept > 0, level, 1024), gray.shape)
    return np.where(depth > noise, depth, 0)


def average_cells(gray: np.ndarray) -> np.ndarray:
    """Return the mean gray level of each of 32 x 32 cells."""
    height, width = gray.shape
    rows = [slice(i * height // 32, max((i + 1) * height // 32, i * height // 32 + 1)) for i in range(32)]
    columns = [slice(i * width // 32, max((i + 1) * width // 32, i * width // 32 + 1)) for i in range(32)]
    return np.rint([[gray[row, column].mean() for column in columns] for row in rows])


def average_around(cells: np.ndarray) -> np.ndarray:
    """Return the mean of 15 x 15 cells around each cell."""
    padded = np.pad(cells, 7, constant_values=np.nan)
    return np.nanmean(np.lib.stride_tricks.sliding_window_view(padded, (15, 15)), (2, 3))


def dilate(cells: np.ndarray, radius: int) -> np.ndarray:
    """Return the maximum of the cells at a distance of up to `radius` along each axis."""
    padded = np.pad(cells, radius, constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1)).max((2, 3))


def select_cells(contrast: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the cells with strokes, 0 or 1, without what reaches in from the border, and whether that was removed."""
    faint = contrast[contrast < contrast.max() / 4]
    strokes = contrast > max(contrast.max() / 4, 4 * faint.mean() if faint.size else 0)
    reached = np.zeros((32, 32), bool)
    for y, x in zip(*np.nonzero(strokes), strict=True):
        lines = strokes[:y, x], strokes[y:, x], strokes[y, :x], strokes[y, x:]
        reached[y, x] = any(line.all() for line in lines)
    reached = (dilate(reached * 1.0, 1) > 0) & strokes
    is_attached = ((dilate(reached * 1.0, 1) > 0) & strokes & ~reached).any()
    if is_attached or (strokes & ~reached).sum() < 2:
        return strokes * 1.0, False
    return (strokes & ~reached) * 1.0, bool(reached.any())


def enlarge(level: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the level of each pixel, interpolated between the centers of the cells in steps of 1/64."""
    for axis, size in enumerate(shape):
        position = np.clip(np.rint((np.arange(size) + 0.5) / size * 2048) / 64 - 0.5, 0, 31)
        lower = np.minimum(np.floor(position).astype(int), 30)
        fraction = (position - lower).reshape((-1, 1) if axis == 0 else (1, -1))
        level = (1 - fraction) * level.take(lower, axis) + fraction * level.take(lower + 1, axis)
    return level


def inspect_border(gray: np.ndarray) -> tuple[int, float, float]:
    """Return the polarity, the level of the background times the polarity, and the noise, as the border shows them."""
    height, width = gray.shape
    samples = [((2 * sample + 1) * height // 128, (2 * sample + 1) * width // 128) for sample in range(64)]
    ys, xs = zip(*samples, strict=True)
    sides = np.stack([gray[0, xs], gray[-1, xs], gray[ys, 0], gray[ys, -1]])
    border = np.sort(sides.ravel())
    low, background, high = border[64], border[128], border[192]
    darker, brighter = background - gray.min(), gray.max() - background
    sign = -1 if darker > brighter else 1
    contrast = max(darker, brighter)
    noise = 9 * min(high - background, background - low)
    top, bottom, left, right = ((sides - background) * sign).max(1)
    lines = max(min(top, bottom), min(left, right))
    if lines < contrast / 2:  # otherwise these are strokes of a tight crop
        noise = max(noise, lines)
    return sign, sign * background, min(noise, contrast / 2) if contrast >= 16 else 999


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
