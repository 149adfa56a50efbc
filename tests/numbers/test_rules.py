import numpy as np
import pytest
from PIL import Image, ImageDraw

from digitnet.numbers.rules import remove_rules


def draw(rules, strokes, size=(300, 120)):
    """Return a mask of lines of 2 pixels and strokes of 8 pixels, and one of the strokes alone."""
    images = [Image.new("1", size) for _ in range(2)]
    for line in rules:
        ImageDraw.Draw(images[0]).line(line, 1, width=2)
    for image in images:
        for stroke in strokes:
            ImageDraw.Draw(image).line(stroke, 1, width=8, joint="curve")
    return tuple(np.asarray(image) for image in images)


SEVEN = [(100, 30), (140, 30), (115, 90)]
ONES = [[(60, 30), (60, 90)], [(90, 30), (90, 90)]]


@pytest.mark.parametrize("rise", [0, 8])
def test_a_ruled_line_is_removed_and_strokes_on_it_are_kept(rise):
    mask, strokes = draw([[(0, 80), (299, 80 + rise)]], [SEVEN, *ONES])
    found = remove_rules(mask, mask)
    assert not found[:, 200:].any()
    assert (found & strokes).sum() > 0.93 * strokes.sum()
    assert (found & ~strokes).sum() < 0.03 * strokes.sum()


def test_a_box_around_a_digit_is_removed():
    box = [(85, 15), (155, 15), (155, 105), (85, 105), (85, 15)]
    mask, strokes = draw([box], [SEVEN])
    assert (remove_rules(mask, mask) == strokes).all()


def test_an_empty_box_is_kept_because_it_may_be_a_zero():
    mask, _ = draw([[(85, 15), (135, 15), (135, 105), (85, 105), (85, 15)]], [ONES[0]])
    assert (remove_rules(mask, mask) == mask).all()


@pytest.mark.parametrize("strokes", [ONES, [SEVEN], [[(30, 20), (30, 119)], [(60, 0), (60, 119)]]])
def test_straight_strokes_of_digits_are_kept(strokes):
    mask, _ = draw([], strokes)
    assert (remove_rules(mask, mask) == mask).all()


def test_thin_straight_digits_are_kept():
    mask, _ = draw([[(60, 30), (60, 90)], [(90, 30), (130, 30), (105, 90)]], [])
    assert (remove_rules(mask, mask) == mask).all()
