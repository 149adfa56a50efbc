"""The classifier with the variants of the released model: what they take, and what they refuse."""

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, helper, numpy_helper

from digitnet import ConfigError, DigitClassifier, ImageError, ModelError
from digitnet.inference import classifier as classifier_module
from tests.conftest import ROOT
from tests.images import draw_digit

RELEASE = ROOT / "checkpoints" / "release"
FILES = ["digitnet.onnx", "digitnet-28.onnx", "digitnet-280.onnx"]


@pytest.fixture(scope="module")
def full():
    return DigitClassifier()


@pytest.fixture(scope="module")
def network():
    return DigitClassifier(RELEASE / "digitnet-28.onnx")


@pytest.fixture(scope="module")
def fixed():
    return DigitClassifier(RELEASE / "digitnet-280.onnx")


def digits() -> list[np.ndarray]:
    """Return images of 280 x 280 pixels, gray, RGB and RGBA, of which one is blank."""
    gray = [np.asarray(draw_digit(digit, 280).convert("L").resize((280, 280))) for digit in (1, 7, 7)]
    rgba = np.dstack([gray[1]] * 3 + [np.full((280, 280), 255, np.uint8)])
    return [gray[0], np.dstack([gray[1]] * 3), rgba, np.full((280, 280), 90, np.uint8)]


def assert_same(predictions, expected):
    assert [one.label for one in predictions] == [one.label for one in expected]
    for ours, theirs in zip(predictions, expected, strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=0, atol=1e-5)
        np.testing.assert_allclose(ours.framed, theirs.framed, rtol=0, atol=1e-5)


def test_a_file_of_fixed_size_predicts_what_the_full_file_predicts_also_for_several_images(full, fixed):
    assert fixed.input_shape == (1, 280, 280, 4)
    assert_same(fixed(digits()), full(digits()))
    assert [one.label for one in fixed(digits())] == [1, 7, 7, None]


def test_the_network_predicts_what_the_full_file_predicts_for_its_framed_digits(full, network):
    assert network.input_shape == (None, 1, 28, 28)
    expected = full(digits())
    framed = [prediction.framed for prediction in expected]
    assert_same(network(framed), expected)
    assert_same(network(np.stack(framed)[:, None]), expected)
    assert_same([network(framed[0].astype(np.float64))], expected[:1])
    assert_same(network.predict_batch(np.stack(framed)[:, None]), expected)


def test_the_full_file_states_that_all_sizes_are_free(full):
    assert full.input_shape == (None, None, None, None)


def test_a_fixed_batch_is_filled(tmp_path, full):
    proto = onnx.load(RELEASE / "digitnet-28.onnx")
    for value in [*proto.graph.input, *proto.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(proto, tmp_path / "four.onnx")
    expected = full(digits() + digits()[:2])
    assert_same(DigitClassifier(tmp_path / "four.onnx")([one.framed for one in expected][:1]), expected[:1])
    together = np.stack([one.framed for one in expected])[:, None]
    assert_same(DigitClassifier(tmp_path / "four.onnx")(together), expected)


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("digitnet-280.onnx", np.zeros((50, 40), np.uint8), "280 x 280 pixels (height x width), got 50 x 40; resize"),
        (
            "digitnet-28.onnx",
            draw_digit(),
            "expected ink, a float array (28, 28) or (N, 1, 28, 28) in [0, 1], got Image",
        ),
        ("digitnet-28.onnx", "some.png", "got str; frame the digit as docs/framing.md describes, or use digitnet."),
        ("digitnet-28.onnx", np.zeros((28, 28), np.uint8), "got uint8 (28, 28)"),
        ("digitnet-28.onnx", np.zeros((2, 3, 28, 28)), "got float64 (2, 3, 28, 28)"),
        ("digitnet-28.onnx", np.full((28, 28), np.nan), "got NaN in float64 (28, 28); frame the digit"),
        ("digitnet-28.onnx", np.full((28, 28), 255.0), "got values from 255.0 to 255.0"),
    ],
)
def test_an_input_that_the_file_does_not_take_gets_one_line(name, image, expected):
    with pytest.raises(ImageError) as caught:
        DigitClassifier(RELEASE / name)(image)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_refuses_images_for_the_network(network):
    with pytest.raises(ImageError, match=r"got uint8 \(2, 28, 28, 1\); frame the digit as"):
        network.run(np.zeros((2, 28, 28, 1), np.uint8))


@pytest.mark.parametrize(
    ("name", "images", "expected"),
    [
        ("digitnet.onnx", np.zeros((2, 30, 30, 3), np.float32), "got float32 (2, 30, 30, 3); call the classifier"),
        ("digitnet-280.onnx", np.zeros((1, 280, 280, 4), np.float32), "got float32 (1, 280, 280, 4); call the class"),
        ("digitnet.onnx", np.zeros((28, 28), np.uint8), "got uint8 (28, 28); pass one image as image[None]"),
        ("digitnet.onnx", [np.zeros((28, 28), np.uint8)], "got a list; pass it to the classifier itself"),
        ("digitnet-28.onnx", [np.zeros((28, 28))], "got a list; pass it to the classifier itself"),
        ("digitnet.onnx", np.zeros((2, 3, 28, 28), np.uint8), "the end: np.moveaxis(images, 1, 3)"),
        ("digitnet-280.onnx", np.zeros((1, 4, 280, 280), np.uint8), "the end: np.moveaxis(images, 1, 3)"),
        ("digitnet-280.onnx", np.zeros((1, 280, 280, 2), np.uint8), "got uint8 (1, 280, 280, 2); convert them"),
        ("digitnet.onnx", np.zeros((1, 9, 9, 2), np.uint8), "got uint8 (1, 9, 9, 2); convert them"),
        ("digitnet-280.onnx", np.zeros((0, 280, 280, 4), np.uint8), "got uint8 (0, 280, 280, 4); leave empty"),
        ("digitnet.onnx", np.zeros((1, 0, 28, 1), np.uint8), "got uint8 (1, 0, 28, 1); leave empty batches out"),
        ("digitnet-28.onnx", np.zeros((0, 1, 28, 28), np.float32), "got float32 (0, 1, 28, 28)"),
        ("digitnet-28.onnx", np.full((1, 1, 28, 28), np.nan, np.float32), "got NaN in float32 (1, 1, 28, 28)"),
    ],
)  # fmt: skip
def test_run_refuses_what_the_file_does_not_take_in_one_line(name, images, expected):
    with pytest.raises(ImageError) as caught:
        DigitClassifier(RELEASE / name).run(images)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def truncate(proto):
    return proto.SerializeToString()[:-1000]


