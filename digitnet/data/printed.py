"""Printed digits, letters and signs from a sheet of framed glyphs.

docs/printed_glyphs.py draws the sheet and names the fonts and their licenses.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from digitnet.contract import IMAGE_SIZE, NUM_CLASSES, REJECTED

SHEET = Path(__file__).with_name("printed_glyphs.png")
COLUMNS = 24  # glyphs in each row of the sheet: the digits 0 to 9, then letters and signs
GRAY_LEVELS = 12  # of the sheet; with more, the file would be larger


class PrintedGlyphs(NamedTuple):
    """Framed glyphs of printed fonts.

    Attributes:
        digits: The digits 0 to 9 of each font, uint8 (fonts, 10, 28, 28), 255 = ink.
        non_digits: Letters and signs that do not look like digits, uint8 (N, 28, 28).
    """

    digits: np.ndarray
    non_digits: np.ndarray


def load_printed_glyphs() -> PrintedGlyphs:
    """Load the glyphs of printed_glyphs.png.

    Returns:
        All glyphs.
    """
    with Image.open(SHEET) as image:
        sheet = np.asarray(image.convert("L"))
    cells = sheet.reshape(-1, IMAGE_SIZE, COLUMNS, IMAGE_SIZE).swapaxes(1, 2)
    others = cells[:, NUM_CLASSES:].reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return PrintedGlyphs(cells[:, :NUM_CLASSES], others[others.any((1, 2))])  # some fonts have fewer letters and signs


def sample_printed(digits: int, non_digits: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample glyphs of printed fonts at random, each as often as any other, or once more.

    Args:
        digits: Number of digits; each of the ten is equally frequent.
        non_digits: Number of letters and signs.
        seed: Seed of the random numbers.

    Returns:
        Framed images, uint8 (N, 28, 28), and labels, int64 (N,): the digits first, then -1 for the non-digits.
    """
    glyphs, rng = load_printed_glyphs(), np.random.default_rng(seed)
    labels = np.arange(digits) % NUM_CLASSES
    fonts = _repeated_permutation(len(glyphs.digits), -(-digits // NUM_CLASSES), rng)
    others = _repeated_permutation(len(glyphs.non_digits), non_digits, rng)
    images = np.concatenate([glyphs.digits[fonts.repeat(NUM_CLASSES)[:digits], labels], glyphs.non_digits[others]])
    return images, np.concatenate([labels, np.full(non_digits, REJECTED)])


def _repeated_permutation(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` random indices below `size`, none of them a second time before all others."""
    return np.concatenate([rng.permutation(size) for _ in range(-(-count // size))] or [np.empty(0, int)])[:count]
