"""Draw docs/numbers.png: synthetic numbers of each kind with what digitnet finds in them.

python docs/whole_numbers.py [--data-dir data]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks.synthetic_numbers import KINDS, DigitSource, write_number
from digitnet import DigitClassifier
from digitnet.data.mnist import fetch_mnist, read_test_set
from digitnet.inference.read_cli import draw_boxes

COLUMNS, WIDTH, HEIGHT, LABEL = 4, 260, 130, 18  # examples per kind, pixels of a cell, pixels of the line below it


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    source, classifier = DigitSource(*read_test_set(options.data_dir)), DigitClassifier()
    rng = np.random.default_rng(4)
    figure = Image.new("RGB", (COLUMNS * WIDTH, len(KINDS) * (HEIGHT + LABEL)), "white")
    for row, kind in enumerate(KINDS):
        for column in range(COLUMNS):
            number = write_number(source, rng.integers(0, 10, rng.integers(2, 5)).tolist(), kind, rng)
            found = classifier.read_number(number.image)
            drawn = draw_boxes(number.image[..., None], [found])
            drawn.thumbnail((WIDTH - 6, HEIGHT - 4))
            place = column * WIDTH, row * (HEIGHT + LABEL)
            figure.paste(drawn, place)
            sign = "=" if found.text == number.text else "read as"
            text = f"{kind}: {number.text} {sign} {found.text or 'nothing'}"
            ImageDraw.Draw(figure).text((place[0] + 2, place[1] + HEIGHT), text, fill="black")
    figure.quantize(64).save(Path(__file__).parent / "numbers.png", optimize=True)


if __name__ == "__main__":
    main()
