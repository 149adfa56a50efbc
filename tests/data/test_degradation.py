import re

import pytest
import torch
from torch import nn

from digitnet.data.degradation import (
    CANVAS_SIZES,
    Degradation,
    RandomBackground,
    RandomDistractors,
    RandomNoise,
    RandomPlacement,
    RandomStroke,
)
from digitnet.data.synthetic import synthetic_batches
from digitnet.errors import ConfigError
from digitnet.model.framing import Framing


@pytest.fixture(scope="module")
def ink():
    images, _ = next(synthetic_batches(200, 0, seed=1))
    return Framing()(torch.from_numpy(images)[..., None])[0][:, None]


def test_degraded_images_are_framed(ink):
    torch.manual_seed(0)
    for _ in range(2 * len(CANVAS_SIZES)):
        degraded = Degradation()(ink)
        assert degraded.shape == ink.shape
        assert degraded.dtype == torch.float32
        assert degraded.min() == 0
        assert torch.equal(degraded.amax((1, 2, 3)), torch.ones(len(ink)))


def test_nearly_every_image_changes_and_a_seed_reproduces_the_changes(ink):
    torch.manual_seed(0)
    first = Degradation()(ink)
    assert (first != ink).flatten(1).any(1).float().mean() > 0.95
    torch.manual_seed(0)
    assert torch.equal(Degradation()(ink), first)


@pytest.mark.parametrize("size", sorted(set(CANVAS_SIZES)))
def test_every_step_keeps_images_in_range(ink, size):
    torch.manual_seed(0)
    images = RandomPlacement()(ink, size)
    for step in (torch.clone, RandomStroke(), RandomDistractors(), RandomBackground(), RandomNoise()):
        images = step(images)
        assert images.shape == (len(ink), 1, size, size)
        assert images.min() >= 0
        assert images.max() <= 1


def test_half_of_the_images_are_inverted(ink):
    torch.manual_seed(0)
    bright = RandomNoise()(RandomPlacement()(ink, 28)).mean((1, 2, 3)) < 0.5
    assert 0.4 < bright.float().mean() < 0.6


def test_some_digits_fill_the_canvas(ink):
    torch.manual_seed(0)
    placed = RandomPlacement()(ink, 28)[:, 0] > 0.2
    filled = placed[:, 1].any(1) & placed[:, -2].any(1) & placed[:, :, 1].any(1) & placed[:, :, -2].any(1)
    assert 0.03 < filled.float().mean() < 0.3


def test_the_outline_of_a_dot_is_never_drawn():
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    dot = ((y - 14).hypot(x - 14) < 9).float().expand(400, 1, 28, 28)
    assert (RandomStroke()(dot)[:, 0, 13:16, 13:16] > 0.5).all()


def test_a_blank_image_gives_finite_values():
    torch.manual_seed(0)
    degraded = Degradation()(torch.zeros(50, 1, 28, 28))  # a distractor or noise may be all there is
    assert degraded.isfinite().all()


class Erase(nn.Module):
    """A step that erases the image."""

    def forward(self, images):
        return torch.zeros_like(images)


def test_an_image_whose_digit_was_lost_is_unchanged_and_never_blank(ink):
    assert torch.equal(Degradation(noise=Erase())(ink), ink)


def fraction(selected):
    """Return the fraction of images with a selected pixel."""
    return selected.flatten(1).any(1).float().mean().item()


def test_strokes_become_thicker_thinner_and_outlined(ink):
    torch.manual_seed(0)
    many = ink.repeat(10, 1, 1, 1)
    changed = RandomStroke()(many)
    ratio = changed.sum((1, 2, 3)) / many.sum((1, 2, 3))
    assert 0.1 < (ratio > 1.4).float().mean() < 0.4
    thick = nn.functional.max_pool2d(many, 5, stride=1, padding=2)
    thinner = RandomStroke()(thick).sum((1, 2, 3)) / thick.sum((1, 2, 3))
    assert 0.05 < (thinner < 0.8).float().mean() < 0.3  # of strokes thick enough to remain
    hollow = (many > 0.9) & (changed < 0.1)
    assert 0.02 < fraction(hollow) < 0.3


