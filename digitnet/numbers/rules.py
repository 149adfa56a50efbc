"""Rules: the straight lines of ruled paper and form boxes, which are removed from a mask."""

from dataclasses import dataclass, replace

import numpy as np

from digitnet.numbers.components import Runs, connect_runs, fill_runs, find_components, find_runs

THIN = (4, 6)  # pixels: limits of the thickness of a line
STROKE_FRACTION = 0.8  # a line is thinner than this times the typical stroke
RUNS_PER_LENGTH = 1.27  # horizontal and vertical runs per pixel of a stroke of any direction, on average
MIN_PIECE = 10  # pixels: shorter pieces of lines are not searched
MAX_PIECES = 200  # longest pieces that are considered
MAX_SLOPE = 0.2  # of a line to its axis
STRAIGHT = 0.9  # pixels: standard deviation of the middle of a line from a straight line, plus a part of its thickness
NEAR = 3  # pixels: between the pieces of a line, and between the ends of lines at a corner, besides the thickness
DRIFT = 0.01  # pixels per pixel of a line by which its pieces may be beside it
LONG_PIECE = 0.3  # times the length of the line
MIN_COVERAGE = 0.5  # fraction of a line that its pieces cover
MARGIN_LINE = 0.9  # length of a vertical line that forms no box, as a fraction of the height of the image
MIN_RULE = 1.5  # times this height: length of a line from border to border
LONG = 2.0  # times the height of the tallest stroke beside them: length of lines that form no box
MAX_BRANCHES = 1.3  # runs of a line per pixel of its length; a curve has more
SMALL = 1e-9  # to avoid a division by 0
MAX_HIDDEN = 0.3  # of the length of a line that a stroke may hide at an end
SIMILAR = 1.0  # by which the thickness of lines that form a corner may differ, besides a pixel
CORNER = 0.08  # sum of the slopes of two lines that form a corner, at most
PERPENDICULAR = 0.02  # sum of the slopes of two lines whose corner is hidden, at most
MIN_INSIDE = 0.4  # height of a digit in a box as a fraction of the tallest

Side = tuple[np.ndarray, Runs]  # a mask or its transpose, and its runs


