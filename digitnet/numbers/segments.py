"""Segments: the parts of a line that may be one digit, including cuts through touching digits."""

from collections.abc import Container
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from digitnet.numbers.components import Components
from digitnet.numbers.ink import Ink, reduce
from digitnet.numbers.layout import Line

WORKING_HEIGHT = 34  # pixels: a line is reduced by a whole number so that its digits are about this high
CUT_WIDTH = 0.65  # times the height of a line: wider components are cut
CUTS_PER_HEIGHT = 4.0  # number of cuts per width of the height of a line
CUT_ROWS = (0.3, 0.7)  # fractions of the height of a component at which cuts are searched
CUT_DISTANCE = 0.08  # to both sides, as a fraction of the height, in which a cut is the cheapest
MAX_CUT = 0.8  # pairs of neighbors that a cut separates, per pixel of the height
MIN_SIDE = 0.015  # area between two cuts, as a fraction of the squared height
CORE_COST = 0.2  # cost of a pair of neighbors inside of strokes, where two overlap, instead of 1
CORE_DEPTH = 0.3  # distance of these pixels from the edges of strokes, as a fraction of the pen width
PIXELS_PER_EDGE = 2.55  # pen width: area per number of neighbors of which one is ink
SIDEWAYS = 0.3  # cost of each column by which a cut moves sideways, in pairs of neighbors
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
        cut: Pairs of pixels that the cut between each piece and the next separates, or 0 if there is none, float (N,).
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


def cut_line(ink: Ink, components: Components, line: Line, whole: Container[int] = ()) -> Pieces:
    """Cut the components of a line into pieces.

    Args:
        ink: The ink of the image.
        components: Its components.
        line: The line.
        whole: Indices of components that are not cut.

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
        is_cut = index not in whole and box[2] - box[0] > CUT_WIDTH * height
        cuts, costs = _find_cuts(mask, height) if is_cut else (np.zeros((0, len(mask)), int), np.zeros(0))
        place = (np.arange(mask.shape[1]) >= cuts[..., None]).sum(0)
        position = 0.0
        for number in range(len(cuts) + 1):
            y, x = np.nonzero(mask & (place == number))
            if len(x):
                y, x = y + rows.start, x + columns.start
                position = max(position, float(x.min() + x.max()))  # the pieces of a component stay in order
                cost = float(costs[number]) if number < len(cuts) else 0.0
                found.append((position, x, y, index, cost))
    found.sort(key=lambda piece: piece[0])
    boxes, areas = np.zeros((len(found), 4), int), np.zeros(len(found), int)
    for number, (_, x, y, _, _) in enumerate(found):
        numbers[y, x] = number + 1
        boxes[number], areas[number] = (x.min(), y.min(), x.max() + 1, y.max() + 1), len(x)
    component = np.array([piece[3] for piece in found], int)
    cut = np.array([piece[4] for piece in found])
    return Pieces(numbers, contrast, boxes, areas, component, cut, height, int(left), int(top), scale)


def _find_cuts(mask: np.ndarray, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Find cuts between the pixels of a component, from its top to its bottom, that separate few neighbors.

    Args:
        mask: A component, bool (H, W).
        height: Typical height of a digit.

    Returns:
        For each of C cuts, from left to right, the first column on its right side in each row, int (C, H), and the
        number of pairs of neighbors that it separates, int (C,).
    """
    strength = _find_strength(mask)
    down, up = _cheapest_cuts(strength), _cheapest_cuts(strength[::-1])
    reach = max(1, round(CUT_DISTANCE * height))
    paths, costs = [], []
    for fraction in CUT_ROWS:
        row = round(fraction * len(mask))
        total = down.cost[row] + up.cost[len(mask) - row]
        columns = [column for column in _local_minima(total, reach) if total[column] <= MAX_CUT * height]
        paths.append(_trace(down, up, row, np.array(columns, int)))
        costs.append(total[columns])
    order = np.argsort(np.concatenate(costs), kind="stable")
    chosen = _select_cuts(np.concatenate(paths)[order], mask, MIN_SIDE * height**2)
    limit = round(CUTS_PER_HEIGHT * mask.shape[1] / height)
    cuts = np.sort(chosen[:limit], 0)  # where two cross, they are exchanged
    return cuts, np.array([_count_separated(mask, cut) for cut in cuts], int)


