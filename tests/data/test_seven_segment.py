import numpy as np
import pytest

from digitnet.data.seven_segment import FORMS, IMAGE_SIZES, NAMES, draw_seven_segment, seven_segment_batches

CENTERS = {  # x and y of the middle of each segment, as fractions of the box of an 8
    "a": (0.5, 0.0), "b": (1.0, 0.25), "c": (1.0, 0.75), "d": (0.5, 1.0), "e": (0.0, 0.75), "f": (0.0, 0.25),
    "g": (0.5, 0.5),
}  # fmt: skip


class Fixed:
    """A generator without randomness: each number is the middle of its range, and nothing that is optional happens."""

    def __init__(self, form=0, shape=0):
        self.form, self.shape = form, shape

    def choice(self, count, p):
        return self.form

    def integers(self, count):
        return self.shape

    def uniform(self, low, high):
        return (low + high) / 2

    def random(self):
        return 1.0


def lit_segments(image):
    """Return the segments that are bright in an image of 96 pixels, drawn with `Fixed`."""
    ys, xs = np.nonzero(draw_seven_segment(8, 96, Fixed()) > 128)
    low, high = np.array([xs.min(), ys.min()]) + 4, np.array([xs.max(), ys.max()]) - 4
    positions = {name: (low + (high - low) * center).round().astype(int) for name, center in CENTERS.items()}
    return "".join(name for name, (x, y) in positions.items() if image[y, x] > 128)


@pytest.mark.parametrize("label", range(10))
@pytest.mark.parametrize("shape", range(5))
def test_every_form_of_a_digit_lights_its_segments_and_no_others(label, shape):
    for index, form in enumerate(FORMS[label]):
        assert lit_segments(draw_seven_segment(label, 96, Fixed(index, shape))) == form


def test_no_two_digits_share_a_form_and_the_probabilities_of_the_forms_sum_to_1():
    forms = [form for digit in FORMS for form in digit]
    assert len(set(forms)) == len(forms)
    assert all(set(form) <= set(NAMES) for form in forms)
    assert [sum(digit.values()) for digit in FORMS] == pytest.approx([1] * 10)


def test_batches_have_every_digit_equally_often_in_images_of_the_given_sizes():
    batches = list(seven_segment_batches(450, seed=0))
    assert np.bincount(np.concatenate([labels for _, labels in batches])).tolist() == [45] * 10
    for images, labels in batches:
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), images.shape[1], images.shape[1])
        assert images.shape[1] in IMAGE_SIZES
        assert (images.max((1, 2)) > 200).all()
        assert (images[:, 0] == 0).all(), "the border is background"


def test_proportions_and_shear_vary():
    images = np.concatenate([images for images, _ in seven_segment_batches(400, seed=1) if images.shape[1] == 96])
    assert len(np.unique(images, axis=0)) == len(images) > 100
