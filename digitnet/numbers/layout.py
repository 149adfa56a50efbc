"""Layout: which components are digits, parts of digits, marks or specks, and which digits form a line."""

from typing import NamedTuple

import numpy as np

from digitnet.numbers.components import Components

MIN_SIZE = 3  # pixels: width or height of the smallest component that is no noise
MIN_HEIGHT = 0.33  # of a digit as a fraction of the typical height
MIN_OVERLAP = 0.3  # of the heights of neighbors on a line, as a fraction of the smaller one
MAX_GAP = 3.0  # between neighbors on a line, as a fraction of the larger height
MAX_STACKED = 1.3  # height of two parts one above the other, as a fraction of the typical height
MAX_STACK_GAP = 0.15  # between them, as a fraction of the typical height
MAX_DISTANCE = 1.0  # of a mark from a digit, as a fraction of its height
MAX_PART_DISTANCE = 0.2  # of a loose part from its digit, as a fraction of its height
MAX_POINT = 0.35  # width and height of a decimal point or a comma
LOW = 0.6  # how far down on the line a decimal point is
MINUS_ASPECT, MAX_MINUS_HEIGHT = 1.5, 0.35  # width per height of a minus sign, and its largest height
MINUS_POSITION = (0.2, 0.8)  # from the top to the bottom of the line
ISOLATED = 0.3  # fraction of the width of a mark that may be above or below a digit
WIDE = 1.2  # width per height of a component that may consist of several digits
MIN_LOCAL_HEIGHT = 0.5  # of a component in a part of its width, as a fraction of its height
SLIDING_WIDTH = 0.5  # of the height: columns in which the height of one digit is measured
DIGIT_WIDTH = 0.7  # of its height


class Mark(NamedTuple):
    """A non-digit on a line.

    Attributes:
        kind: "decimal point", "minus sign" or "speck".
        box: Left, top, right and bottom in pixels of the image.
    """

    kind: str
    box: tuple[int, int, int, int]


class Line(NamedTuple):
    """A line of digits.

    Attributes:
        height: Typical height of its digits in pixels.
        members: Components that are digits, several touching digits or parts of digits, int (N,).
        marks: What else is on the line.
    """

    height: float
    members: np.ndarray
    marks: list[Mark]


def find_lines(components: Components) -> list[Line]:
    """Group components to lines.

    Args:
        components: The components.

    Returns:
        The lines from top to bottom, and from left to right where several are at the same height.
    """
    boxes = components.boxes
    sizes = boxes[:, 2:] - boxes[:, :2]
    large = np.flatnonzero(sizes.max(1) >= MIN_SIZE) if len(boxes) else np.zeros(0, int)
    if not len(large):
        return []
    heights = sizes[:, 1].astype(float)
    for index in large[sizes[large, 0] > WIDE * heights[large]]:
        heights[index] = _height_of_columns(components, index)
    typical = _weighted_median(heights[large], components.areas[large])
    tall = large[sizes[large, 1] >= MIN_HEIGHT * typical]
    groups = _chain(boxes, heights, tall, typical)
    small = np.setdiff1d(large, tall)
    owners = _nearest(boxes, heights, small, tall)
    lines = []
    for group in groups:
        repeats = np.maximum(1, np.round(sizes[group, 0] / (DIGIT_WIDTH * heights[group]))).astype(int)
        height = float(np.median(np.repeat(heights[group], repeats)))
        parts, marks = [], []
        for index in small[np.isin(owners, group)]:
            kind = _kind(boxes, index, group, height)
            if kind == "part":
                parts.append(index)
            else:
                marks.append(Mark(kind, tuple(boxes[index].tolist())))
        lines.append(Line(height, np.concatenate([group, np.array(parts, int)]), marks))
    return sorted(lines, key=lambda line: _position(boxes, line))


def _position(boxes: np.ndarray, line: Line) -> tuple[float, float]:
    """Return a key that sorts lines from top to bottom, and from left to right in rows of a digit's height."""
    members = boxes[line.members]
    return float(np.median(members[:, 1] + members[:, 3]) / 2), float(members[:, 0].min())


