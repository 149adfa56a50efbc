"""Verification of an exported file before it is written: it must be valid and compute what torch computes."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper

from digitnet.contract import CHANNELS, IMAGE_SIZE
from digitnet.data.mnist import read_test_set
from digitnet.errors import ExportError
from digitnet.export.graph import FREE_SIZES, IR_VERSION, ExportedNetwork, exported_module
from digitnet.export.variant import OPSET, Variant
from digitnet.model.checkpoint import TrainedModel

BATCH_SIZE = 500
TOLERANCE = 1e-5  # maximum absolute difference from torch
# Framing moves five in 10,000 of MNIST's images by a pixel, so the file may classify them differently than the network
# does without framing.
ACCURACY_TOLERANCE = 0.0005
SAMPLE_SIZES = [(28, 28), (1, 1), (5, 40), (64, 64), (100, 37), (280, 280), (301, 200)]  # pixels: height, width
SAMPLE_BATCHES = (1, 2, 7)  # images
SAMPLED_DIGITS = 200  # of MNIST's test images, with which a file is verified that cannot take them as they are
EXPECTED_LAYERS = {"Conv": 2, "MaxPool": 2, "Gemm": 2, "BatchNormalization": 0}
FRAMING_MAX_POOLS = 7  # further ones of framing
SAMPLE_SEEDS = 10  # batches of each size of a file with a fixed one


def verify(proto: onnx.ModelProto, model: TrainedModel, data_dir: str, variant: Variant = FREE_SIZES) -> bytes:
    """Verify an exported model.

    Args:
        proto: The ONNX model with its metadata.
        model: The model that it was exported from.
        data_dir: The directory with MNIST/raw.
        variant: Which inputs the file takes.

    Returns:
        The verified content of the file.

    Raises:
        ExportError: If the file is not valid, or differs from torch.
    """
    content: bytes = proto.SerializeToString()
    try:
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the libraries has exceptions of its own
        raise ExportError(f"The exported graph is not valid ONNX: {error}") from error
    _verify_structure(proto, variant)
    digits, labels = read_test_set(data_dir)
    reference = with_stored_weights(model, proto, variant)
    for inputs in sample_inputs(variant, digits[:SAMPLED_DIGITS]):
        _verify_outputs(session, reference, inputs, variant)
    if takes_mnist(variant):
        _verify_accuracy(session, digits, labels, variant)
    return content


def takes_mnist(variant: Variant) -> bool:
    """Return whether a variant takes images of 28 x 28 pixels."""
    return variant.network_only or (variant.height in (None, IMAGE_SIZE) and variant.width in (None, IMAGE_SIZE))


def sample_inputs(variant: Variant, digits: np.ndarray) -> Iterator[np.ndarray]:
    """Draw inputs of a variant.

    Args:
        variant: The variant.
        digits: MNIST's images, uint8 (M, 28, 28), which are included if the inputs have a fixed size.

    Yields:
        Inputs of the file, each a batch.
    """
    batches = (variant.batch_size,) if variant.batch_size else SAMPLE_BATCHES
    channels = (variant.channels,) if variant.channels else tuple(CHANNELS)
    if not (variant.network_only or variant.height):
        for batch in batches:
            yield from sample_images(batch, seed=batch, channels=channels)
        return
    inputs = mnist_inputs(digits, variant)
    if variant.network_only:
        inputs = np.concatenate([inputs, 0 * inputs[:1], 1 - inputs[:SAMPLE_SEEDS]])  # blank ink and non-digits
    for batch in batches:
        yield from _batches(inputs, batch)
    if variant.height and variant.width:
        for seed in range(SAMPLE_SEEDS):
            yield from sample_images(batches[-1], seed, [(variant.height, variant.width)], channels)


def mnist_inputs(digits: np.ndarray, variant: Variant) -> np.ndarray:
    """Return MNIST's images as inputs of a variant, enlarged by repeating pixels.

    Args:
        digits: Uint8 (N, 28, 28).
        variant: The variant.

    Returns:
        Float32 (N, 1, 28, 28) in [0, 1] or uint8 (N, H, W, C).
    """
    if variant.network_only:
        return digits[:, None].astype(np.float32) / 255
    rows, columns = (np.arange(size) * IMAGE_SIZE // size for size in (variant.height or 28, variant.width or 28))
    images = np.repeat(digits[:, rows][:, :, columns, None], variant.channels or 1, 3)
    if variant.channels == 4:
        images[..., 3] = 255
    return images


def _verify_structure(proto: onnx.ModelProto, variant: Variant) -> None:
    """Raise ExportError unless the graph has the expected versions, layers, inputs and outputs."""
    _expect("opset", {entry.domain: entry.version for entry in proto.opset_import}, {"": variant.opset})
    oldest = IR_VERSION if variant.opset == OPSET else helper.find_min_ir_version_for(proto.opset_import)
    _expect("IR version", proto.ir_version, oldest)
    _expect("external data", any(tensor.data_location for tensor in proto.graph.initializer), False)
    layers = dict(EXPECTED_LAYERS)
    if not variant.network_only:
        layers["MaxPool"] += FRAMING_MAX_POOLS
    types = [node.op_type for node in proto.graph.node]
    _expect("layers", {layer: types.count(layer) for layer in layers}, layers)
    sizes = [
        dimension.dim_param or dimension.dim_value for dimension in proto.graph.input[0].type.tensor_type.shape.dim
    ]
    _expect("input", {proto.graph.input[0].name: sizes}, {variant.input_name: variant.dimensions})
    _expect("outputs", [output.name for output in proto.graph.output], list(variant.outputs))


def _verify_outputs(
    session: ort.InferenceSession, reference: ExportedNetwork, inputs: np.ndarray, variant: Variant
) -> None:
    """Raise ExportError unless onnxruntime and torch agree on a batch of inputs."""
    with torch.inference_mode():
        reference_outputs = [output.numpy() for output in reference(torch.from_numpy(inputs))]
    outputs = session.run(None, {variant.input_name: inputs})
    for name, actual, expected in zip(variant.outputs, outputs, reference_outputs, strict=True):
        what = f"type of {name} for images {inputs.shape}"
        _expect(what, (actual.dtype, actual.shape), (expected.dtype, expected.shape))
        difference = float(np.abs(expected.astype(np.float64) - actual).max())
        tolerance = 0 if name == "label" else TOLERANCE
        if not difference <= tolerance:  # also if it is NaN
            raise ExportError(
                f"{name} differs from torch by {difference:.2g} for images of shape {inputs.shape}; the tolerance is"
                f" {tolerance}"
            )


def _verify_accuracy(session: ort.InferenceSession, digits: np.ndarray, labels: np.ndarray, variant: Variant) -> None:
    """Raise ExportError unless the file has the accuracy on MNIST's test images that its metadata states."""
    stated = float(session.get_modelmeta().custom_metadata_map["test_accuracy"])
    scores = [
        session.run(["probabilities"], {variant.input_name: inputs})[0]
        for inputs in _batches(mnist_inputs(digits, variant), variant.batch_size or BATCH_SIZE)
    ]
    measured = float((np.concatenate(scores)[: len(labels)].argmax(1) == labels).mean())
    if abs(measured - stated) > ACCURACY_TOLERANCE:
        raise ExportError(f"expected an MNIST test accuracy of {stated:.4f}, the exported file has {measured:.4f}")


