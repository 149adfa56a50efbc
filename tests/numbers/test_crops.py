import numpy as np
import pytest

from digitnet.numbers.crops import crop
from digitnet.numbers.segments import Pieces, Segment


def pieces_of(numbers, contrast):
    count = int(numbers.max())
    boxes = []
    for number in range(1, count + 1):
        y, x = np.nonzero(numbers == number)
        boxes.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
    empty = np.zeros(count)
    return Pieces(numbers, contrast, np.array(boxes), empty, empty, empty, 20.0, 0, 0, 1)


@pytest.mark.parametrize("shape", [(40, 30), (10, 7), (20, 20), (9, 31)])
def test_the_longer_side_is_20_pixels(shape):
    numbers = np.pad(np.ones(shape, np.int32), 3)
    image = crop(pieces_of(numbers, (numbers * 200).astype(np.uint8)), Segment(0, 1))
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=2)  # enlarging blurs
    assert image.max() == 255


def test_neighbors_are_left_out():
    numbers = np.zeros((30, 40), np.int32)
    numbers[5:25, 5:15], numbers[5:25, 15:30] = 1, 2
    image = crop(pieces_of(numbers, np.full(numbers.shape, 99, np.uint8) * (numbers > 0)), Segment(0, 1))
    assert np.flatnonzero(image.any(0)).size == 10


def test_soft_edges_belong_to_the_segment():
    numbers = np.zeros((30, 30), np.int32)
    numbers[10:20, 10:20] = 1
    contrast = np.zeros((30, 30), np.uint8)
    contrast[9:21, 9:21], contrast[10:20, 10:20] = 60, 255
    assert 0 < crop(pieces_of(numbers, contrast), Segment(0, 1))[4, 14] < 255
