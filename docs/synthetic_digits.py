"""Draws docs/synthetic_digits.png: digits of data/synthetic.py, and non-digits in the lower rows."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.data.synthetic import draw, write_digit, write_none
from digitnet.files import write_atomically

COLUMNS, CELL, SIDE = 24, 52, 44  # pictures in a row, pixels between them, pixels of each
FINE = 4  # drawn so many times larger, and made small again for smooth edges
NONE_ROWS = 6


def main() -> None:
    random = np.random.default_rng(5)
    rows = [*range(10), *[None] * NONE_ROWS]
    sheet = Image.new("L", (COLUMNS * CELL + 60, len(rows) * CELL), 255)
    for row, label in enumerate(rows):
        ImageDraw.Draw(sheet).text((8, row * CELL + 18), "none" if label is None else str(label), fill=110)
        for column in range(COLUMNS):
            strokes = write_none(random) if label is None else write_digit(label, random)
            small = Image.fromarray(255 - draw(strokes, SIDE * FINE, random)).resize((SIDE, SIDE), Image.Resampling.BOX)
            sheet.paste(small, (60 + column * CELL, row * CELL + 4))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    write_atomically(Path(__file__).with_name("synthetic_digits.png"), buffer.getvalue())


if __name__ == "__main__":
    main()
