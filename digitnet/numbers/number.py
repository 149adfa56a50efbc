"""Numbers: find the lines of an image, classify all segments in one batch, and choose the best sequence of digits."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from digitnet.contract import REJECTED
from digitnet.errors import ImageError
from digitnet.numbers.components import Components, find_components
from digitnet.numbers.crops import crop
from digitnet.numbers.ink import Ink, find_ink, reduce, to_gray
from digitnet.numbers.lattice import Candidates, best_path, calibrate, combine, features, score
from digitnet.numbers.layout import Line, Mark, find_lines
from digitnet.numbers.rules import remove_rules
from digitnet.numbers.segments import Pieces, Segment, cut_line, find_segments
from digitnet.numbers.verifier import NON_DIGIT, verify

MAX_CANDIDATES = 100  # on one line
MAX_COMPONENTS = 4000  # more are texture
COARSE_PIXELS = 2**19  # of the image in which digits are searched first
FINE_PIXELS = 2**22  # of the image in which they are searched if they are small
SMALL_DIGIT = 18  # pixels: lower digits are searched again in a larger image
MIN_VERIFIED = -1.0  # mean log-probability from the verifier of the digits of a component that is cut
MIN_WHOLE = 0.6  # probability from the verifier that a component is one digit, which is not cut then
MAX_NON_DIGIT = 0.96  # probability from the verifier that a whole component is not a digit
MAX_SINGLE_WIDTH = 1.4  # width per height of an image that may show a single digit
MIN_CERTAIN = 0.7  # confidence of several digits that are not compared with a single one
MAX_REJECTED = 0.5  # fraction of rejected digits of a number, exclusive
REJECTED_TEXT = "?"

Box = tuple[int, int, int, int]
Classify = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Digit:
    """A digit of a number.

    Attributes:
        label: The digit, or None if it was rejected.
        confidence: The largest probability.
        probabilities: The probability of each digit, float32 (10,).
        box: Left, top, right and bottom in pixels of the image.
        framed: The network's input, float32 (28, 28); 1 = ink, 0 = background.
    """

    label: int | None
    confidence: float
    probabilities: np.ndarray
    box: Box
    framed: np.ndarray


@dataclass(frozen=True, eq=False)
class Number:
    """The number on one line of an image.

    Attributes:
        text: Its digits from left to right, "?" for a rejected one; "" if there is none.
        digits: The digits in the same order.
        confidence: The calibrated probability that the text is correct; 0 if a digit was rejected, and 1 if there is
            none.
        box: Left, top, right and bottom in pixels of the image; (0, 0, 0, 0) if there are no digits.
        marks: What was found on the line and ignored: decimal points, minus signs and specks.
    """

    text: str
    digits: list[Digit]
    confidence: float
    box: Box
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class _Layout:
    """The lines of an image, in a reduced image.

    Attributes:
        scale: Pixels of the image for each pixel of the reduced image.
        ink: Its ink.
        components: Its components.
        lines: Its lines.
        is_plain: Whether it has no rules or boxes.
    """

    scale: int
    ink: Ink
    components: Components
    lines: list[Line]
    is_plain: bool


def find_numbers(image: np.ndarray, classify: Classify) -> list[Number]:
    """Find all numbers in an image.

    Args:
        image: Uint8 (H, W, C) with C = 1, 3 or 4.
        classify: Returns probabilities, float32 (N, 10), labels, int32 (N,), -1 if rejected, and framed images, float32
            (N, 28, 28), for images, uint8 (N, H, W, C). It is called once for all segments, and again for the whole
            image if that may show a single digit.

    Returns:
        The number on each line, from top to bottom; lines of which at least half is rejected are left out.

    Raises:
        ImageError: If there are more than 100 candidates on a line.
    """
    layout = _find_layout(to_gray(image))
    pieces = [_cut(layout, line) for line in layout.lines]
    segments = [find_segments(cut) for cut in pieces]
    crops = [crop(cut, segment) for cut, candidates in zip(pieces, segments, strict=True) for segment in candidates]
    if not crops:
        return []
    images = np.stack(crops)
    probabilities, labels, framed = classify(images[..., None])
    outputs = probabilities, labels, verify(images), framed
    numbers, start = [], 0
    for line, cut, candidates in zip(layout.lines, pieces, segments, strict=True):
        stop = start + len(candidates)
        *arrays, inputs = (array[start:stop] for array in outputs)
        numbers.append(_choose(line, cut, candidates, Candidates(*arrays), inputs, layout.scale))
        start = stop
    if layout.is_plain and len(numbers) == 1:
        numbers = [_compare_with_whole(numbers[0], image, classify)]
    return [number for number in numbers if number.text.count(REJECTED_TEXT) < MAX_REJECTED * len(number.text)]


def _compare_with_whole(number: Number, image: np.ndarray, classify: Classify) -> Number:
    """Return a number, or the digit that the model predicts for the whole image if it may show a single digit."""
    left, top, right, bottom = number.box
    if number.marks or right - left > MAX_SINGLE_WIDTH * (bottom - top):
        return number
    probabilities, labels, framed = (output[0] for output in classify(image[None]))
    label, probability = int(labels), float(probabilities.max())
    is_rejected = label == REJECTED
    is_certain = number.confidence >= min(MIN_CERTAIN, calibrate(probability))
    if len(number.digits) > 1 and (is_rejected or is_certain):
        return number
    digit = Digit(None if is_rejected else label, probability, probabilities, number.box, framed)
    text = REJECTED_TEXT if is_rejected else str(label)
    return Number(text, [digit], 0.0 if is_rejected else calibrate(probability), number.box)


def _find_layout(gray: np.ndarray) -> _Layout:
    """Find the lines in a reduced image and, if their digits are small, again in a larger one."""
    scales = [int(np.ceil(np.sqrt(gray.size / pixels))) for pixels in (COARSE_PIXELS, FINE_PIXELS)]
    layout = _find_layout_at(gray, scales[0])
    heights = [line.height for line in layout.lines]
    is_small = not heights or float(np.median(heights)) < SMALL_DIGIT
    return _find_layout_at(gray, scales[1]) if scales[1] < scales[0] and is_small else layout


def _find_layout_at(gray: np.ndarray, scale: int) -> _Layout:
    """Find the lines of an image that is reduced by `scale`."""
    ink = find_ink(reduce(gray, scale))
    mask = remove_rules(ink.mask, ink.faint)
    components = find_components(mask)
    lines = find_lines(components) if len(components.areas) <= MAX_COMPONENTS else []
    return _Layout(scale, ink, components, lines, mask is ink.mask)


def _cut(layout: _Layout, line: Line) -> Pieces:
    """Cut the components of a line, except those that the verifier takes for one whole digit.

    Most components are one digit. Without their cuts, there are few segments to classify, which takes most of the time.
    """
    components = cut_line(layout.ink, layout.components, line, whole=line.members)
    _check_count(components)
    crops = [crop(components, Segment(index, index + 1)) for index in range(len(components.boxes))]
    is_whole = verify(np.stack(crops))[:, :NON_DIGIT].max(1) > np.log(MIN_WHOLE)
    return (
        components
        if is_whole.all()
        else cut_line(layout.ink, layout.components, line, whole=components.component[is_whole])
    )


def _check_count(pieces: Pieces) -> None:
    """Raise ImageError if a line has more candidates for digits than the limit."""
    count = len(set(pieces.component.tolist()))
    if count > MAX_CANDIDATES:
        raise ImageError(
            f"expected at most {MAX_CANDIDATES} candidates for digits on a line, got {count}; crop the image to one"
            " number"
        )


def _choose(
    line: Line, pieces: Pieces, segments: list[Segment], candidates: Candidates, framed: np.ndarray, scale: int
) -> Number:
    """Return the number that the best sequence of segments forms."""
    probabilities = combine(pieces, segments, candidates)
    scores = score(features(pieces, segments, candidates, probabilities))
    path = best_path(segments, scores, len(pieces.boxes))
    chosen, confidences = [segments[index] for index in path.segments], probabilities[path.segments].max(1)
    rejected = _find_rejected(chosen, pieces, candidates.select(path.segments), probabilities[path.segments].argmax(1))
    digits = [
        Digit(
            None if is_rejected else int(probabilities[index].argmax()),
            float(probabilities[index].max()),
            probabilities[index],
            _box(pieces, segments[index], scale),
            framed[index],
        )
        for index, is_rejected in zip(path.segments, rejected, strict=True)
    ]
    text = "".join(REJECTED_TEXT if digit.label is None else str(digit.label) for digit in digits)
    confidence = 0.0 if rejected.any() else calibrate(path.probability * float(np.prod(confidences)))
    marks = [Mark(mark.kind, _enlarge(mark.box, scale)) for mark in line.marks]
    lefts, tops, rights, bottoms = zip(*(digit.box for digit in digits), strict=True)
    return Number(text, digits, confidence, (min(lefts), min(tops), max(rights), max(bottoms)), marks)


def _find_rejected(chosen: list[Segment], pieces: Pieces, candidates: Candidates, digits: np.ndarray) -> np.ndarray:
    """Return which segments are non-digits, bool (S,).

    A letter that is cut often has parts that look like a 1, and a digit that was touched by another one often is
    rejected by the model. So the verifier accepts or rejects the parts of a component together.
    """
    verified = candidates.verified[np.arange(len(digits)), digits]
    rejected: np.ndarray = (candidates.labels == REJECTED) | (candidates.verified[:, NON_DIGIT] > np.log(MAX_NON_DIGIT))
    component = pieces.component[[segment.start for segment in chosen]]
    for index in np.unique(component):
        parts = component == index
        if parts.sum() > 1:
            rejected[parts] = verified[parts].mean() < MIN_VERIFIED
    return rejected


def _box(pieces: Pieces, segment: Segment, scale: int) -> Box:
    """Return the box of a segment in the image."""
    boxes = pieces.boxes[segment.start : segment.stop]
    (left, top), (right, bottom) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
    inner = left * pieces.scale, top * pieces.scale, right * pieces.scale, bottom * pieces.scale
    x, y = pieces.left, pieces.top
    return _enlarge((inner[0] + x, inner[1] + y, inner[2] + x, inner[3] + y), scale)


def _enlarge(box: Box, scale: int) -> Box:
    """Return a box of the reduced image in pixels of the image."""
    left, top, right, bottom = (int(value) * scale for value in box)
    return left, top, right, bottom
