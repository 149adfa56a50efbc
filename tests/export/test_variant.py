"""Variants of the exported file, each compared with torch in the opsets that it is offered in."""

import dataclasses
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from digitnet.errors import ConfigError, ExportError
from digitnet.export.cli import build_parser, variant_from_options
from digitnet.export.graph import add_metadata, build_onnx, convert_opset, exported_module
from digitnet.export.variant import MAX_OPSET, MIN_OPSET, MIN_OPSET_OF_FREE_SIZES, Variant
from digitnet.export.verify import sample_inputs, verify
from digitnet.model.calibration import Calibration
from digitnet.model.views import VIEWS, Views
from tests.export.conftest import RELEASED_CHECKPOINT, failure

VARIANTS = {
    "network": Variant(network_only=True),
    "averaged": Variant(network_only=True, averaged=True),
    "fixed": Variant(2, 60, 44, 4),
    "free": Variant(),
}
DYNAMIC_OPERATORS = {"Shape", "If", "Loop", "Scan", "Range", "Expand", "Size", "NonZero", "ConstantOfShape"}


@pytest.fixture(scope="module")
def protos(released_model, default_proto):
    """The variants in opset 18, by name."""
    built = {name: build_onnx(released_model, variant=VARIANTS[name]) for name in ("network", "averaged", "fixed")}
    return built | {"free": default_proto}


def opsets(name):
    first = MIN_OPSET_OF_FREE_SIZES if name == "free" else MIN_OPSET
    return [pytest.param(name, opset, id=f"{name}-{opset}") for opset in range(first, MAX_OPSET + 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "opset"), [case for name in VARIANTS for case in opsets(name)])
def test_a_variant_agrees_with_torch_in_each_opset(protos, released_model, name, opset):
    proto = convert_opset(protos[name], opset)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", opset)]
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    variant = VARIANTS[name]
    digits = np.zeros((4, 28, 28), np.uint8)
    digits[:3, 5:22, 12:16] = 220
    for inputs in list(sample_inputs(variant, digits))[-8:]:
        with torch.inference_mode():
            expected = [output.numpy() for output in exported_module(released_model, variant)(torch.from_numpy(inputs))]
        outputs = session.run(None, {variant.input_name: inputs})
        for output, ours, theirs in zip(variant.outputs, expected, outputs, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=0 if output == "label" else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["network", "averaged", "fixed"])
def test_a_file_with_fixed_sizes_computes_no_shapes_and_no_constants(protos, name):
    proto = onnx.shape_inference.infer_shapes(protos[name])
    assert not {node.op_type for node in proto.graph.node} & DYNAMIC_OPERATORS
    constants = {tensor.name for tensor in proto.graph.initializer}
    types = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
    assert not [node for node in proto.graph.node if constants.issuperset(node.input)]
    integers = [node.op_type for node in proto.graph.node if types.get(node.output[0]) == TensorProto.INT64]
    assert integers == []
    gathered = [node.input for node in proto.graph.node if node.op_type == "Gather"]
    assert all(indices in constants for _, indices in gathered)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("network", [["N", 1, 28, 28], ["N", 10], ["N"]]),
        ("averaged", [["N", 1, 28, 28], ["N", 10], ["N"]]),
        ("fixed", [[2, 60, 44, 4], [2, 10], [2], [2, 28, 28], [2]]),
        ("free", [["N", "H", "W", "C"], ["N", 10], ["N"], ["N", 28, 28], ["N"]]),
    ],
)
def test_the_file_states_its_fixed_and_its_free_sizes(protos, name, shapes):
    values = [*protos[name].graph.input, *protos[name].graph.output]
    stated = [[size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim] for value in values]
    assert stated == shapes


@pytest.mark.slow
def test_test_time_augmentation_averages_the_logits_over_the_views(protos, released_model):
    ink = torch.zeros(4, 1, 28, 28)
    ink[:3, :, 5:22, 12:16] = 0.9
    session = ort.InferenceSession(protos["averaged"].SerializeToString())
    (probabilities,) = session.run(["probabilities"], {"ink": ink.numpy()})
    with torch.inference_mode():
        logits = [released_model.network(Views((view,))(ink)) for view in VIEWS]
        expected = released_model.averaged_calibration(torch.stack(logits).mean(0)).softmax(1)
        expected[3] = 0.1  # blank
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


def test_test_time_augmentation_needs_a_calibration_for_it(released_model):
    earlier = released_model._replace(averaged_calibration=Calibration())
    with pytest.raises(ExportError, match="Train it again, or export it without --test-time-augmentation"):
        exported_module(earlier, Variant(averaged=True))


