import numpy as np
import pytest

from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS, PAGE_SIZE


@pytest.fixture
def ink():
    images = np.zeros((12, 28, 28), np.uint8)
    images[:, 5:23, 12:15] = 255
    return images


def check_images(corrupt, ink, size):
    """Check the shape and the values, and that the same seed gives the same images."""
    before = ink.copy()
    images = corrupt(ink, np.random.default_rng(3))
    assert images.dtype == np.uint8
    assert images.shape == (12, size, size)
    assert (images == corrupt(ink, np.random.default_rng(3))).all()
    assert (ink == before).all()
    assert all(image.std() > 0 for image in images)
    return images


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_corruption_changes_the_images_reproducibly(name, ink):
    assert (check_images(CORRUPTIONS[name], ink, 28) != ink).any()


@pytest.mark.parametrize("name", PAGE_CORRUPTIONS)
def test_each_page_corruption_gives_pages_reproducibly(name, ink):
    check_images(PAGE_CORRUPTIONS[name], ink, PAGE_SIZE)


def test_there_are_fifteen_corruptions_as_in_mnist_c():
    assert len(CORRUPTIONS) == 15


def test_a_translation_moves_by_three_pixels_and_keeps_the_digit(ink):
    moved = CORRUPTIONS["translate"](ink, np.random.default_rng(0))
    assert {tuple(np.argwhere(image)[0]) for image in moved} <= {(2, 9), (2, 15), (8, 9), (8, 15)}
    assert (moved.sum((1, 2)) == ink.sum((1, 2))).all()


def test_stripes_invert_both_sides(ink):
    assert (CORRUPTIONS["stripe"](ink, np.random.default_rng(0))[:, :, :7] == 255).all()


def test_edges_are_an_outline(ink):
    edges = CORRUPTIONS["canny_edges"](ink, np.random.default_rng(0))
    assert set(np.unique(edges)) == {0, 255}
    assert not edges[:, 10, 13].any()  # the center of the stroke
    assert (edges[:, 10] > 0).sum(1).tolist() == [2] * 12
