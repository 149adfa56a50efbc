import numpy as np
import pytest

from digitnet.numbers.ink import find_ink, reduce, to_gray


def page(background, ink, shape=(120, 300)):
    """Return a page with a bar of ink in the middle, and where the bar is."""
    image = np.full(shape, background, np.float32)
    bar = np.zeros(shape, bool)
    bar[40:80, 140:150] = True
    image[bar] = ink
    return image, bar


@pytest.mark.parametrize(("background", "ink"), [(255, 0), (200, 90), (0, 255), (40, 130)])
def test_strokes_are_found_in_either_polarity(background, ink):
    image, bar = page(background, ink)
    assert (find_ink(image.astype(np.uint8)).mask == bar).all()


def test_a_shadow_is_background():
    image, bar = page(220, 60)
    image *= np.linspace(1, 0.4, image.shape[1])
    assert (find_ink(image.astype(np.uint8)).mask == bar).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_image_has_no_ink(level):
    assert not find_ink(np.full((50, 80), level, np.uint8)).mask.any()


def test_noise_has_no_ink():
    noise = np.random.default_rng(0).normal(200, 5, (200, 300))
    assert find_ink(noise.clip(0, 255).astype(np.uint8)).mask.mean() < 0.001


def test_the_faint_mask_contains_the_mask():
    image, _ = page(220, 60)
    ink = find_ink((image + np.random.default_rng(0).normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8))
    assert (ink.faint | ~ink.mask).all()


def test_transparent_pixels_are_white_behind_dark_strokes():
    image = np.zeros((10, 10, 4), np.uint8)
    image[4:6, 4:6, 3] = 255
    gray = to_gray(image)
    assert gray[5, 5] == 0
    assert gray[0, 0] == 255


def test_reduce_averages_squares():
    assert (reduce(np.array([[0, 100, 7], [100, 200, 9]], np.uint8), 2) == [[100, 8]]).all()
