"""Verification of an exported file before it is written: it must be valid and compute what torch computes."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import nn

from digitnet.contract import INPUT_NAME, OUTPUT_DOCS
from digitnet.data.mnist import read_test_set
from digitnet.errors import ExportError
from digitnet.export.graph import IR_VERSION, OPSET, ExportedModel
from digitnet.model.checkpoint import TrainedModel

BATCH_SIZE = 500
TOLERANCE = 1e-5  # maximum absolute difference from torch
# Framing moves five in 10,000 of MNIST's images by a pixel, so the file may classify them differently than the network
# does without framing.
ACCURACY_TOLERANCE = 0.0005
SAMPLE_SIZES = [(28, 28), (1, 1), (5, 40), (64, 64), (100, 37), (280, 280), (301, 200)]  # pixels: height, width
EXPECTED_LAYERS = {"Conv": 2, "MaxPool": 9, "Gemm": 2, "BatchNormalization": 0}  # seven of MaxPool are of framing


def verify(proto: onnx.ModelProto, model: TrainedModel, data_dir: str) -> bytes:
    """Verify an exported model.

    Args:
        proto: The ONNX model with its metadata.
        model: The model that it was exported from.
        data_dir: The directory with MNIST/raw.

    Returns:
        The verified content of the file.

    Raises:
        ExportError: If the file is not valid, or differs from torch.
    """
    content = proto.SerializeToString()
    try:
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the libraries has exceptions of its own
        raise ExportError(f"The exported graph is not valid ONNX: {error}") from error
    _verify_structure(proto)
    _verify_outputs(session, with_stored_weights(model, proto))
    _verify_accuracy(session, data_dir)
    return content


def _verify_structure(proto: onnx.ModelProto) -> None:
    """Raise ExportError unless the graph has the expected versions, layers and outputs."""
    _expect("opset", {entry.domain: entry.version for entry in proto.opset_import}, {"": OPSET})
    _expect("IR version", proto.ir_version, IR_VERSION)
    _expect("external data", any(tensor.data_location for tensor in proto.graph.initializer), False)
    types = [node.op_type for node in proto.graph.node]
    _expect("layers", {layer: types.count(layer) for layer in EXPECTED_LAYERS}, EXPECTED_LAYERS)
    _expect("outputs", [output.name for output in proto.graph.output], list(OUTPUT_DOCS))


def _verify_outputs(session: ort.InferenceSession, reference: ExportedModel) -> None:
    """Raise ExportError unless onnxruntime and torch agree on images of many sizes."""
    for batch in (1, 2, 7):
        for images in sample_images(batch, seed=batch):
            with torch.inference_mode():
                reference_outputs = [output.numpy() for output in reference(torch.from_numpy(images))]
            outputs = session.run(None, {INPUT_NAME: images})
            for name, actual, expected in zip(OUTPUT_DOCS, outputs, reference_outputs, strict=True):
                what = f"type of {name} for images {images.shape}"
                _expect(what, (actual.dtype, actual.shape), (expected.dtype, expected.shape))
                difference = float(np.abs(expected.astype(np.float64) - actual).max())
                tolerance = 0 if name == "label" else TOLERANCE
                if not difference <= tolerance:  # also if it is NaN
                    raise ExportError(
                        f"{name} differs from torch by {difference:.2g} for images of shape {images.shape}; the"
                        f" tolerance is {tolerance}"
                    )


def _verify_accuracy(session: ort.InferenceSession, data_dir: str) -> None:
    """Raise ExportError unless the file has the accuracy on MNIST's test images that its metadata states."""
    stated = float(session.get_modelmeta().custom_metadata_map["test_accuracy"])
    measured = _test_accuracy(
        lambda images: session.run(["probabilities"], {INPUT_NAME: images[..., None]})[0], data_dir
    )
    if abs(measured - stated) > ACCURACY_TOLERANCE:
        raise ExportError(f"expected an MNIST test accuracy of {stated:.4f}, the exported file has {measured:.4f}")


def _expect(what: str, value: object, expected: object) -> None:
    """Raise ExportError if the two differ."""
    if value != expected:
        raise ExportError(f"expected {expected} as {what} of the exported file, got {value}")


def network_accuracy(network: nn.Module, data_dir: str) -> float:
    """Return the accuracy of a network without framing on MNIST's test images.

    Args:
        network: Maps ink, float32 (N, 1, 28, 28), to logits, float32 (N, 10).
        data_dir: The directory with MNIST/raw.

    Returns:
        The fraction of images whose most probable digit is the label.
    """

    def scores(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.tensor(images).unsqueeze(1).float() / 255).numpy()

    return _test_accuracy(scores, data_dir)


def _test_accuracy(scores: Callable[[np.ndarray], np.ndarray], data_dir: str) -> float:
    """Return the accuracy on MNIST's test images of a function from images, (N, 28, 28), to scores, (N, 10)."""
    images, labels = read_test_set(data_dir)
    starts = range(0, len(images), BATCH_SIZE)
    predictions = [scores(images[start : start + BATCH_SIZE]).argmax(1) for start in starts]
    return float((np.concatenate(predictions) == labels).mean())


def with_stored_weights(model: TrainedModel, proto: onnx.ModelProto) -> ExportedModel:
    """Return the torch model with its weights rounded to the data type in which the file stores them.

    Args:
        model: The model that the file was exported from.
        proto: The ONNX model.

    Returns:
        The torch model, in evaluation mode.

    Raises:
        ExportError: If a stored weight differs from the model's by more than rounding.
    """
    reference = ExportedModel(model).eval()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for name, weight in reference.state_dict().items():
        if f"{name}.float16" in stored:
            rounded = stored[f"{name}.float16"].astype(np.float32)
            step: np.ndarray = np.abs(rounded) * 2.0**-10 + 2.0**-24  # the distance of float16 numbers
        elif f"{name}.int8" in stored:
            step = stored[f"{name}.scale"]
            rounded = stored[f"{name}.int8"].astype(np.float32) * step
        else:
            continue
        if not (np.abs(rounded - weight.numpy()) <= 0.51 * step).all():  # half a step, and rounding errors
            raise ExportError(f"The file's {name} differs from the checkpoint's by more than rounding")
        weight.copy_(torch.from_numpy(rounded))
    return reference


def sample_images(batch: int, seed: int) -> list[np.ndarray]:
    """Draw images with strokes, noise or nothing, of many sizes, in gray, RGB and RGBA.

    Args:
        batch: Number of images per size, N.
        seed: Seed of the random numbers.

    Returns:
        Batches of images, each uint8 (N, H, W, C).
    """
    rng = np.random.default_rng(seed)
    batches = []
    for height, width in SAMPLE_SIZES:
        for channels in (1, 3, 4):
            images = rng.integers(200, 256, (batch, height, width, channels), dtype=np.uint8)
            for image in images[: batch - batch // 4]:  # the others have noise only
                for _ in range(3):
                    y, x = rng.integers(0, height), rng.integers(0, width)
                    stroke_height, stroke_width = rng.integers(1, height // 2 + 2), rng.integers(1, width // 8 + 2)
                    image[y : y + stroke_height, x : x + stroke_width, :3] = rng.integers(0, 60)
            if channels == 4:
                images[..., 3] = 255 * (rng.random((batch, height, width)) < 0.9)
            batches.append(images if rng.random() < 0.5 else 255 - images)
    return batches
