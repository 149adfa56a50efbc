"""Arrays: data types, ranges and layouts that are accepted, and that everything uncertain is refused."""

from array import array

import numpy as np
import pytest

from digitnet import DigitClassifier, ImageError
from digitnet.inference.images import load_batch, load_image, load_image_or_batch
from tests.images import draw_digit

GRAY = np.asarray(draw_digit(7, 28).convert("L"))  # uint8 (28, 28)
RGB = np.asarray(draw_digit(7, 40).resize((40, 36))) // (1, 2, 3)  # (36, 40, 3), each channel is different
RGB = RGB.astype(np.uint8)
RGBA = np.dstack([RGB, RGB[:, :, 2]])


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


class Wrapped:
    """An array of another library."""

    def __init__(self, array) -> None:
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize(
    "array",
    [
        *(
            GRAY.astype(dtype)
            for dtype in (">u2", np.int16, np.uint16, np.int32, ">i4", np.uint32, np.int64, np.uint64)
        ),
        GRAY / 255,
        (GRAY / 255).astype(np.float32),
        (GRAY / 255).astype(np.float16),
        GRAY / 255 * (1 + 1e-6),  # a weighted mean of channels may exceed 1
        GRAY.astype(np.float64),
        GRAY.astype(np.float32),
        GRAY.astype(np.float16),
        (GRAY + 0.25).clip(0, 255),
        GRAY.astype(np.uint16) * 257,
        Wrapped(GRAY),
    ],
)
def test_values_of_any_type_give_the_same_gray_levels(array):
    image = load_image(array)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, GRAY[:, :, None])


def test_a_mask_of_bool_is_black_and_white():
    np.testing.assert_array_equal(load_image(GRAY > 99)[:, :, 0], np.where(GRAY > 99, 255, 0))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_uint16_is_reduced_from_as_many_bits_as_it_has(bits):
    levels = np.linspace(0, 2**bits - 1, 28 * 28).astype(np.uint16).reshape(28, 28)
    expected = np.floor(levels / (2**bits - 1) * 255)
    assert np.abs(load_image(levels)[:, :, 0] - expected).max() <= 1
    assert load_image(levels).max() == 255


def test_torch_tensors_are_accepted(classifier):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(GRAY)
    for image in (tensor, tensor[None], tensor.long(), tensor / 255, (tensor / 255)[None], tensor.bool()):
        assert classifier(image).label == 7
    assert [prediction.label for prediction in classifier([tensor, tensor[None]])] == [7, 7]
    for batch in (tensor[None, None], (tensor / 255).expand(5, 3, 28, 28), tensor.expand(64, 28, 28)):
        assert {prediction.label for prediction in classifier(batch)} == {7}
        assert len(classifier.predict_batch(batch)) == len(batch)
    with pytest.raises(ImageError, match=r"the Tensor cannot be converted to a NumPy array: .*detach\(\)"):
        classifier((tensor / 255).requires_grad_())
    with pytest.raises(ImageError, match="the Tensor cannot be converted"):
        classifier((tensor / 255).bfloat16())


BATCH_OF_5 = np.stack([GRAY] * 5)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GRAY, GRAY[:, :, None]),
        (GRAY[:, :, None], GRAY[:, :, None]),
        (GRAY[None], GRAY[:, :, None]),
        (RGB, RGB),
        (RGBA, RGBA),
        (RGB[:1], RGB[:1]),  # one row: the last axis has the channels
        (BATCH_OF_5, BATCH_OF_5[..., None]),
        (BATCH_OF_5[:2], BATCH_OF_5[:2, :, :, None]),
        (BATCH_OF_5[..., None], BATCH_OF_5[..., None]),
        (BATCH_OF_5[:, None], BATCH_OF_5[..., None]),
        (RGB[None], RGB[None]),
        (np.moveaxis(RGB, 2, 0)[None], RGB[None]),
        (np.stack([RGBA] * 4), np.stack([RGBA] * 4)),
        (np.stack([np.moveaxis(RGBA, 2, 0)] * 4), np.stack([RGBA] * 4)),
    ],
    ids=lambda array: str(array.shape),
)
def test_the_axes_of_each_unambiguous_layout_are_arranged(array, expected):
    np.testing.assert_array_equal(load_image_or_batch(array), expected, strict=True)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 70])
def test_predict_batch_accepts_each_layout_with_any_number_of_images(classifier, count):
    gray, rgb = np.stack([GRAY] * count), np.stack([RGB] * count)
    for batch in (gray, gray[..., None], gray[:, None]):
        np.testing.assert_array_equal(load_batch(batch), gray[..., None], strict=True)
    for batch in (rgb, np.moveaxis(rgb, 3, 1)):
        np.testing.assert_array_equal(load_batch(batch), rgb, strict=True)
    predictions = classifier.predict_batch(np.moveaxis(rgb, 3, 1))
    assert [prediction.label for prediction in predictions] == [7] * count


def test_a_batch_is_classified_as_its_images_one_by_one(classifier):
    batch = np.stack([np.asarray(draw_digit((1, 7)[i % 2], 28 + i).resize((40, 30))) for i in range(70)])
    together, floats = classifier(batch), classifier.predict_batch(np.moveaxis(batch / 255, 3, 1))
    for image, prediction, from_floats in zip(batch, together, floats, strict=True):
        expected = classifier(image)
        assert prediction.label == from_floats.label == expected.label
        np.testing.assert_allclose(prediction.probabilities, expected.probabilities, atol=1e-6)
        np.testing.assert_array_equal(from_floats.framed, prediction.framed)


