import numpy as np
from PIL import Image, ImageDraw

from digitnet.numbers.components import find_components
from digitnet.numbers.ink import find_ink
from digitnet.numbers.layout import find_lines
from digitnet.numbers.segments import cut_line, find_segments


def pieces_of(strokes, size=(200, 100)):
    image = Image.new("L", size, 255)
    for stroke in strokes:
        ImageDraw.Draw(image).line(stroke, 0, width=6, joint="curve")
    ink = find_ink(np.asarray(image))
    components = find_components(ink.mask)
    (line,) = find_lines(components)
    return cut_line(ink, components, line)


def test_a_narrow_digit_is_one_piece():
    pieces = pieces_of([[(50, 20), (50, 80)], [(100, 20), (100, 80)]])
    assert len(pieces.boxes) == 2
    assert (pieces.cut == 0).all()
    assert [(segment.start, segment.stop) for segment in find_segments(pieces)] == [(0, 1), (1, 2)]


def test_two_bars_joined_by_a_line_are_cut_between_them():
    pieces = pieces_of([[(40, 20), (40, 80)], [(40, 60), (100, 60)], [(100, 20), (100, 80)]])
    left, right = [pieces.numbers[:, column // pieces.scale - pieces.left // pieces.scale] for column in (40, 100)]
    assert left.max() != right.max()
    assert pieces.cut.max() < 8 / pieces.scale + 1


def test_the_pieces_are_all_pixels_of_the_components():
    pieces = pieces_of([[(40, 20), (40, 80)], [(40, 60), (100, 60)], [(100, 20), (100, 80)], [(130, 30), (180, 70)]])
    assert pieces.areas.sum() == (pieces.numbers > 0).sum()
    assert sorted(set(np.unique(pieces.numbers)) - {0}) == list(range(1, len(pieces.boxes) + 1))


def test_each_piece_and_each_whole_component_is_a_segment():
    pieces = pieces_of([[(40, 20), (40, 80)], [(40, 60), (100, 60)], [(100, 20), (100, 80)]])
    found = {(segment.start, segment.stop) for segment in find_segments(pieces)}
    count = len(pieces.boxes)
    assert {(index, index + 1) for index in range(count)} <= found
    assert (0, count) in found
