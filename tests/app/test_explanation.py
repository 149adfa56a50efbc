"""Explanations of predictions: their numbers, the training images, and the files that they are computed from."""

import importlib.util
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from PIL import Image

from digitnet import DigitClassifier, ModelError
from digitnet.app.explanation import IMAGES_PER_DIGIT, Explainer, load_training_images
from digitnet.contract import FRAMED_NAME
from digitnet.inference.images import load_image
from tests.conftest import ROOT
from tests.images import draw_digit

RELEASE = ROOT / "checkpoints" / "release"
SHEET = ROOT / "digitnet" / "app" / "static" / "training_images.png"
MAX_SHEET_BYTES = 300_000


@pytest.fixture(scope="module")
def explain():
    return Explainer(DigitClassifier())


def digit_image(digit: int = 7) -> np.ndarray:
    return load_image(draw_digit(digit))


def run_network(framed: np.ndarray) -> np.ndarray:
    """Return the probabilities of framed digits, (N, 28, 28)."""
    session = ort.InferenceSession(RELEASE / "digitnet.activations.onnx", providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {FRAMED_NAME: framed.astype(np.float32)})[0]


def test_the_probabilities_and_the_framed_digit_are_those_of_the_classifier(explain):
    for digit in (1, 7):
        explanation, prediction = explain(digit_image(digit)), DigitClassifier()(digit_image(digit))
        assert explanation["digit"] == prediction.label == digit
        np.testing.assert_allclose(explanation["probabilities"], prediction.probabilities, atol=1e-4)
        np.testing.assert_allclose(explanation["framed"], prediction.framed.ravel() * 255, atol=0.51)


def test_logits_and_probabilities_belong_together(explain):
    explanation = explain(digit_image())
    exponentials = np.exp(np.array(explanation["logits"]))
    np.testing.assert_allclose(explanation["probabilities"], exponentials / exponentials.sum(), atol=1e-3)


def test_all_parts_have_their_size_and_range_and_are_json(explain):
    explanation = json.loads(json.dumps(explain(digit_image()), allow_nan=False))
    assert explanation["size"] == list(digit_image().shape[:2])
    assert [layer["shape"] for layer in explanation["maps"]] == [[32, 13, 13], [64, 5, 5]]
    grays = [explanation["framed"], *(part["values"] for part in explanation["maps"] + explanation["neighbors"])]
    assert [len(values) for values in grays] == [784, 32 * 169, 64 * 25, *[784] * 6]
    for values in grays:
        assert all(isinstance(value, int) for value in values)
        assert min(values) == 0
        assert 250 <= max(values) <= 255
    assert [len(explanation[name]) for name in ("dense", "logits", "probabilities")] == [128, 10, 10]
    assert len(explanation["occlusion"]) == 784


def test_the_box_surrounds_the_digit_and_is_inside_the_square(explain):
    image = np.full((100, 80, 1), 255, np.uint8)
    image[20:70, 30:36] = 0
    explanation = explain(image)
    assert explanation["box"] == [20, 30, 70, 36]
    top, left, bottom, right = explanation["square"]
    assert top <= 20
    assert left <= 30
    assert bottom >= 70
    assert right >= 36
    assert bottom - top == pytest.approx(28 * 50 / 20)


@pytest.mark.slow
def test_the_occlusion_map_is_that_of_one_patch_after_the_other(explain):
    explanation = explain(digit_image())
    framed = DigitClassifier()(digit_image()).framed
    (probabilities,) = run_network(framed[None])
    total, count = np.zeros((28, 28)), np.zeros((28, 28))
    for top in range(-1, 27, 2):
        for left in range(-1, 27, 2):
            patch = np.s_[max(top, 0) : top + 5, max(left, 0) : left + 5]
            blanked = framed.copy()
            blanked[patch] = 0
            total[patch] += probabilities[7] - run_network(blanked[None])[0, 7]
            count[patch] += 1
    assert count.min() > 0
    np.testing.assert_allclose(np.reshape(explanation["occlusion"], (28, 28)), total / count, atol=2e-4)
    assert max(explanation["occlusion"]) > 0.01


def test_a_training_image_is_its_own_nearest_training_image(explain):
    images = load_training_images()
    found = sum(explain(image[..., None])["neighbors"][0]["values"] == image.ravel().tolist() for image in images[::50])
    assert found >= 19  # of 20; framing may move an image by a pixel


def test_the_nearest_training_images_have_the_label_of_a_clear_digit(explain):
    for digit in (1, 7):
        assert {neighbor["label"] for neighbor in explain(digit_image(digit))["neighbors"]} == {digit}


@pytest.mark.parametrize("image", [np.zeros((28, 28, 1), np.uint8), np.full((300, 200, 4), 255, np.uint8)])
def test_a_blank_image_has_no_explanation(explain, image):
    assert explain(image) == {"blank": True}


def test_calls_from_several_threads_give_the_same_results(explain):
    images = [digit_image(digit) for digit in (1, 7)] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(Explainer(DigitClassifier()), images)) == [explain(image) for image in images]


@pytest.fixture
def copied_model(tmp_path):
    """Return the path of a copy of the released model, with a copy of its activations beside it."""
    for name in ("digitnet.onnx", "digitnet.activations.onnx"):
        shutil.copy(RELEASE / name, tmp_path / name.replace("digitnet", "my.model"))
    return tmp_path / "my.model.onnx"


def test_another_model_is_explained_with_the_file_beside_it(copied_model, explain):
    assert Explainer(DigitClassifier(copied_model))(digit_image()) == explain(digit_image())


def test_a_model_without_activations_is_refused_at_the_first_call_with_the_next_step(copied_model):
    copied_model.with_suffix(".activations.onnx").unlink()
    explainer = Explainer(DigitClassifier(copied_model))
    with pytest.raises(ModelError, match=r"cannot be explained.*python -m digitnet\.export\.activations"):
        explainer(digit_image())


def test_activations_of_another_checkpoint_are_refused(copied_model):
    path = copied_model.with_suffix(".activations.onnx")
    proto = onnx.load(path)
    helper.set_model_props(proto, {"checkpoint_sha256": "0" * 64})
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"of the checkpoint of my\.model\.onnx"):
        Explainer(DigitClassifier(copied_model))(digit_image())


def test_a_damaged_file_is_refused(copied_model):
    copied_model.with_suffix(".activations.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        Explainer(DigitClassifier(copied_model))(digit_image())


def test_the_sheet_of_training_images_is_small_and_has_four_bits_per_pixel():
    content = SHEET.read_bytes()
    assert len(content) <= MAX_SHEET_BYTES
    assert content[24:26] == bytes([4, 3]), "bit depth and kind of a PNG: 4, with a palette"
    assert Image.open(io.BytesIO(content)).size == (40 * 28, 25 * 28)


def test_the_training_images_are_sorted_by_digit():
    labels = run_network(load_training_images() / 255).argmax(1)
    expected = np.repeat(np.arange(10), IMAGES_PER_DIGIT)
    assert (labels == expected).mean() >= 0.99


def test_the_script_draws_the_sheet_again(mnist_dir):
    spec = importlib.util.spec_from_file_location("training_images", ROOT / "docs" / "training_images.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    images = script.select(str(mnist_dir))
    sheets = [
        np.asarray(Image.open(io.BytesIO(one)).convert("L")) for one in (SHEET.read_bytes(), script.encode(images))
    ]
    np.testing.assert_array_equal(*sheets)
    assert np.abs(load_training_images().astype(int) - images).max() <= 9  # 17 gray levels apart
