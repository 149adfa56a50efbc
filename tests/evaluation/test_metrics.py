import dataclasses

import numpy as np
import pytest

from digitnet import DigitClassifier, Prediction
from digitnet.evaluation.metrics import (
    LabeledPrediction,
    accuracy,
    calibration_error,
    confusion_matrix,
    count_confusion,
    coverage,
)


def labeled(label, confidence, predicted):
    """Return a labeled prediction with equal probabilities for the other digits."""
    probabilities = np.full(10, (1 - confidence) / 9, np.float32)
    probabilities[predicted] = confidence
    return LabeledPrediction(
        "x", label, Prediction(predicted, probabilities, confidence, np.zeros((28, 28), np.float32))
    )


def test_the_calibration_error_matches_a_manual_computation():
    # Two bins: confidence 0.95 with 3 of 4 correct, 0.55 with 1 of 1 correct: (4 x 0.20 + 1 x 0.45) / 5.
    predictions = [labeled(3, 0.95, 3)] * 3 + [labeled(3, 0.95, 4), labeled(5, 0.55, 5)]
    assert calibration_error(predictions) == pytest.approx((4 * 0.20 + 0.45) / 5)


def test_the_last_column_of_the_confusion_matrix_counts_rejected_images():
    blank = DigitClassifier()(np.zeros((5, 5), np.uint8))
    table = count_confusion([labeled(3, 0.9, 4), LabeledPrediction("x", 3, blank)])
    assert table[3, 4] == table[3, 10] == 1
    assert table.sum() == 2


def test_accuracy_is_of_the_most_probable_digit_and_coverage_counts_accepted_images():
    rejected = labeled(3, 0.4, 3)
    rejected = LabeledPrediction("x", 3, dataclasses.replace(rejected.prediction, label=None))
    predictions = [rejected, labeled(3, 0.9, 3), labeled(3, 0.9, 4)]
    assert accuracy(predictions) == pytest.approx(2 / 3)
    assert coverage(predictions) == pytest.approx(2 / 3)
    assert accuracy(predictions[1:]) == 1 / 2


def test_the_confusion_matrix_counts_every_pair():
    matrix = confusion_matrix(np.array([0, 0, 9, 9]), np.array([0, 1, 9, -1]))
    assert np.argwhere(matrix).tolist() == [[0, 0], [0, 1], [9, 9], [9, 10]]
    assert matrix.shape == (10, 11)