def refer_to_a_file(proto):
    tensor = proto.graph.initializer[-1]
    external_data_helper.set_external_data(tensor, location="/etc/passwd")
    tensor.ClearField("raw_data")
    return proto.SerializeToString()


def add_custom_operator(proto):
    proto.graph.node[-1].op_type, proto.graph.node[-1].domain = "Special", "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    return proto.SerializeToString()


def compute_other_shapes(proto):
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    name = proto.graph.output[0].name
    (node,) = [node for node in proto.graph.node if name in node.output]
    node.output[0] = "before"
    proto.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "flat"))
    proto.graph.node.append(helper.make_node("Reshape", ["before", "flat"], [name]))
    users = [other for other in proto.graph.node if name in other.input]
    for user in users:
        user.input[list(user.input).index(name)] = "before"
    return proto.SerializeToString()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (truncate, "damaged or not an ONNX model"),
        (refer_to_a_file, "expected a model in one file, got .*which has external data; save it"),
        (add_custom_operator, "damaged or not an ONNX model"),
        (compute_other_shapes, "is not a digitnet model"),
    ],
)
def test_a_changed_file_of_each_variant_is_refused_in_one_line(tmp_path, capfd, name, change, expected):
    (tmp_path / "changed.onnx").write_bytes(change(onnx.load(RELEASE / name)))
    with pytest.raises(ModelError, match=expected) as caught:
        DigitClassifier(tmp_path / "changed.onnx")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_absolute", [False, True])
def test_external_data_is_refused_even_if_it_exists_in_the_working_directory(tmp_path, monkeypatch, name, is_absolute):
    monkeypatch.chdir(tmp_path)
    proto = onnx.load(RELEASE / name)
    tensor = max(proto.graph.initializer, key=lambda one: len(one.raw_data))
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    external_data_helper.set_external_data(tensor, str(tmp_path / "weights.bin") if is_absolute else "weights.bin")
    tensor.ClearField("raw_data")
    (tmp_path / "external.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"external\.onnx, which has external data; save it as one file") as caught:
        DigitClassifier(tmp_path / "external.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_file_above_the_limit_is_refused(monkeypatch, name):
    monkeypatch.setattr(classifier_module, "MAX_MODEL_BYTES", 400_000)
    with pytest.raises(ModelError, match=f"expected a model of at most 400,000 bytes, got .*{name} of"):
        DigitClassifier(RELEASE / name)


def test_a_list_of_ink_has_one_image_each():
    network = DigitClassifier(RELEASE / "digitnet-28.onnx")
    batch = np.zeros((50, 1, 28, 28), np.float32)
    assert len(network(batch)) == len(network([batch[0, 0]] * 50)) == 50
    with pytest.raises(ImageError, match="image 0 of the list: expected the ink of one image"):
        network([batch])
    with pytest.raises(ImageError, match=r"image 1 of the list: .* got values from 0\.0 to 7\.0"):
        network([batch[0, 0], batch[0, 0] + 7 * np.eye(28, dtype=np.float32)])


def test_ink_of_another_library_is_a_batch_if_it_has_four_axes():
    class Array:
        def __array__(self, dtype=None, copy=None):
            return np.zeros((5, 1, 28, 28), np.float32)

    assert len(DigitClassifier(RELEASE / "digitnet-28.onnx")(Array())) == 5


@pytest.mark.parametrize("name", ["digitnet-28.onnx", "digitnet-280.onnx"])
def test_numbers_need_a_model_that_takes_any_size(name):
    with pytest.raises(ConfigError, match="expected a model that takes images of any size to find numbers"):
        DigitClassifier(RELEASE / name).read_number(np.full((280, 280), 255, np.uint8))


@pytest.mark.parametrize("model", [b"abc", 3])
def test_a_model_that_is_not_a_path_is_refused(model):
    with pytest.raises(ConfigError, match="expected the path of an ONNX file as model"):
        DigitClassifier(model)


@pytest.mark.parametrize("name", ["digitnet-28.onnx", "digitnet-280.onnx", "digitnet.onnx"])
def test_a_model_whose_weights_are_not_finite_is_called_damaged(tmp_path, name):
    proto = onnx.load(RELEASE / name)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith(".float16"):
            values = numpy_helper.to_array(tensor).copy()
            values.fill(np.nan)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, tmp_path / "nan.onnx")
    with pytest.raises(ModelError, match="its probabilities are not finite"):
        DigitClassifier(tmp_path / "nan.onnx")
