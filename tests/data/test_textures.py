import pytest
import torch

from digitnet.data import textures
from digitnet.data.altered import is_steep_line
from digitnet.data.textures import IMAGE_SIZES, KINDS, draw_textures


def test_textures_are_framed_never_blank_and_never_a_steep_bar():
    images = draw_textures(700, seed=0)
    assert images.shape == (700, 28, 28)
    assert images.dtype == torch.uint8
    assert (images.amax((1, 2)) >= 254).all()
    assert not is_steep_line(images.float() / 255).any()


@pytest.mark.parametrize("draw", KINDS)
@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_every_kind_differs_from_image_to_image(draw, size):
    images = draw(20, size, torch.Generator().manual_seed(0))
    assert images.shape == (20, size, size)
    assert images.isfinite().all()
    assert len(images.unique(dim=0)) >= 19


@pytest.mark.parametrize("name", ["_draw_stripes", "_draw_grids", "_draw_checkers"])
def test_patterns_repeat_at_least_four_times(name):
    """A single stripe would be a 1."""
    images = getattr(textures, name)(100, 96, torch.Generator().manual_seed(0)) > 0.5
    changes = [images.int().diff(dim=axis).abs().sum(axis).amax(1) for axis in (1, 2)]
    assert torch.maximum(*changes).min() >= 6


def test_a_seed_reproduces_its_textures():
    first, second, third = (draw_textures(30, seed) for seed in (0, 1, 0))
    assert torch.equal(first, third)
    assert not torch.equal(first, second)
    assert len(draw_textures(0, seed=0)) == 0
