import itertools

import numpy as np
import pytest

from digitnet.numbers.lattice import best_path, calibrate
from digitnet.numbers.segments import Segment


def all_paths(segments, start, stop):
    """Return all sequences of segments from a piece to another, as lists of indices."""
    if start == stop:
        return [[]]
    return [
        [index, *rest]
        for index, segment in enumerate(segments)
        if segment.start == start
        for rest in all_paths(segments, segment.stop, stop)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_best_path_is_the_best_of_all_paths(seed):
    segments = [Segment(*pair) for pair in itertools.combinations(range(6), 2)]
    scores = np.random.default_rng(seed).normal(0, 2, len(segments))
    totals = {tuple(path): scores[path].sum() for path in all_paths(segments, 0, 5)}
    found = best_path(segments, scores, 5)
    assert found.segments == list(max(totals, key=totals.__getitem__))
    weights = np.exp(list(totals.values()))
    assert found.probability == pytest.approx(weights.max() / weights.sum())


def test_calibration_is_increasing_and_between_0_and_1():
    values = [calibrate(probability) for probability in (0, 0.1, 0.5, 0.9, 1)]
    assert values == sorted(values)
    assert 0 <= values[0] < values[-1] <= 1
