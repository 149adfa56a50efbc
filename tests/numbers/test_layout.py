import numpy as np

from digitnet.numbers.components import find_components
from digitnet.numbers.layout import find_lines


def lines_of(boxes, shape=(400, 600)):
    """Return the lines of filled boxes, (left, top, right, bottom), and the components."""
    mask = np.zeros(shape, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    components = find_components(mask)
    return find_lines(components), components


def members(lines, components):
    """Return the left ends of the members of each line."""
    return [sorted(components.boxes[line.members, 0].tolist()) for line in lines]


def test_digits_side_by_side_form_a_line_and_lines_are_sorted_from_top_to_bottom():
    lines, components = lines_of([(50, 200, 80, 250), (20, 60, 50, 110), (70, 65, 100, 112), (120, 55, 150, 108)])
    assert members(lines, components) == [[20, 70, 120], [50]]


def test_a_line_may_rise_by_ten_degrees():
    boxes = [(20 + 50 * i, round(200 - 50 * i * np.tan(np.radians(10))), 55 + 50 * i, 0) for i in range(8)]
    lines, components = lines_of([(left, top, right, top + 60) for left, top, right, _ in boxes])
    assert len(lines) == 1
    assert len(components.areas) == 8


def test_a_wide_gap_separates_two_numbers():
    lines, components = lines_of([(20, 60, 50, 110), (60, 60, 90, 110), (400, 60, 430, 110)])
    assert members(lines, components) == [[20, 60], [400]]


def test_a_point_and_a_minus_sign_are_marks():
    lines, _ = lines_of([(10, 80, 40, 88), (60, 50, 90, 110), (98, 102, 106, 110), (120, 50, 150, 110)])
    (line,) = lines
    assert sorted(mark.kind for mark in line.marks) == ["decimal point", "minus sign"]
    assert len(line.members) == 2


def test_a_bar_above_a_digit_is_a_part_of_it():
    lines, components = lines_of([(60, 60, 90, 110), (65, 48, 100, 55), (120, 50, 150, 110)])
    assert members(lines, components) == [[60, 65, 120]]


def test_a_speck_far_away_is_ignored():
    lines, components = lines_of([(60, 60, 90, 110), (500, 300, 504, 304)])
    assert members(lines, components) == [[60]]
