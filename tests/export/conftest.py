"""Fixtures that export the released network, or one with random weights."""

import pytest
import torch

import export
from digitnet.export.graph import build_onnx
from digitnet.model.checkpoint import load_model
from digitnet.training.module import DigitNet
from tests.conftest import ROOT

RELEASED_CHECKPOINT = ROOT / "checkpoints" / "release" / "digitnet.ckpt"


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