def _batches(inputs: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield batches of `size` inputs; the last one is filled with copies of the first inputs."""
    for start in range(0, len(inputs), size):
        yield inputs[np.arange(start, start + size) % len(inputs)]


def _expect(what: str, value: object, expected: object) -> None:
    """Raise ExportError if the two differ."""
    if value != expected:
        raise ExportError(f"expected {expected} as {what} of the exported file, got {value}")


def network_accuracy(network: Callable[[torch.Tensor], torch.Tensor], data_dir: str) -> float:
    """Return the accuracy of a network without framing on MNIST's test images.

    Args:
        network: Maps ink, float32 (N, 1, 28, 28), to logits, float32 (N, 10).
        data_dir: The directory with MNIST/raw.

    Returns:
        The fraction of images whose most probable digit is the label.
    """

    def scores(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits: torch.Tensor = network(torch.tensor(images).unsqueeze(1).float() / 255)
        return logits.numpy()

    return _test_accuracy(scores, data_dir)


def _test_accuracy(scores: Callable[[np.ndarray], np.ndarray], data_dir: str) -> float:
    """Return the accuracy on MNIST's test images of a function from images, (N, 28, 28), to scores, (N, 10)."""
    images, labels = read_test_set(data_dir)
    starts = range(0, len(images), BATCH_SIZE)
    predictions = [scores(images[start : start + BATCH_SIZE]).argmax(1) for start in starts]
    return float((np.concatenate(predictions) == labels).mean())


def with_stored_weights(model: TrainedModel, proto: onnx.ModelProto, variant: Variant = FREE_SIZES) -> ExportedNetwork:
    """Return the torch model with its weights rounded to the data type in which the file stores them.

    Args:
        model: The model that the file was exported from.
        proto: The ONNX model.
        variant: Which inputs the file takes.

    Returns:
        The torch model, in evaluation mode.

    Raises:
        ExportError: If a stored weight differs from the model's by more than rounding.
    """
    reference = exported_module(model, variant)
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


def sample_images(
    batch: int,
    seed: int,
    sizes: Sequence[tuple[int, int]] = SAMPLE_SIZES,
    channels: Sequence[int] = tuple(CHANNELS),
) -> list[np.ndarray]:
    """Draw images with strokes, noise or nothing, of many sizes, in gray, RGB and RGBA.

    Args:
        batch: Number of images per size, N.
        seed: Seed of the random numbers.
        sizes: Heights and widths in pixels.
        channels: Numbers of channels.

    Returns:
        Batches of images, each uint8 (N, H, W, C).
    """
    rng = np.random.default_rng(seed)
    batches = []
    for height, width in sizes:
        for count in channels:
            images = rng.integers(200, 256, (batch, height, width, count), dtype=np.uint8)
            for image in images[: batch - batch // 4]:  # the others have noise only
                for _ in range(3):
                    y, x = rng.integers(0, height), rng.integers(0, width)
                    stroke_height, stroke_width = rng.integers(1, height // 2 + 2), rng.integers(1, width // 8 + 2)
                    image[y : y + stroke_height, x : x + stroke_width, :3] = rng.integers(0, 60)
            if count == 4:
                images[..., 3] = 255 * (rng.random((batch, height, width)) < 0.9)
            batches.append(images if rng.random() < 0.5 else 255 - images)
    return batches
