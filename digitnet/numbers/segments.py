"""Segments: the parts of a line that may be one digit, including cuts through touching digits."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from digitnet.numbers.components import Components
from digitnet.numbers.ink import Ink, reduce
from digitnet.numbers.layout import Line

WORKING_HEIGHT = 34  # pixels: a line is reduced by a whole number so that its digits are about this high
CUT_WIDTH = 0.7  # times the height of a line: wider components are cut
CUTS_PER_HEIGHT = 6.0  # number of cuts per width of the height of a line
CUT_DISTANCE = 0.08  # to both sides, as a fraction of the height, in which a cut crosses the least ink
DIAGONAL = 0.15  # cost of a diagonal step of a cut, in pixels of ink
MAX_WIDTH = 1.35  # of a segment of several pieces, as a fraction of the height of the line
MAX_MERGED_GAP = 0.15  # between two components of one digit
LOW_PART = 0.55  # height of a loose part of a digit, at most, as a fraction of the height of the line
FULL_WIDTH = 0.4  # of a component that is a digit on its own


class Pieces(NamedTuple):
    """The pieces of a line, from left to right, which are components or parts of components between cuts.

    Attributes:
        numbers: 0 for the background, or the number of the piece plus 1, int32 (H, W).
        contrast: Contrast of the strokes, uint8 (H, W).
        boxes: Left, top, right and bottom of each piece, int (N, 4).
        areas: Number of pixels of each piece, int (N,).
        component: The component of each piece, int (N,).
        cut: Pixels of ink on the cut between each piece and the next, or 0 if there is no cut, float (N,).
        height: Typical height of the digits of the line.
        left, top, scale: Position of the arrays in the image, and pixels of the image for each pixel.
    """

    numbers: np.ndarray
    contrast: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    component: np.ndarray
    cut: np.ndarray
    height: float
    left: int
    top: int
    scale: int


@dataclass(frozen=True)
class Segment:
    """Consecutive pieces that may be one digit.

    Attributes:
        start: Its first piece.
        stop: The piece after its last.
    """

    start: int
    stop: int


def cut_line(ink: Ink, components: Components, line: Line) -> Pieces:
    """Cut the components of a line into pieces.

    Args:
        ink: The ink of the image.
        components: Its components.
        line: The line.

    Returns:
        The pieces.
    """
    scale = max(1, round(line.height / WORKING_HEIGHT))
    left, top = np.maximum(components.boxes[line.members, :2].min(0) - 1, 0)
    right, bottom = components.boxes[line.members, 2:].max(0) + 1
    area = slice(top, bottom), slice(left, right)
    labels = components.labels[area][scale // 2 :: scale, scale // 2 :: scale]
    contrast = reduce(np.ascontiguousarray(ink.contrast[area]), scale)[: labels.shape[0], : labels.shape[1]]
    height = line.height / scale
    numbers, found = np.zeros(labels.shape, np.int32), []
    for index in line.members:
        box = (components.boxes[index] - [left, top, left, top]) // scale
        rows, columns = slice(max(box[1] - 1, 0), box[3] + 2), slice(max(box[0] - 1, 0), box[2] + 2)
        mask = labels[rows, columns] == index + 1
        cuts = _find_cuts(mask, height) if box[2] - box[0] > CUT_WIDTH * height else []
        place = np.zeros(mask.shape, np.int32)
        for path, _ in cuts:
            place += np.arange(mask.shape[1]) >= path[:, None]
        for number in range(len(cuts) + 1):
            y, x = np.nonzero(mask & (place == number))
            if len(x):
                y, x = y + rows.start, x + columns.start
                cost = cuts[number][1] if number < len(cuts) else 0.0
                found.append((x.min() + x.max(), x, y, index, cost))
    found.sort(key=lambda piece: piece[0])
    boxes, areas = np.zeros((len(found), 4), int), np.zeros(len(found), int)
    for number, (_, x, y, _, _) in enumerate(found):
        numbers[y, x] = number + 1
        boxes[number], areas[number] = (x.min(), y.min(), x.max() + 1, y.max() + 1), len(x)
    component = np.array([piece[3] for piece in found], int)
    cut = np.array([piece[4] for piece in found])
    return Pieces(numbers, contrast, boxes, areas, component, cut, height, int(left), int(top), scale)


def _find_cuts(mask: np.ndarray, height: float) -> list[tuple[np.ndarray, float]]:
    """Return paths from top to bottom that cross little ink, from left to right.

    Args:
        mask: A component, bool (H, W).
        height: Typical height of a digit.

    Returns:
        For each path its column in each row, int (H,), and the number of pixels of ink that it crosses.
    """
    ink = mask.astype(np.float32)
    down, down_step = _cheapest_paths(ink)
    up, up_step = _cheapest_paths(ink[::-1])
    up, up_step = up[::-1], up_step[::-1]
    middle = mask.shape[0] // 2
    total = down[middle] + up[middle] - ink[middle]
    limit = round(CUTS_PER_HEIGHT * mask.shape[1] / height)
    columns = sorted(_local_minima(total, max(1, round(CUT_DISTANCE * height))), key=lambda column: total[column])
    return [(_trace(down_step, up_step, middle, column), float(total[column])) for column in sorted(columns[:limit])]


def _local_minima(values: np.ndarray, reach: int) -> list[int]:
    """Return where values are not larger than those up to `reach` away; of a long run of equal ones, both ends."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, mode="edge"), 2 * reach + 1)
    lowest = np.flatnonzero(values <= windows.min(1))
    lowest = lowest[(lowest >= reach) & (lowest < len(values) - reach)]
    found: list[int] = []
    for run in np.split(lowest, np.flatnonzero(np.diff(lowest) > 1) + 1):
        if len(run) > 2 * reach:
            found += [int(run[reach // 2]), int(run[-1 - reach // 2])]
        elif len(run):
            found.append(int(run[len(run) // 2]))
    return found


def _cheapest_paths(ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost of the cheapest path from the top to each pixel, and its last step: -1, 0 or 1 column."""
    cost = np.pad(ink, ((0, 0), (1, 1)), constant_values=np.inf)
    for row in range(1, len(ink)):
        before = cost[row - 1]
        diagonal = np.minimum(before[:-2], before[2:]) + DIAGONAL
        cost[row, 1:-1] += np.minimum(before[1:-1], diagonal)
    straight, right, left = cost[:-1, 1:-1], cost[:-1, :-2] + DIAGONAL, cost[:-1, 2:] + DIAGONAL
    step = np.where(straight <= np.minimum(left, right), 0, np.where(right <= left, 1, -1))
    return cost[:, 1:-1], np.concatenate([np.zeros((1, ink.shape[1]), int), step])


def _trace(down_step: np.ndarray, up_step: np.ndarray, middle: int, column: int) -> np.ndarray:
    """Return the column of the cheapest path through a pixel of the middle row in each row, int (H,)."""
    path = np.full(len(down_step), column)
    for row in range(middle, 0, -1):
        path[row - 1] = path[row] - down_step[row, path[row]]
    for row in range(middle, len(path) - 1):
        path[row + 1] = path[row] - up_step[row, path[row]]
    return path


def find_segments(pieces: Pieces) -> list[Segment]:
    """Find the sequences of pieces that may be one digit.

    Args:
        pieces: The pieces of a line.

    Returns:
        The segments; each single piece and each whole component is one.
    """
    segments = []
    count = len(pieces.boxes)
    for start in range(count):
        box = pieces.boxes[start].copy()
        for stop in range(start + 1, count + 1):
            if stop - start > 1:
                if not _may_merge(pieces, start, stop - 1):
                    break
                box[:2] = np.minimum(box[:2], pieces.boxes[stop - 1, :2])
                box[2:] = np.maximum(box[2:], pieces.boxes[stop - 1, 2:])
                is_whole = (pieces.component[start:stop] == pieces.component[start]).all() and (
                    np.count_nonzero(pieces.component == pieces.component[start]) == stop - start
                )
                if box[2] - box[0] > MAX_WIDTH * max(pieces.height, 0) and not is_whole:
                    if box[2] - box[0] > 2.5 * pieces.height:
                        break
                    continue
            segments.append(Segment(start, stop))
    return segments


def _may_merge(pieces: Pieces, start: int, last: int) -> bool:
    """Return whether a piece may belong to the same digit as those before it from `start` on."""
    boxes, component = pieces.boxes, pieces.component
    if component[last] == component[last - 1]:
        return True
    gap = boxes[last, 0] - boxes[start:last, 2].max()
    if gap > MAX_MERGED_GAP * pieces.height:
        return False
    heights = boxes[[last - 1, last], 3] - boxes[[last - 1, last], 1]
    if heights.min() < LOW_PART * pieces.height:
        return True
    own, other = boxes[component == component[last]], boxes[component == component[last - 1]]
    spans = [(group[:, 0].min(), group[:, 2].max()) for group in (own, other)]
    widths = [right - left for left, right in spans]
    shared = min(spans[0][1], spans[1][1]) - max(spans[0][0], spans[1][0])
    return bool(min(widths) < FULL_WIDTH * pieces.height or shared > min(widths) / 2)
