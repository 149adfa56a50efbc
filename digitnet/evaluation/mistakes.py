"""An image grid of the most confident mistakes, drawn with Pillow."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from digitnet.contract import IMAGE_SIZE
from digitnet.evaluation.metrics import LabeledPrediction
from digitnet.files import write_atomically

MAX_MISTAKES = 60
COLUMNS = 10
CELL = 112  # width and height of a cell without its caption, in pixels
CAPTION = 26  # height of a caption, in pixels
MAGNIFICATION = 3
MAX_NAME = 17  # characters of a file name that fit in a cell


def save_mistakes(predictions: Sequence[LabeledPrediction], path: Path) -> bool:
    """Write a PNG grid of the framed images that were misclassified or rejected, most confident first.

    Args:
        predictions: Labeled predictions; those that are correct and accepted are ignored.
        path: The file to write.

    Returns:
        Whether there was a mistake; without one, no file is written.
    """
    mistakes = [labeled for labeled in predictions if not (labeled.correct and labeled.accepted)]
    mistakes = sorted(mistakes, key=lambda labeled: -labeled.prediction.confidence)[:MAX_MISTAKES]
    if not mistakes:
        return False
    rows = -(-len(mistakes) // COLUMNS)
    grid = Image.new("L", (min(len(mistakes), COLUMNS) * CELL, rows * (CELL + CAPTION)), 255)
    for index, mistake in enumerate(mistakes):
        _draw_cell(grid, index % COLUMNS * CELL, index // COLUMNS * (CELL + CAPTION), mistake)
    buffer = io.BytesIO()
    grid.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
    return True


def _draw_cell(grid: Image.Image, x: int, y: int, mistake: LabeledPrediction) -> None:
    """Draw one framed image with its label, prediction and file name at pixel (x, y)."""
    prediction = mistake.prediction
    side = IMAGE_SIZE * MAGNIFICATION
    ink = Image.fromarray(255 - np.rint(prediction.framed * 255).astype(np.uint8))
    grid.paste(ink.resize((side, side), Image.Resampling.NEAREST), (x + (CELL - side) // 2, y + CAPTION))
    predicted = "rejected" if prediction.label is None else f"as {prediction.label}"
    draw = ImageDraw.Draw(grid)
    draw.text((x + 6, y), f"{mistake.label} {predicted}, {prediction.confidence:.0%}", fill=0)
    draw.text((x + 6, y + 12), Path(mistake.name).name[:MAX_NAME], fill=90)
