"""What is said of the released model, held against the released model."""

import hashlib
import importlib.util
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
from digitnet.export.graph import sample_images, with_stored_weights
from digitnet.model.checkpoint import load_model, read_checkpoint
from digitnet.training.cli import TrainingCLI
from tests.conftest import ROOT

RELEASE = ROOT / "checkpoints" / "release"
SIDE = 280  # pixels of the pad drawn on
LOOK_ALIKES = "BDGIOQSZbgijloqsz"  # shown alone they are 8, 0, 0, 1, ... to anybody
LETTERS = [sign for sign in string.ascii_letters if sign not in LOOK_ALIKES]
TAKEN = "h"  # the letters that the release takes for digits


@pytest.fixture(scope="module")
def read():
    return DigitClassifier()


@pytest.fixture(scope="module")
def metrics():
    return json.loads((RELEASE / "metrics.json").read_text())


@pytest.fixture(scope="module")
def test_set_read(mnist_dir, read):
    """Each test image as the file reads it: Readings."""
    images, labels = read_test_set(mnist_dir)
    predictions = [p for part in np.array_split(images[..., None], 20) for p in read.predict_batch(part)]
    return [
        LabeledPrediction(str(i), int(label), p) for i, (p, label) in enumerate(zip(predictions, labels, strict=True))
    ]


def test_the_file_was_made_from_the_checkpoint_beside_it():
    proto = onnx.load(RELEASE / "digitnet.onnx")
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert metadata["checkpoint_sha256"] == hashlib.sha256((RELEASE / "digitnet.ckpt").read_bytes()).hexdigest()
    model = load_model(RELEASE / "digitnet.ckpt")
    assert metadata["threshold"] == f"{model.calibration.threshold.item():.4f}"
    assert metadata["temperature"] == f"{model.calibration.temperature.item():.4f}"


def test_the_file_reads_as_the_checkpoint_does(read):
    # With the checkpoint's weights in as many bits as the file has; raises where they differ by more than that.
    reader = with_stored_weights(load_model(RELEASE / "digitnet.ckpt"), onnx.load(RELEASE / "digitnet.onnx"))
    for image in sample_images(3, seed=5):
        with torch.inference_mode():
            wanted = reader(torch.from_numpy(image))[0].numpy()
        met = np.stack([prediction.probabilities for prediction in read.predict_batch(image)])
        np.testing.assert_allclose(met, wanted, rtol=0, atol=1e-5)


def test_the_checkpoint_holds_weights_and_hyper_parameters_only():
    checkpoint = torch.load(RELEASE / "digitnet.ckpt", weights_only=True)
    assert set(checkpoint) == {"state_dict", "hyper_parameters", "pytorch-lightning_version"}


def test_the_config_is_one_that_train_py_takes_and_names_no_path_of_the_machine_it_was_made_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])  # Lightning warns where both it and args are given
    cli = TrainingCLI(["--config", str(RELEASE / "config.yaml")])
    assert dict(cli.model.hparams) == read_checkpoint(RELEASE / "digitnet.ckpt")["hyper_parameters"]
    assert cli.config.trainer.default_root_dir == "."
    assert cli.config.data.data_dir == "data"


def test_it_reads_mnist_as_its_metrics_say(test_set_read, metrics):
    right = sum(reading.prediction.probabilities.argmax() == reading.label for reading in test_set_read)
    assert right / 10_000 == pytest.approx(metrics[0]["mnist"]["accuracy"], abs=2e-4)  # sums round on other processors
    accepted = sum(reading.prediction.label is not None for reading in test_set_read)
    assert accepted / 10_000 == pytest.approx(metrics[0]["mnist"]["accepted"], abs=5e-4)
    assert accepted / 10_000 >= 0.99


@pytest.mark.xfail(strict=True, reason="the goal is 99.60 %; the release reads 99.53 %, see MODEL_CARD.md")
def test_it_misreads_no_more_than_40_of_the_test_images(test_set_read):
    right = sum(reading.prediction.probabilities.argmax() == reading.label for reading in test_set_read)
    assert right / 10_000 >= 0.996


def test_its_probabilities_mean_what_they_say(test_set_read):
    assert calibration_error(test_set_read) <= 0.005


