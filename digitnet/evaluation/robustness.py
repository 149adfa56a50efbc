"""Accuracy of a classifier on corrupted images."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from digitnet.evaluation.corruptions import CORRUPTIONS, Corruption
from digitnet.evaluation.metrics import LabeledPrediction
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.inference.classifier import DigitClassifier

CHUNK_SIZE = 500  # images that are corrupted together; a page takes a megabyte while it is drawn
BATCH_BYTES = 2**20  # of corrupted images that are classified together
MAX_MISTAKES = 10


@dataclass(frozen=True)
class RobustnessResult:
    """The accuracy and the rejection rate under one corruption.

    Attributes:
        corruption: The name of the corruption, or "uncorrupted".
        accuracy: Fraction of images whose most probable digit is the label.
        rejected: Fraction of images that were rejected.
        mistakes: The ten most confident of the misclassified images, most confident first. The name is the index.
    """

    corruption: str
    accuracy: float
    rejected: float
    mistakes: Sequence[LabeledPrediction] = field(compare=False, repr=False)


def measure_robustness(
    classifier: DigitClassifier, images: np.ndarray, labels: np.ndarray
) -> Iterator[RobustnessResult]:
    """Measure the accuracy on uncorrupted images and under each corruption.

    Every corruption starts from the same seed, so that results are repeatable.

    Args:
        classifier: The classifier to measure.
        images: Uint8 (N, 28, 28), bright strokes on black as in MNIST.
        labels: Integers (N,), 0 to 9.

    Yields:
        The result for the uncorrupted images, then for each corruption, then for each page corruption.
    """
    corruptions: dict[str, Corruption] = {"uncorrupted": lambda ink, _: ink, **CORRUPTIONS, **PAGE_CORRUPTIONS}
    for name, corruption in corruptions.items():
        yield _measure(classifier, name, corruption, images, labels)


def _measure(
    classifier: DigitClassifier, name: str, corruption: Corruption, images: np.ndarray, labels: np.ndarray
) -> RobustnessResult:
    """Return the result for one corruption."""
    rng = np.random.default_rng(0)
    correct = rejected = 0
    mistakes: list[LabeledPrediction] = []
    for chunk in np.array_split(np.arange(len(images)), -(-len(images) // CHUNK_SIZE)):
        corrupted = corruption(images[chunk], rng)[..., None]
        for batch in np.array_split(np.arange(len(chunk)), -(-corrupted.size // BATCH_BYTES)):
            predictions = classifier.predict_batch(corrupted[batch])
            labeled = [
                LabeledPrediction(str(index), int(labels[index]), prediction)
                for index, prediction in zip(chunk[batch], predictions, strict=True)
            ]
            wrong = [one for one in labeled if not one.correct]
            correct += len(labeled) - len(wrong)
            rejected += sum(not one.accepted for one in labeled)
            mistakes = heapq.nlargest(MAX_MISTAKES, mistakes + wrong, key=lambda one: one.prediction.confidence)
    return RobustnessResult(name, correct / len(images), rejected / len(images), mistakes)
