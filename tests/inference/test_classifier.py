import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import digitnet
from digitnet import ConfigError, DigitClassifier, ImageError, ModelError
from digitnet.inference.classifier import released_model_path
from tests.conftest import ROOT
from tests.images import draw_digit, encode_image


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


def test_a_path_bytes_an_image_and_arrays_give_the_same_prediction(classifier, tmp_path):
    image = draw_digit()
    image.save(tmp_path / "seven.png")
    gray = np.asarray(image.convert("L"))
    for variant in [
        tmp_path / "seven.png", str(tmp_path / "seven.png"), encode_image(image, "PNG"), image, np.asarray(image), gray,
        gray[:, :, None], gray / 255, (gray / 255).astype(np.float32), 255 - gray,
    ]:  # fmt: skip
        prediction = classifier(variant)
        assert prediction.label == 7
        assert prediction.probabilities.shape == (10,)
        assert prediction.confidence == prediction.probabilities.max()
        assert prediction.framed.shape == (28, 28)


def test_a_list_is_classified_as_its_images_one_by_one(classifier):
    images = [draw_digit(7), draw_digit(1), draw_digit(7, 61), np.zeros((9, 9), np.uint8), draw_digit(1, 61)]
    together = classifier(images)
    assert [prediction.label for prediction in together] == [7, 1, 7, None, 1]
    for image, prediction in zip(images, together, strict=True):
        np.testing.assert_allclose(classifier(image).probabilities, prediction.probabilities, atol=1e-6)
    assert classifier([]) == []


def test_a_blank_image_is_rejected(classifier):
    prediction = classifier(Image.new("L", (50, 40), 255))
    assert prediction.label is None
    assert prediction.confidence == pytest.approx(0.1)


def test_the_index_of_a_bad_image_in_a_list_is_named(classifier):
    with pytest.raises(ImageError, match="image 1 of the list"):
        classifier([draw_digit(), b"", draw_digit()])


def other_shapes() -> bytes:
    """A model whose inputs and outputs have the right names and nothing else."""
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", "C"])
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("probabilities", "label", "framed")]
    nodes = [helper.make_node("Cast", ["image"], [output.name], to=TensorProto.FLOAT) for output in outputs]
    graph = helper.make_graph(nodes, "other", [image], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def foreign_model() -> bytes:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "other", [value[0]], [value[1]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "damaged or not an ONNX model"),
        (b"text", "damaged or not an ONNX model"),
        (digitnet.DigitClassifier().path.read_bytes()[:100_000], "damaged or not an ONNX model"),
        (other_shapes(), "is not a digitnet model: expected outputs"),
        (foreign_model(), "some.onnx with input {'a': 'tensor\\(float\\)'}"),
    ],
)
def test_another_model_is_refused(tmp_path, content, expected):
    (tmp_path / "some.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=expected) as caught:
        DigitClassifier(tmp_path / "some.onnx")
    assert "some.onnx" in str(caught.value)


def test_a_missing_model_says_how_to_export_one():
    with pytest.raises(
        ModelError, match=r"No model no\.onnx\. Export one first: digitnet export, or python export\.py"
    ):
        DigitClassifier("no.onnx")


def test_a_directory_as_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="expected an ONNX file, got the directory"):
        DigitClassifier(tmp_path)


@pytest.mark.parametrize("threads", [0, 1025, 2**31, 2**70])
def test_a_number_of_threads_out_of_range_is_refused(threads):
    with pytest.raises(ConfigError, match=f"expected an integer from 1 to 1,024 as threads, got {threads}"):
        DigitClassifier(threads=threads)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows encodes all surrogates")
def test_a_path_that_cannot_be_encoded_is_refused(classifier):
    with pytest.raises(ModelError, match=r"got '\\ud800\.onnx', which no file system can encode"):
        DigitClassifier("\ud800.onnx")
    with pytest.raises(ImageError, match=r"got '\\ud800\.png', which the file system cannot encode"):
        classifier("\ud800.png")


def test_concurrent_threads_get_their_own_predictions(classifier):
    images = [draw_digit(7), draw_digit(1)]
    expected = [classifier(image).probabilities for image in images]
    wrong = []

    def work(index):
        for _ in range(50):
            if not np.array_equal(classifier(images[index % 2]).probabilities, expected[index % 2]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_pickled_classifier_predicts_the_same_without_its_file(classifier, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(released_model_path().read_bytes())
    pickled = pickle.dumps(DigitClassifier(path))
    path.unlink()
    copy = pickle.loads(pickled)
    assert copy.path == path
    assert copy.metadata == classifier.metadata
    np.testing.assert_array_equal(copy(draw_digit()).probabilities, classifier(draw_digit()).probabilities)


def test_inference_does_not_import_torch(tmp_path):
    draw_digit().save(tmp_path / "seven.png")
    program = (
        "import sys, digitnet; print(digitnet.DigitClassifier()(sys.argv[1]).label,"
        "sorted({'torch', 'lightning', 'torchvision', 'onnx'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "seven.png")],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.stdout.strip() == "7 []"


def test_a_damaged_model_prints_nothing_on_stdout(tmp_path, capfd):
    content = bytearray(released_model_path().read_bytes())
    for start in range(0, 4000, 40):
        content[start] ^= 0x55
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(ModelError):
        DigitClassifier(tmp_path / "damaged.onnx")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("threads", ["2", 1.5, None])
def test_threads_that_are_not_an_integer_are_refused(threads):
    with pytest.raises(ConfigError, match="expected an integer"):
        DigitClassifier(threads=threads)
