"""A trained network and the framing in one ONNX file, which takes a picture as it is and is checked before it is used.

The floor is opset 18 and IR 9: onnxruntime 1.17 and later read it, and so do its builds for Node and browsers.
"""

import hashlib
import logging
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torchvision.datasets import MNIST

from digitnet import __version__
from digitnet.errors import ConfigError, ExportError
from digitnet.model.checkpoint import TrainedModel
from digitnet.model.framing import Framing

FRAMED_ANEW = 0.0005  # part of MNIST's images that framing moves by a pixel, and so may be read otherwise
IR_VERSION = 9
NEWEST_OPSET = 18
CLASSES = 10
NO_DIGIT = -1
FEW_WEIGHTS = 2048  # smaller tensors stay float32: they have 1 % of the weights, and rounding them costs most
PARITY = 1e-5  # how far a number of the file may lie from torch's

Weights = Literal["float32", "float16", "int8"]

INPUT_DOC = (
    "uint8 [N, H, W, C]: N pictures of one size, any size. C = 1 grey, 3 RGB, 4 RGBA. One digit in each, dark on light"
    " or light on dark, anywhere and of any size; transparent pixels count as ground."
)
OUTPUT_DOCS = {
    "probabilities": "float32 [N, 10]: how likely each digit is; 0.1 each where there is nothing to read.",
    "label": "int32 [N]: the digit, or -1 where there is none: nothing to read, or nothing that is surely a digit.",
    "framed": "float32 [N, 28, 28]: what the network reads, as MNIST frames its digits; 1 = ink, 0 = ground.",
    "ink": "float32 [N]: the mean of framed; 0 where there is nothing to read.",
}


