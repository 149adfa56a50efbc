"""The ONNX files in onnxruntime, without DigitClassifier: what docs/inputs.md says about wrong inputs is true."""

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


def load(path, outputs):
    """Return a function that runs a file on one array."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # it logs its errors before it raises them
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(outputs, {name: np.ascontiguousarray(array)})


@pytest.fixture(scope="module")
def run():
    return load(released_model_path(), OUTPUTS)


@pytest.fixture(scope="module")
def run_network():
    return load(ROOT / "checkpoints" / "release" / "digitnet-28.onnx", OUTPUTS[:2])


@pytest.fixture(scope="module")
def run_fixed():
    return load(ROOT / "checkpoints" / "release" / "digitnet-280.onnx", OUTPUTS)


@pytest.fixture(scope="module")
def ink(run):
    """Framed digits, 1 and 7 in turn, float32 (10, 1, 28, 28)."""
    images = [np.asarray(draw_digit((1, 7)[i % 2], 40 + i).convert("L"))[None, :, :, None] for i in range(10)]
    return np.concatenate([run(image)[2] for image in images])[:, None]


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
        if not any(text in str(error) for text in ("cannot be reshaped", "cannot broadcast")):
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
        "Got invalid dimensions for input: image for the following indices",
        "index: 3 Got: 3 Expected: 4",
        "index: 1 Got: 3 Expected: 1",
        "Invalid rank for input: ink Got: 3 Expected: 4",
        "Unexpected input data type. Actual: (tensor(double)) , expected: (tensor(float))",
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


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 280, 280, 3), "index: 3 Got: 3 Expected: 4"),
        ((1, 280, 280, 1), "index: 3 Got: 1 Expected: 4"),
        ((1, 280, 281, 4), "index: 2 Got: 281 Expected: 280"),
        ((1, 28, 28, 4), "(?s)index: 1 Got: 28 Expected: 280.*index: 2 Got: 28 Expected: 280"),
        ((1, 4, 280, 280), "(?s)index: 1 Got: 4 Expected: 280.*index: 3 Got: 280 Expected: 4"),
        ((2, 280, 280, 4), "index: 0 Got: 2 Expected: 1"),
        ((0, 280, 280, 4), "index: 0 Got: 0 Expected: 1"),
        ((280, 280, 4), "Invalid rank for input: image Got: 3 Expected: 4"),
    ],
    ids=str,
)
def test_the_file_of_fixed_size_refuses_other_sizes_and_names_them(run_fixed, shape, expected):
    with pytest.raises(Exception, match=expected):
        run_fixed(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("data_type", [np.float32, np.int32, np.bool_])
def test_the_file_of_fixed_size_refuses_other_types(run_fixed, data_type):
    with pytest.raises(Exception, match=r"Unexpected input data type\. .* expected: \(tensor\(uint8\)\)"):
        run_fixed(np.zeros((1, 280, 280, 4), data_type))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ink_that_is_not_finite_is_rejected_and_affects_no_other_image(run_network, ink, value):
    labels, probabilities = run_network(ink)
    changed = ink.copy()
    changed[3, 0, 5, 5] = value
    changed[7] = np.nan
    other_labels, other_probabilities = run_network(changed)
    assert other_labels[[3, 7]].tolist() == [-1, -1]
    assert np.isnan(other_probabilities[[3, 7]]).all()
    others = np.delete(np.arange(10), [3, 7])
    np.testing.assert_array_equal(other_labels[others], labels[others])
    np.testing.assert_allclose(other_probabilities[others], probabilities[others], rtol=0, atol=1e-6)


def test_ink_without_positive_values_is_rejected_as_blank(run_network, ink):
    for blank in (0 * ink, -ink):
        labels, probabilities = run_network(blank)
        assert labels.tolist() == [-1] * 10
        np.testing.assert_allclose(probabilities, 0.1)


def test_ink_that_is_255_times_too_faint_is_rejected(run_network, ink):
    assert run_network(ink)[0].tolist() == [1, 7] * 5
    assert run_network(ink / 255)[0].tolist() == [-1] * 10


@pytest.mark.parametrize(
    "change",
    [lambda ink: 255 * ink, lambda ink: 2 * ink - 1, lambda ink: (ink - 0.13) / 0.31, lambda ink: 1 - ink],
    ids=["0 to 255", "-1 to 1", "normalized", "inverted"],
)
def test_ink_of_another_range_or_polarity_is_not_detected(run_network, ink, change):
    labels, probabilities = run_network(change(ink).astype(np.float32))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert set(labels.tolist()) <= set(range(-1, 10))
    assert (labels >= 0).any()


def test_no_ink_gives_empty_outputs_or_an_error(run_network):
    if outputs := outputs_or_none(run_network, np.zeros((0, 1, 28, 28), np.float32)):
        assert [output.shape for output in outputs] == [(0,), (0, 10)]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((28, 28), np.float32), "Invalid rank for input: ink Got: 2 Expected: 4"),
        (np.zeros((1, 28, 28), np.float32), "Invalid rank for input: ink Got: 3 Expected: 4"),
        (np.zeros((1, 3, 28, 28), np.float32), "index: 1 Got: 3 Expected: 1"),
        (np.zeros((1, 28, 28, 1), np.float32), "(?s)index: 1 Got: 28 Expected: 1.*index: 3 Got: 1 Expected: 28"),
        (np.zeros((1, 1, 32, 32), np.float32), "(?s)index: 2 Got: 32 Expected: 28.*index: 3 Got: 32 Expected: 28"),
        (np.zeros((1, 1, 28, 28)), r"Actual: \(tensor\(double\)\) , expected: \(tensor\(float\)\)"),
        (np.zeros((1, 1, 28, 28), np.uint8), r"Actual: \(tensor\(uint8\)\) , expected: \(tensor\(float\)\)"),
    ],
    ids=lambda value: f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "",
)
def test_the_network_refuses_other_sizes_and_types(run_network, array, expected):
    with pytest.raises(Exception, match=expected):
        run_network(array)
