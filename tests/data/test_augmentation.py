import pytest
import torch

from digitnet.data.augmentation import Augmentation
from digitnet.errors import ConfigError
from tests.conftest import tiny_images


def test_augmented_images_keep_shape_range_and_most_of_their_ink():
    images, _ = tiny_images(200, seed=3)
    ink = torch.from_numpy(images * (images > 128)).unsqueeze(1).float() / 255  # the bars without the noise
    torch.manual_seed(0)
    augmented = Augmentation()(ink)
    assert augmented.shape == ink.shape
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    assert not torch.equal(augmented, ink)
    assert augmented.mean().item() == pytest.approx(ink.mean().item(), rel=0.05)
    torch.manual_seed(0)
    assert torch.equal(Augmentation()(ink), augmented)


def test_a_dot_moves_as_far_as_translation_and_rotation_allow():
    ink = torch.zeros(2000, 1, 28, 28)
    ink[:, :, 13:15, 13:15] = 1  # at the center, which only translation moves
    augmented = Augmentation(displacement=0)(ink)[:, 0]
    positions = torch.arange(28) - 13.5
    mass = augmented.sum((1, 2))
    for axis in (1, 2):
        center = (augmented.sum(axis) * positions).sum(1) / mass
        assert center.abs().max() < 2.3  # 1.5 pixels, a little of the other axis by the rotation, scaled and sheared
        assert center.std().item() == pytest.approx(1.5 / 3**0.5, rel=0.15)  # uniformly distributed


def test_elastic_deformation_moves_near_points_together_and_far_points_independently():
    elastic = Augmentation(rotation=0, scale=0, aspect_ratio=0, shear=0, translation=0)
    dots = [(4, 4), (4, 7), (22, 22)]
    ink = torch.zeros(len(dots), 2000, 28, 28)
    for dot, (y, x) in enumerate(dots):
        ink[dot, :, y : y + 2, x : x + 2] = 1
    moves = []
    for dot, (_, x) in enumerate(dots):
        torch.manual_seed(0)  # each dot alone, with equal deformations
        deformed = elastic(ink[dot][:, None])[:, 0]
        moves.append((deformed.sum(1) * torch.arange(28)).sum(1) / deformed.sum((1, 2)) - x - 0.5)
    together = torch.corrcoef(torch.stack(moves))
    assert 0.3 < moves[2].std().item() < 0.7  # 0.6 at the control points, less between them
    assert together[0, 1] > 0.5
    assert together[0, 2].abs() < 0.1


def test_magnitudes_of_zero_change_nothing():
    ink = torch.rand(8, 1, 28, 28)
    identity = Augmentation(rotation=0, scale=0, aspect_ratio=0, shear=0, translation=0, displacement=0)
    torch.testing.assert_close(identity(ink), ink, rtol=0, atol=1e-5)


def test_images_of_another_size_are_augmented_by_the_same_module():
    augment = Augmentation()
    assert augment(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)
    assert augment(torch.rand(3, 1, 40, 32)).shape == (3, 1, 40, 32)


@pytest.mark.parametrize(("name", "value"), [("rotation", -5.0), ("displacement", float("nan")), ("control_points", 0)])
def test_magnitudes_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} of Augmentation is {value}"):
        Augmentation(**{name: value})