def test_the_range_of_a_batch_is_that_of_all_its_images():
    batch = np.stack([GRAY, GRAY // 255, 0 * GRAY]).astype(np.float64)
    np.testing.assert_array_equal(load_batch(batch)[..., 0], batch)


def test_an_array_of_one_axis_more_than_an_image_gives_a_list(classifier):
    assert isinstance(classifier(GRAY[None, :, :, None]), list)
    assert not isinstance(classifier(GRAY[None]), list)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.zeros(784, np.uint8), r"got \(784,\); reshape it, for example with array\.reshape\(28, 28\)"),
        (np.uint8(3), r"got \(\); pass an array of pixels"),
        (np.zeros((28, 28, 2), np.uint8), r"got \(28, 28, 2\); C = 2 is not supported: leave alpha out"),
        (np.zeros((5, 28, 28, 2), np.uint8), r"got \(5, 28, 28, 2\); C = 2 is not supported"),
        (np.zeros((5, 2, 28, 28), np.uint8), r"got \(5, 2, 28, 28\); C = 2 is not supported"),
        (
            np.zeros((28, 28, 5), np.uint8),
            r"C = 1 \(gray\), 3 \(RGB\) or 4 \(RGBA\), got \(28, 28, 5\); select the channels",
        ),
        (np.zeros((2, 28, 28, 28), np.uint8), r"got \(2, 28, 28, 28\); select the channels"),
        (np.zeros((1, 1, 1, 28, 28), np.uint8), r"got \(1, 1, 1, 28, 28\); remove axes"),
        (
            np.zeros((3, 28, 28), np.uint8),
            r"got \(3, 28, 28\), which is an image \(C, H, W\) or a batch \(N, H, W\)",
        ),
        (np.zeros((4, 28, 28), np.uint8), r"tensor\.permute\(1, 2, 0\), a batch as list\(array\)"),
        (np.zeros((5, 3, 28, 3), np.uint8), r"\(5, 3, 28, 3\), which is \(N, H, W, C\) or \(N, C, H, W\); pass a list"),
        (np.zeros((0, 28, 28), np.uint8), r"got an empty array of shape \(0, 28, 28\)"),
        (np.zeros((0, 28, 28, 1), np.uint8), r"empty array of shape \(0, 28, 28, 1\)"),
        (np.zeros((5, 0, 28, 28), np.uint8), r"empty array of shape \(5, 0, 28, 28\)"),
        (np.zeros((0, 5), np.uint8), r"empty array of shape \(0, 5\)"),
        (np.zeros((2, 20_000, 9), np.uint8), "16,384 per side, got 9 x 20000"),
        (np.broadcast_to(np.uint8(0), (9, 3, 10_000, 10_000)), "at most 25,000,000 pixels"),
        (np.full((5, 5), np.nan), "got an array with NaN; replace it: np.nan_to_num"),
        (np.array([[0, 1], [np.inf, 0]]), "from 0 to inf; replace"),
        (np.full((5, 5), 1.5), r"\[0, 1\] or \[0, 255\], got values from 1.5 to 1.5, which is ambiguous; divide"),
        (np.full((5, 5), 300.0), "got values from 300 to 300; divide them by the largest possible value"),
        (np.full((5, 5), -0.5, np.float32), "from -0.5 to -0.5; undo their normalization"),
        (np.full((5, 5), 256), "got int64 from 256 to 256; convert gray levels of 16 bits with"),
        (np.full((5, 5), -1, np.int8), "got int8 from -1 to -1"),
        (
            np.eye(9, dtype=np.int32),
            r"from 0 to 1, which may be a mask; convert it with array\.astype\(bool\)",
        ),
        (np.zeros((5, 5), complex), r"got complex128; take the magnitude: np\.abs\(array\)"),
        (np.zeros((5, 5), object), r"got object; stack images of one size"),
        (np.full((5, 5), "7"), "got <U1; convert it"),
        (np.zeros((5, 5), "datetime64[s]"), "got datetime64"),
        (np.ma.masked_array(np.zeros((5, 5)), True), r"fill it first: array\.filled\(0\)"),
        (array("B", bytes(784)), r"got an array\.array; convert it first: np\.asarray\(image\)"),
        (Wrapped("no array"), "the Wrapped cannot be converted to a NumPy array"),
    ],
)
def test_uncertain_or_unusable_arrays_are_refused_with_the_fix(classifier, image, expected):
    with pytest.raises(ImageError, match=expected) as caught:
        classifier(image)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="image 1 of the list: "):
        classifier([GRAY, image])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GRAY, r"got \(28, 28\); pass one image to the classifier itself: classifier\(image\)"),
        (RGB, r"got \(36, 40, 3\); pass one image"),
        (np.stack([GRAY] * 64).reshape(64, 784), r"got \(64, 784\)"),
        ([GRAY], r"got a list; pass lists and files to the classifier itself: classifier\(images\)"),
        ("seven.png", "expected an array of images, got a str"),
        (3, "expected an array of images, got an int"),
        (np.zeros((0, 28, 28, 1), np.uint8), "got an empty array"),
        (np.zeros((5, 3, 28, 3), np.uint8), "unambiguous"),
    ],
    ids=["image", "RGB image", "flattened", "list", "path", "int", "empty", "ambiguous"],
)
def test_predict_batch_refuses_what_is_no_batch(classifier, images, expected):
    with pytest.raises(ImageError, match=expected):
        classifier.predict_batch(images)


def test_nested_lists_are_refused_with_the_fix(classifier):
    with pytest.raises(ImageError, match=r"image 0 of the list: .* got a list; convert it first: np\.asarray\(image\)"):
        classifier([[0, 255], [255, 0]])


def test_an_image_in_a_list_is_no_batch(classifier):
    with pytest.raises(ImageError, match=r"image 1 of the list: expected one image, got a batch of shape \(5"):
        classifier([GRAY, BATCH_OF_5])
