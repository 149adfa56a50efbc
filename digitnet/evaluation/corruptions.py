"""MNIST made hard, by numpy and Pillow alone: spoilt images, and pages as people scan and photograph them.

`CORRUPTIONS` follows the fifteen of MNIST-C and its strengths (N. Mu, J. Gilmer, "MNIST-C: A Robustness Benchmark for
Computer Vision", 2019, https://arxiv.org/abs/1906.02337), written anew, so its pictures are alike and not the same.
`PAGE_CORRUPTIONS` draws a digit on a page of 160 x 160 with what framing has to find its way through.
Each takes ink, uint8 (N, 28, 28) with strokes light, and gives pictures, uint8 (N, H, W); at most some thousand at a
time, for a page takes a megabyte while it is made.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

SIDE = 28  # pixels
PAGE = 160  # pixels
ENLARGED = 3  # times, a digit on a page

Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of the last two axes, (N, L, L); beyond the edge the outermost pixel goes on."""
    side = images.shape[-1]
    reach = int(4 * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    matrix = np.zeros((side, side))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        np.add.at(matrix, (np.arange(side), np.clip(np.arange(side) + offset, 0, side - 1)), weight)
    return matrix @ images @ matrix.T


def _bytes(images: np.ndarray) -> np.ndarray:
    """Of [0, 1] to uint8; what lies outside is cut off."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _warped(ink: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Each picture through its matrix (N, 2, 2), which takes an offset from the middle to where its pixel is from."""
    middle = (SIDE - 1) / 2 + 0.5
    warped = np.empty_like(ink)
    for place, ((a, b), (c, d)) in enumerate(matrices):
        shift_x, shift_y = middle - a * middle - b * middle, middle - c * middle - d * middle
        picture = Image.fromarray(ink[place])
        warped[place] = picture.transform(
            (SIDE, SIDE), Image.Transform.AFFINE, (a, b, shift_x, c, d, shift_y), Image.Resampling.BILINEAR
        )
    return warped


def _signs(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return random.choice([-1.0, 1.0], len(ink))


def shot_noise(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _bytes(random.poisson(ink / 255 * 3) / 3)


def impulse_noise(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    chance = random.random(ink.shape)
    return np.where(chance < 0.085, 255, np.where(chance < 0.17, 0, ink)).astype(np.uint8)


def glass_blur(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    images = _blurred(ink / 255, 0.7)
    every = np.arange(len(ink))
    for _ in range(2):
        for y in range(SIDE - 1, 1, -1):
            for x in range(SIDE - 1, 1, -1):
                # Half of the pictures swap this pixel with a neighbour.
                swapped = every[random.random(len(ink)) < 0.5]
                from_y, from_x = y + random.integers(-1, 1, len(swapped)), x + random.integers(-1, 1, len(swapped))
                here, there = images[swapped, y, x], images[swapped, from_y, from_x]
                images[swapped, y, x], images[swapped, from_y, from_x] = there, here
    return _bytes(_blurred(images, 0.7))


def motion_blur(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    angles = random.uniform(-np.pi / 4, np.pi / 4, len(ink))
    weights = np.exp(-(np.arange(21) ** 2) / (2 * 3**2))
    ys, xs = np.mgrid[:SIDE, :SIDE]
    blurred = np.zeros(ink.shape)
    for step, weight in enumerate(weights / weights.sum()):
        dy, dx = (np.rint(step * way(angles)).astype(int)[:, None, None] for way in (np.sin, np.cos))
        from_y, from_x = np.clip(ys + dy, 0, SIDE - 1), np.clip(xs + dx, 0, SIDE - 1)
        blurred += weight * ink[np.arange(len(ink))[:, None, None], from_y, from_x]
    return _bytes(blurred / 255)


def shear(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    sheared = _signs(ink, random) * 0.4
    ones, zeros = np.ones(len(ink)), np.zeros(len(ink))
    return _warped(ink, np.stack([ones, np.sin(sheared), zeros, np.cos(sheared)], 1).reshape(-1, 2, 2))


def scale(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _warped(ink, np.tile(np.eye(2) / 0.7, (len(ink), 1, 1)))


def rotate(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    angles = _signs(ink, random) * 0.4
    cos, sin = np.cos(angles), np.sin(angles)
    return _warped(ink, np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2))


def brightness(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _bytes(ink / 255 + 0.5)


def translate(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    moved = np.zeros_like(ink)
    for place, (dy, dx) in enumerate(random.choice([-3, 3], (len(ink), 2))):
        kept = ink[place, max(dy, 0) : SIDE + min(dy, 0), max(dx, 0) : SIDE + min(dx, 0)]
        moved[place, max(-dy, 0) : SIDE + min(-dy, 0), max(-dx, 0) : SIDE + min(-dx, 0)] = kept
    return moved


def stripe(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    striped = ink.copy()
    for outer in (slice(0, 7), slice(21, 28)):
        striped[:, :, outer] = 255 - striped[:, :, outer]
    return striped


def fog(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    side = 256  # the cloud is of this size, and a corner of it lies over the picture
    cloud = np.zeros((len(ink), side, side), np.float32)
    for octave in range(9):
        knots = np.arange(2**octave + 1) * (side / 2**octave)
        spread = np.stack([np.interp(np.arange(side), knots, row) for row in np.eye(len(knots))], 1).astype(np.float32)
        heights = random.uniform(-1, 1, (len(ink), len(knots), len(knots))).astype(np.float32)
        # In the last octave each pixel is a knot: nothing to spread, and that would take more than all others together.
        cloud += (heights[:, :side, :side] if octave == 8 else spread @ heights @ spread.T) / 1.4**octave
    cloud -= cloud.min((1, 2), keepdims=True)
    cloud /= cloud.max((1, 2), keepdims=True)
    return _bytes((ink / 255 + 3 * cloud[:, :SIDE, :SIDE]) / 4)


def spatter(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    drops = _blurred(random.normal(0.65, 0.3, ink.shape), 1) > 0.65
    mud = _blurred(drops.astype(float), 1.5)
    mud[mud < 0.8] = 0
    return _bytes(ink / 255 * (1 - mud) + 63 / 255 * mud)


def _line(start_x: np.ndarray, start_y: np.ndarray, stop_x: np.ndarray, stop_y: np.ndarray) -> np.ndarray:
    """Soft strokes, [0, 1] (N, 28, 28), from left to right, between points given as (N,) each."""
    ys, xs = np.mgrid[:SIDE, :SIDE]
    start_x, start_y, stop_x, stop_y = (p[:, None, None] for p in (start_x, start_y, stop_x, stop_y))
    on_line = start_y + (xs - start_x) * (stop_y - start_y) / np.maximum(stop_x - start_x, 1e-6)
    distance = np.minimum(np.abs(ys - on_line), 2.3 - 1e-9)
    strength = np.clip(np.log(1 - distance / 2.3) + 1, 0, 1)
    return strength * (xs >= np.floor(start_x)) * (xs < np.ceil(stop_x))


def dotted_line(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    start, stop = random.integers(0, 27, (2, len(ink))).astype(float)
    line = _line(np.zeros(len(ink)), start, np.full(len(ink), 27.0), stop)
    line[:, :, np.arange(SIDE) // 2 % 2 == 0] = 0
    return _bytes(ink / 255 + line)


def zigzag(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    start_y = random.integers(0, 27, len(ink)).astype(float)
    rise = random.integers(-5, 5, len(ink))
    angle = np.arctan(rise / 23)
    length = 23 / np.cos(angle)
    images = ink / 255
    before = (np.full(len(ink), 2.0), start_y)
    for turn in range(7):
        along = np.minimum(2 + 4.0 * turn, length)
        aside = np.where(along < length, (-1.0) ** turn * 2, 0)
        after = (
            2 + along * np.cos(angle) - aside * np.sin(angle),
            start_y + along * np.sin(angle) + aside * np.cos(angle),
        )
        images = images + _line(*before, *after)
        before = after
    return _bytes(images)


def canny_edges(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    smooth = np.pad(_blurred(ink / 255, 1), ((0, 0), (1, 1), (1, 1)), "edge")
    rows = smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]  # Sobel's operator
    columns = smooth[:, :, :-2] + 2 * smooth[:, :, 1:-1] + smooth[:, :, 2:]
    slope_x, slope_y = rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2]
    steep = np.hypot(slope_x, slope_y)
    around = np.pad(steep, ((0, 0), (1, 1), (1, 1)))

    def neighbour(dy: int, dx: int) -> np.ndarray:
        return around[:, 1 + dy : 1 + dy + SIDE, 1 + dx : 1 + dx + SIDE]

    # An edge is where it is steeper than on both sides, across the edge, to the nearest eighth of a turn.
    eighth = np.rint(np.arctan2(slope_y, slope_x) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros(ink.shape, bool)
    for way, (dy, dx) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
        ridge |= (eighth == way) & (steep >= neighbour(dy, dx)) & (steep > neighbour(-dy, -dx))
    weak, edges = ridge & (steep > 0.1), ridge & (steep > 0.2)
    for _ in range(SIDE):  # weak edges count where they hang on strong ones
        around = np.pad(edges, ((0, 0), (1, 1), (1, 1))).astype(float)
        edges = weak & (sum(neighbour(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) > 0)
    return (edges * 255).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
    way.__name__: way
    for way in (
        shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness, translate, stripe, fog,
        spatter, dotted_line, zigzag, canny_edges,
    )
}  # fmt: skip


def _page(ink: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Strokes, and the paper they are on, each float64 (N, 160, 160): how dark, and how light."""
    side = SIDE * ENLARGED
    strokes = np.zeros((len(ink), PAGE, PAGE))
    for page, one in zip(strokes, ink, strict=True):
        y, x = random.integers(10, PAGE - side - 10, 2)
        digit = Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)
        page[y : y + side, x : x + side] = np.asarray(digit) / 255
    return strokes, np.ones(strokes.shape) * random.uniform(0.85, 1, (len(ink), 1, 1))


def _written(strokes: np.ndarray, paper: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """With a pen that leaves a third of the light at most."""
    pen = random.uniform(0.08, 0.3, (len(strokes), 1, 1))
    return _bytes(paper * (1 - strokes * (1 - pen)))


def clean(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _written(*_page(ink, random), random)


def specks(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    strokes, paper = _page(ink, random)
    ys, xs = np.mgrid[:PAGE, :PAGE]
    for page in strokes:
        for _ in range(random.integers(1, 6)):
            y, x = random.integers(0, PAGE, 2)
            page[np.hypot(ys - y, xs - x) < random.uniform(0.7, 2.5)] = random.uniform(0.5, 1)
    return _written(strokes, paper, random)


def _ruled(ink: np.ndarray, random: np.random.Generator, slopes: np.ndarray) -> np.ndarray:
    strokes, paper = _page(ink, random)
    ys, xs = np.mgrid[:PAGE, :PAGE]
    for page, slope in zip(paper, slopes, strict=True):
        place = np.mod(ys + slope * xs - random.uniform(0, 50), random.uniform(20, 50))
        page *= 1 - np.clip(1.5 - abs(place - 2), 0, 1) * random.uniform(0.15, 0.5)
    return _written(strokes, paper, random)


def ruled(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _ruled(ink, random, np.zeros(len(ink)))


def ruled_askew(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _ruled(ink, random, random.normal(0, 0.03, len(ink)))


def dark_edge(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    strokes, paper = _page(ink, random)
    ys, xs = np.mgrid[:PAGE, :PAGE]
    for page in paper:
        table = xs + random.normal(0, 0.03) * ys < random.uniform(3, 12)
        page[np.rot90(table, int(random.integers(4)))] = random.uniform(0.2, 0.6)
    return _written(strokes, paper, random)


def framed_page(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    strokes, paper = _page(ink, random)
    for page in paper:
        top, left, bottom, right = random.integers(3, 12, 4)
        table = np.ones(page.shape, bool)
        table[top : PAGE - bottom, left : PAGE - right] = False
        page[table] = random.uniform(0.2, 0.6)
    return _written(strokes, paper, random)


def striped(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    strokes, paper = _page(ink, random)
    ways = np.mgrid[:PAGE, :PAGE]
    for page in paper:
        stripes = ways[random.integers(2)] // random.integers(4, 14) % 2
        page *= 1 - stripes * random.uniform(0.1, 0.35)
    return _written(strokes, paper, random)


def shaded(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    strokes, paper = _page(ink, random)
    ys, xs = np.mgrid[:PAGE, :PAGE] / PAGE - 0.5
    for page in paper:
        angle = random.uniform(0, 2 * np.pi)
        page *= 1 - random.uniform(0.2, 0.6) * (0.5 + (ys * np.sin(angle) + xs * np.cos(angle)) / np.sqrt(2))
    return _written(strokes, paper + random.normal(0, 0.01, paper.shape), random)


PAGE_CORRUPTIONS: dict[str, Corruption] = {
    way.__name__: way for way in (clean, specks, ruled, ruled_askew, dark_edge, framed_page, striped, shaded)
}
