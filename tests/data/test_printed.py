import numpy as np
import pytest
from PIL import Image

from digitnet.data.printed import COLUMNS, SHEET, load_printed_glyphs, sample_printed

GLYPHS = load_printed_glyphs()


def test_the_sheet_is_small_and_has_digits_of_many_fonts():
    assert SHEET.stat().st_size < 600_000
    assert len(GLYPHS.digits) >= 200
    assert len(GLYPHS.non_digits) > 0.95 * len(GLYPHS.digits) * (COLUMNS - 10)
    with Image.open(SHEET) as image:
        assert image.width == COLUMNS * 28


def test_every_glyph_is_framed():
    images = np.concatenate([GLYPHS.digits.reshape(-1, 28, 28), GLYPHS.non_digits])
    assert (images.max((1, 2)) == 255).all()
    sides = np.maximum(images.any(1).sum(1), images.any(2).sum(1))
    assert sides.max() <= 24  # small glyphs have blurred edges
    assert np.median(sides) == 20, "the longest side of the ink"


def test_the_digits_of_a_font_differ_from_each_other_and_resemble_those_of_other_fonts():
    """The nearest mean over all fonts is that of the same digit, for most digits and fonts."""
    means = GLYPHS.digits.mean(0).reshape(10, -1)
    distances = np.linalg.norm(GLYPHS.digits.reshape(-1, 10, 1, 784) - means, axis=3)
    assert (distances.argmin(2) == np.arange(10)).mean(0).min() > 0.7


@pytest.mark.parametrize("count", [0, 7, 5000])
def test_samples_have_equal_numbers_of_each_digit_and_repeat_no_glyph_before_all_were_used(count):
    images, labels = sample_printed(count, count, seed=0)
    assert labels[:count].tolist() == [index % 10 for index in range(count)]
    assert (labels[count:] == -1).all()
    for digit in range(10) if count == 5000 else ():
        _, repeats = np.unique(images[:count][labels[:count] == digit], axis=0, return_counts=True)
        assert len(repeats) > 0.95 * len(GLYPHS.digits)


def test_two_seeds_sample_different_glyphs_and_a_seed_reproduces_its_sample():
    first, second, third = (sample_printed(50, 50, seed)[0] for seed in (0, 1, 0))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, third)