@pytest.mark.slow
def test_the_network_gives_the_outputs_of_the_full_file_for_its_framed_digits(protos):
    full, network = (ort.InferenceSession(protos[name].SerializeToString()) for name in ("fixed", "network"))
    for images in sample_inputs(VARIANTS["fixed"], np.zeros((8, 28, 28), np.uint8)):
        probabilities, label, framed = full.run(["probabilities", "label", "framed"], {"image": images})
        ours = network.run(["probabilities", "label"], {"ink": framed[:, None]})
        np.testing.assert_allclose(ours[0], probabilities, rtol=0, atol=1e-6)
        assert np.array_equal(ours[1], label)


def parse(*options):
    return variant_from_options(build_parser().parse_args(options))


def test_the_options_describe_the_variant():
    assert parse() == Variant()
    assert parse("--network-only", "--batch-size=3", "--opset=13") == Variant(3, network_only=True, opset=13)
    options = ["--input-size", "280", "300", "--channels=4", "--batch-size=1", "--opset=14"]
    assert parse(*options) == Variant(1, 280, 300, 4, opset=14)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--network-only", "--channels=1"], "expected --network-only without --input-size and --channels"),
        (["--opset=14"], "expected an opset of at least 15 for free sizes, got 14; add --input-size and --channels"),
        (["--opset=14", "--input-size", "28", "28"], "expected an opset of at least 15"),
        (["--opset=12"], "--opset: invalid choice: 12"),
        (["--channels=2"], "--channels: invalid choice: 2"),
        (["--input-size", "0", "28"], "expected an integer from 1 to 8,000, got '0'"),
        (
            ["--input-size", "8000", "8000", "--channels=4", "--batch-size=8000"],
            "expected at most 25,000,000 pixels in a batch, got 8,000 x 8,000 x 8,000",
        ),
        (["--input-size", "5000", "5001"], "expected at most 25,000,000 pixels in a batch, got 1 x 5,000 x 5,001"),
        (["--output=/dev/null"], "expected a file, got the device or pipe '/dev/null'"),
        (["--batch-size=many"], "expected an integer from 1 to 8,000, got 'many'"),
    ],
)
def test_options_that_describe_no_variant_are_refused(options, expected):
    with pytest.raises(ConfigError) as caught:
        parse(*options)
    assert expected in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "max_bytes"),
    [
        (["--network-only", "--opset=13", "--weights=int8"], 250_000),
        (["--input-size", "30", "20", "--channels=3", "--weights=float16"], 600_000),
    ],
)
def test_the_command_writes_a_verified_variant(run, options, max_bytes):
    content = run(*options)
    assert len(content) <= max_bytes
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    (entry,) = proto.graph.input
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert entry.doc_string == metadata["input"] == parse(*options).input_doc
    sizes = [size.dim_value or size.dim_param for size in entry.type.tensor_type.shape.dim]
    assert f"[{', '.join(map(str, sizes))}]" in metadata["input"]


@pytest.fixture
def documented(protos, released_model):
    """Return a function that returns a variant with metadata."""

    def documented(name):
        proto = onnx.ModelProto()
        proto.CopyFrom(protos[name])
        add_metadata(proto, released_model, RELEASED_CHECKPOINT, 0.5, VARIANTS[name])
        return proto

    return documented


@pytest.mark.slow
def test_a_variant_with_other_inputs_than_asked_for_is_refused(documented, released_model, tiny_mnist):
    variant = dataclasses.replace(VARIANTS["network"], batch_size=3)
    with pytest.raises(ExportError, match=r"expected \{'ink': \[3, 1, 28, 28\]\} as input of the exported file, got"):
        verify(documented("network"), released_model, tiny_mnist.directory, variant)


@pytest.mark.slow
def test_a_network_with_another_accuracy_than_stated_is_refused(documented, released_model, tiny_mnist):
    with pytest.raises(ExportError, match=r"expected an MNIST test accuracy of 0\.5000"):
        verify(documented("network"), released_model, tiny_mnist.directory, VARIANTS["network"])


@pytest.mark.slow
def test_a_file_with_fixed_sizes_that_frames_otherwise_is_refused(documented, released_model, tiny_mnist):
    proto = documented("fixed")
    assert verify(proto, released_model, tiny_mnist.directory, VARIANTS["fixed"])
    counts = Counter(name for node in proto.graph.node for name in node.input)
    (constant,) = [
        tensor
        for tensor in proto.graph.initializer
        if counts[tensor.name] == 1 and tensor.dims == [60, 32] and tensor.data_type == TensorProto.FLOAT
    ]  # the weights of the cells in each row
    constant.CopyFrom(onnx.numpy_helper.from_array(np.ones((60, 32), np.float32) / 32, constant.name))
    with pytest.raises(ExportError, match="differs from torch by"):
        verify(proto, released_model, tiny_mnist.directory, VARIANTS["fixed"])


@pytest.mark.slow
def test_a_contradiction_is_reported_in_one_line_with_status_2(run, capsys):
    status, line = failure(run, "--network-only", "--channels=4", capsys=capsys)
    assert status == 2
    assert "--network-only" in line
