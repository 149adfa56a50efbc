"""Image grids of training images and of the most confident mistakes, drawn with Pillow."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from digitnet.contract import IMAGE_SIZE
from digitnet.evaluation.metrics import LabeledPrediction
from digitnet.files import write_atomically

MAX_SAMPLES = 100
MAX_MISTAKES = 60
COLUMNS = 10
CELL = 112  # width and height of a cell without its caption, in pixels
CAPTION = 26  # height of a caption, in pixels
INDENT = 6  # of a caption, in pixels
LINE = 12  # distance of the two lines of a caption, in pixels
TITLE = 24  # height of a row's title, in pixels
TITLE_FONT = 15  # size, in pixels
MAGNIFICATION = 3
MAX_NAME = 17  # characters of a file name that fit in a cell
BLACK, GRAY, WHITE = 0, 90, 255


class GridCell(NamedTuple):
    """A captioned image.

    Attributes:
        ink: Stroke intensity, float (28, 28) in [0, 1].
        caption: The text above the image.
        name: A second line of text.
    """

    ink: np.ndarray
    caption: str
    name: str = ""


class GridRow(NamedTuple):
    """A row of images.

    Attributes:
        cells: The images.
        title: The text above the row, or nothing.
    """

    cells: Sequence[GridCell]
    title: str = ""

    @property
    def height(self) -> int:
        """Height of the row with its title, in pixels."""
        return CELL + CAPTION + (TITLE if self.title else 0)


def save_samples(ink: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Write a PNG grid of training images with their labels.

    Args:
        ink: Stroke intensity, float (N, 28, 28) in [0, 1], with N at least 1. The first 100 images are shown.
        labels: Integers (N,), 0 to 9, or -1 for a non-digit.
        path: The file to write.
    """
    captions = [str(label) if label >= 0 else "non-digit" for label in labels[:MAX_SAMPLES]]
    write_atomically(path, draw_grid(list(map(GridCell, ink[:MAX_SAMPLES], captions))))


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
    if mistakes:
        write_atomically(path, draw_grid(list(map(_describe, mistakes))))
    return bool(mistakes)


def save_mistakes_by_kind(mistakes: Mapping[str, Sequence[LabeledPrediction]], path: Path) -> bool:
    """Write a PNG image with a row of framed images for each kind.

    Args:
        mistakes: The labeled predictions of each kind, by the title of its row. The first ten are shown; a kind without
            any is left out.
        path: The file to write.

    Returns:
        Whether there was a mistake; without one, no file is written.
    """
    rows = [GridRow(list(map(_describe, group[:COLUMNS])), title) for title, group in mistakes.items() if group]
    if rows:
        write_atomically(path, draw_rows(rows))
    return bool(rows)


def _describe(mistake: LabeledPrediction) -> GridCell:
    """Return a framed image with its label, prediction and file name."""
    prediction = mistake.prediction
    predicted = "rejected" if prediction.label is None else f"as {prediction.label}"
    caption = f"{mistake.label} {predicted}, {prediction.confidence:.0%}"
    return GridCell(prediction.framed, caption, Path(mistake.name).name[:MAX_NAME])


def draw_grid(cells: Sequence[GridCell]) -> bytes:
    """Draw captioned images in rows of ten, with dark strokes on white.

    Args:
        cells: The images, at least one.

    Returns:
        A grayscale image in the PNG format.
    """
    return draw_rows([GridRow(cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)])


def draw_rows(rows: Sequence[GridRow]) -> bytes:
    """Draw rows of captioned images, with dark strokes on white.

    Args:
        rows: The rows, at least one.

    Returns:
        A grayscale image in the PNG format.
    """
    width = max(len(row.cells) for row in rows) * CELL
    grid = Image.new("L", (width, sum(row.height for row in rows)), WHITE)
    bottom = 0
    for row in rows:
        bottom += row.height
        y = bottom - CELL - CAPTION
        if row.title:
            ImageDraw.Draw(grid).text((INDENT, y - TITLE), row.title, fill=BLACK, font_size=TITLE_FONT)
        for column, cell in enumerate(row.cells):
            _draw_cell(grid, column * CELL, y, cell)
    buffer = io.BytesIO()
    grid.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_cell(grid: Image.Image, x: int, y: int, cell: GridCell) -> None:
    """Draw a captioned image at pixel (x, y)."""
    side = IMAGE_SIZE * MAGNIFICATION
    image = Image.fromarray(255 - np.rint(cell.ink * 255).astype(np.uint8))
    grid.paste(image.resize((side, side), Image.Resampling.NEAREST), (x + (CELL - side) // 2, y + CAPTION))
    draw = ImageDraw.Draw(grid)
    draw.text((x + INDENT, y), cell.caption, fill=BLACK)
    draw.text((x + INDENT, y + LINE), cell.name, fill=GRAY)
