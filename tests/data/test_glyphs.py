import numpy as np
import pytest
from PIL import Image

from digitnet.data.glyphs import interpolate, load_glyphs, parse_glyph
from tests.conftest import ROOT

GLYPHS = load_glyphs()


def test_every_template_is_on_its_grid_and_has_points_to_connect():
    for glyph in [*(glyph for digit in GLYPHS.digits for glyph in digit), *GLYPHS.letters, *GLYPHS.symbols]:
        for points, corners, closed in glyph:
            assert len(points) == len(corners) >= 2
            assert len(points) >= 4 or not closed
            assert points.min() >= 0
            assert points.max() <= 1.02


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_has_several_templates_that_all_occur(digit):
    assert len(GLYPHS.digits[digit]) == len(GLYPHS.weights[digit]) >= 4
    assert (GLYPHS.weights[digit] > 0).all()
    assert GLYPHS.weights[digit].sum() == pytest.approx(1)


def test_a_template_is_parsed_into_points_corners_and_closed_strokes():
    first, second = parse_glyph("10,20 30,40! 50,60 / 0,0 100,0 100,100 0,100 *")
    np.testing.assert_allclose(first.points, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    assert first.corners.tolist() == [False, True, False]
    assert (first.closed, second.closed) == (False, True)


def test_the_curve_passes_through_its_points_and_is_straight_between_corners():
    points = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    curve = interpolate(points, np.array([False, True, True, False]))
    assert len(curve) == 25
    np.testing.assert_allclose(curve[::8], points)
    np.testing.assert_allclose(curve[8:17, 0], 1)  # between the two corners


def test_the_docs_have_an_image_of_the_templates():
    with Image.open(ROOT / "docs" / "glyphs.png") as sheet:
        assert sheet.width >= 800
