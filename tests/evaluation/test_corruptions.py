import numpy as np
import pytest

from digitnet.evaluation.corruptions import CORRUPTIONS, PAGE_CORRUPTIONS


@pytest.fixture
def ink():
    image = np.zeros((12, 28, 28), np.uint8)
    image[:, 5:23, 12:15] = 255
    return image


@pytest.mark.parametrize("name", [*CORRUPTIONS, *PAGE_CORRUPTIONS])
def test_each_gives_pictures_and_the_same_ones_again(name, ink):
    make, side = (CORRUPTIONS[name], 28) if name in CORRUPTIONS else (PAGE_CORRUPTIONS[name], 160)
    before = ink.copy()
    pictures = make(ink, np.random.default_rng(3))
    assert pictures.dtype == np.uint8
    assert pictures.shape == (12, side, side)
    assert (pictures == make(ink, np.random.default_rng(3))).all()
    assert (ink == before).all()
    assert all(picture.std() > 0 for picture in pictures)
    if name == "stripe":
        assert (pictures[:, :, :7] == 255).all()
    else:
        assert side == 160 or (pictures != ink).any()


def test_there_are_fifteen_as_in_mnist_c():
    assert len(CORRUPTIONS) == 15


def test_a_shift_moves_by_three_pixels_and_keeps_the_digit(ink):
    moved = CORRUPTIONS["translate"](ink, np.random.default_rng(0))
    assert {tuple(np.argwhere(image)[0]) for image in moved} <= {(2, 9), (2, 15), (8, 9), (8, 15)}
    assert (moved.sum((1, 2)) == ink.sum((1, 2))).all()


def test_edges_are_an_outline(ink):
    edges = CORRUPTIONS["canny_edges"](ink, np.random.default_rng(0))
    assert set(np.unique(edges)) == {0, 255}
    assert not edges[:, 10, 13].any()  # the middle of the stroke
    assert (edges[:, 10] > 0).sum(1).tolist() == [2] * 12