def _select_cuts(paths: np.ndarray, mask: np.ndarray, min_area: float) -> np.ndarray:
    """Return those of the cuts that differ from the ones before them, and from no cut, by at least an area of ink."""
    area = np.cumsum(np.pad(mask, ((0, 0), (1, 0))), 1)  # pixels of ink to the left of each column
    lefts = area[np.arange(len(mask)), paths]
    chosen, known = [], [np.zeros(len(mask), int), area[:, -1]]
    for index, left in enumerate(lefts):
        if abs(left - np.array(known)).sum(1).min() >= min_area:
            chosen.append(index)
            known.append(left)
    return paths[chosen]


class _Cuts(NamedTuple):
    """The cheapest cuts from the top of a mask to each corner of its pixels.

    Attributes:
        cost: Strength of the pairs of neighbors that they separate, plus a part for each column, float (H + 1, W + 1).
        before: The same before the last steps sideways, float (H + 1, W + 1).
        sideways: Cost of the way from the left end to each corner, float (H + 1, W + 1).
    """

    cost: np.ndarray
    before: np.ndarray
    sideways: np.ndarray


def _find_strength(mask: np.ndarray) -> np.ndarray:
    """Return how strongly pixels hold together, float (H, W): 1 for ink, less inside of strokes, 0 for background."""
    edges = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    core = np.pad(mask, 1)
    for _ in range(round(CORE_DEPTH * PIXELS_PER_EDGE * mask.sum() / max(edges, 1))):
        rows = core[:, 1:-1] & core[:, 2:] & core[:, :-2]
        core[1:-1, 1:-1] = rows[1:-1] & rows[2:] & rows[:-2]
    return np.where(core[1:-1, 1:-1], CORE_COST, mask.astype(float))


def _cheapest_cuts(strength: np.ndarray) -> _Cuts:
    """Return the cheapest cuts from the top to each corner."""
    height, width = strength.shape
    step = np.full((height + 1, width), SIDEWAYS)
    step[1:-1] += strength[1:] * strength[:-1]
    sideways = np.pad(np.cumsum(step, 1), ((0, 0), (1, 0)))
    down = np.zeros((height, width + 1))
    down[:, 1:-1] = strength[:, 1:] * strength[:, :-1]
    cost, before = np.zeros((height + 1, width + 1)), np.zeros((height + 1, width + 1))
    for row in range(1, height + 1):
        before[row] = cost[row - 1] + down[row - 1]
        right = np.minimum.accumulate(before[row] - sideways[row]) + sideways[row]
        left = np.minimum.accumulate((before[row] + sideways[row])[::-1])[::-1] - sideways[row]
        cost[row] = np.minimum(left, right)
    return _Cuts(cost, before, sideways)


def _trace(down: _Cuts, up: _Cuts, row: int, columns: np.ndarray) -> np.ndarray:
    """Return the column of the cheapest cut through each of C corners in each row of pixels, int (C, H)."""
    height = len(down.cost) - 1
    paths = np.zeros((len(columns), height), int)
    for cuts, count, rows in ((down, row, range(row - 1, -1, -1)), (up, height - row, range(row, height))):
        places = columns
        for index, here in zip(range(count, 0, -1), rows, strict=True):
            way = abs(cuts.sideways[index] - cuts.sideways[index, places][:, None])
            places = (cuts.before[index] + way).argmin(1)
            paths[:, here] = places
    return paths


def _count_separated(mask: np.ndarray, cut: np.ndarray) -> int:
    """Return how many pairs of neighbors, horizontal or vertical, are on different sides of a cut."""
    right = np.arange(mask.shape[1]) >= cut[:, None]
    beside = mask[:, 1:] & mask[:, :-1] & (right[:, 1:] != right[:, :-1])
    below = mask[1:] & mask[:-1] & (right[1:] != right[:-1])
    return int(np.count_nonzero(beside) + np.count_nonzero(below))


def _local_minima(values: np.ndarray, reach: int) -> list[int]:
    """Return where values are not larger than those up to `reach` away; of a long run of equal ones, both ends."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, mode="edge"), 2 * reach + 1)
    lowest = np.flatnonzero(values <= windows.min(1) + SIDEWAYS / 2)
    lowest = lowest[(lowest >= reach) & (lowest < len(values) - reach)]
    found: list[int] = []
    for run in np.split(lowest, np.flatnonzero(np.diff(lowest) > 1) + 1):
        if len(run) > 2 * reach:
            found += [int(run[reach // 2]), int(run[-1 - reach // 2])]
        elif len(run):
            found.append(int(run[len(run) // 2]))
    return found


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
