"""The metrics of the model card: accuracy with intervals, non-digits, kinds of images, and the trade-off of both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from digitnet import DigitClassifier, Prediction
from digitnet.evaluation.metrics import LabeledPrediction, accuracy, calibration_error, coverage

BOOTSTRAP_SAMPLES = 1000  # for the interval of an area under the ROC curve
THRESHOLDS = np.round(1 - np.logspace(0, -6, 121), 7)  # of the trade-off: dense near 1, where most digits are
BATCH_BYTES = 2**20  # of images that are classified together
SEVEN_SEGMENTS = "seven segments"  # the subkind in printed.npz
KINDS = {
    "shadow": "shadows",
    "intruder": "a thumb, a table or a pen at the border",
    "scan_edge": "edges, holes and folds of scans",
    "form_cell": "form cells, ruled and squared paper",
    "frame": "frames, screenshots of a canvas",
    "pens": "pens: thin, thick, faint, chalk",
    "photo": "photographs",
    "far": "a small digit on a large page",
    "printed": "printed digits",
    "european": "European forms",
}

Metrics = dict[str, Any]


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """Compute the 95 % Wilson score interval of a fraction.

    Args:
        successes: Number of successes, 0 to `count`.
        count: Number of trials, at least 1.

    Returns:
        The lower and the upper limit, in [0, 1].
    """
    z, fraction = 1.96, successes / count
    center = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    return max(0.0, float(center - half)), min(1.0, float(center + half))  # without the rounding error at the ends


def predict(classifier: DigitClassifier, images: np.ndarray) -> list[Prediction]:
    """Classify grayscale images in batches of about a megabyte.

    Args:
        classifier: The classifier.
        images: Uint8 (N, H, W).

    Returns:
        N predictions.
    """
    batches = np.array_split(images[..., None], -(-images.size // BATCH_BYTES))
    return [prediction for batch in batches for prediction in classifier.predict_batch(batch)]


def attach_labels(predictions: Sequence[Prediction], labels: np.ndarray) -> list[LabeledPrediction]:
    """Return labeled predictions, each with its index as its name.

    Args:
        predictions: N predictions.
        labels: Integers (N,), 0 to 9.

    Returns:
        N labeled predictions.
    """
    pairs = enumerate(zip(predictions, labels, strict=True))
    return [LabeledPrediction(str(index), int(label), prediction) for index, (prediction, label) in pairs]


def measure_digits(labeled: Sequence[LabeledPrediction]) -> Metrics:
    """Measure accuracy, coverage and calibration error on labeled digits.

    Args:
        labeled: Labeled predictions, of which at least one is accepted.

    Returns:
        Fractions in [0, 1] by name, their "interval", and the number of images "n".
    """
    return {
        **measure_kind(labeled),
        "accuracy_of_accepted": accuracy([one for one in labeled if one.accepted]),
        "ece": calibration_error(labeled),
    }


def measure_kind(labeled: Sequence[LabeledPrediction]) -> Metrics:
    """Measure accuracy, coverage and the fraction of images that are accepted with a wrong label.

    Args:
        labeled: At least one labeled prediction.

    Returns:
        Fractions in [0, 1] by name, the "interval" of the accuracy, and the number of images "n".
    """
    return {
        "n": len(labeled),
        "accuracy": accuracy(labeled),
        "interval": wilson_interval(sum(one.correct for one in labeled), len(labeled)),
        "coverage": coverage(labeled),
        "accepted_and_wrong": float(np.mean([one.accepted and not one.correct for one in labeled])),
    }


def fraction_accepted(non_digits: Sequence[Prediction]) -> Metrics:
    """Measure how many non-digits are accepted as digits.

    Args:
        non_digits: At least one prediction for a non-digit.

    Returns:
        The fraction "accepted", its "interval", and the number of images "n".
    """
    count = sum(prediction.label is not None for prediction in non_digits)
    interval = wilson_interval(count, len(non_digits))
    return {"n": len(non_digits), "accepted": count / len(non_digits), "interval": interval}


def area_under_curve(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Compute the area under the ROC curve: the probability that a positive has the larger score.

    Args:
        negatives: Scores, float (N,).
        positives: Scores, float (M,).

    Returns:
        A number in [0, 1]; equal scores count one half.
    """
    ordered = np.sort(negatives)
    ranks = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(ranks.mean() / (2 * len(negatives)))


