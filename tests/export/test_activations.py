"""The files that explain a prediction, compared with torch, with the released model and with the oracle of framing."""

import hashlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from digitnet import DigitClassifier
from digitnet.contract import ACTIVATION_DOCS, FRAMED_NAME, FRAMING_DOCS, INPUT_NAME
from digitnet.errors import ExportError
from digitnet.export import activations
from digitnet.export.activations import build_activations, build_framing, main
from digitnet.export.verify import sample_images
from digitnet.model.checkpoint import load_model
from digitnet.model.views import VIEWS, Views
from tests.conftest import ROOT
from tests.images import random_image
from tests.model import framing_oracle

RELEASE = ROOT / "checkpoints" / "release"
CHECKPOINT = RELEASE / "digitnet.ckpt"
FILES = ["digitnet.activations.onnx", "framing.onnx"]


def open_session(model) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def network_session():
    return open_session(RELEASE / "digitnet.activations.onnx")


@pytest.fixture(scope="module")
def framing_session():
    return open_session(RELEASE / "framing.onnx")


def framed_samples() -> np.ndarray:
    """Return digits and non-digits that the released model frames, float32 (N, 28, 28)."""
    classifier = DigitClassifier()
    return np.concatenate([classifier.run(images)[2] for images in sample_images(3, seed=11)])


def activations_in_torch(framed: np.ndarray) -> list[np.ndarray]:
    """Return the activations of the checkpoint, written down layer by layer, without fusion."""
    network, _, calibration = load_model(CHECKPOINT)

    def layers(ink):
        maps1 = F.max_pool2d(F.relu(network.conv1(ink)), 2)
        maps2 = F.relu(network.norm(F.max_pool2d(network.conv2(maps1), 2)))
        dense = F.relu(network.dense1(maps2.flatten(1)))
        return maps1, maps2, dense, network.dense2(dense) / calibration.temperature

    with torch.inference_mode():
        ink = torch.from_numpy(framed)[:, None]
        views = [Views((view,))(ink) for view in VIEWS]
        logits = torch.stack([layers(view)[3] for view in views]).mean(0)
        return [output.numpy() for output in (*layers(ink)[:3], logits, logits.softmax(1))]


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_activations_are_those_of_the_checkpoint(network_session, count):
    framed = framed_samples()[:count]
    outputs = network_session.run(None, {FRAMED_NAME: framed})
    shapes = [(count, 32, 13, 13), (count, 64, 5, 5), (count, 128), (count, 10), (count, 10)]
    assert [output.shape for output in outputs] == shapes
    for expected, output in zip(activations_in_torch(framed), outputs, strict=True):
        assert output.dtype == np.float32
        # The weights are stored as float16, with a relative error of up to 2**-11 each.
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_the_probabilities_are_those_of_the_released_model(network_session):
    for images in sample_images(3, seed=12):
        probabilities, _, framed = DigitClassifier().run(images)
        visible = framed.any((1, 2))
        (ours,) = network_session.run(["probabilities"], {FRAMED_NAME: framed})
        np.testing.assert_allclose(ours[visible], probabilities[visible], rtol=0, atol=1e-5)


def test_the_framed_digits_are_those_of_the_released_model(framing_session):
    for images in sample_images(4, seed=13):
        (framed,) = framing_session.run(["framed"], {INPUT_NAME: images})
        np.testing.assert_allclose(framed, DigitClassifier().run(images)[2], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_the_box_is_that_of_the_oracle(framing_session):
    rng = np.random.default_rng(0)
    for _ in range(300):
        image = random_image(rng, largest=120)
        (box,) = framing_session.run(["box"], {INPUT_NAME: image[None]})[0]
        ink = framing_oracle.find_ink(framing_oracle.to_gray(image.astype(np.float64)))
        rows, columns = (np.flatnonzero(framing_oracle.remove_specks(ink.sum(axis))) for axis in (1, 0))
        expected = [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1] if len(rows) else [0, 0, 0, 0]
        assert box.tolist() == expected


def test_the_square_shows_the_box_20_pixels_long_where_the_framed_digit_is(framing_session):
    image = np.full((200, 300, 1), 255, np.uint8)
    image[50:150, 220:260] = 0  # 100 pixels high: 5 pixels of the image for each framed one
    framed, box, square = (output[0] for output in framing_session.run(None, {INPUT_NAME: image[None]}))
    assert box.tolist() == [50, 220, 150, 260]
    top, left, bottom, right = square
    assert bottom - top == pytest.approx(28 * 5)
    assert right - left == pytest.approx(28 * 5)
    rows, columns = np.flatnonzero(framed.any(1)), np.flatnonzero(framed.any(0))
    assert (50 - top) / 5 == pytest.approx(rows[0])
    assert (220 - left) / 5 == pytest.approx(columns[0])
    assert (len(rows), len(columns)) == (20, 8)


def test_a_blank_image_has_neither_box_nor_square(framing_session):
    _, box, square = framing_session.run(None, {INPUT_NAME: np.full((2, 40, 30, 3), 200, np.uint8)})
    assert not box.any()
    assert not square.any()


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_small_complete_and_documented(name):
    content = (RELEASE / name).read_bytes()
    assert len(content) <= 500_000
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert proto.ir_version <= 9
    docs = {output.name: output.doc_string for output in proto.graph.output}
    assert docs == (ACTIVATION_DOCS if name == FILES[0] else FRAMING_DOCS)
    for trace in (b"/home", b"/tmp", b"site-packages", b".py"):
        assert trace not in content


def test_the_activations_belong_to_the_released_checkpoint(network_session):
    metadata = network_session.get_modelmeta().custom_metadata_map
    assert metadata["checkpoint_sha256"] == hashlib.sha256(CHECKPOINT.read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_command_makes_the_released_files_again(tmp_path):
    files = [f"--model={tmp_path}/digitnet.onnx", f"--framing={tmp_path}/framing.onnx"]
    main([f"--checkpoint={CHECKPOINT}", "--test-time-augmentation", *files])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    framed = framed_samples()[:20]
    for name, feed in zip(FILES, ({FRAMED_NAME: framed}, {INPUT_NAME: sample_images(2, seed=1)[8]}), strict=True):
        released, made = (open_session(directory / name).run(None, feed) for directory in (RELEASE, tmp_path))
        for expected, output in zip(released, made, strict=True):
            np.testing.assert_array_equal(output, expected)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_the_weights_may_be_stored_in_each_data_type(weights):
    framed = framed_samples()
    content = build_activations(load_model(CHECKPOINT), CHECKPOINT, weights, averaged=True)
    (probabilities,) = open_session(content).run(["probabilities"], {FRAMED_NAME: framed})
    expected = activations_in_torch(framed)[-1]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5 if weights == "float32" else 0.05)


@pytest.mark.slow
def test_a_file_that_differs_from_torch_is_not_written(monkeypatch):
    class ShiftedFraming(nn.Module):
        def __init__(self, steps):
            super().__init__()
            self.steps = steps

        def forward(self, image):
            framed, box, square = self.steps(image)
            return framed, box + 1, square

    to_onnx = activations.to_onnx
    monkeypatch.setattr(activations, "to_onnx", lambda module, *rest: to_onnx(ShiftedFraming(module), *rest))
    with pytest.raises(ExportError, match="box of the exported file differs from torch"):
        build_framing()
