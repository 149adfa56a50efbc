import pytest
import torch

from digitnet.data import altered
from digitnet.data.altered import KINDS, MAX_LINE_VARIANCE, draw_altered, is_steep_line
from digitnet.data.dataset import draw_synthetic
from digitnet.errors import ConfigError


@pytest.fixture(scope="module")
def digits():
    return draw_synthetic(1500, 0)


def only(monkeypatch, kind):
    """Draw one kind alone."""
    monkeypatch.setattr(altered, "KINDS", {kind: 1.0})


def overlap(images, others):
    """Return the cosine similarity of each image with each of the others, (N, M)."""
    first, second = (torch.nn.functional.normalize(group.flatten(1).float()) for group in (images, others))
    return first @ second.T


def test_the_fractions_of_the_kinds_sum_to_1():
    assert sum(KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize(("kind", "undo"), [
    ("mirrored", lambda images: [images.flip(2), images.flip(1)]),
    ("rotated", lambda images: [images.rot90(1, (1, 2)), images.rot90(-1, (1, 2))]),
])  # fmt: skip
def test_a_mirrored_or_rotated_digit_becomes_a_given_one_when_that_is_undone(monkeypatch, digits, kind, undo):
    only(monkeypatch, kind)
    monkeypatch.setattr(altered, "PRINTED", 0)
    images, labels = digits
    made = draw_altered(images, labels, 200, seed=0)
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]  # framing moves the center of mass to pixel 14
    undone = [image.roll(shift, (1, 2)) for image in undo(made) for shift in shifts]
    best, index = torch.stack([overlap(image, images) for image in undone]).amax(0).max(1)
    assert (best > 0.9).float().mean() > 0.9
    allowed = altered.MIRRORED_LEFT_TO_RIGHT if kind == "mirrored" else (1, 3, 6, 7, 9)
    assert set(labels[index[best > 0.97]].tolist()) <= set(allowed)


def test_what_may_be_a_digit_afterwards_is_neither_mirrored_nor_rotated():
    for digit in (0, 8):
        assert digit not in altered.MIRRORED_LEFT_TO_RIGHT + altered.MIRRORED_TOP_TO_BOTTOM + altered.ROTATED_IN_PRINT
    assert 1 not in altered.MIRRORED_LEFT_TO_RIGHT
    for digit in (1, 2, 3, 5):
        assert digit not in altered.MIRRORED_TOP_TO_BOTTOM


def ink_regions(images, axis):
    """Return the number of groups of rows (axis 2) or columns (axis 1) with ink in each image."""
    used = (images > 100).any(axis).int()
    return (used.diff(dim=1, prepend=torch.zeros(len(images), 1, dtype=torch.int32)) == 1).sum(1)


@pytest.mark.parametrize(("kind", "axis", "regions"), [("side by side", 1, 1.7), ("above another", 2, 1.9)])
def test_several_digits_are_separate_from_each_other_in_most_images(monkeypatch, digits, kind, axis, regions):
    only(monkeypatch, kind)
    images = draw_altered(*digits, 400, seed=0)
    assert ink_regions(images, axis).float().mean() > regions
    used = torch.cat([(images > 0).any(1), (images > 0).any(2)]).float()
    first, last = used.argmax(1), 27 - used.flip(1).argmax(1)
    assert (last - first + 1).view(2, -1).amax(0).median() == 20, "the longest side of the framed image"


def test_the_digits_of_an_image_are_equally_dark(monkeypatch, digits):
    """Otherwise the degradation may erase one of them, and the other one is a digit."""
    only(monkeypatch, "above another")
    images, labels = digits
    faint = images.clone()
    faint[::2] //= 4
    made = draw_altered(faint, labels, 200, seed=0)
    assert torch.stack([made[:, :14].amax((1, 2)), made[:, 14:].amax((1, 2))]).min() > 100


def test_a_1_never_touches_the_digit_beside_it(monkeypatch, digits):
    """Otherwise 13 could be an 8."""
    only(monkeypatch, "side by side")
    monkeypatch.setattr(altered, "NUMBER_LENGTHS", (2,))
    monkeypatch.setattr(altered, "SHIFT", 0)
    bar = torch.zeros(28, 28, dtype=torch.uint8)
    bar[4:24, 12:16] = 255
    images = draw_altered(bar.expand(10, 28, 28), torch.ones(10, dtype=torch.int64), 200, seed=0)
    assert (ink_regions(images, 1) == 2).all()


def test_steep_lines_are_found_and_other_lines_and_digits_are_not():
    y, x = torch.meshgrid(torch.arange(28.0) - 13.5, torch.arange(28.0) - 13.5, indexing="ij")
    angles = torch.tensor([0.0, 15, 50, 90, 120, 170]).deg2rad()
    lines = torch.stack([
        ((y * angle.cos() + x * angle.sin()).abs() < 1.5) & ((x * angle.cos() - y * angle.sin()).abs() < 10)
        for angle in angles
    ]).float()  # fmt: skip
    assert is_steep_line(lines).tolist() == [False, False, True, True, True, False]
    ring = ((x.hypot(y) - 8).abs() < 2).float()[None]
    assert not is_steep_line(ring)


def test_no_altered_digit_is_a_steep_line(digits):
    images = draw_altered(*digits, 1000, seed=0)
    assert images.shape == (1000, 28, 28)
    tolerance = 0.98  # of the rounding to 8 bits
    assert not is_steep_line(images.float() / 255, MAX_LINE_VARIANCE * tolerance).any()


def test_a_seed_reproduces_its_images(digits):
    first, second, third = (draw_altered(*digits, 50, seed) for seed in (0, 1, 0))
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_missing_digits_are_refused():
    with pytest.raises(ConfigError, match=r"data\.altered_digits needs digits among 2, 3, 4, 5, 6, 7, 9"):
        draw_altered(torch.zeros(5, 28, 28, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64), 10, seed=0)