@dataclass(frozen=True)
class Line:
    """A line: y = slope * x + offset for x from start to stop, with x and y exchanged for vertical lines.

    Attributes:
        slope: Pixels across its axis per pixel along it.
        offset: Its position across its axis at 0.
        start: Where it starts along its axis.
        stop: Where it ends.
        vertical: Whether its axis is vertical.
        thickness: Its mean thickness in pixels.
    """

    slope: float
    offset: float
    start: float
    stop: float
    vertical: bool
    thickness: float

    def ends(self) -> np.ndarray:
        """Return x and y of both ends, float (2, 2)."""
        along = np.array([self.start, self.stop])
        across = self.slope * along + self.offset
        return np.stack([across, along] if self.vertical else [along, across], 1)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return how far each of the points, (N, 2), is from the line, at least."""
        along, across = points[:, int(self.vertical)], points[:, int(not self.vertical)]
        beyond = np.maximum(np.maximum(self.start - along, along - self.stop), 0)
        return np.maximum(beyond, abs(across - self.slope * along - self.offset))

    @property
    def length(self) -> float:
        """The length along its axis in pixels."""
        return self.stop - self.start


def remove_rules(mask: np.ndarray, faint: np.ndarray) -> np.ndarray:
    """Remove ruled lines and form boxes.

    Lines are thin, straight, and nearly horizontal or vertical. Where a stroke crosses a line, the stroke is kept.

    Args:
        mask: Ink, bool (H, W).
        faint: A mask that contains it and in which also faint lines are complete, bool (H, W).

    Returns:
        The mask without lines; the same array if there is none.
    """
    sides = (mask, find_runs(mask)), (mask.T, find_runs(mask.T))
    count = sum(len(runs.row) for _, runs in sides)
    if not count:
        return mask
    faint_sides = (faint, find_runs(faint)), (faint.T, find_runs(faint.T))
    stroke = RUNS_PER_LENGTH * 2 * mask.sum() / count
    thin = round(min(max(STROKE_FRACTION * stroke, THIN[0]), THIN[1]))
    # Horizontal lines consist of short vertical runs, which are the rows of the transposed mask.
    candidates = _find_lines(faint_sides[1], thin, False) + _find_lines(faint_sides[0], thin, True)
    if not candidates:
        return mask
    rest = _erase(mask, sides, candidates, thin)
    boxes = find_components(rest).boxes
    tallest = _typical_height(boxes)
    lines = _select(candidates, boxes, tallest, mask.shape) if tallest else []
    return _erase_remains(_erase(mask, sides, lines, thin), lines, thin) if lines else mask


def _typical_height(boxes: np.ndarray) -> float:
    """Return the height that is typical of the taller half of the boxes."""
    heights = np.sort(boxes[:, 3] - boxes[:, 1])[::-1]
    heights = heights[heights >= MIN_PIECE / 2]
    return float(heights[len(heights) // 4]) if len(heights) else 0.0


def _find_lines(side: Side, thin: int, vertical: bool) -> list[Line]:
    """Return straight lines that consist of thin runs across them."""
    mask, runs = side
    pieces = runs.select(runs.stop - runs.start <= thin)
    if not len(pieces.row):
        return []
    component = connect_runs(pieces, mask.shape[1])
    x, y = pieces.row.astype(float), (pieces.start + pieces.stop - 1) / 2
    count = np.bincount(component).astype(float)
    first, last = np.full(len(count), np.inf), np.zeros(len(count))
    np.minimum.at(first, component, x)
    np.maximum.at(last, component, x)
    mean_x, mean_y = (np.bincount(component, values) / count for values in (x, y))
    x, y = x - mean_x[component], y - mean_y[component]
    xx, xy, yy = (np.bincount(component, values) / count for values in (x * x, x * y, y * y))
    slope = xy / np.maximum(xx, SMALL)
    residual = np.maximum(yy - slope * xy, 0)
    length = last - first + 1
    chosen = (length >= MIN_PIECE) & (abs(slope) <= MAX_SLOPE) & (residual <= STRAIGHT**2)
    chosen &= count <= MAX_BRANCHES * length
    indices = np.flatnonzero(chosen)
    indices = indices[np.argsort(-length[indices], kind="stable")][:MAX_PIECES]
    offset = mean_y - slope * mean_x
    widths = np.bincount(component, pieces.stop - pieces.start) / count
    columns = (values[indices].tolist() for values in (slope, offset, first, last, widths))
    lines = [Line(a, b, low, high, vertical, width) for a, b, low, high, width in zip(*columns, strict=True)]
    return _join(lines, thin)


def _join(lines: list[Line], thin: int) -> list[Line]:
    """Return lines in which collinear pieces are joined, where strokes have interrupted them."""
    remaining = sorted(lines, key=lambda line: -line.length)
    joined: list[Line] = []
    while remaining:
        line, covered = remaining[0], remaining[0].length
        remaining = remaining[1:]
        while True:
            piece = next((piece for piece in remaining if _continues(line, covered, piece, thin)), None)
            if piece is None:
                break
            remaining = [other for other in remaining if other is not piece]
            line, covered = _connect(line, piece), covered + piece.length
        joined.append(line)
    return joined


def _continues(line: Line, covered: float, piece: Line, thin: int) -> bool:
    """Return whether a piece is collinear with a line of which `covered` pixels are known."""
    start, stop = min(line.start, piece.start), max(line.stop, piece.stop)
    shared = min(line.stop, piece.stop) - max(line.start, piece.start)
    along = np.array([piece.start, piece.stop])
    distance = abs((piece.slope - line.slope) * along + piece.offset - line.offset).max()
    is_near = distance <= thin / 2 + 1 + DRIFT * (stop - start)
    return bool(shared <= NEAR and is_near and covered + piece.length >= MIN_COVERAGE * (stop - start))


def _connect(line: Line, piece: Line) -> Line:
    """Return the line with a piece; only a long piece changes its slope."""
    start, stop = min(line.start, piece.start), max(line.stop, piece.stop)
    if piece.length <= LONG_PIECE * line.length:
        return replace(line, start=start, stop=stop)
    first, last = min(line, piece, key=lambda one: one.start), max(line, piece, key=lambda one: one.stop)
    low, high = first.slope * start + first.offset, last.slope * stop + last.offset
    slope = (high - low) / (stop - start)
    return replace(line, slope=slope, offset=low - slope * start, start=start, stop=stop)


def _select(lines: list[Line], boxes: np.ndarray, tallest: float, shape: tuple[int, ...]) -> list[Line]:
    """Return the lines that are long or sides of a box around a digit."""
    is_long = [_is_long(line, tallest, shape) for line in lines]
    kept = list(range(len(lines)))
    corners = _find_corners(lines)
    at_border = [_reaches_border(line, shape) for line in lines]
    while True:
        framed = []
        for index in kept:
            ends = corners[index][kept].max(0)
            is_rule = not lines[index].vertical and lines[index].length >= MIN_RULE * tallest
            has_ends = ((ends > 0) | at_border[index]).all()
            if is_long[index] or (has_ends and (ends.max() == 2 or is_rule)):
                framed.append(index)
        if len(framed) == len(kept):
            break
        kept = framed
    groups = _groups(kept, corners.max(2) > 0)
    result = []
    for group in groups:
        members = [lines[index] for index in group]
        ends = np.concatenate([line.ends() for line in members])
        low, high = ends.min(0), ends.max(0)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = (middle > low).all(1) & (middle < high).all(1)
        tall = boxes[:, 3] - boxes[:, 1] >= MIN_INSIDE * tallest
        has_digit = (inside & tall).any()
        result += [lines[index] for index in group if is_long[index] or has_digit]
    return result


def _is_long(line: Line, tallest: float, shape: tuple[int, ...]) -> bool:
    """Return whether a line is longer than a digit; a vertical one has to cross the image, since it might be a 1."""
    return line.length >= LONG * tallest and (not line.vertical or line.length >= MARGIN_LINE * shape[0])


def _find_corners(lines: list[Line]) -> np.ndarray:
    """Return how each line ends at each other line, int (N, N, 2): 2 at a corner, 1 if a stroke may hide it, else 0."""
    slope, offset, start, stop, thickness = np.array(
        [(line.slope, line.offset, line.start, line.stop, line.thickness) for line in lines]
    ).T
    vertical = np.array([line.vertical for line in lines])
    ends = np.stack([start, stop], 1)[:, None]  # along the axis of each line
    across = slope[:, None, None] * ends + offset[:, None, None]
    beyond = np.maximum(np.maximum(start[:, None] - across, across - stop[:, None]), 0)
    distance = np.maximum(beyond, abs(ends - slope[:, None] * across - offset[:, None]))
    # Where each other line crosses the extension of a line.
    place = slope[:, None] * (start + stop)[:, None] / 2 + offset[:, None]
    crossing = (slope * place + offset)[..., None]
    is_beside = (start - NEAR <= place) & (place <= stop + NEAR)
    hidden = np.concatenate([ends[..., :1] - crossing, crossing - ends[..., 1:]], 2)
    is_hidden = (hidden > 0) & (hidden <= MAX_HIDDEN * (stop - start)[:, None, None]) & is_beside[..., None]
    skew = abs(slope[:, None] + slope)[..., None]
    corners = np.where(distance <= 2 * NEAR, 2, np.where(is_hidden & (skew <= PERPENDICULAR), 1, 0))
    similar = abs(thickness[:, None] - thickness) <= 1.5 + SIMILAR * np.minimum(thickness[:, None], thickness)
    may_meet = (vertical[:, None] != vertical) & similar & (skew[..., 0] <= CORNER)
    return np.where(may_meet[..., None], corners, 0)


def _reaches_border(line: Line, shape: tuple[int, ...]) -> np.ndarray:
    """Return whether each end of a line is at the border of the image, bool (2,)."""
    return np.array([line.start <= NEAR, line.stop >= shape[0 if line.vertical else 1] - 1 - NEAR])


def _groups(kept: list[int], meet: np.ndarray) -> list[list[int]]:
    """Return groups of lines that touch each other."""
    groups, remaining = [], set(kept)
    while remaining:
        group, frontier = [], [remaining.pop()]
        while frontier:
            index = frontier.pop()
            group.append(index)
            near = {other for other in remaining if meet[index, other] or meet[other, index]}
            remaining -= near
            frontier += near
        groups.append(group)
    return groups


def _erase(mask: np.ndarray, sides: tuple[Side, Side], lines: list[Line], thin: int) -> np.ndarray:
    """Return the mask without the thin runs that form the lines."""
    result = mask.copy()
    for vertical in (False, True):
        side_mask, runs = sides[int(not vertical)]
        middle, is_thin = (runs.start + runs.stop - 1) / 2, runs.stop - runs.start <= thin
        erased = np.zeros(len(middle), bool)
        for line in lines:
            if line.vertical == vertical:
                near = (runs.row >= line.start - NEAR) & (runs.row <= line.stop + NEAR)
                erased |= near & is_thin & (abs(middle - line.slope * runs.row - line.offset) <= thin / 2 + 1)
        if erased.any():
            filled = fill_runs(side_mask.shape, runs.select(erased), np.ones(erased.sum(), int)) > 0
            result &= ~(filled if vertical else filled.T)
    return result


def _erase_remains(mask: np.ndarray, lines: list[Line], thin: int) -> np.ndarray:
    """Return the mask without what remains of the lines where they cross."""
    components = find_components(mask)
    sizes = (components.boxes[:, 2:] - components.boxes[:, :2]).max(1)
    erased = np.zeros(len(sizes) + 1, bool)
    small = np.flatnonzero(sizes <= thin + NEAR)
    middle = (components.boxes[small, :2] + components.boxes[small, 2:] - 1) / 2
    for line in lines:
        erased[small[line.distance(middle) <= NEAR + thin] + 1] = True
    kept: np.ndarray = mask & ~erased[components.labels]
    return kept