def measure_separation(non_digits: Sequence[Prediction], digits: Sequence[Prediction]) -> Metrics:
    """Measure how well the confidence distinguishes non-digits from digits.

    Args:
        non_digits: Predictions for non-digits.
        digits: Predictions for digits.

    Returns:
        The "auroc" with its "auroc_interval", and the fraction of non-digits "accepted_at_95", where 95 % of the digits
        are accepted, with its "interval".
    """
    negatives, positives = (np.array([one.confidence for one in group]) for group in (non_digits, digits))
    rng = np.random.default_rng(0)
    areas = [
        area_under_curve(rng.choice(negatives, len(negatives)), rng.choice(positives, len(positives)))
        for _ in range(BOOTSTRAP_SAMPLES)
    ]
    accepted = int((negatives >= np.quantile(positives, 0.05)).sum())
    return {
        "auroc": area_under_curve(negatives, positives),
        "auroc_interval": list(np.quantile(areas, [0.025, 0.975])),
        "accepted_at_95": accepted / len(negatives),
        "interval": wilson_interval(accepted, len(negatives)),
    }


def measure_images(classifier: DigitClassifier, directory: Path) -> tuple[Metrics, list[Prediction]]:
    """Measure the classifier on images by kind.

    Args:
        classifier: The classifier.
        directory: Contains KIND.npz of the known kinds, and maybe not_a_digit.npz. Each has images, uint8 (N, H, W),
            and labels, and printed.npz has the subkind of each image.

    Returns:
        The metrics of each kind, "seven_segments" apart from "printed", and their "mean", where both count as one
        kind. "not_a_digit" is the fraction of non-digits that are accepted. Then the predictions for the non-digits.
    """
    metrics: Metrics = {}
    whole: list[Metrics] = []  # of each file
    for kind in KINDS:
        path = directory / f"{kind}.npz"
        if not path.is_file():
            continue
        with np.load(path) as data:
            labeled = attach_labels(predict(classifier, data["images"]), data["labels"])
            subkinds = data["subkind"] if "subkind" in data else np.full(len(labeled), kind)
        whole.append(measure_kind(labeled))
        pairs = list(zip(labeled, subkinds, strict=True))
        segments = [one for one, subkind in pairs if subkind == SEVEN_SEGMENTS]
        metrics[kind] = measure_kind([one for one, subkind in pairs if subkind != SEVEN_SEGMENTS])
        if segments:
            metrics["seven_segments"] = measure_kind(segments)
    names = ("accuracy", "coverage", "accepted_and_wrong")
    metrics["mean"] = {"kinds": len(whole)} | {name: float(np.mean([one[name] for one in whole])) for name in names}
    non_digits: list[Prediction] = []
    if (directory / "not_a_digit.npz").is_file():
        with np.load(directory / "not_a_digit.npz") as data:
            non_digits = predict(classifier, data["images"])
        metrics["not_a_digit"] = fraction_accepted(non_digits)
    return metrics, non_digits


def trade_off(groups: Mapping[str, Sequence[Prediction]]) -> Metrics:
    """Compute how many images of each group have at least the confidence of each threshold.

    Args:
        groups: Predictions by name of the group.

    Returns:
        The thresholds as "threshold", and the fractions accepted by name of the group, each a list.
    """
    fractions = {}
    for name, predictions in groups.items():
        confidence = np.array([prediction.confidence for prediction in predictions])
        fractions[name] = [float((confidence >= threshold).mean()) for threshold in THRESHOLDS]
    return {"threshold": THRESHOLDS.tolist(), **fractions}
