import hashlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from digitnet.contract import OUTPUT_DOCS
from digitnet.export.graph import ExportedModel
from digitnet.export.verify import sample_images

pytestmark = pytest.mark.slow  # each export takes seconds


@pytest.mark.parametrize(("weights", "max_bytes"), [("float32", 1_000_000), ("float16", 600_000), ("int8", 300_000)])
def test_the_file_is_small_complete_and_documented(run, checkpoint, weights, max_bytes):
    content = run(f"--weights={weights}")
    assert len(content) <= max_bytes
    assert [path.name for path in run.output.parent.iterdir()] == ["some.onnx"], "no external data"
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert proto.ir_version <= 9
    kinds = [node.op_type for node in proto.graph.node]
    assert [kinds.count(kind) for kind in ("Conv", "MaxPool", "Gemm", "BatchNormalization")] == [2, 9, 2, 0]
    for trace in (b"/home", b"/tmp", b"site-packages", b".py"):
        assert trace not in content
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert set(metadata) == {
        "description", "license", "version", "training_data", "test_accuracy", "threshold", "temperature", "views",
        "classes", "input", "checkpoint_sha256",
    }  # fmt: skip
    assert metadata["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    for value in [*proto.graph.input, *proto.graph.output]:
        assert value.doc_string
    assert [output.name for output in proto.graph.output] == list(OUTPUT_DOCS)


@pytest.fixture(scope="module")
def session(default_proto):
    return ort.InferenceSession(default_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def test_it_agrees_with_torch_at_any_batch_size_and_image_size(session, released_model):
    reference = ExportedModel(released_model).eval()
    for batch in (1, 2, 7):
        for image in sample_images(batch, seed=100 + batch):
            with torch.inference_mode():
                expected = [output.numpy() for output in reference(torch.from_numpy(image))]
            outputs = session.run(None, {"image": image})
            for name, ours, theirs in zip(OUTPUT_DOCS, expected, outputs, strict=True):
                assert theirs.dtype == ours.dtype
                np.testing.assert_allclose(theirs, ours, rtol=0, atol=0 if name == "label" else 1e-5)


def test_the_caller_may_ask_for_the_label_alone(session):
    (label,) = session.run(["label"], {"image": np.full((3, 9, 8, 1), 77, np.uint8)})
    assert label.dtype == np.int32
    assert label.tolist() == [-1, -1, -1], "blank"


def test_a_blank_image_has_even_probabilities_and_no_ink(session):
    probabilities, _, framed, ink = session.run(None, {"image": np.zeros((1, 20, 30, 4), np.uint8)})
    assert probabilities == pytest.approx(np.full((1, 10), 0.1))
    assert not framed.any()
    assert ink == 0
