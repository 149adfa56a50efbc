"""Verification refuses the released file after small changes to it."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import export
from digitnet import DigitClassifier
from digitnet.data.mnist import read_test_set
from digitnet.errors import ExportError
from digitnet.export import cli
from digitnet.export import verify as verification
from digitnet.export.graph import build_onnx
from digitnet.export.variant import Variant
from digitnet.export.verify import network_accuracy, sample_images, verify, with_stored_weights
from digitnet.model.checkpoint import load_model
from tests.conftest import ROOT
from tests.export.conftest import failure

RELEASE = ROOT / "checkpoints" / "release"
RELEASED = Variant(averaged=True)


@pytest.fixture
def model():
    return load_model(RELEASE / "digitnet.ckpt")


def set_accuracy(proto, accuracy):
    (entry,) = [entry for entry in proto.metadata_props if entry.key == "test_accuracy"]
    entry.value = str(accuracy)


@pytest.fixture
def accuracy(tiny_mnist):
    """The accuracy of the released file on the tiny images, by the classifier."""
    images, labels = read_test_set(tiny_mnist.directory)
    digits = [prediction.probabilities.argmax() for prediction in DigitClassifier().predict_batch(images[..., None])]
    return float(np.mean(digits == labels))


@pytest.fixture
def proto(accuracy):
    """The released file, with its accuracy on the tiny images in its metadata."""
    proto = onnx.load(RELEASE / "digitnet.onnx")
    set_accuracy(proto, accuracy)
    return proto


def initializer(proto, ending):
    (found,) = [tensor for tensor in proto.graph.initializer if tensor.name.endswith(ending)]
    return found


def change(proto, ending, edit):
    """Apply a function to the values of a stored tensor."""
    tensor = initializer(proto, ending)
    values = numpy_helper.to_array(tensor).copy()
    edit(values)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def test_a_correct_file_is_returned_unchanged(proto, model, tiny_mnist):
    assert verify(proto, model, tiny_mnist.directory, RELEASED) == proto.SerializeToString()


def test_a_file_of_another_ir_version_is_refused(proto, model, tiny_mnist):
    proto.ir_version = 8
    with pytest.raises(ExportError, match="expected 9 as IR version of the exported file, got 8"):
        verify(proto, model, tiny_mnist.directory, RELEASED)


def test_probabilities_that_differ_by_a_ten_thousandth_are_refused(proto, model, tiny_mnist):
    model.network.dense2.bias.data[3] += 1e-3  # the derivative of a probability is at most a quarter
    with pytest.raises(ExportError, match=r"probabilities differs from torch by \S+ for images of shape"):
        verify(proto, model, tiny_mnist.directory, RELEASED)


def test_probabilities_that_are_not_numbers_are_refused(proto, model, tiny_mnist):
    (bias,) = [tensor.name for tensor in proto.graph.initializer if list(tensor.dims) == [10] and "bias" in tensor.name]
    change(proto, bias, lambda values: values.fill(np.nan))
    with pytest.raises(ExportError, match="probabilities differs from torch by nan for images"):
        verify(proto, model, tiny_mnist.directory, RELEASED)


@pytest.mark.parametrize("difference", [-0.002, 0.002])
def test_a_stated_accuracy_that_is_too_high_or_too_low_is_refused(proto, model, tiny_mnist, accuracy, difference):
    set_accuracy(proto, accuracy + difference)
    with pytest.raises(ExportError, match=f"the exported file has {accuracy:.4f}"):
        verify(proto, model, tiny_mnist.directory, RELEASED)


def stored(proto):
    """Return the name and the data type of a weight that is not stored as float32."""
    names = [tensor.name for tensor in proto.graph.initializer]
    return next(name.rsplit(".", 1) for name in names if name.endswith((".int8", ".float16")))


def dequantize(proto, name, data_type):
    """Return a weight of the file as float32."""
    values = numpy_helper.to_array(initializer(proto, f"{name}.{data_type}")).astype(np.float32)
    return values * numpy_helper.to_array(initializer(proto, f"{name}.scale")) if data_type == "int8" else values


def test_the_reference_has_the_weights_as_they_are_stored(proto, model):
    name, data_type = stored(proto)
    reference = with_stored_weights(model, proto).state_dict()[name]
    assert np.array_equal(reference.numpy(), dequantize(proto, name, data_type))


def test_a_stored_weight_two_steps_from_the_checkpoint_is_refused(proto, model):
    name, data_type = stored(proto)
    first = numpy_helper.to_array(initializer(proto, f"{name}.{data_type}")).flat[0]
    moved = first - 2 * np.sign(first or 1) if data_type == "int8" else first + 3 * np.spacing(first)
    change(proto, f"{name}.{data_type}", lambda values: values.flat.__setitem__(0, moved))
    with pytest.raises(ExportError, match="differs from the checkpoint's by more than rounding"):
        with_stored_weights(model, proto)


def test_the_accuracy_is_that_of_all_images_also_of_an_incomplete_batch(monkeypatch):
    labels = np.arange(1234) % 10
    images = np.zeros((1234, 28, 28), np.uint8)
    images[np.arange(1234), 0, labels] = 255
    images[-34:] = np.roll(images[-34:], 1, axis=2)  # the last ones show another digit
    monkeypatch.setattr(verification, "read_test_set", lambda data_dir: (images, labels))
    assert network_accuracy(lambda ink: ink[:, 0, 0, :10], "unused") == 1200 / 1234


def test_sample_images_have_strokes_or_noise_dark_or_bright_opaque_or_not(model):
    batches = [batch for seed in range(3) for batch in sample_images(7, seed)]
    assert {batch.shape[3] for batch in batches} == {1, 3, 4}
    means = [batch[..., :3].mean() for batch in batches]
    assert min(means) < 80
    assert max(means) > 175
    assert any((batch[..., 3] == 0).any() for batch in batches if batch.shape[3] == 4)
    spreads = [int(np.ptp(image[..., 0])) for batch in batches for image in batch]
    assert min(spreads) == 0, "a single pixel"
    assert max(spreads) > 195, "a stroke"


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "weights"), [("dense2", "float32"), ("conv2", "float16"), ("dense2", "int8")])
def test_a_file_whose_weights_differ_from_the_checkpoint_is_not_written(run, capsys, monkeypatch, layer, weights):
    run.output.parent.mkdir()
    run.output.write_bytes(b"an older file")

    def wrong(model, data_type, variant):
        weight = getattr(model.network, layer).weight.data
        original = weight.clone()
        weight *= 1 + 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        graph = build_onnx(model, data_type, variant)
        weight.copy_(original)
        return graph

    monkeypatch.setattr(export, "build_onnx", wrong)
    status, line = failure(run, f"--weights={weights}", capsys=capsys)
    assert status == 1
    assert "differs from" in line
    assert run.output.read_bytes() == b"an older file"


@pytest.mark.slow
def test_a_file_whose_accuracy_differs_from_the_checkpoint_is_not_written(run, capsys, monkeypatch):
    monkeypatch.setattr(cli, "network_accuracy", lambda network, data_dir: 0.42)
    status, line = failure(run, capsys=capsys)
    assert status == 1
    assert "expected an MNIST test accuracy of 0.4200" in line
    assert not run.output.exists()
