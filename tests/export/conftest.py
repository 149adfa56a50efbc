"""Fixtures that export the released network, or one with random weights."""

import onnx
import pytest
import torch

import export
from digitnet.export import activations, graph
from digitnet.export.graph import build_onnx
from digitnet.model.checkpoint import load_model
from digitnet.training.module import DigitNet
from tests.conftest import ROOT

RELEASED_CHECKPOINT = ROOT / "checkpoints" / "release" / "digitnet.ckpt"


def identity(module):
    """Return what an exported graph depends on: the modules, their numbers and their weights."""
    numbers = [
        (name, value)
        for submodule in module.modules()
        for name, value in vars(submodule).items()
        if isinstance(value, (bool, int, float, str, tuple))
    ]
    weights = [(name, tensor.numpy().tobytes()) for name, tensor in module.state_dict().items()]
    return repr(module), repr(numbers), tuple(weights)


@pytest.fixture(scope="session", autouse=True)
def exported_once():
    """Trace the same module with the same input once; torch.onnx.export takes 15 seconds or more."""
    traced = {}
    trace = graph.to_onnx

    def to_onnx(module, example, name, dimensions, outputs):
        key = (*identity(module), example.shape, example.dtype, name, tuple(dimensions), tuple(outputs))
        if key not in traced:
            traced[key] = trace(module, example, name, dimensions, outputs).SerializeToString()
        return onnx.load_from_string(traced[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "to_onnx", to_onnx)
        patch.setattr(activations, "to_onnx", to_onnx)
        yield


@pytest.fixture(scope="session")
def released_model():
    return load_model(RELEASED_CHECKPOINT)


@pytest.fixture(scope="session")
def default_proto(released_model):
    """The released model, exported with the default options; tests must not change it."""
    return build_onnx(released_model)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A checkpoint with random weights."""
    torch.manual_seed(0)
    model = DigitNet()
    path = tmp_path_factory.mktemp("checkpoint") / "some.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}, path)
    return path


@pytest.fixture
def run(checkpoint, tmp_path, tiny_mnist):
    """Run export.py on the random network and tiny data, and return the bytes of the file."""

    def run(*options):
        output = tmp_path / "out" / "some.onnx"
        export.main(
            [f"--checkpoint={checkpoint}", f"--output={output}", f"--data-dir={tiny_mnist.directory}", *options]
        )
        return output.read_bytes()

    run.output = tmp_path / "out" / "some.onnx"
    return run


def failure(run, *options, capsys):
    """Run with options that fail, and return the exit status and the line of the error."""
    with pytest.raises(SystemExit) as caught:
        run(*options)
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return caught.value.code, lines[-1]
