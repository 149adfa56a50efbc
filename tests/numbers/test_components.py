from collections import deque

import numpy as np
import pytest

from digitnet.numbers.components import find_components


def flood_fill(mask):
    """Return the labels of connected components by an independent algorithm: a flood fill from each first pixel."""
    labels, count = np.zeros(mask.shape, int), 0
    for y, x in np.argwhere(mask):
        if labels[y, x]:
            continue
        count += 1
        labels[y, x], queue = count, deque([(y, x)])
        while queue:
            row, column = queue.popleft()
            for near in np.ndindex(3, 3):
                other = row + near[0] - 1, column + near[1] - 1
                inside = 0 <= other[0] < mask.shape[0] and 0 <= other[1] < mask.shape[1]
                if inside and mask[other] and not labels[other]:
                    labels[other] = count
                    queue.append(other)
    return labels


@pytest.mark.parametrize("density", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_components_are_those_of_a_flood_fill(density):
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = rng.random(rng.integers(1, 40, 2)) < density
        components, expected = find_components(mask), flood_fill(mask)
        assert (components.labels == expected).all()
        assert len(components.areas) == expected.max(initial=0)
        for index, (left, top, right, bottom) in enumerate(components.boxes):
            y, x = np.nonzero(expected == index + 1)
            assert (left, top, right, bottom) == (x.min(), y.min(), x.max() + 1, y.max() + 1)
            assert components.areas[index] == len(x)
