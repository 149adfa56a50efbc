"""Draw digitnet/app/static/training_images.png: the MNIST training images that the sketchpad compares a drawing with.

The first 100 images of each digit that the released model was trained on, sorted by digit, as a sheet of 40 x 25 images
of 28 x 28 pixels with 16 gray levels. MNIST was made by Y. LeCun, C. Cortes and C. J. C. Burges; license: CC BY-SA 3.0,
also of the sheet.
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.app.explanation import COLUMNS, IMAGES_PER_DIGIT
from digitnet.contract import IMAGE_SIZE, NUM_CLASSES
from digitnet.data.datamodule import split_indices
from digitnet.data.mnist import fetch_mnist
from digitnet.files import write_atomically

SHEET = Path(__file__).parent.parent / "digitnet" / "app" / "static" / "training_images.png"
MAX_GRAY = 15  # of four bits
VAL_FRACTION = 0.1  # as in checkpoints/release/config.yaml


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default="data", help="where MNIST is stored or downloaded to (default: data)")
    parser.add_argument("--output", type=Path, default=SHEET, help=f"file to write (default: {SHEET})")
    options = parser.parse_args()
    write_atomically(options.output, encode(select(options.data_dir)))


def select(data_dir: str) -> np.ndarray:
    """Select the first 100 training images of each digit.

    Args:
        data_dir: The directory in which MNIST is stored or to which it is downloaded.

    Returns:
        Images sorted by digit, uint8 (1000, 28, 28).
    """
    fetch_mnist(data_dir)
    mnist = MNIST(data_dir)
    _, train = split_indices(len(mnist), VAL_FRACTION)
    train = train.sort().values
    indices = [train[mnist.targets[train] == digit][:IMAGES_PER_DIGIT] for digit in range(NUM_CLASSES)]
    return mnist.data[torch.cat(indices)].numpy()


def encode(images: np.ndarray) -> bytes:
    """Encode images as a sheet of 40 columns.

    Args:
        images: Uint8 (N, 28, 28), N a multiple of 40.

    Returns:
        A PNG file of four bits per pixel.
    """
    rows = images.reshape(-1, COLUMNS, IMAGE_SIZE, IMAGE_SIZE).swapaxes(1, 2).reshape(-1, COLUMNS * IMAGE_SIZE)
    sheet = Image.fromarray(np.rint(rows / 255 * MAX_GRAY).astype(np.uint8))
    sheet.putpalette([level * 17 for level in range(MAX_GRAY + 1) for _ in range(3)])
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", bits=4, optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
