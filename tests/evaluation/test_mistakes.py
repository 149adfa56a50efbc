import numpy as np
from PIL import Image

from digitnet import Prediction
from digitnet.evaluation.metrics import LabeledPrediction
from digitnet.evaluation.mistakes import CELL, COLUMNS, MAX_MISTAKES, save_mistakes


def labeled(label, predicted, confidence=0.9):
    """A labeled prediction of a blank image."""
    probabilities = np.full(10, (1 - confidence) / 9, np.float32)
    probabilities[label if predicted is None else predicted] = confidence
    return LabeledPrediction("7/a.png", label, Prediction(predicted, probabilities, confidence, np.zeros((28, 28))))


def test_without_mistakes_no_file_is_written(tmp_path):
    assert not save_mistakes([labeled(3, 3)], tmp_path / "mistakes.png")
    assert not (tmp_path / "mistakes.png").exists()


def test_mistakes_and_rejected_images_are_drawn_up_to_a_limit(tmp_path):
    predictions = [labeled(3, 5), labeled(3, None), labeled(3, 3), *[labeled(1, 7)] * 100]
    assert save_mistakes(predictions, tmp_path / "mistakes.png")
    with Image.open(tmp_path / "mistakes.png") as image:
        assert image.width == COLUMNS * CELL
        assert image.height // (image.width // COLUMNS) >= MAX_MISTAKES // COLUMNS
