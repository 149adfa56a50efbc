import pytest
import torch

from digitnet.data import datamodule as data_module
from digitnet.data.datamodule import MNISTDataModule
from digitnet.data.degradation import SIDES, Pad, degrade
from digitnet.data.synthetic import synthetic_batches
from digitnet.model.framing import Framing


@pytest.fixture(scope="module")
def ink():
    pictures, _ = next(synthetic_batches(200, 0, seed=1))
    return Framing()(torch.from_numpy(pictures)[..., None])[0][:, None]


def test_what_is_drawn_anew_is_ink_as_framing_leaves_it(ink):
    torch.manual_seed(0)
    for _ in range(2 * len(SIDES)):
        drawn = degrade(ink)
        assert drawn.shape == ink.shape
        assert drawn.dtype == torch.float32
        assert drawn.min() == 0
        assert torch.equal(drawn.amax((1, 2, 3)), torch.ones(len(ink)))


def test_no_picture_stays_as_it_was_and_a_seed_repeats_them(ink):
    torch.manual_seed(0)
    first = degrade(ink)
    assert (first != ink).flatten(1).any(1).float().mean() > 0.95
    torch.manual_seed(0)
    assert torch.equal(degrade(ink), first)


@pytest.mark.parametrize("side", sorted(set(SIDES)))
def test_every_step_keeps_pictures_in_range(ink, side):
    torch.manual_seed(0)
    pad = Pad(len(ink), side, ink.device)
    picture = ink
    for step in (pad.place, pad.pen, pad.stray, pad.ground, pad.spoil):
        picture = step(picture)
        assert picture.shape == (len(ink), 1, side, side)
        assert picture.min() >= 0
        assert picture.max() <= 1


def test_both_polarities_are_drawn(ink):
    torch.manual_seed(0)
    pad = Pad(len(ink), 28, ink.device)
    light = pad.spoil(pad.place(ink)).mean((1, 2, 3)) < 0.5
    assert 0.4 < light.float().mean() < 0.6


def test_some_are_cut_out_and_stretched_over_the_whole_pad(ink):
    torch.manual_seed(0)
    pad = Pad(len(ink), 28, ink.device)
    placed = pad.place(ink)[:, 0] > 0.2
    filled = placed[:, 1].any(1) & placed[:, -2].any(1) & placed[:, :, 1].any(1) & placed[:, :, -2].any(1)
    assert 0.03 < filled.float().mean() < 0.3


def test_a_dot_never_becomes_a_ring():
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    dot = ((y - 14).hypot(x - 14) < 9).float().expand(400, 1, 28, 28)
    assert (Pad(400, 28, dot.device).pen(dot)[:, 0, 13:16, 13:16] > 0.5).all()


def test_a_blank_image_does_no_harm():
    torch.manual_seed(0)
    drawn = degrade(torch.zeros(50, 1, 28, 28))  # what comes of it is a stray line, or noise
    assert drawn.isfinite().all()


def parts(*which):
    return [which_one.flatten(1).any(1).float().mean().item() for which_one in which]


def test_pens_are_thicker_thinner_and_draw_outlines(ink):
    torch.manual_seed(0)
    many = ink.repeat(10, 1, 1, 1)
    drawn = Pad(len(many), 28, ink.device).pen(many)
    share = drawn.sum((1, 2, 3)) / many.sum((1, 2, 3))
    assert 0.1 < (share > 1.4).float().mean() < 0.4
    stout = torch.nn.functional.max_pool2d(many, 5, stride=1, padding=2)
    thinner = Pad(len(many), 28, ink.device).pen(stout).sum((1, 2, 3)) / stout.sum((1, 2, 3))
    assert 0.05 < (thinner < 0.8).float().mean() < 0.3  # of strokes thick enough to stay strokes
    hollow = (many > 0.9) & (drawn < 0.1)  # where ink was fullest there is none
    assert 0.02 < parts(hollow)[0] < 0.3


def test_stray_lines_and_blots_come_to_a_part_of_the_digits_and_take_nothing_away(ink):
    torch.manual_seed(0)
    many = ink.repeat(10, 1, 1, 1)
    drawn = Pad(len(many), 28, ink.device).stray(many)
    assert (drawn >= many).all()
    assert 0.3 < parts(drawn > many)[0] < 0.5


def test_grounds_are_shaded_striped_edged_and_inverted(ink):
    torch.manual_seed(0)
    blank = torch.zeros(2000, 1, 28, 28)
    ground = Pad(2000, 28, ink.device).ground(blank)[:, 0]
    light = ground[:, 14, 14] < 0.2
    uneven = ground.amax((1, 2)) - ground.amin((1, 2)) > 0.05
    assert 0.3 < uneven.float().mean() < 0.6
    assert light.float().mean() > 0.6
    sides = (ground.diff(dim=2).abs() > 0.9).any((1, 2)) | (ground.diff(dim=1).abs() > 0.9).any((1, 2))
    assert 0.08 < sides.float().mean() < 0.2  # the edge of an inverted band


def test_some_are_blurred_and_some_noisy(ink):
    torch.manual_seed(0)
    step = torch.zeros(2000, 1, 28, 28)
    step[..., 14:] = 0.8  # an edge: sharp, where nothing is done
    spoilt = Pad(2000, 28, ink.device).spoil(step)[:, 0]
    soft = (spoilt[:, :, 13] - spoilt[:, :, 14]).abs().mean(1) < 0.6
    noisy = spoilt[:, :, :10].std((1, 2)) + spoilt[:, :, 20:].std((1, 2)) > 0.02
    assert 0.05 < soft.float().mean() < 0.3
    assert 0.15 < noisy.float().mean() < 0.4


def test_of_a_batch_a_part_is_drawn_anew_an_eighth_left_as_it_is_and_the_rest_distorted(monkeypatch):
    monkeypatch.setattr(data_module, "degrade", lambda ink: ink + 1)
    monkeypatch.setattr(data_module, "augment", lambda ink: ink + 2)
    for part, counts in ((0.0, [0, 12, 88]), (0.25, [25, 12, 63]), (1.0, [100, 0, 0])):
        ink = MNISTDataModule(degradation=part).varied(torch.zeros(100, 1, 28, 28))
        assert ink.shape == (100, 1, 28, 28)
        assert [int((ink[:, 0, 0, 0] == kind).sum()) for kind in (1, 0, 2)] == counts