def test_lines_and_blots_are_added_to_some_images_and_remove_nothing(ink):
    torch.manual_seed(0)
    many = ink.repeat(10, 1, 1, 1)
    changed = RandomDistractors()(many)
    assert (changed >= many).all()
    assert 0.3 < fraction(changed > many) < 0.5
    assert torch.equal(RandomDistractors(lined=0, blotted=0)(many), many)


def test_backgrounds_are_shaded_striped_dark_at_the_edge_and_inverted():
    torch.manual_seed(0)
    background = RandomBackground()(torch.zeros(2000, 1, 28, 28))[:, 0]
    bright = background[:, 14, 14] < 0.2
    uneven = background.amax((1, 2)) - background.amin((1, 2)) > 0.05
    assert 0.4 < uneven.float().mean() < 0.8
    assert bright.float().mean() > 0.6
    sides = (background.diff(dim=2).abs() > 0.9).any((1, 2)) | (background.diff(dim=1).abs() > 0.9).any((1, 2))
    assert 0.08 < sides.float().mean() < 0.2  # the edge of an inverted band


def test_some_images_are_blurred_and_some_are_noisy():
    torch.manual_seed(0)
    step = torch.zeros(2000, 1, 28, 28)
    step[..., 14:] = 0.8  # an edge that is sharp unless it is blurred
    changed = RandomNoise()(step)[:, 0]
    soft = (changed[:, :, 13] - changed[:, :, 14]).abs().mean(1) < 0.6
    noisy = changed[:, :, :10].std((1, 2)) + changed[:, :, 20:].std((1, 2)) > 0.02
    assert 0.05 < soft.float().mean() < 0.3
    assert 0.15 < noisy.float().mean() < 0.4


def only(kind, **changes):
    """A step with all fractions 0 but those given."""
    fractions = {name: 0.0 for group in kind.FRACTIONS for name in group}
    return kind(**fractions | changes)


def test_a_shadow_is_dark_on_one_side_of_a_straight_edge():
    torch.manual_seed(0)
    step = only(RandomBackground, shadowed=1.0, shadow=(0.4, 0.4), penumbra=(0.01, 0.01), gray=0.0)
    dark = step(torch.zeros(200, 1, 40, 40))[:, 0]
    assert ((dark < 0.01) | ((dark - 0.4).abs() < 0.01)).float().mean() > 0.97
    for axis in (1, 2):  # along a row or a column, the darkness changes at most once
        assert (dark > 0.2).int().diff(dim=axis).abs().sum(axis).max() <= 1
    fraction_dark = (dark > 0.2).float().mean((1, 2))
    assert ((fraction_dark > 0.1) & (fraction_dark < 0.9)).float().mean() > 0.9


def test_an_intruder_touches_the_border_and_never_reaches_the_center():
    torch.manual_seed(0)
    step = only(RandomBackground, intruded=1.0, gray=0.0)
    dark = step(torch.zeros(300, 1, 40, 40))[:, 0] > 0.2
    border = torch.cat([dark[:, 0], dark[:, -1], dark[:, :, 0], dark[:, :, -1]], 1)
    assert border.any(1).float().mean() > 0.95
    assert not dark[:, 10:30, 10:30].any()


def test_a_box_has_four_lines_near_the_border():
    torch.manual_seed(0)
    step = only(RandomBackground, boxed=1.0, box_margin=(0.05, 0.05), box_line=(0.05, 0.05), gray=0.0)
    dark = step(torch.zeros(100, 1, 40, 40))[:, 0] > 0.2
    assert dark[:, 2:4].all()
    assert dark[:, 36:38, 3:37].all()
    assert dark[:, :, 2:4].all()
    assert not dark[:, 4:36, 4:36].any()


