import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from digitnet.data.glyphs import parse_glyph
from digitnet.data.synthetic import (
    IMAGE_SIZES,
    NON_DIGIT,
    NON_DIGIT_KINDS,
    WORD_PEN_WIDTH,
    draw_digit,
    draw_non_digit,
    draw_word,
    render,
    synthetic_batches,
    vary,
    word_batches,
)
from tests.conftest import ROOT


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_images_of_two_seeds_differ_and_a_seed_reproduces_its_image():
    images = []
    for seed in (1, 2, 1):
        rng = np.random.default_rng(seed)
        images.append(render(draw_digit(5, rng), 64, rng))
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


def test_a_variation_passes_near_the_points_of_its_template(rng):
    """Compared with the points themselves, after the best linear map by least squares."""
    glyph = parse_glyph("10,6 50,4 88,2! 60,50 42,100")
    points = np.c_[glyph[0].points, np.ones(5)]
    for _ in range(50):
        (curve,) = vary(glyph, rng)
        passed = curve[np.linspace(0, len(curve) - 1, 5).round().astype(int)]
        matrix, *_ = np.linalg.lstsq(points, passed, rcond=None)
        assert abs(points @ matrix - passed).max() < 0.3


def test_images_have_bright_strokes_on_black(rng):
    for size in IMAGE_SIZES:
        for label in range(10):
            image = render(draw_digit(label, rng), size, rng)
            assert (image.shape, image.dtype) == ((size, size), np.uint8)
            assert image.max() > 100
            assert 0 < (image > 0).mean() < 0.9


def test_stroke_widths_range_from_thin_to_thick(rng):
    fractions = [(render(draw_digit(0, rng), 96, rng) > 0).mean() for _ in range(300)]
    assert np.quantile(fractions, 0.05) < 0.06
    assert np.quantile(fractions, 0.95) > 0.25


def test_no_non_digit_is_blank(rng):
    for _ in range(1000):
        assert render(draw_non_digit(rng), int(rng.choice(IMAGE_SIZES)), rng).max() > 0


def test_the_fractions_of_the_kinds_of_non_digits_sum_to_1():
    assert sum(NON_DIGIT_KINDS.values()) == pytest.approx(1)


def test_some_non_digits_are_dots_rendered_as_discs(rng):
    dots = [strokes for strokes in (draw_non_digit(rng) for _ in range(1000)) if np.ptp(np.concatenate(strokes)) == 0]
    assert 20 < len(dots) < 80
    ratios = []
    for dot in dots:
        ys, xs = np.nonzero(render(dot, 96, rng))
        ratios.append((np.ptp(ys) + 1) / (np.ptp(xs) + 1))
    assert np.median(ratios) == pytest.approx(1, abs=0.15)


def is_vertical_bar(image):
    """Whether the ink fills a tall, narrow box."""
    ys, xs = np.nonzero(image > 100)
    if not len(ys):
        return False
    height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
    return height > 4 * width and len(ys) > 0.8 * height * width


def is_steep_line(strokes):
    """Whether all points are close to one steep line."""
    (across, along), axes = np.linalg.eigh(np.cov(np.concatenate(strokes).T))
    return across < 0.02 * along and abs(axes[1, 1]) > 0.6


@pytest.mark.slow
def test_a_straight_vertical_stroke_is_a_1_and_never_a_non_digit(rng):
    ones = sum(is_vertical_bar(render(draw_digit(1, rng), 64, rng)) for _ in range(2000))
    non_digits = [draw_non_digit(rng) for _ in range(5000)]
    bars = sum(is_vertical_bar(render(strokes, 64, rng)) for strokes in non_digits[:2000])
    assert ones > 10 * max(bars, 1)
    assert not any(is_steep_line(strokes) for strokes in non_digits if np.ptp(np.concatenate(strokes)))


def test_words_are_wide_rows_of_letters_and_never_bars(rng):
    """The columns of a word cross several strokes, and those of a digit few."""
    images = [render(draw_word(rng), 96, rng, WORD_PEN_WIDTH, cropped=0) > 100 for _ in range(300)]
    boxes = [(np.ptp(ys) + 1, np.ptp(xs) + 1) for ys, xs in map(np.nonzero, images)]
    assert np.median([width / height for height, width in boxes]) > 1.5
    assert min(width / height for height, width in boxes) > 0.4
    runs = [np.diff(image[[len(image) // 2]].astype(int), prepend=0).clip(min=0).sum() for image in images]
    assert np.median(runs) >= 3


def test_words_are_the_same_for_the_same_seed_and_have_the_label_of_a_non_digit():
    first, second = (list(word_batches(230, seed=3)) for _ in range(2))
    assert [len(images) for images, _ in first] == [200, 30]
    for (images, labels), (others, _) in zip(first, second, strict=True):
        assert np.array_equal(images, others)
        assert (labels == NON_DIGIT).all()


def test_the_letters_of_some_words_are_connected_and_those_of_others_are_not(rng):
    strokes = [np.concatenate(draw_word(rng)) for _ in range(5)]
    assert all(np.isfinite(points).all() for points in strokes)
    joints = [word_has_joints(rng) for _ in range(200)]
    assert 0.55 < np.mean(joints) < 0.95


def word_has_joints(rng):
    """Whether a stroke of a word starts where another one ends, in the middle of their variation."""
    strokes = draw_word(rng)
    ends = [stroke[-1] for stroke in strokes]
    starts = [stroke[0] for stroke in strokes[1:]]
    return min(np.linalg.norm(start - end) for start, end in zip(starts, ends, strict=False)) < 0.12


@pytest.mark.slow
def test_batches_have_the_requested_numbers_of_digits_and_non_digits():
    batches = list(synthetic_batches(250, 70, seed=0))
    labels = np.concatenate([labels for _, labels in batches])
    assert np.bincount(labels - NON_DIGIT).tolist() == [70, *[25] * 10]
    for images, batch_labels in batches:
        assert images.shape == (len(batch_labels), images.shape[1], images.shape[1])
        assert images.shape[1] in IMAGE_SIZES
    # One size may be missing in 20 batches by chance, but not in 40.
    assert len({images.shape[1] for images, _ in synthetic_batches(8000, 0, seed=0)}) == len(IMAGE_SIZES)


def test_no_images_are_drawn_if_none_are_requested():
    assert list(synthetic_batches(0, 0, seed=0)) == []


def test_drawing_does_not_import_torch():
    program = "import sys, digitnet.data.synthetic; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["synthetic_digits.png", "further_images.png"])
def test_the_docs_have_an_image_of_synthetic_digits(name):
    with Image.open(ROOT / "docs" / name) as sheet:
        assert sheet.width >= 800
