"""Lattice: the most probable sequence of segments of a line, and its probability.

The segments are the edges of a graph whose nodes are the boundaries of the pieces. The score of a path is the sum of
the scores of its segments, which are weighted sums of features (a semi-Markov conditional random field, Sarawagi and
Cohen 2004). The weights were fitted to synthetic numbers by maximum likelihood.
"""

from typing import NamedTuple

import numpy as np

from digitnet.contract import REJECTED
from digitnet.numbers.segments import Pieces, Segment

MIN_PROBABILITY = 1e-4  # of a digit: a very improbable one is not infinitely worse
WEIGHTS = {  # fitted by benchmarks/fit_numbers.py
    "segment": 0.16,
    "log probability": 3.33,
    "rejected": -1.83,
    "short": -3.62,
    "tall": 0.30,
    "wide": -1.43,
    "very wide": -0.78,
    "narrow": 0.93,
    "cuts": 0.25,
    "ink on cuts": -2.93,
    "cheap cuts inside": -1.14,
    "cheap cut in the middle": -0.34,
    "gap inside": -0.15,
    "components": -1.23,
    "faint": -0.35,
}
SMALLEST = 1e-6  # probability that is calibrated
CALIBRATION_SLOPE, CALIBRATION_OFFSET = 0.88, 1.46  # Platt scaling, fitted to other synthetic numbers
SHORT, TALL, WIDE_SEGMENT, VERY_WIDE, NARROW = 0.8, 1.2, 0.8, 1.05, 0.35  # as fractions of the height of the line
MIDDLE_WIDTH, MIDDLE, MIDDLE_CUT = 0.8, 0.25, 0.6  # of a wide segment; half of the middle; ink of a cut there
CHEAP_CUT = 0.2  # ink of a cut, as a fraction of the height
TYPICAL_INK = 0.25  # area of a digit, as a fraction of the squared height
ONE = 1  # the digit that is narrow


class Path(NamedTuple):
    """The best sequence of segments.

    Attributes:
        segments: Indices of its segments.
        probability: Its probability among all sequences and digits, if all its segments are digits.
    """

    segments: list[int]
    probability: float


def features(pieces: Pieces, segments: list[Segment], probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Describe segments by numbers.

    Args:
        pieces: The pieces of a line.
        segments: The S segments.
        probabilities: The probability of each digit for each segment, float32 (S, 10).
        labels: The predicted digits, -1 if rejected, (S,).

    Returns:
        Float (S, F), in the order of WEIGHTS; lengths are fractions of the height of the line.
    """
    height, rows = pieces.height, []
    count = len(pieces.boxes)
    for segment, probability, label in zip(segments, probabilities, labels, strict=True):
        boxes = pieces.boxes[segment.start : segment.stop]
        (left, top), (right, bottom) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        before = pieces.cut[segment.start - 1] if segment.start else 0.0
        after = pieces.cut[segment.stop - 1] if segment.stop < count else 0.0
        inside = pieces.cut[segment.start : segment.stop - 1] / height
        reach = np.maximum.accumulate(boxes[:, 2])
        gaps = boxes[1:, 0] - reach[:-1]
        members = len(set(pieces.component[segment.start : segment.stop].tolist()))
        is_rejected = label == REJECTED
        own_height = max(bottom - top, 1) / height
        rows.append([
            1.0,
            0.0 if is_rejected else np.log(max(float(probability.max()), MIN_PROBABILITY)),
            float(is_rejected),
            max(0.0, SHORT - own_height),
            max(0.0, own_height - TALL),
            max(0.0, (right - left) / height - WIDE_SEGMENT),
            max(0.0, (right - left) / height - VERY_WIDE),
            max(0.0, NARROW - (right - left) / height) * (label != ONE),
            float(before > 0) + float(after > 0),
            (before + after) / height,
            float(np.maximum(0, CHEAP_CUT - inside[inside > 0]).sum()),
            _cheapest_middle(pieces, segment, left, right),
            max(0.0, float(gaps.max())) / height if len(gaps) else 0.0,
            members - 1.0,
            max(0.0, -np.log(max(pieces.areas[segment.start : segment.stop].sum() / height**2 / TYPICAL_INK, 1e-3))),
        ])  # fmt: skip
    return np.array(rows)


def _cheapest_middle(pieces: Pieces, segment: Segment, left: int, right: int) -> float:
    """Return how little ink a cut in the middle of a wide segment crosses, from 0 for much to MIDDLE_CUT."""
    width = right - left
    if width < MIDDLE_WIDTH * pieces.height:
        return 0.0
    best = MIDDLE_CUT
    for index in range(segment.start, segment.stop - 1):
        place = ((pieces.boxes[index, 2] + pieces.boxes[index + 1, 0]) / 2 - left) / width
        if abs(place - 0.5) <= MIDDLE:
            best = min(best, pieces.cut[index] / pieces.height)
    return MIDDLE_CUT - best


def score(values: np.ndarray) -> np.ndarray:
    """Return the scores of segments.

    Args:
        values: Their features, (S, F).

    Returns:
        Float (S,); a higher score is better.
    """
    scores: np.ndarray = values @ np.array(list(WEIGHTS.values()))
    return scores


def calibrate(probability: float) -> float:
    """Return the calibrated probability that a number is correct.

    Args:
        probability: The probability of its path times the probabilities of its digits.

    Returns:
        A number in [0, 1].
    """
    clipped = min(max(probability, SMALLEST), 1 - SMALLEST)
    logit = CALIBRATION_SLOPE * np.log(clipped / (1 - clipped)) + CALIBRATION_OFFSET
    return float(1 / (1 + np.exp(-logit)))


def best_path(segments: list[Segment], scores: np.ndarray, count: int) -> Path:
    """Find the sequence of segments with the highest score.

    Args:
        segments: The segments, sorted by their starts.
        scores: Their scores, (S,).
        count: Number of pieces.

    Returns:
        The path.
    """
    best, total = np.full(count + 1, -np.inf), np.full(count + 1, -np.inf)
    best[0] = total[0] = 0.0
    last = np.full(count + 1, -1)
    for index, segment in enumerate(segments):
        score = scores[index]
        if best[segment.start] + score > best[segment.stop]:
            best[segment.stop], last[segment.stop] = best[segment.start] + score, index
        total[segment.stop] = np.logaddexp(total[segment.stop], total[segment.start] + score)
    path, node = [], count
    while node > 0:
        path.append(int(last[node]))
        node = segments[last[node]].start
    return Path(path[::-1], float(np.exp(best[count] - total[count])))
