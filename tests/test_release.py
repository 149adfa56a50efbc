"""The claims about the released model, checked on the released model."""

import hashlib
import json
import string
import sys

import numpy as np
import onnx
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from digitnet import DigitClassifier
from digitnet.data.mnist import read_test_set
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.metrics import LabeledPrediction, calibration_error
from digitnet.export.release import SUMS, VARIANTS, sums
from digitnet.export.variant import Variant
from digitnet.export.verify import sample_images, with_stored_weights
from digitnet.model.checkpoint import load_model, read_checkpoint
from digitnet.model.views import VIEWS
from digitnet.training.cli import TrainingCLI
from docs.model_card_tables import tables
from tests.conftest import ROOT

RELEASE = ROOT / "checkpoints" / "release"
SIZE = 280  # pixels: width and height of the canvas
LOOK_ALIKES = "BDGIOQSZbgijloqsz"  # without context, they look like 8, 0, 0, 1, ...
LETTERS = [letter for letter in string.ascii_letters if letter not in LOOK_ALIKES]


@pytest.fixture(scope="module")
def classifier():
    return DigitClassifier()


@pytest.fixture(scope="module")
def metrics():
    return json.loads((RELEASE / "metrics.json").read_text())


@pytest.fixture(scope="module")
def test_set_predictions(mnist_dir, classifier):
    """The labeled predictions for all test images."""
    images, labels = read_test_set(mnist_dir)
    predictions = [p for batch in np.array_split(images[..., None], 20) for p in classifier.predict_batch(batch)]
    return [
        LabeledPrediction(str(i), int(label), p) for i, (p, label) in enumerate(zip(predictions, labels, strict=True))
    ]


def test_the_file_was_exported_from_the_released_checkpoint():
    proto = onnx.load(RELEASE / "digitnet.onnx")
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["checkpoint_sha256"] == hashlib.sha256((RELEASE / "digitnet.ckpt").read_bytes()).hexdigest()
    calibration = load_model(RELEASE / "digitnet.ckpt").averaged_calibration
    assert metadata["threshold"] == f"{calibration.threshold.item():.4f}"
    assert metadata["temperature"] == f"{calibration.temperature.item():.4f}"
    assert metadata["views"] == str(len(VIEWS))


def test_the_sums_are_those_of_the_files_and_the_variants_are_of_the_released_checkpoint():
    assert (RELEASE / SUMS).read_text() == sums(RELEASE), "run `make release-files`"
    digest = hashlib.sha256((RELEASE / "digitnet.ckpt").read_bytes()).hexdigest()
    for name in VARIANTS:
        metadata = {entry.key: entry.value for entry in onnx.load(RELEASE / name).metadata_props}
        assert metadata["checkpoint_sha256"] == digest, "run `make release-files`"


def test_the_file_predicts_as_the_checkpoint_does(classifier):
    # With the weights rounded to the data type of the file.
    model, proto = load_model(RELEASE / "digitnet.ckpt"), onnx.load(RELEASE / "digitnet.onnx")
    reference = with_stored_weights(model, proto, Variant(averaged=True))
    for image in sample_images(3, seed=5):
        with torch.inference_mode():
            expected = reference(torch.from_numpy(image))[0].numpy()
        probabilities = classifier.run(image)[0]  # `predict_batch` refuses images of one row as ambiguous
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


def test_the_checkpoint_contains_weights_and_hyperparameters_only():
    checkpoint = torch.load(RELEASE / "digitnet.ckpt", weights_only=True)
    assert set(checkpoint) == {"state_dict", "hyper_parameters", "pytorch-lightning_version"}


def test_the_configs_are_accepted_by_train_py_and_name_no_path(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])  # Lightning warns if both it and args have options
    for name in ("config.yaml", "fine_tuning.yaml"):
        cli = TrainingCLI(["--config", str(RELEASE / name)])
        assert cli.config.trainer.default_root_dir == "."
        assert cli.config.data.data_dir == "data"
    assert dict(cli.model.hparams) == read_checkpoint(RELEASE / "digitnet.ckpt")["hyper_parameters"]


def most_probable_accuracy(predictions):
    """Return the fraction of images whose most probable digit is the label."""
    return np.mean([labeled.prediction.probabilities.argmax() == labeled.label for labeled in predictions])


