"""Corruptions of MNIST's images, for measuring robustness, with NumPy and Pillow.

They follow the fifteen corruptions of MNIST-C and their strengths (N. Mu and J. Gilmer, "MNIST-C: A Robustness
Benchmark for Computer Vision", 2019, https://arxiv.org/abs/1906.02337) in an implementation of our own, so the images
are similar but not identical.

Each corruption takes framed digits, uint8 (N, 28, 28), bright on black, and a source of random numbers, and returns
images, uint8 (N, 28, 28).
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from digitnet.contract import IMAGE_SIZE

# From framed digits, uint8 (N, 28, 28), and a source of random numbers to images, uint8 (N, H, W).
Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Return images in [0, 1] as uint8 in [0, 255]; values outside are clipped.

    Args:
        images: Float of any shape.

    Returns:
        Uint8 of the same shape.
    """
    levels: np.ndarray = np.rint(np.clip(images, 0, 1) * 255)
    return levels.astype(np.uint8)


def _blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Return images, (N, L, L), after a Gaussian blur that repeats the pixels at the edges."""
    side = images.shape[-1]
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    matrix = np.zeros((side, side))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        np.add.at(matrix, (np.arange(side), np.clip(np.arange(side) + offset, 0, side - 1)), weight)
    blurred: np.ndarray = matrix @ images @ matrix.T
    return blurred


def _transform(ink: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Return images, each transformed by a matrix, (N, 2, 2), that maps output to input coordinates from the center."""
    center = (IMAGE_SIZE - 1) / 2 + 0.5
    transformed = np.empty_like(ink)
    for index, ((a, b), (c, d)) in enumerate(matrices):
        shift_x, shift_y = center - a * center - b * center, center - c * center - d * center
        image = Image.fromarray(ink[index])
        transformed[index] = image.transform(
            (IMAGE_SIZE, IMAGE_SIZE), Image.Transform.AFFINE, (a, b, shift_x, c, d, shift_y), Image.Resampling.BILINEAR
        )
    return transformed


