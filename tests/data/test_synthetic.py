import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from digitnet.data.synthetic import (
    DIGITS,
    LETTERS,
    NONE,
    SIDES,
    SIGNS,
    draw,
    parse,
    synthetic_batches,
    write,
    write_digit,
    write_none,
)  # fmt: skip


def test_every_form_lies_on_its_grid_and_has_points_to_join():
    forms = [form for digit in DIGITS for _, form in digit] + [*LETTERS, *SIGNS]
    for form in forms:
        for points, corners, ring in parse(form):
            assert len(points) == len(corners) >= 2, form
            assert len(points) >= 4 or not ring, form
            assert points.min() >= 0, form
            assert points.max() <= 1.02, form


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_has_forms_and_each_form_is_written_sometimes(digit):
    assert len(DIGITS[digit]) >= 4
    assert all(often > 0 for often, _ in DIGITS[digit])


def test_no_two_hands_are_the_same_and_a_seed_repeats_them():
    strokes = [draw(write_digit(5, np.random.default_rng(seed)), 64, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert not np.array_equal(strokes[0], strokes[1])
    assert np.array_equal(strokes[0], strokes[2])


def test_a_written_form_passes_near_its_points():
    """Against the points by themselves: slanted and stretched they fit the curve by least squares."""
    random = np.random.default_rng(0)
    form = parse("10,6 50,4 88,2! 60,50 42,100")
    points = form[0][0]
    for _ in range(50):
        (curve,) = write(form, random)
        ends = curve[np.linspace(0, len(curve) - 1, 5).round().astype(int)]
        matrix, *_ = np.linalg.lstsq(np.c_[points, np.ones(5)], ends, rcond=None)
        assert abs(np.c_[points, np.ones(5)] @ matrix - ends).max() < 0.3


def test_pictures_are_light_strokes_on_black_that_leave_a_ground():
    random = np.random.default_rng(0)
    for side in SIDES:
        for label in range(10):
            picture = draw(write_digit(label, random), side, random)
            assert (picture.shape, picture.dtype) == ((side, side), np.uint8)
            assert picture.max() > 100
            assert 0 < (picture > 0).mean() < 0.9


def test_pens_are_thin_and_thick():
    random = np.random.default_rng(0)
    parts = [(draw(write_digit(0, random), 96, random) > 0).mean() for _ in range(300)]
    assert np.quantile(parts, 0.05) < 0.06
    assert np.quantile(parts, 0.95) > 0.25


def test_what_is_none_is_drawn_whatever_comes():
    random = np.random.default_rng(0)
    for _ in range(1000):
        picture = draw(write_none(random), int(random.choice(SIDES)), random)
        assert picture.max() > 0


def test_some_of_what_is_none_is_dots_drawn_as_discs():
    random = np.random.default_rng(0)
    dots = [strokes for strokes in (write_none(random) for _ in range(1000)) if np.ptp(np.concatenate(strokes)) == 0]
    assert 20 < len(dots) < 80
    sides = []
    for dot in dots:
        ys, xs = np.nonzero(draw(dot, 96, random))
        sides.append((np.ptp(ys) + 1) / (np.ptp(xs) + 1))
    assert np.median(sides) == pytest.approx(1, abs=0.15)


def is_upright_bar(picture):
    ys, xs = np.nonzero(picture > 100)
    tall, wide = np.ptp(ys) + 1, np.ptp(xs) + 1
    return len(ys) and tall > 4 * wide and len(ys) > 0.8 * tall * wide


def is_upright_line(strokes):
    (across, along), axes = np.linalg.eigh(np.cov(np.concatenate(strokes).T))
    return across < 0.02 * along and abs(axes[1, 1]) > 0.6


def test_a_straight_upright_stroke_is_a_1_and_never_none():
    random = np.random.default_rng(0)
    ones = sum(is_upright_bar(draw(write_digit(1, random), 64, random)) for _ in range(2000))
    none = [write_none(random) for _ in range(5000)]
    assert ones > 10 * max(sum(is_upright_bar(draw(strokes, 64, random)) for strokes in none[:2000]), 1)
    assert not any(is_upright_line(strokes) for strokes in none if np.ptp(np.concatenate(strokes)))


def test_batches_hold_as_many_of_each_as_asked_for():
    batches = list(synthetic_batches(250, 70, seed=0))
    labels = np.concatenate([labels for _, labels in batches])
    assert np.bincount(labels - NONE).tolist() == [70, *[25] * 10]
    for pictures, of in batches:
        assert pictures.shape == (len(of), pictures.shape[1], pictures.shape[1])
        assert pictures.shape[1] in SIDES
    # Of 20 batches one size in twenty may be missing by chance, of 40 none.
    assert len({pictures.shape[1] for pictures, _ in synthetic_batches(8000, 0, seed=0)}) == len(SIDES)


def test_nothing_asked_for_is_nothing():
    assert sum(len(labels) for _, labels in synthetic_batches(0, 0, seed=0)) == 0


def test_writing_takes_no_torch():
    program = "import sys, digitnet.data.synthetic; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_sheet_in_the_docs_is_a_picture():
    with Image.open("docs/synthetic_digits.png") as sheet:
        assert sheet.width >= 800