def _height_of_columns(components: Components, index: int) -> float:
    """Return the typical height of a component in a part of its width, since a line may rise or fall."""
    left, top, right, bottom = components.boxes[index]
    mask = components.labels[top:bottom, left:right] == index + 1
    first, last = mask.argmax(0), bottom - top - mask[::-1].argmax(0)
    height = bottom - top
    for _ in range(2):
        width = min(max(1, round(SLIDING_WIDTH * height)), right - left)
        windows = np.lib.stride_tricks.sliding_window_view
        height = float(np.median(windows(last, width).max(1) - windows(first, width).min(1)))
    return float(max(height, (bottom - top) * MIN_LOCAL_HEIGHT))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the median of values that have weights."""
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(sums, sums[-1] / 2)])


def _chain(boxes: np.ndarray, heights: np.ndarray, tall: np.ndarray, typical: float) -> list[np.ndarray]:
    """Return groups of components on the same line: each is connected to its right neighbor."""
    left, top, right, bottom = boxes[tall].T.astype(float)
    height = np.minimum(bottom - top, heights[tall] * WIDE)
    middle = (left + right) / 2
    overlap = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    gap = left - right[:, None]
    follows = (middle > middle[:, None]) | ((middle == middle[:, None]) & (tall > tall[:, None]))
    beside = overlap >= MIN_OVERLAP * np.minimum(height[:, None], height)
    beside &= follows & (gap <= MAX_GAP * np.maximum(height[:, None], height))
    nearest = np.where(beside, np.maximum(gap, 0) * 4 + middle - middle[:, None], np.inf)
    linked = np.zeros((len(tall), len(tall)), bool)
    rows = np.flatnonzero(beside.any(1))
    linked[rows, nearest[rows].argmin(1)] = True
    union = np.maximum(bottom[:, None], bottom) - np.minimum(top[:, None], top)
    shared = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    stacked = (union <= MAX_STACKED * typical) & (-overlap <= MAX_STACK_GAP * typical)
    linked |= stacked & (shared > np.minimum((right - left)[:, None], right - left) / 2)
    linked |= linked.T
    groups, remaining = [], set(range(len(tall)))
    while remaining:
        group, frontier = [], [min(remaining)]
        remaining -= set(frontier)
        while frontier:
            index = frontier.pop()
            group.append(index)
            near = remaining & set(np.flatnonzero(linked[index]).tolist())
            remaining -= near
            frontier += near
        groups.append(tall[sorted(group)])
    return groups


def _nearest(boxes: np.ndarray, heights: np.ndarray, small: np.ndarray, tall: np.ndarray) -> np.ndarray:
    """Return the tall component to which each small one is nearest, or -1 if it is far from all, int (S,)."""
    if not len(small):
        return np.zeros(0, int)
    gap = np.maximum(np.maximum(boxes[small, None, :2] - boxes[tall, 2:], boxes[tall, :2] - boxes[small, None, 2:]), 0)
    distance = gap.max(2)
    nearest = distance.argmin(1)
    return np.where(distance.min(1) <= MAX_DISTANCE * heights[tall[nearest]], tall[nearest], -1)


def _kind(boxes: np.ndarray, index: int, group: np.ndarray, height: float) -> str:
    """Return whether a small component is a "part" of a digit, or the kind of its mark."""
    left, top, right, bottom = boxes[index]
    shared = np.minimum(boxes[group, 2], right) - np.maximum(boxes[group, 0], left)
    near = boxes[group[np.argmin(np.maximum(-shared, 0))]]
    is_isolated = shared.max() <= ISOLATED * (right - left)
    position = ((top + bottom) / 2 - near[1]) / (near[3] - near[1])
    if is_isolated and max(right - left, bottom - top) <= MAX_POINT * height and position >= LOW:
        return "decimal point"
    is_bar = right - left >= MINUS_ASPECT * (bottom - top) and bottom - top <= MAX_MINUS_HEIGHT * height
    if is_isolated and is_bar and MINUS_POSITION[0] <= position <= MINUS_POSITION[1]:
        return "minus sign"
    gap = np.maximum(np.maximum(boxes[group, :2] - [right, bottom], [left, top] - boxes[group, 2:]), 0).max(1).min()
    return "part" if gap <= MAX_PART_DISTANCE * height else "speck"
