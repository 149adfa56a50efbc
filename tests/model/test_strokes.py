"""What framing makes of uneven backgrounds, and of objects beside the digit."""

import numpy as np
import pytest
import torch

from digitnet.model.framing import Framing
from tests.images import draw_digit

SIZE = 280
MAX_DIFFERENCE = 0.03  # fraction of the framed pixels
PAPER = np.asarray(draw_digit(7, SIZE).convert("L")).astype(float) * 0.9
BLANK = np.full_like(PAPER, PAPER.max())
ROW, COLUMN = np.mgrid[:SIZE, :SIZE]


def framed(image: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(np.clip(image, 0, 255).astype(np.uint8))[None, ..., None]
    with torch.inference_mode():
        return Framing()(pixels)[0][0].numpy()


def difference(image: np.ndarray, other: np.ndarray) -> float:
    """Return the fraction of the framed pixels that are ink in only one of two images."""
    return ((framed(image) > 0.3) != (framed(other) > 0.3)).mean()


def with_thumb(image):
    return np.where((ROW - 290) ** 2 + (COLUMN - 20) ** 2 < 75**2, 120, image)


def with_table(image):
    return np.where(ROW + 0.1 * COLUMN > 262, 60, image)


def with_scanner_edge(image):
    return np.where((ROW < 6) | (COLUMN > SIZE - 9), 5, image)


def with_cell(image):
    return np.where((ROW < 3) | (ROW > SIZE - 4) | (COLUMN < 3) | (COLUMN > SIZE - 4), 40, image)


def under_a_shadow(image):
    return image * np.where(COLUMN + 0.3 * ROW > 170, 0.7, 1)


def under_a_lamp(image):
    return image * (1.1 - np.hypot(ROW - 90, COLUMN - 60) / 450)


def in_a_dark_frame(image):
    page = np.full((400, 400), 20.0)
    page[60:340, 60:340] = image
    return page


CHANGES = [with_thumb, with_table, with_scanner_edge, with_cell, under_a_shadow, under_a_lamp, in_a_dark_frame]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_inverted", [False, True])
def test_the_background_and_objects_hardly_change_the_framed_digit(change, is_inverted):
    image = 255 - change(PAPER) if is_inverted else change(PAPER)
    assert difference(image, PAPER) <= MAX_DIFFERENCE


@pytest.mark.parametrize("change", [with_thumb, with_table])
def test_with_nothing_else_in_the_image_what_reaches_in_from_the_border_is_kept(change):
    assert framed(change(BLANK)).max() == 1


def test_strokes_of_a_digit_that_runs_out_of_the_image_are_kept():
    cut = PAPER[80:, 60:]  # through both strokes of the 7
    assert difference(cut, np.pad(cut, 40, constant_values=PAPER.max())) <= MAX_DIFFERENCE


def test_a_small_digit_on_a_large_noisy_page_is_found():
    page = np.full((600, 600), PAPER.max())
    page[400:456, 130:186] = np.asarray(draw_digit(7, 56).convert("L")) * 0.9
    noisy = page + np.random.default_rng(0).normal(0, 4, page.shape)
    assert difference(noisy, page) <= MAX_DIFFERENCE


@pytest.mark.parametrize("width", [40, 110])
def test_a_stroke_wider_than_the_window_of_the_background_is_kept(width):
    bar = np.where(abs(COLUMN - SIZE // 2) < width // 2, 20, BLANK)
    bar[:30] = bar[-30:] = PAPER.max()
    assert framed(bar).mean() > 0.9 * width / (SIZE - 60) * 20 * 20 / 28**2
