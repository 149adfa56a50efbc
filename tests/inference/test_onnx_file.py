"""The ONNX file in onnxruntime, without DigitClassifier: what docs/inputs.md says about wrong layouts is true."""

import numpy as np
import onnxruntime as ort
import pytest

from digitnet.inference.classifier import released_model_path
from tests.conftest import ROOT
from tests.images import draw_digit, random_image

GRAY = np.asarray(draw_digit(7, 28).convert("L"))
OUTPUTS = ["label", "probabilities", "framed", "ink"]
NODE = "expected_NHWC_images_with_1_3_or_4_channels_17"
DOCUMENTED = (ROOT / "docs" / "inputs.md").read_text()


@pytest.fixture(scope="module")
def run():
    options = ort.SessionOptions()
    options.log_severity_level = 4  # it logs its errors before it raises them
    session = ort.InferenceSession(released_model_path(), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(OUTPUTS, {"image": np.ascontiguousarray(image)})


def assert_rejected(outputs, count):
    label, probabilities, framed, ink = outputs
    assert label.tolist() == [-1] * count
    np.testing.assert_allclose(probabilities, 0.1)
    assert framed.shape == (count, 28, 28)
    assert not framed.any()
    assert not ink.any()


@pytest.mark.parametrize("count", [1, 3])
def test_images_of_2_channels_are_rejected(run, count):
    assert_rejected(run(np.stack([np.stack([GRAY, GRAY], -1)] * count)), count)


def outputs_or_none(run, image):
    """Return the outputs, or None if the runtime says that the input is empty, as onnxruntime 1.17 does."""
    try:
        return run(image)
    except Exception as error:
        if "cannot be reshaped" not in str(error):
            raise
    return None


def test_images_of_no_channels_are_rejected_or_an_error(run):
    if outputs := outputs_or_none(run, np.zeros((3, 28, 28, 0), np.uint8)):
        assert_rejected(outputs, 3)


def test_no_images_give_empty_outputs_or_an_error(run):
    if outputs := outputs_or_none(run, np.zeros((0, 28, 28, 1), np.uint8)):
        assert [output.shape for output in outputs] == [(0,), (0, 10), (0, 28, 28), (0,)]


RGB = np.stack([GRAY] * 3, -1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (GRAY[None, None], NODE + ".*indices element out of data bounds, idx=28"),
        (np.moveaxis(RGB, 2, 0)[None], NODE + ".*indices element out of data bounds, idx=28"),
        (np.stack([GRAY] * 5, -1)[None], NODE + ".*indices element out of data bounds, idx=5"),
        (GRAY, "Invalid rank for input: image Got: 2 Expected: 4"),
        (RGB, "Invalid rank for input: image Got: 3 Expected: 4"),
        (RGB[None, None], "Invalid rank for input: image Got: 5 Expected: 4"),
        (
            (GRAY[None, :, :, None] / 255).astype(np.float32),
            r"Unexpected input data type\. Actual: \(tensor\(float\)\) , expected: \(tensor\(uint8\)\)",
        ),
        (GRAY[None, :, :, None].astype(np.int64), r"Actual: \(tensor\(int64\)\)"),
        (np.zeros((1, 0, 28, 1), np.uint8), "reshape"),
        (np.zeros((1, 28, 0, 1), np.uint8), "reshape"),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "",
)
def test_another_layout_or_type_is_an_error_of_the_runtime(run, image, expected):
    with pytest.raises(Exception, match=expected):  # onnxruntime's exceptions have no other common base class
        run(image)


def test_the_documented_errors_are_those_that_the_runtime_raises():
    for error in (
        NODE,
        "indices element out of data bounds, idx=28",
        "Invalid rank for input: image Got: 3 Expected: 4",
        "Unexpected input data type. Actual: (tensor(float)) , expected: (tensor(uint8))",
    ):
        assert f"`{error}`" in DOCUMENTED


def test_the_order_of_the_colors_does_not_matter(run):
    rng = np.random.default_rng(0)
    for _ in range(50):
        image = random_image(rng, 60)
        reversed_colors = image[:, :, [2, 1, 0, 3][: image.shape[2]]] if image.shape[2] > 1 else image
        for output, expected in zip(run(reversed_colors[None]), run(image[None]), strict=True):
            np.testing.assert_array_equal(output, expected)


def test_alpha_in_front_is_taken_for_a_color(run):
    opacity = 255 - GRAY  # black strokes on a transparent background
    argb = np.stack([opacity, 0 * GRAY, 0 * GRAY, 0 * GRAY], -1)
    assert run(argb[None])[0].tolist() == [-1]
    assert run(argb[..., [1, 2, 3, 0]][None])[0].tolist() == [7]
