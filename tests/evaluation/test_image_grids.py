import io

import numpy as np
import pytest
from PIL import Image

from digitnet import Prediction
from digitnet.evaluation import image_grids
from digitnet.evaluation.image_grids import (
    CAPTION,
    CELL,
    COLUMNS,
    MAX_MISTAKES,
    TITLE,
    GridCell,
    GridRow,
    draw_grid,
    draw_rows,
    save_mistakes,
    save_mistakes_by_kind,
    save_samples,
)
from digitnet.evaluation.metrics import LabeledPrediction


def labeled(label, predicted, confidence=0.9):
    """A labeled prediction of a blank image."""
    probabilities = np.full(10, (1 - confidence) / 9, np.float32)
    probabilities[label if predicted is None else predicted] = confidence
    return LabeledPrediction("7/a.png", label, Prediction(predicted, probabilities, confidence, np.zeros((28, 28))))


@pytest.fixture
def drawn(monkeypatch):
    """The cells of each grid that is drawn."""
    grids = []
    monkeypatch.setattr(image_grids, "draw_grid", lambda cells: grids.append(cells) or draw_grid(cells))
    return grids


def test_samples_show_at_most_100_images_with_their_labels(tmp_path, drawn):
    ink = np.random.default_rng(0).random((130, 28, 28))
    save_samples(ink, np.arange(130) % 11 - 1, tmp_path / "samples.png")
    (cells,) = drawn
    assert [cell.caption for cell in cells[:3]] == ["non-digit", "0", "1"]
    assert np.array_equal([cell.ink for cell in cells], ink[:100])
    with Image.open(tmp_path / "samples.png") as image:
        assert image.format == "PNG"


def test_each_image_is_below_its_caption():
    cells = [GridCell(np.zeros((28, 28)), "")] * 12
    cells[11] = GridCell(np.ones((28, 28)), "3")  # the second image of the second row
    dark = np.asarray(Image.open(io.BytesIO(draw_grid(cells)))) < 128
    top, left = CELL + CAPTION, CELL
    caption, image = dark[top : top + CAPTION, left : left + CELL], dark[top + CAPTION :, left : left + CELL]
    assert caption.any()
    assert image.sum() == (3 * 28) ** 2
    assert dark.sum() == caption.sum() + image.sum(), "nothing else is drawn"


def test_a_title_is_above_its_row_and_moves_the_rows_below():
    black, white = GridCell(np.ones((28, 28)), ""), GridCell(np.zeros((28, 28)), "")
    rows = [GridRow([white]), GridRow([white, black], "zigzag")]
    dark = np.asarray(Image.open(io.BytesIO(draw_rows(rows)))) < 128
    assert dark.shape == (2 * (CELL + CAPTION) + TITLE, 2 * CELL)
    top = CELL + CAPTION
    title, image = dark[top : top + TITLE], dark[top + TITLE + CAPTION :, CELL:]
    assert title.any()
    assert image.sum() == (3 * 28) ** 2
    assert dark.sum() == title.sum() + image.sum(), "nothing else is drawn"


def test_ten_mistakes_of_each_kind_are_in_a_row(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(image_grids, "draw_rows", lambda rows: drawn.append(rows) or draw_rows(rows))
    mistakes = {"zigzag": [labeled(3, 5)] * 12, "fog": [], "stripe": [labeled(1, None)]}
    assert save_mistakes_by_kind(mistakes, tmp_path / "kinds.png")
    (rows,) = drawn
    assert [(row.title, len(row.cells)) for row in rows] == [("zigzag", COLUMNS), ("stripe", 1)]
    assert rows[0].cells[0].caption == "3 as 5, 90%"
    with Image.open(tmp_path / "kinds.png") as image:
        assert image.size == (COLUMNS * CELL, 2 * (CELL + CAPTION + TITLE))
    assert not save_mistakes_by_kind({"fog": []}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_without_mistakes_no_file_is_written(tmp_path):
    assert not save_mistakes([labeled(3, 3)], tmp_path / "mistakes.png")
    assert not (tmp_path / "mistakes.png").exists()


def test_mistakes_and_rejected_images_are_drawn_up_to_a_limit(tmp_path, drawn):
    predictions = [labeled(3, 5), labeled(3, None), labeled(3, 3), *[labeled(1, 7)] * 100]
    assert save_mistakes(predictions, tmp_path / "mistakes.png")
    (cells,) = drawn
    assert [cell.caption for cell in cells[:3]] == ["3 as 5, 90%", "3 rejected, 90%", "1 as 7, 90%"]
    assert len(cells) == MAX_MISTAKES
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.size == (COLUMNS * CELL, MAX_MISTAKES // COLUMNS * (CELL + CAPTION))
