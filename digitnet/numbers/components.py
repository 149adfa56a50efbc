"""Connected components of a mask, found from the runs of its rows."""

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """Horizontal runs of a mask, from top to bottom and from left to right.

    Attributes:
        row: The row of each run, int (R,).
        start: Its first column, int (R,).
        stop: The column after its last, int (R,).
    """

    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def select(self, chosen: np.ndarray) -> "Runs":
        """Return some of the runs.

        Args:
            chosen: Which ones, bool (R,).

        Returns:
            These runs.
        """
        return Runs(self.row[chosen], self.start[chosen], self.stop[chosen])


class Components(NamedTuple):
    """The connected components of a mask.

    Attributes:
        labels: 0 for the background, or the number of the component plus 1, int32 (H, W).
        boxes: Left, top, right and bottom of each component, int (N, 4).
        areas: Number of pixels of each component, int (N,).
    """

    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray


def find_runs(mask: np.ndarray) -> Runs:
    """Find the horizontal runs of a mask.

    Args:
        mask: Bool (H, W).

    Returns:
        The runs.
    """
    stride = mask.shape[1] + 1  # an empty column separates the rows
    padded = np.zeros(mask.shape[0] * stride + 1, bool)
    padded[1:].reshape(mask.shape[0], stride)[:, :-1] = mask
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    starts, stops = changes[::2], changes[1::2]
    row = starts // stride
    return Runs(row, starts - row * stride, stops - row * stride)


def connect_runs(runs: Runs, width: int) -> np.ndarray:
    """Find which runs are connected, also diagonally.

    Args:
        runs: The runs.
        width: Width of the mask.

    Returns:
        The component of each run, numbered in the order of their first runs, int (R,).
    """
    stride = width + 2
    starts, stops = runs.row * stride + runs.start, runs.row * stride + runs.stop
    # Runs of the next row that overlap or are diagonal neighbors.
    first = np.searchsorted(stops, starts + stride, "left")
    last = np.searchsorted(starts, stops + stride, "right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[upper]
    return _connect(len(starts), upper, lower)


def fill_runs(shape: tuple[int, ...], runs: Runs, values: np.ndarray) -> np.ndarray:
    """Return an array with a value in each run, and 0 elsewhere.

    Args:
        shape: Height and width of the array.
        runs: The runs.
        values: The value of each run, int (R,).

    Returns:
        Int32 (H, W).
    """
    changes = np.zeros(shape[0] * shape[1] + 1, np.int32)
    changes[runs.row * shape[1] + runs.start] = values
    changes[runs.row * shape[1] + runs.stop] -= np.asarray(values, np.int32)
    return np.cumsum(changes[:-1], dtype=np.int32).reshape(shape)


def _connect(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the component of each of `count` nodes, numbered from 0, of the graph with these edges."""
    parent = np.arange(count)
    while True:
        one_root, other_root = parent[one], parent[other]
        if (one_root == other_root).all():
            break
        low, high = np.minimum(one_root, other_root), np.maximum(one_root, other_root)
        np.minimum.at(parent, high, low)
        while (parent[parent] != parent).any():
            parent = parent[parent]
    return np.unique(parent, return_inverse=True)[1]


def find_components(mask: np.ndarray) -> Components:
    """Find the connected components of a mask.

    Args:
        mask: Bool (H, W).

    Returns:
        The components, in the order of their first pixels.
    """
    runs = find_runs(mask)
    component = connect_runs(runs, mask.shape[1])
    count = int(component.max()) + 1 if len(component) else 0
    areas = np.bincount(component, runs.stop - runs.start, count).astype(int)
    boxes = np.zeros((count, 4), int)
    boxes[:, :2] = max(mask.shape)
    np.minimum.at(boxes[:, 0], component, runs.start)
    np.minimum.at(boxes[:, 1], component, runs.row)
    np.maximum.at(boxes[:, 2], component, runs.stop)
    np.maximum.at(boxes[:, 3], component, runs.row + 1)
    return Components(fill_runs(mask.shape, runs, component + 1), boxes, areas)
