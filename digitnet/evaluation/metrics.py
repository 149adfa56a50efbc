"""Metrics of predictions on labeled images: accuracy, coverage, calibration error and confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digitnet.contract import NUM_CLASSES, REJECTED
from digitnet.inference.classifier import Prediction

CALIBRATION_BINS = 15  # the number of confidence bins in Guo et al. (2017)


@dataclass(frozen=True)
class LabeledPrediction:
    """The prediction for an image whose label is known.

    Attributes:
        name: Where the image comes from, for example its path.
        label: The digit that the image shows, 0 to 9.
        prediction: The classifier's prediction.
    """

    name: str
    label: int
    prediction: Prediction

    @property
    def correct(self) -> bool:
        """Whether the most probable digit is the label, also of a rejected image."""
        return int(self.prediction.probabilities.argmax()) == self.label

    @property
    def accepted(self) -> bool:
        """Whether the image was not rejected."""
        return self.prediction.label is not None


def accuracy(predictions: Sequence[LabeledPrediction]) -> float:
    """Return the fraction of images whose most probable digit is the label.

    Args:
        predictions: At least one labeled prediction. Pass the accepted ones for the accuracy on accepted images.

    Returns:
        A number in [0, 1].
    """
    return sum(labeled.correct for labeled in predictions) / len(predictions)


def coverage(predictions: Sequence[LabeledPrediction]) -> float:
    """Return the fraction of images that were accepted, that is, not rejected.

    Args:
        predictions: At least one labeled prediction.

    Returns:
        A number in [0, 1].
    """
    return sum(labeled.accepted for labeled in predictions) / len(predictions)


def calibration_error(predictions: Sequence[LabeledPrediction]) -> float:
    """Return the expected calibration error in [0, 1].

    It is the mean absolute difference between confidence and accuracy over 15 bins of confidence, weighted by the
    number of images per bin. From C. Guo et al., "On Calibration of Modern Neural Networks" (2017),
    https://arxiv.org/abs/1706.04599.

    Args:
        predictions: At least one labeled prediction. The most probable digit counts, also for rejected images.

    Returns:
        A number in [0, 1].
    """
    confidence = np.array([labeled.prediction.confidence for labeled in predictions])
    correct = np.array([labeled.correct for labeled in predictions])
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs((correct[bins == index] - confidence[bins == index]).sum()) for index in range(CALIBRATION_BINS)]
    return float(sum(gaps) / len(predictions))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return how often each digit was predicted as each digit or rejected.

    Args:
        labels: Integers (N,), 0 to 9.
        predictions: Integers (N,), 0 to 9, or -1 for a rejected image.

    Returns:
        Counts, int64 (10, 11): rows are labels, columns are predictions; the last column counts rejected images.
    """
    matrix = np.zeros((NUM_CLASSES, NUM_CLASSES + 1), np.int64)
    np.add.at(matrix, (labels, predictions), 1)  # -1 indexes the last column
    return matrix


def count_confusion(predictions: Sequence[LabeledPrediction]) -> np.ndarray:
    """Return the confusion matrix of labeled predictions.

    Args:
        predictions: The labeled predictions, possibly none.

    Returns:
        Counts, int64 (10, 11); see `confusion_matrix`.
    """
    labels = [labeled.label for labeled in predictions]
    predicted = [REJECTED if labeled.prediction.label is None else labeled.prediction.label for labeled in predictions]
    return confusion_matrix(np.array(labels, np.int64), np.array(predicted, np.int64))
