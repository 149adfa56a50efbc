"""The ONNX graph: framing, network and calibration in one file that takes raw images.

Opset 18 and IR version 9 are read by onnxruntime 1.17 and later, including its builds for Node and browsers. Variants
for other runtimes have fixed sizes, another opset, or no framing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto, helper, numpy_helper, version_converter
from torch import Tensor, nn

from digitnet import __version__
from digitnet.contract import NUM_CLASSES, REJECTED
from digitnet.errors import ExportError
from digitnet.export.variant import OPSET, Variant
from digitnet.model.calibration import Calibration
from digitnet.model.checkpoint import TrainedModel
from digitnet.model.framing import MIXING, Framing
from digitnet.model.views import Views

IR_VERSION = 9  # of OPSET
MAX_CONSTANT_SIZE = 2**22  # numbers; larger constants are computed at each inference
MIN_THRESHOLD = 0.11  # above the probabilities of a blank image, which are 0.1
MIN_STORED_SIZE = 2048  # numbers; smaller tensors stay float32: they are 1 % of the weights and the most sensitive
FREE_SIZES = Variant()

Weights = Literal["float32", "float16", "int8"]


class ExportedNetwork(nn.Module):
    """The computation of the exported file without framing, in torch.

    Args:
        model: The trained network and its calibrations.
        averaged: Whether the logits are averaged over several views of each image.
    """

    def __init__(self, model: TrainedModel, averaged: bool = False) -> None:
        super().__init__()
        self.network = model.network.fused()
        self.views = Views() if averaged else None
        calibration = choose_calibration(model, averaged)
        for parameter in self.network[-1].parameters():  # temperature scaling as part of the last layer
            parameter.data /= calibration.temperature
        self.threshold = max(calibration.threshold.item(), MIN_THRESHOLD)

    def forward(self, ink: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the file without framing.

        Args:
            ink: Float32 (N, 1, 28, 28), see `digitnet.contract.INK_DOC`.

        Returns:
            Probabilities and label, see `digitnet.contract.OUTPUT_DOCS`.
        """
        return self.classify(ink)

    def classify(self, ink: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and labels.

        Args:
            ink: Float32 (N, 1, 28, 28).

        Returns:
            Probabilities, float32 (N, 10), and labels, int32 (N,).
        """
        visible = (ink.amax((2, 3)) > 0).float()  # (N, 1)
        probabilities = (self.logits(ink) * visible).softmax(1)  # 0.1 each if blank
        # Without ArgMax and Where, which OpenCV's older engine evaluates incorrectly; of equal ones, the first counts.
        order = torch.arange(NUM_CLASSES, 0, -1, device=ink.device).float()
        is_largest = (probabilities >= probabilities.amax(1, keepdim=True)).float()
        digit = NUM_CLASSES - (order * is_largest).amax(1)
        accepted = (probabilities.amax(1) >= self.threshold).float()
        label = (digit - REJECTED) * accepted + REJECTED
        return probabilities, label.to(torch.int32)  # not int64, which JavaScript receives as BigInt

    def logits(self, ink: Tensor) -> Tensor:
        """Return the calibrated logits.

        Args:
            ink: Float32 (N, 1, 28, 28).

        Returns:
            Float32 (N, 10).
        """
        return self.network(ink) if self.views is None else self.views.average(self.network(self.views(ink)))


class ExportedModel(ExportedNetwork):
    """The computation of the exported file, in torch.

    Args:
        model: The trained network and its calibration.
        averaged: Whether the logits are averaged over several views of each image.
    """

    def __init__(self, model: TrainedModel, averaged: bool = False) -> None:
        super().__init__(model, averaged)
        self.framing = Framing()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the file.

        Args:
            image: Uint8 (N, H, W, C), see `digitnet.contract.INPUT_DOC`.

        Returns:
            Probabilities, label, framed image and ink, see `digitnet.contract.OUTPUT_DOCS`.
        """
        framed, _ = self.framing(image)
        probabilities, label = self.classify(framed[:, None])
        return probabilities, label, framed, framed.mean((1, 2))


def exported_module(model: TrainedModel, variant: Variant = FREE_SIZES) -> ExportedNetwork:
    """Return the computation of a variant of the exported file, in torch.

    Args:
        model: The trained network and its calibration.
        variant: The variant.

    Returns:
        The module, in evaluation mode.
    """
    build = ExportedNetwork if variant.network_only else ExportedModel
    return build(model, variant.averaged).eval()


def choose_calibration(model: TrainedModel, averaged: bool) -> Calibration:
    """Return the calibration of what a file computes.

    Args:
        model: The trained network and its calibrations.
        averaged: Whether the logits are averaged over several views of each image.

    Returns:
        The calibration that was fitted on such logits.

    Raises:
        ExportError: If there is none.
    """
    if averaged and not model.averaged_calibration.threshold:
        raise ExportError(
            "The checkpoint has no calibration for test-time augmentation: it was trained by an earlier version."
            " Train it again, or export it without --test-time-augmentation"
        )
    return model.averaged_calibration if averaged else model.calibration


def build_onnx(model: TrainedModel, weights: Weights = "float32", variant: Variant = FREE_SIZES) -> onnx.ModelProto:
    """Export a model.

    Args:
        model: The trained network and its calibration.
        weights: Data type in which the large weights are stored; see `store_weights`.
        variant: Which inputs the file takes; by default, raw images of any number, size and channels.

    Returns:
        The ONNX model, without metadata.
    """
    names = [size if isinstance(size, str) else None for size in variant.dimensions]
    module = exported_module(model, variant)
    proto = to_onnx(module, variant.example(), variant.input_name, names, variant.outputs)
    proto = convert_opset(proto, variant.opset)
    store_weights(proto, weights)
    return proto


def to_onnx(
    module: nn.Module, example: Tensor, name: str, dimensions: Sequence[str | None], outputs: Iterable[str]
) -> onnx.ModelProto:
    """Export a module that has one input.

    Args:
        module: The module.
        example: An input. No dynamic dimension may be 0 or 1.
        name: Name of the input.
        dimensions: Names of the input's dynamic dimensions; None for a dimension with a fixed size.
        outputs: Names of the outputs. Their first dimension is the input's.

    Returns:
        The ONNX model, without metadata.
    """
    dynamic = {axis: torch.export.Dim.DYNAMIC for axis, dimension in enumerate(dimensions) if dimension}
    outputs = list(outputs)
    program = torch.onnx.export(
        module.eval(),
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[name],
        output_names=outputs,
        dynamic_shapes=(dynamic,),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    onnxscript.optimizer.optimize(
        program.model, input_size_limit=MAX_CONSTANT_SIZE, output_size_limit=MAX_CONSTANT_SIZE
    )
    proto = program.model_proto
    _remove_traces(proto)
    _remove_attributes(proto)
    _name_channel_lookups(proto)
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "digitnet", __version__
    proto.graph.name = "digitnet"
    _name_dimensions(proto, {name: dimensions} | dict.fromkeys(outputs, dimensions[:1]))
    return proto


def _remove_traces(proto: onnx.ModelProto) -> None:
    """Remove the paths of source files that the exporter stores in each node."""
    for message in [proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.functions]:
        del message.metadata_props[:]
        message.doc_string = ""
    del proto.graph.value_info[:]


def _remove_attributes(proto: onnx.ModelProto) -> None:
    """Remove attributes without effect, which some runtimes do not know: no axes and no constant shapes are empty."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type.startswith("Reduce") or (node.op_type == "Reshape" and node.input[1] in constants):
            kept = [entry for entry in node.attribute if entry.name not in ("noop_with_empty_axes", "allowzero")]
            del node.attribute[:]
            node.attribute.extend(kept)


def _name_channel_lookups(proto: onnx.ModelProto) -> None:
    """Name the nodes that fail for other layouts by what they expect, because runtimes name the node in the error."""
    tables = {tensor.name for tensor in proto.graph.initializer if tensor.dims and tensor.dims[0] == len(MIXING)}
    for index, node in enumerate(proto.graph.node):
        if node.op_type == "Gather" and node.input[0] in tables:
            node.name = f"expected_NHWC_images_with_1_3_or_4_channels_{index}"


def _name_dimensions(proto: onnx.ModelProto, names: Mapping[str, Sequence[str | None]]) -> None:
    """Name the dynamic dimensions of inputs and outputs."""
    for value in [*proto.graph.input, *proto.graph.output]:
        for dimension, name in zip(value.type.tensor_type.shape.dim, names[value.name], strict=False):
            if name:
                dimension.dim_param = name


def convert_opset(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert a model to another version of the ONNX operators.

    Args:
        proto: The ONNX model in OPSET.
        opset: The version, from 13 to 22; from 15 if sizes are free.

    Returns:
        The converted model, with the oldest IR version for this opset.
    """
    if opset == OPSET:
        return proto
    converted = version_converter.convert_version(proto, max(opset, 14))
    converted.opset_import[0].version = opset  # the converter does not reach 13, where our operators are those of 14
    converted.ir_version = helper.find_min_ir_version_for(converted.opset_import)
    return converted


def store_weights(proto: onnx.ModelProto, weights: Weights) -> None:
    """Store the two large weight tensors in a smaller data type, in place.

    onnxruntime converts them back to float32 when it loads the file, so the arithmetic and the speed do not change. It
    does so for Cast and Mul, but executes DequantizeLinear at each inference. onnxruntime.quantization inserts
    DequantizeLinear or also quantizes the activations, and quantizes weights alone only for MatMul, while these are of
    Conv and Gemm.

    Args:
        proto: The ONNX model.
        weights: "float32" changes nothing; "int8" has a scale for each output channel.
    """
    if weights == "float32":
        return
    graph = proto.graph
    conversions = []
    for tensor in list(graph.initializer):
        if np.prod(tensor.dims) >= MIN_STORED_SIZE:
            graph.initializer.remove(tensor)
            convert = _store_float16 if weights == "float16" else _store_int8
            conversions += convert(graph, tensor.name, numpy_helper.to_array(tensor))
    nodes = [*conversions, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _store_float16(graph: onnx.GraphProto, name: str, values: np.ndarray) -> list[onnx.NodeProto]:
    """Add a tensor as float16 and return the node that restores it."""
    graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
    return [helper.make_node("Cast", [f"{name}.float16"], [name], to=TensorProto.FLOAT)]


def _store_int8(graph: onnx.GraphProto, name: str, values: np.ndarray) -> list[onnx.NodeProto]:
    """Add a tensor as int8 with scales and return the nodes that restore it."""
    # The first axis of weights of Conv and of transposed Gemm is the output channel.
    scale = np.abs(values).reshape(len(values), -1).max(1).clip(1e-12) / 127
    scale = scale.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    return [
        helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]),
    ]


def add_metadata(
    proto: onnx.ModelProto,
    model: TrainedModel,
    checkpoint: Path,
    test_accuracy: float,
    variant: Variant = FREE_SIZES,
) -> None:
    """Add documentation and metadata, in place.

    Args:
        proto: The ONNX model.
        model: The model that it was exported from.
        checkpoint: The checkpoint of that model, whose SHA-256 is stored.
        test_accuracy: Accuracy on MNIST's test images, in [0, 1]; rejected images count by their most probable digit.
        variant: Which inputs the file takes.
    """
    graph = proto.graph
    module = exported_module(model, variant)
    graph.input[0].doc_string = variant.input_doc
    for output in graph.output:
        output.doc_string = variant.outputs[output.name]
    proto.doc_string = variant.description
    helper.set_model_props(
        proto,
        {
            "description": proto.doc_string,
            "license": "MIT",
            "version": __version__,
            "training_data": "MNIST (Y. LeCun, C. Cortes, C. J. C. Burges), training images; synthetic digits",
            "test_accuracy": f"{test_accuracy:.4f}",
            "threshold": f"{module.threshold:.4f}",  # of the largest probability
            # The logits are divided by it.
            "temperature": f"{choose_calibration(model, variant.averaged).temperature.item():.4f}",
            "views": str(1 if module.views is None else len(module.views.rows)),  # over which they are averaged
            "classes": ",".join(map(str, range(NUM_CLASSES))),
            "input": variant.input_doc,
            "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        },
    )
