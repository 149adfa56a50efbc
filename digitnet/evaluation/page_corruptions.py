"""Page corruptions: MNIST digits on pages, as people scan and photograph them.

Each takes framed digits, uint8 (N, 28, 28), bright on black, and a source of random numbers, and returns grayscale
pages, uint8 (N, 160, 160). Drawing a page takes a megabyte of memory, so pass at most a few thousand digits.
"""

import numpy as np
from PIL import Image

from digitnet.contract import IMAGE_SIZE
from digitnet.evaluation.corruptions import Corruption, to_uint8

PAGE_SIZE = 160  # pixels
MAGNIFICATION = 3  # of the digit on a page


def _draw_pages(ink: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the darkness of the strokes and the brightness of the paper, each float64 (N, 160, 160)."""
    side = IMAGE_SIZE * MAGNIFICATION
    strokes = np.zeros((len(ink), PAGE_SIZE, PAGE_SIZE))
    for page, image in zip(strokes, ink, strict=True):
        y, x = rng.integers(10, PAGE_SIZE - side - 10, 2)
        digit = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        page[y : y + side, x : x + side] = np.asarray(digit) / 255
    return strokes, np.ones(strokes.shape) * rng.uniform(0.85, 1, (len(ink), 1, 1))


def _write(strokes: np.ndarray, paper: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the pages with strokes of a pen that leaves 8 to 30 % of the brightness."""
    pen = rng.uniform(0.08, 0.3, (len(strokes), 1, 1))
    return to_uint8(paper * (1 - strokes * (1 - pen)))


def clean(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with nothing but the digit.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    return _write(*_draw_pages(ink, rng), rng)


def specks(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with one to five specks.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    ys, xs = np.mgrid[:PAGE_SIZE, :PAGE_SIZE]
    for page in strokes:
        for _ in range(rng.integers(1, 6)):
            y, x = rng.integers(0, PAGE_SIZE, 2)
            page[np.hypot(ys - y, xs - x) < rng.uniform(0.7, 2.5)] = rng.uniform(0.5, 1)
    return _write(strokes, paper, rng)


def _rule(ink: np.ndarray, rng: np.random.Generator, slopes: np.ndarray) -> np.ndarray:
    """Return pages with ruled lines of the given slopes, (N,)."""
    strokes, paper = _draw_pages(ink, rng)
    ys, xs = np.mgrid[:PAGE_SIZE, :PAGE_SIZE]
    for page, slope in zip(paper, slopes, strict=True):
        distance = np.mod(ys + slope * xs - rng.uniform(0, 50), rng.uniform(20, 50))
        page *= 1 - np.clip(1.5 - abs(distance - 2), 0, 1) * rng.uniform(0.15, 0.5)
    return _write(strokes, paper, rng)


def ruled(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with horizontal ruled lines.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    return _rule(ink, rng, np.zeros(len(ink)))


def ruled_askew(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with ruled lines that are not exactly horizontal.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    return _rule(ink, rng, rng.normal(0, 0.03, len(ink)))


def dark_edge(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with a dark table visible at one edge.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    ys, xs = np.mgrid[:PAGE_SIZE, :PAGE_SIZE]
    for page in paper:
        table = xs + rng.normal(0, 0.03) * ys < rng.uniform(3, 12)
        page[np.rot90(table, int(rng.integers(4)))] = rng.uniform(0.2, 0.6)
    return _write(strokes, paper, rng)


def framed_page(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with a dark table visible at all four edges.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    for page in paper:
        top, left, bottom, right = rng.integers(3, 12, 4)
        table = np.ones(page.shape, bool)
        table[top : PAGE_SIZE - bottom, left : PAGE_SIZE - right] = False
        page[table] = rng.uniform(0.2, 0.6)
    return _write(strokes, paper, rng)


def striped(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with wide stripes.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    axes = np.mgrid[:PAGE_SIZE, :PAGE_SIZE]
    for page in paper:
        stripes = axes[rng.integers(2)] // rng.integers(4, 14) % 2
        page *= 1 - stripes * rng.uniform(0.1, 0.35)
    return _write(strokes, paper, rng)


def shaded(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with a brightness gradient and a little noise.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    ys, xs = np.mgrid[:PAGE_SIZE, :PAGE_SIZE] / PAGE_SIZE - 0.5
    for page in paper:
        angle = rng.uniform(0, 2 * np.pi)
        page *= 1 - rng.uniform(0.2, 0.6) * (0.5 + (ys * np.sin(angle) + xs * np.cos(angle)) / np.sqrt(2))
    return _write(strokes, paper + rng.normal(0, 0.01, paper.shape), rng)


def hard_shadow(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages that are partly in a shadow with a sharp, straight edge.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    ys, xs = np.mgrid[:PAGE_SIZE, :PAGE_SIZE]
    for page in paper:
        y, x = rng.uniform(0.2, 0.8, 2) * PAGE_SIZE
        angle = rng.uniform(0, 2 * np.pi)
        distance = (ys - y) * np.sin(angle) + (xs - x) * np.cos(angle)
        page *= 1 - np.clip(distance / rng.uniform(0.5, 3) + 0.5, 0, 1) * rng.uniform(0.25, 0.55)
    return _write(strokes, paper + rng.normal(0, 0.01, paper.shape), rng)


def thumb(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with a thumb at a corner.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    ys, xs = np.mgrid[:PAGE_SIZE, :PAGE_SIZE]
    for page in paper:
        height, width = rng.uniform(25, 45), rng.uniform(20, 35)
        skin = np.hypot((ys + rng.uniform(0, 30)) / height, (xs + rng.uniform(0, 8)) / width) < 1
        page[np.rot90(skin, int(rng.integers(4)))] = rng.uniform(0.3, 0.7)
    return _write(strokes, paper + rng.normal(0, 0.01, paper.shape), rng)


def scanner_edge(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw pages with a black edge at one to four sides, as scanners leave it beside the paper.

    Args:
        ink: Framed digits, uint8 (N, 28, 28), bright on black.
        rng: Source of the random numbers.

    Returns:
        Grayscale pages, uint8 (N, 160, 160), dark on bright.
    """
    strokes, paper = _draw_pages(ink, rng)
    for page in paper:
        for turn in rng.choice(4, rng.integers(1, 5), replace=False):
            np.rot90(page, turn)[: rng.integers(2, 7)] = rng.uniform(0, 0.1)
    return _write(strokes, paper, rng)


_ALL = (clean, specks, ruled, ruled_askew, dark_edge, framed_page, striped, shaded, hard_shadow, thumb, scanner_edge)
PAGE_CORRUPTIONS: dict[str, Corruption] = {corruption.__name__: corruption for corruption in _ALL}