def _signs(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return -1 or 1 for each image, (N,)."""
    return rng.choice([-1.0, 1.0], len(ink))


def shot_noise(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add Poisson noise of at most three photons per pixel.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    return to_uint8(rng.poisson(ink / 255 * 3) / 3)


def impulse_noise(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace 17 % of the pixels by black or white.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    noise = rng.random(ink.shape)
    return np.where(noise < 0.085, 255, np.where(noise < 0.17, 0, ink)).astype(np.uint8)


def glass_blur(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate frosted glass: blur, swap neighboring pixels twice, and blur again.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    images = _blur(ink / 255, 0.7)
    for _ in range(2):
        for y in range(IMAGE_SIZE - 1, 1, -1):
            for x in range(IMAGE_SIZE - 1, 1, -1):
                swapped = np.flatnonzero(rng.random(len(ink)) < 0.5)
                from_y, from_x = y + rng.integers(-1, 1, len(swapped)), x + rng.integers(-1, 1, len(swapped))
                here, there = images[swapped, y, x], images[swapped, from_y, from_x]
                images[swapped, y, x], images[swapped, from_y, from_x] = there, here
    return to_uint8(_blur(images, 0.7))


def motion_blur(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur over 21 pixels along a direction up to 45 degrees from the horizontal.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    angles = rng.uniform(-np.pi / 4, np.pi / 4, len(ink))
    weights = np.exp(-(np.arange(21) ** 2) / (2 * 3**2))
    ys, xs = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    blurred = np.zeros(ink.shape)
    for step, weight in enumerate(weights / weights.sum()):
        dy, dx = (np.rint(step * function(angles)).astype(int)[:, None, None] for function in (np.sin, np.cos))
        from_y, from_x = np.clip(ys + dy, 0, IMAGE_SIZE - 1), np.clip(xs + dx, 0, IMAGE_SIZE - 1)
        blurred += weight * ink[np.arange(len(ink))[:, None, None], from_y, from_x]
    return to_uint8(blurred / 255)


def shear(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shear each image by 0.4 in either direction.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    amount = _signs(ink, rng) * 0.4
    ones, zeros = np.ones(len(ink)), np.zeros(len(ink))
    return _transform(ink, np.stack([ones, np.sin(amount), zeros, np.cos(amount)], 1).reshape(-1, 2, 2))


def scale(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reduce the images to 70 % of their size.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Unused.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    return _transform(ink, np.tile(np.eye(2) / 0.7, (len(ink), 1, 1)))


def rotate(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate each image by 0.4 radians in either direction.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    angles = _signs(ink, rng) * 0.4
    cos, sin = np.cos(angles), np.sin(angles)
    return _transform(ink, np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2))


def brightness(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Increase the brightness by 0.5 of the range.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Unused.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    return to_uint8(ink / 255 + 0.5)


def translate(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Translate each image by three pixels along each axis.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    moved = np.zeros_like(ink)
    for index, (dy, dx) in enumerate(rng.choice([-3, 3], (len(ink), 2))):
        kept = ink[index, max(dy, 0) : IMAGE_SIZE + min(dy, 0), max(dx, 0) : IMAGE_SIZE + min(dx, 0)]
        moved[index, max(-dy, 0) : IMAGE_SIZE + min(-dy, 0), max(-dx, 0) : IMAGE_SIZE + min(-dx, 0)] = kept
    return moved


def stripe(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Invert the left and the right quarter.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Unused.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    striped = ink.copy()
    for outer in (slice(0, 7), slice(21, 28)):
        striped[:, :, outer] = 255 - striped[:, :, outer]
    return striped


def fog(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix one part of the image with three parts of fractal fog.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    side = 256  # pixels; the image is covered by a corner of the fog
    cloud = np.zeros((len(ink), side, side), np.float32)
    for octave in range(9):
        knots = np.arange(2**octave + 1) * (side / 2**octave)
        basis = np.stack([np.interp(np.arange(side), knots, row) for row in np.eye(len(knots))], 1).astype(np.float32)
        heights = rng.uniform(-1, 1, (len(ink), len(knots), len(knots))).astype(np.float32)
        # In the last octave each pixel is a knot. Interpolating it would take longer than all others together.
        cloud += (heights[:, :side, :side] if octave == 8 else basis @ heights @ basis.T) / 1.4**octave
    cloud -= cloud.min((1, 2), keepdims=True)
    cloud /= cloud.max((1, 2), keepdims=True)
    return to_uint8((ink / 255 + 3 * cloud[:, :IMAGE_SIZE, :IMAGE_SIZE]) / 4)


def spatter(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add drops of mud.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    drops = _blur(rng.normal(0.65, 0.3, ink.shape), 1) > 0.65
    mud = _blur(drops.astype(float), 1.5)
    mud[mud < 0.8] = 0
    return to_uint8(ink / 255 * (1 - mud) + 63 / 255 * mud)


def _line(start_x: np.ndarray, start_y: np.ndarray, stop_x: np.ndarray, stop_y: np.ndarray) -> np.ndarray:
    """Return images, (N, 28, 28) in [0, 1], with a soft line between two points, whose coordinates are (N,) each."""
    ys, xs = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    start_x, start_y, stop_x, stop_y = (p[:, None, None] for p in (start_x, start_y, stop_x, stop_y))
    center = start_y + (xs - start_x) * (stop_y - start_y) / np.maximum(stop_x - start_x, 1e-6)
    distance = np.minimum(np.abs(ys - center), 2.3 - 1e-9)
    strength = np.clip(np.log(1 - distance / 2.3) + 1, 0, 1)
    line: np.ndarray = strength * (xs >= np.floor(start_x)) * (xs < np.ceil(stop_x))
    return line


def dotted_line(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a dotted line from the left to the right edge.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    start, stop = rng.integers(0, 27, (2, len(ink))).astype(float)
    line = _line(np.zeros(len(ink)), start, np.full(len(ink), 27.0), stop)
    line[:, :, np.arange(IMAGE_SIZE) // 2 % 2 == 0] = 0
    return to_uint8(ink / 255 + line)


def zigzag(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a zigzag line.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    start_y = rng.integers(0, 27, len(ink)).astype(float)
    rise = rng.integers(-5, 5, len(ink))
    angle = np.arctan(rise / 23)
    length = 23 / np.cos(angle)
    images = ink / 255
    before = (np.full(len(ink), 2.0), start_y)
    for corner in range(7):
        along = np.minimum(2 + 4.0 * corner, length)
        aside = np.where(along < length, (-1.0) ** corner * 2, 0)
        after = (
            2 + along * np.cos(angle) - aside * np.sin(angle),
            start_y + along * np.sin(angle) + aside * np.cos(angle),
        )
        images = images + _line(*before, *after)
        before = after
    return to_uint8(images)


def canny_edges(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace the images by their edges, found by a Canny edge detector.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Unused.

    Returns:
        Uint8 (N, 28, 28), bright on black.
    """
    smooth = np.pad(_blur(ink / 255, 1), ((0, 0), (1, 1), (1, 1)), "edge")
    rows = smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]  # Sobel's operator
    columns = smooth[:, :, :-2] + 2 * smooth[:, :, 1:-1] + smooth[:, :, 2:]
    slope_x, slope_y = rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2]
    gradient = np.hypot(slope_x, slope_y)
    padded = np.pad(gradient, ((0, 0), (1, 1), (1, 1)))

    def neighbor(dy: int, dx: int) -> np.ndarray:
        """Return the pixel at this offset from each pixel."""
        return padded[:, 1 + dy : 1 + dy + IMAGE_SIZE, 1 + dx : 1 + dx + IMAGE_SIZE]

    # The gradient of an edge is larger than on both sides, in its own direction to the nearest 45 degrees.
    octant = np.rint(np.arctan2(slope_y, slope_x) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros(ink.shape, bool)
    for direction, (dy, dx) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
        ridge |= (octant == direction) & (gradient >= neighbor(dy, dx)) & (gradient > neighbor(-dy, -dx))
    weak, edges = ridge & (gradient > 0.1), ridge & (gradient > 0.2)
    for _ in range(IMAGE_SIZE):  # weak edges remain if they are connected to strong ones
        padded = np.pad(edges, ((0, 0), (1, 1), (1, 1))).astype(float)
        edges = weak & (sum(neighbor(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) > 0)
    image: np.ndarray = edges * 255
    return image.astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
    corruption.__name__: corruption
    for corruption in (
        shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness, translate, stripe, fog,
        spatter, dotted_line, zigzag, canny_edges,
    )
}  # fmt: skip