def test_perspective_enlarges_one_side_of_the_canvas():
    torch.manual_seed(0)
    flat = RandomPlacement(rotation=0, sheared=0, widened=0, aspect_ratio=0, cropped=0, perspective=0)
    tilted = RandomPlacement(rotation=0, sheared=0, widened=0, aspect_ratio=0, cropped=0, perspective=0.4)
    square = torch.zeros(300, 1, 28, 28)
    square[:, :, 8:20, 8:20] = 1
    differences = []
    for step in (flat, tilted):
        placed = step(square, 48)[:, 0] > 0.5
        heights = placed.sum(1)  # of each column
        inner = heights.float().masked_fill(heights == 0, float("nan"))
        differences.append((inner.nan_to_num(0).amax(1) - inner.nan_to_num(99).amin(1)).mean())
    assert differences[0] < 1
    assert differences[1] > 2


def test_compression_rounds_waves_of_blocks_and_keeps_the_rest(ink):
    torch.manual_seed(0)
    fine = only(RandomNoise, compressed=1.0, quantization=(1e-6, 1e-6))(ink)
    torch.testing.assert_close(fine, ink, atol=1e-4, rtol=0)
    rough = only(RandomNoise, compressed=1.0, quantization=(0.2, 0.2))(ink)
    assert (rough - ink).abs().mean() > 0.01
    mean = torch.nn.functional.avg_pool2d(ink - rough, 8)[:, :, :3, :3]
    assert mean.abs().mean() < 0.02, "the mean of a block is rounded to a step of 0.2 / 8"


def test_a_coarse_image_has_less_detail(ink):
    torch.manual_seed(0)
    coarse = only(RandomNoise, coarse=1.0, resolution=(0.5, 0.5))(ink)
    assert coarse.diff(dim=3).abs().mean() < 0.8 * ink.diff(dim=3).abs().mean()
    torch.testing.assert_close(coarse.mean((1, 2, 3)), ink.mean((1, 2, 3)), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Degradation(canvas_sizes=(20, 40)), "canvas_sizes of Degradation is"),
        (lambda: RandomNoise(gaussian=-0.1), "gaussian of RandomNoise is -0.1; it must be 0 or more"),
        (lambda: RandomNoise(gaussian_std=(0.2,)), "gaussian_std of RandomNoise is (0.2,); it must be two numbers"),
        (lambda: RandomNoise(blurred=0.9), "+ compressed of RandomNoise is 1.42; it must be at most 1"),
        (lambda: RandomDistractors(teeth=(0, 0)), "teeth of RandomDistractors is (0, 0); it must be above 0"),
        (lambda: RandomNoise(gaussian_std=(0.2, 0.1)), "two numbers, 0 or more and in ascending order"),
        (lambda: RandomPlacement(rotation=float("nan")), "rotation of RandomPlacement is nan"),
        (lambda: RandomStroke(contrast=(1, float("inf"))), "contrast of RandomStroke is"),
    ],
)
def test_magnitudes_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make()


@pytest.mark.slow
def test_every_magnitude_changes_what_its_step_does(ink):
    """Increase each magnitude of each step, or replace its range by the upper limit, and compare the images."""
    thick = nn.functional.max_pool2d(ink, 5, stride=1, padding=2)  # otherwise no stroke becomes thinner
    ink = torch.cat([ink, thick]).repeat(4, 1, 1, 1)
    for kind in (RandomPlacement, RandomStroke, RandomDistractors, RandomBackground, RandomNoise):
        for name, value in kind().magnitudes().items():
            # Some fractions are at most 1.
            changed = kind(**{name: (value[1], value[1]) if isinstance(value, tuple) else value * 1.25})
            images = []
            for step in (kind(), changed):
                torch.manual_seed(0)
                arguments = (ink, 28) if kind is RandomPlacement else (ink,)
                images.append(step(*arguments))
            assert not torch.equal(*images), f"{kind.__name__}: {name}"