def test_its_accuracy_on_mnist_is_that_of_its_metrics(test_set_predictions, metrics):
    assert most_probable_accuracy(test_set_predictions) == pytest.approx(
        metrics[0]["mnist"]["accuracy"],
        abs=2e-4,  # sums round differently on other processors
    )
    coverage = sum(labeled.prediction.label is not None for labeled in test_set_predictions) / 10_000
    assert coverage == pytest.approx(metrics[0]["mnist"]["coverage"], abs=5e-4)
    assert coverage >= 0.99


@pytest.mark.xfail(strict=True, reason="the goal is 99.60 %; the release has 99.53 %, see MODEL_CARD.md")
def test_it_misclassifies_at_most_40_of_the_test_images(test_set_predictions):
    assert most_probable_accuracy(test_set_predictions) >= 0.996


def test_its_probabilities_are_calibrated(test_set_predictions):
    assert calibration_error(test_set_predictions) <= 0.005


def test_its_accuracy_on_corrupted_digits_is_at_least_96_percent(mnist_dir, classifier):
    images, labels = read_test_set(mnist_dir)
    accuracies = []
    for corrupt in CORRUPTIONS.values():
        predictions = classifier.predict_batch(corrupt(images[:500], np.random.default_rng(0))[..., None])
        accuracies.append(np.mean([p.probabilities.argmax() for p in predictions] == labels[:500]))
    assert np.mean(accuracies) >= 0.96  # on a twentieth of the test images


def test_the_card_shows_the_metrics(metrics):
    card = (RELEASE / "MODEL_CARD.md").read_text()
    for line in tables(metrics):
        assert line in card


def canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (SIZE, SIZE), 255)
    return image, ImageDraw.Draw(image)


def draw_dot(radius: int) -> Image.Image:
    image, pen = canvas()
    pen.ellipse([130 - radius, 150 - radius, 130 + radius, 150 + radius], fill=0)
    return image


def draw_scribble(seed: int) -> Image.Image:
    """Draw a scribble: a sum of four random sine waves."""
    rng = np.random.default_rng(seed)
    image, pen = canvas()
    steps = np.linspace(0, 1, 400)[:, None]
    frequencies, phases = rng.integers(3, 12, (4, 2)), rng.uniform(0, 2 * np.pi, (4, 2))
    points = 140 + 28 * sum(
        np.sin(2 * np.pi * frequency * steps + phase) for frequency, phase in zip(frequencies, phases, strict=True)
    )
    pen.line([tuple(point) for point in points], fill=0, width=int(rng.integers(4, 12)), joint="curve")
    return image


def draw_letter(letter: str) -> Image.Image:
    image, pen = canvas()
    pen.text((140, 140), letter, fill=0, font=ImageFont.load_default(180), anchor="mm")
    return image


def classify_bars(classifier, height, widths):
    """Return the label of a vertical bar for each width."""
    labels = {}
    for width in widths:
        image, pen = canvas()
        left, top = 140 - width // 2, 140 - height // 2
        pen.rectangle([left, top, left + width - 1, top + height - 1], fill=0)
        labels[width] = classifier(image).label
    return labels


@pytest.mark.parametrize("height", [60, 140, 200, 260])
def test_a_straight_vertical_stroke_is_a_1(classifier, height):
    widths = range(1, height // 5)
    assert classify_bars(classifier, height, widths) == dict.fromkeys(widths, 1)


@pytest.mark.parametrize("radius", [2, 6, 14, 40])
def test_a_dot_is_rejected(classifier, radius):
    assert classifier(draw_dot(radius)).label is None


def test_blank_paper_is_rejected(classifier):
    assert classifier(canvas()[0]).label is None


@pytest.mark.xfail(strict=True, reason="the release accepts 1 of the 40, see MODEL_CARD.md")
def test_scribbles_are_rejected(classifier):
    assert [seed for seed in range(40) if classifier(draw_scribble(seed)).label is not None] == []


@pytest.mark.parametrize("letter", LETTERS)
def test_letters_are_rejected(classifier, letter):
    assert classifier(draw_letter(letter)).label is None


def test_the_card_names_the_non_digits_that_are_accepted(classifier):
    scribbles = sum(classifier(draw_scribble(seed)).label is not None for seed in range(40))
    sentence = f"It accepts {scribbles} of 40 synthetic scribbles."
    assert sentence in " ".join((RELEASE / "MODEL_CARD.md").read_text().split())