def test_it_reads_spoilt_digits(mnist_dir, read):
    images, labels = read_test_set(mnist_dir)
    shares = []
    for make in CORRUPTIONS.values():
        spoilt = make(images[:500], np.random.default_rng(0))[..., None]
        shares.append(np.mean([p.probabilities.argmax() for p in read.predict_batch(spoilt)] == labels[:500]))
    assert np.mean(shares) >= 0.96  # 0.965 on all test images; here it is of a twentieth of them


def test_the_card_shows_the_metrics(metrics):
    spec = importlib.util.spec_from_file_location("model_card", ROOT / "docs" / "model_card.py")
    model_card = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model_card)
    card = (RELEASE / "MODEL_CARD.md").read_text()
    for line in model_card.tables(metrics):
        assert line in card


def pad() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (SIDE, SIDE), 255)
    return image, ImageDraw.Draw(image)


def blank() -> Image.Image:
    return pad()[0]


def dot(radius: int) -> Image.Image:
    image, pen = pad()
    pen.ellipse([130 - radius, 150 - radius, 130 + radius, 150 + radius], fill=0)
    return image


def scribble(seed: int) -> Image.Image:
    """A pen that wanders to and fro for a while without a plan."""
    random = np.random.default_rng(seed)
    image, pen = pad()
    steps = np.linspace(0, 1, 400)[:, None]
    turns, phases = random.integers(3, 12, (4, 2)), random.uniform(0, 2 * np.pi, (4, 2))
    points = 140 + 28 * sum(np.sin(2 * np.pi * turn * steps + phase) for turn, phase in zip(turns, phases, strict=True))
    pen.line([tuple(point) for point in points], fill=0, width=int(random.integers(4, 12)), joint="curve")
    return image


def letter(sign: str) -> Image.Image:
    image, pen = pad()
    pen.text((140, 140), sign, fill=0, font=ImageFont.load_default(180), anchor="mm")
    return image


def read_bars(read, height, widths):
    """The label of an upright bar, drawn with a ruler, for each width."""
    labels = {}
    for width in widths:
        image, pen = pad()
        left, top = 140 - width // 2, 140 - height // 2
        pen.rectangle([left, top, left + width - 1, top + height - 1], fill=0)
        labels[width] = read(image).label
    return labels


@pytest.mark.parametrize("height", [60, 140, 200, 260])
def test_a_straight_upright_stroke_is_a_1(read, height):
    widths = range(1, height // 6)
    assert read_bars(read, height, widths) == dict.fromkeys(widths, 1)


@pytest.mark.xfail(strict=True, reason="to the release the widest are no digit, see MODEL_CARD.md")
@pytest.mark.parametrize("height", [60, 140, 200, 260])
def test_a_straight_upright_stroke_is_a_1_however_wide(read, height):
    widths = range(height // 6, height // 5)
    assert read_bars(read, height, widths) == dict.fromkeys(widths, 1)


def taken_for_a_digit(*values):
    """Cases that the release gets wrong, as its card says; strict, so that the release that mends them says so."""
    wrong = pytest.mark.xfail(strict=True, reason="the release takes it for a digit, see MODEL_CARD.md")
    return [pytest.param(value, marks=wrong) for value in values]


@pytest.mark.parametrize("radius", [2, 6, 14, 40])
def test_a_dot_is_no_digit(read, radius):
    assert read(dot(radius)).label is None


def test_blank_paper_is_no_digit(read):
    assert read(blank()).label is None


@pytest.mark.xfail(strict=True, reason="the release takes 2 of the 40 for digits, see MODEL_CARD.md")
def test_scribbles_are_no_digits(read):
    assert [seed for seed in range(40) if read(scribble(seed)).label is not None] == []


@pytest.mark.parametrize("sign", [*(sign for sign in LETTERS if sign not in TAKEN), *taken_for_a_digit(*TAKEN)])
def test_letters_are_no_digits(read, sign):
    assert read(letter(sign)).label is None


def test_the_card_names_what_is_taken_for_a_digit(read):
    scribbles = sum(read(scribble(seed)).label is not None for seed in range(40))
    said = f"Of 40 made scribbles it takes {scribbles} for digits, and of letters in print {', '.join(TAKEN)}."
    assert said in " ".join((RELEASE / "MODEL_CARD.md").read_text().split())
