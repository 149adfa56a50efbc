import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from digitnet.model.framing import Framing
from tests.images import random_image
from tests.model.framing_oracle import frame

TOLERANCE = 1e-4  # between two implementations: float32 sums in another order
framing = Framing()


def framed(images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return framing(torch.from_numpy(images))[0].numpy()


def stroke(height=90, width=70, background=250, ink=20, channels=1, top=20, left=15):
    """An image like a seven: a horizontal and an oblique stroke."""
    image = np.full((height, width, channels), background, np.uint8)
    image[top : top + 5, left : left + 30] = ink
    for step in range(45):
        image[top + step, left + 28 - step // 2 : left + 33 - step // 2] = ink
    return image


def agrees(image: np.ndarray) -> None:
    """Check that framing and the oracle give the same ink."""
    expected, blank = frame(image)
    with torch.inference_mode():
        ink, is_blank = framing(torch.from_numpy(image[None]))
    assert bool(is_blank[0]) == blank, image.shape
    assert np.abs(ink[0].numpy() - expected).max() <= TOLERANCE, image.shape


@pytest.mark.parametrize("count", [50, pytest.param(600, marks=pytest.mark.slow)])
def test_it_agrees_with_the_oracle_on_random_images(count):
    rng = np.random.default_rng(count)
    for _ in range(count):
        agrees(random_image(rng, largest=200))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 2), (2000, 3000)])
def test_it_agrees_with_the_oracle_at_extreme_sizes(shape):
    rng = np.random.default_rng(1)
    image = np.full((*shape, 3), 240, np.uint8)
    agrees(image)
    image[shape[0] // 3 : shape[0] // 2 + 1, shape[1] // 4 : shape[1] // 3 + 1] = 30
    agrees(image)
    agrees(np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))


@pytest.mark.slow
def test_mnist_images_are_unchanged(mnist_dir):
    images = torch.cat([MNIST(mnist_dir, train=train).data for train in (True, False)])
    with torch.inference_mode():
        ink = torch.cat([framing(batch[..., None])[0] for batch in images.split(1000)])
    unchanged = (ink - images.float() / 255).abs().amax((1, 2)) <= 1.01 / 255
    assert unchanged.float().mean() >= 0.9993  # ten of the 45 that change lose a speck at the border


@pytest.mark.slow
def test_it_agrees_with_the_oracle_on_mnist(mnist_dir):
    for image in MNIST(mnist_dir, train=False).data[:300]:
        agrees(image[..., None].numpy())


def test_moving_the_digit_changes_nothing():
    assert np.abs(framed(stroke()[None]) - framed(stroke(top=40, left=33)[None])).max() <= TOLERANCE


def test_more_background_around_the_digit_changes_nothing():
    padded = np.pad(stroke(), ((30, 7), (2, 90), (0, 0)), constant_values=250)
    assert np.abs(framed(stroke()[None]) - framed(padded[None])).max() <= TOLERANCE


def test_bright_on_dark_is_framed_as_dark_on_bright():
    assert np.abs(framed(stroke()[None]) - framed(255 - stroke()[None])).max() <= TOLERANCE


def test_an_image_enlarged_twofold_is_framed_the_same_way():
    larger = stroke().repeat(2, 0).repeat(2, 1)
    assert np.abs(framed(stroke()[None]) - framed(larger[None])).max() <= TOLERANCE


@pytest.mark.parametrize("channels", [3, 4])
def test_color_and_an_opaque_alpha_change_nothing(channels):
    image = stroke(channels=channels)
    image[..., 3:] = 255
    assert np.abs(framed(stroke()[None]) - framed(image[None])).max() <= TOLERANCE


@pytest.mark.parametrize("ink", [0, 255])
def test_a_stroke_on_a_transparent_background_is_framed_as_on_paper(ink):
    image = np.zeros((90, 70, 4), np.uint8)
    image[..., :3] = ink
    image[..., 3:] = 255 * (stroke() < 128)
    assert np.abs(framed(stroke()[None]) - framed(image[None])).max() <= TOLERANCE


def test_specks_far_from_the_digit_change_nothing():
    image = np.pad(stroke(), ((0, 60), (60, 0), (0, 0)), constant_values=250)
    specked = image.copy()
    specked[:2, :2], specked[-2:, 20:22], specked[40, 30] = 20, 90, 20
    assert np.abs(framed(image[None]) - framed(specked[None])).max() <= TOLERANCE


def test_a_separate_stroke_is_not_a_speck():
    image = np.full((90, 70, 1), 250, np.uint8)
    image[10:15, 10:40] = image[40:80, 20:25] = 20
    assert framed(image[None])[0, :8].max() == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_weaker_than_half_the_strokes_change_nothing(axis):
    ruled = stroke().astype(float)
    np.moveaxis(ruled, axis, 0)[::9] = np.minimum(np.moveaxis(ruled, axis, 0)[::9], 170)
    assert np.abs(framed(stroke()[None]) - framed(ruled.astype(np.uint8)[None])).max() <= TOLERANCE


def test_strokes_that_touch_opposite_sides_are_not_lines():
    tight = stroke()[20:65, 15:48]
    assert np.abs(framed(stroke()[None]) - framed(tight[None])).max() <= TOLERANCE


def test_a_batch_is_framed_as_its_images_one_by_one():
    rng = np.random.default_rng(2)
    batch = rng.integers(0, 256, (8, 50, 40, 3), dtype=np.uint8)
    batch[:4] = [stroke(50, 40, channels=3, top=top, left=2) for top in range(4)]
    batch[7] = 99
    one_by_one = np.concatenate([framed(image[None]) for image in batch])
    assert np.abs(framed(batch) - one_by_one).max() <= 1e-6


@pytest.mark.parametrize("level", [0, 17, 255])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_blank_image_is_reported_as_blank_and_has_no_ink(level, channels):
    ink, blank = framing(torch.full((2, 33, 44, channels), level, dtype=torch.uint8))
    assert blank.all()
    assert (ink == 0).all()


def test_contrast_below_sixteen_gray_levels_is_blank():
    assert framing(torch.from_numpy(stroke(background=200, ink=185)[None]))[1].all()
    assert not framing(torch.from_numpy(stroke(background=200, ink=184)[None]))[1].any()


def test_the_square_is_what_the_framed_pixels_show():
    image = np.full((200, 300, 1), 255, np.uint8)
    image[50:150, 220:260] = 0  # 100 pixels high: 5 pixels of the image for each framed one
    ink, _, box, square = framing.locate(torch.from_numpy(image[None]))
    rows, columns = ink[0].any(1).nonzero(), ink[0].any(0).nonzero()
    assert box.tolist() == [[50, 220, 150, 260]]
    top, left = 50 - 5 * rows[0].item(), 220 - 5 * columns[0].item()
    assert square.tolist() == [[top, left, top + 28 * 5, left + 28 * 5]]