class Reader(nn.Module):
    """What the file computes: pictures, uint8 (N, H, W, C), to the outputs of `OUTPUT_DOCS`, in that order."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.framing = Framing()
        self.network = model.network.fused()
        for parameter in self.network[-1].parameters():  # temperature scaling
            parameter.data /= model.calibration.temperature
        self.threshold = max(model.calibration.threshold.item(), 0.11)  # what is blank has 0.1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        framed, blank = self.framing(image)
        seen = 1 - blank.float()[:, None]
        probabilities = (self.network(framed[:, None]) * seen).softmax(1)  # 0.1 each where there is nothing to read
        # int32, since JavaScript gets int64 as BigInt
        unsure = probabilities.amax(1) < self.threshold
        label = torch.where(unsure, NO_DIGIT, probabilities.argmax(1)).to(torch.int32)
        return probabilities, label, framed, framed.mean((1, 2))


def build_onnx(model: TrainedModel, opset: int = 18) -> onnx.ModelProto:
    """The network of `model` behind the framing, as one graph with float32 weights; batch and sizes are free."""
    if opset > NEWEST_OPSET:
        raise ConfigError(f"opset is {opset}; {NEWEST_OPSET} is the newest that all supported runtimes read")
    for name in ("torch.onnx", "onnxscript"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # an older opset it cannot make; `check` says so
    batch, height, width, channels = (torch.export.Dim.DYNAMIC,) * 4
    program = torch.onnx.export(
        Reader(model).eval(),
        (torch.zeros(2, 30, 31, 4, dtype=torch.uint8),),
        dynamo=True,
        opset_version=opset,
        input_names=["image"],
        output_names=list(OUTPUT_DOCS),
        dynamic_shapes=({0: batch, 1: height, 2: width, 3: channels},),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    # The exporter notes in each node where in which source file it comes from.
    for message in [proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.functions]:
        del message.metadata_props[:]
        message.doc_string = ""
    del proto.graph.value_info[:]
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "digitnet", __version__
    proto.graph.name = "digitnet"
    _name_dimensions(proto)
    return proto


def _name_dimensions(proto: onnx.ModelProto) -> None:
    names = {"image": ["N", "H", "W", "C"]} | {name: ["N"] for name in OUTPUT_DOCS}
    for value in [*proto.graph.input, *proto.graph.output]:
        for dimension, name in zip(value.type.tensor_type.shape.dim, names[value.name], strict=False):
            dimension.dim_param = name


def store_weights(proto: onnx.ModelProto, weights: Weights) -> None:
    """Stores the two large tensors of weights, in place, as float16 or as int8 with a scale for each output channel.

    They become float32 again when the file is loaded, so that the arithmetic and the speed stay what they were.
    """
    if weights == "float32":
        return
    graph = proto.graph
    restored = []
    for tensor in list(graph.initializer):
        if np.prod(tensor.dims) < FEW_WEIGHTS:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        graph.initializer.remove(tensor)
        if weights == "float16":
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
            restored.append(helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT))
        else:
            # Conv and transposed Gemm weights have the output channel first.
            scale = np.abs(values).reshape(len(values), -1).max(1).clip(1e-12) / 127
            scale = scale.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.int8"))
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            restored.append(helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT))
            restored.append(helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]))
    nodes = [*restored, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def describe(proto: onnx.ModelProto, model: TrainedModel, checkpoint: Path, test_accuracy: float) -> None:
    """Writes into the file what it is, what it was made from, and what it takes and gives."""
    graph = proto.graph
    graph.input[0].doc_string = INPUT_DOC
    for output in graph.output:
        output.doc_string = OUTPUT_DOCS[output.name]
    proto.doc_string = "Reads a handwritten digit from a picture of any size."
    helper.set_model_props(
        proto,
        {
            "description": proto.doc_string,
            "license": "MIT",
            "version": __version__,
            "training_data": "MNIST (Y. LeCun, C. Cortes, C. J. C. Burges), training images; synthesised handwriting",
            "test_accuracy": f"{test_accuracy:.4f}",  # of the likeliest digit, sure enough or not
            "threshold": f"{model.calibration.threshold.item():.4f}",  # below it the label is -1
            "temperature": f"{model.calibration.temperature.item():.4f}",  # what the logits have been divided by
            "classes": ",".join(map(str, range(CLASSES))),
            "input": INPUT_DOC,
            "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        },
    )


def sample_images(batch: int, seed: int) -> list[np.ndarray]:
    """Batches, uint8 (batch, H, W, C), of strokes, noise and blank paper, of many sizes, in grey, RGB and RGBA."""
    random = np.random.default_rng(seed)
    sizes = [(28, 28), (1, 1), (5, 40), (64, 64), (100, 37), (280, 280), (301, 200)]
    pictures = []
    for height, width in sizes:
        for channels in (1, 3, 4):
            image = random.integers(200, 256, (batch, height, width, channels), dtype=np.uint8)
            for one in image[: batch - batch // 4]:  # the rest stays blank or noise
                for _ in range(3):
                    y, x = random.integers(0, height), random.integers(0, width)
                    tall, wide = random.integers(1, height // 2 + 2), random.integers(1, width // 8 + 2)
                    one[y : y + tall, x : x + wide, :3] = random.integers(0, 60)
            if channels == 4:
                image[..., 3] = 255 * (random.random((batch, height, width)) < 0.9)
            pictures.append(image if random.random() < 0.5 else 255 - image)
    return pictures


def test_accuracy_of(network: nn.Module, data_dir: str) -> float:
    """Part of the 10,000 test images that the network reads right, given their ink as MNIST has it."""
    test = MNIST(data_dir, train=False)
    with torch.inference_mode():
        logits = torch.cat([network(images.unsqueeze(1).float() / 255) for images in test.data.split(500)])
    return (logits.argmax(1) == test.targets).sum().item() / len(test.targets)


def check(content: bytes, model: TrainedModel, opset: int, accuracy: float, data_dir: str) -> None:
    """Raises ExportError unless these bytes are the file that was asked for and compute what `model` computes."""
    try:
        proto = onnx.load_from_string(content)
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
        session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the three has exceptions of its own
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error
    _check_equal("opset", {entry.domain: entry.version for entry in proto.opset_import}, {"": opset})
    _check_equal("IR version", proto.ir_version, IR_VERSION)
    _check_equal("external data", any(t.data_location for t in proto.graph.initializer), False)
    kinds = [node.op_type for node in proto.graph.node]
    _check_equal(
        "layers", [kinds.count(kind) for kind in ("Conv", "MaxPool", "Gemm", "BatchNormalization")], [2, 2, 2, 0]
    )
    _check_equal("outputs", [output.name for output in proto.graph.output], list(OUTPUT_DOCS))
    _check_parity(session, with_stored_weights(model, proto))

    test = MNIST(data_dir, train=False)
    likeliest = np.concatenate(
        [
            session.run(["probabilities"], {"image": part[..., None].numpy()})[0].argmax(1)
            for part in test.data.split(500)
        ]
    )
    met = (likeliest == test.targets.numpy()).mean()
    if abs(met - accuracy) > FRAMED_ANEW:
        raise ExportError(f"the MNIST test accuracy of the exported file is {met:.4f}; wanted {accuracy:.4f}")


def _check_parity(session: ort.InferenceSession, reader: Reader) -> None:
    for batch in (1, 2, 7):
        for image in sample_images(batch, seed=batch):
            with torch.inference_mode():
                wanted = [output.numpy() for output in reader(torch.from_numpy(image))]
            for name, ours, theirs in zip(OUTPUT_DOCS, wanted, session.run(None, {"image": image}), strict=True):
                where = f"of {name} for pictures {image.shape}"
                _check_equal(f"type {where}", (theirs.dtype, theirs.shape), (ours.dtype, ours.shape))
                difference = float(np.abs(ours.astype(np.float64) - theirs).max())
                limit = 0 if name == "label" else PARITY
                if not difference <= limit:  # NaN is not
                    raise ExportError(f"the file differs from torch by {difference} {where}; at most {limit} wanted")


def with_stored_weights(model: TrainedModel, proto: onnx.ModelProto) -> Reader:
    """What torch computes with the checkpoint's weights, those that the file rounds rounded as it has them.

    Raises ExportError where a rounded weight lies further from the checkpoint's than rounding explains.
    """
    reader = Reader(model).eval()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    weights = reader.state_dict()
    for name, weight in weights.items():
        if f"{name}.float16" in stored:
            rounded = stored[f"{name}.float16"].astype(np.float32)
            step: np.ndarray = np.abs(rounded) * 2.0**-10 + 2.0**-24
        elif f"{name}.int8" in stored:
            step = stored[f"{name}.scale"]
            rounded = stored[f"{name}.int8"].astype(np.float32) * step
        else:
            continue
        if not (np.abs(rounded - weight.numpy()) <= 0.51 * step).all():
            raise ExportError(f"the file's {name} differs from the checkpoint's by more than rounding")
        weight.copy_(torch.from_numpy(rounded))
    return reader


def _check_equal(what: str, met: object, wanted: object) -> None:
    if met != wanted:
        raise ExportError(f"the {what} of the exported file is {met}; wanted {wanted}")
