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
    "segment": 1.48,
    "log probability": 0.27,
    "verified": 0.80,
    "rejected": -0.86,
    "short": -1.79,
    "tall": 0.08,
    "wide": -0.37,
    "very wide": -0.07,
    "narrow": 0.63,
    "cuts": 0.03,
    "ink on cuts": -0.27,
    "cheap cuts inside": -0.64,
    "cheap cut in the middle": -0.43,
    "gap inside": 0.01,
    "components": -1.47,
    "faint": -0.37,
}
SMALLEST = 1e-6  # probability that is calibrated
CALIBRATION_SLOPE, CALIBRATION_OFFSET = 0.90, 1.32  # Platt scaling, fitted to other synthetic numbers
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


class Candidates(NamedTuple):
    """What the networks say about the segments of a line.

    Attributes:
        probabilities: The probability of each digit, float32 (S, 10).
        labels: The predicted digits, -1 if the model rejects a segment, (S,).
        verified: The log-probability of each digit and of a non-digit from the verifier, float32 (S, 11).
    """

    probabilities: np.ndarray
    labels: np.ndarray
    verified: np.ndarray

    def select(self, chosen: list[int]) -> "Candidates":
        """Return some of the segments.

        Args:
            chosen: Their indices.

        Returns:
            These segments.
        """
        return Candidates(*(array[chosen] for array in self))


def combine(pieces: Pieces, segments: list[Segment], candidates: Candidates) -> np.ndarray:
    """Combine the probabilities of the model and of the verifier for segments that were cut off.

    Args:
        pieces: The pieces of a line.
        segments: The S segments.
        candidates: What the networks say about them.

    Returns:
        The probability of each digit, float32 (S, 10): the normalized geometric mean of both, or that of the model for
        segments of whole components.
    """
    before = np.concatenate([[0.0], pieces.cut])[[segment.start for segment in segments]]
    after = pieces.cut[[segment.stop - 1 for segment in segments]]
    mean = np.sqrt(np.maximum(candidates.probabilities, MIN_PROBABILITY)) * np.exp(candidates.verified[:, :-1] / 2)
    is_part = ((before > 0) | (after > 0))[:, None]
    result: np.ndarray = np.where(is_part, mean / mean.sum(1, keepdims=True), candidates.probabilities)
    return result


def features(pieces: Pieces, segments: list[Segment], candidates: Candidates, probabilities: np.ndarray) -> np.ndarray:
    """Describe segments by numbers.

    Args:
        pieces: The pieces of a line.
        segments: The S segments.
        candidates: What the networks say about them.
        probabilities: The combined probabilities of each digit, float32 (S, 10).

    Returns:
        Float (S, F), in the order of WEIGHTS; lengths are fractions of the height of the line.
    """
    height, rows = pieces.height, []
    count, digits = len(pieces.boxes), probabilities.argmax(1)
    indices = np.arange(len(segments))
    likely = np.log(np.maximum(candidates.probabilities[indices, digits], MIN_PROBABILITY))
    verified = np.maximum(candidates.verified[indices, digits], np.log(MIN_PROBABILITY))
    is_rejected = candidates.labels == REJECTED
    for index, segment in enumerate(segments):
        boxes = pieces.boxes[segment.start : segment.stop]
        (left, top), (right, bottom) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        before = pieces.cut[segment.start - 1] if segment.start else 0.0
        after = pieces.cut[segment.stop - 1] if segment.stop < count else 0.0
        inside = pieces.cut[segment.start : segment.stop - 1] / height
        reach = np.maximum.accumulate(boxes[:, 2])
        gaps = boxes[1:, 0] - reach[:-1]
        members = len(set(pieces.component[segment.start : segment.stop].tolist()))
        own_height = max(bottom - top, 1) / height
        rows.append([
            1.0,
            likely[index],
            verified[index],
            float(is_rejected[index]),
            max(0.0, SHORT - own_height),
            max(0.0, own_height - TALL),
            max(0.0, (right - left) / height - WIDE_SEGMENT),
            max(0.0, (right - left) / height - VERY_WIDE),
            max(0.0, NARROW - (right - left) / height) * (digits[index] != ONE),
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
