"""The tutorial's plots are of a run, and the other claims of the guides about its code hold."""

import re

import pytest
import torch
from PIL import Image

from digitnet.model.network import ConvNet
from tests.conftest import ROOT
from tests.test_code_blocks import code_blocks

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
MAX_PLOT_BYTES = 60_000  # the plots are a part of every clone


def test_the_tutorial_shows_the_four_plots_of_a_run():
    names = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TUTORIAL)
    assert names == [f"tutorial_{name}.png" for name in ("samples", "curves", "confusion", "mistakes")]
    for name in names:
        path = ROOT / "docs" / name
        assert path.stat().st_size <= MAX_PLOT_BYTES
        Image.open(path).verify()


def test_the_table_of_the_network_has_the_shapes_of_its_outputs():
    rows = re.findall(r"^\| (.*?) \| \(N, ([\d, ]+)\) \|", TUTORIAL, re.MULTILINE)
    shapes = {layer: tuple(map(int, shape.split(", "))) for layer, shape in rows}
    assert len(shapes) == 7
    outputs = {}
    network = ConvNet().eval()
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: tuple(output.shape[1:])}))
    network(torch.zeros(1, 1, 28, 28))
    for layer, shape in shapes.items():
        names = re.findall(r"`(\w+)`", layer)
        assert [outputs[name] for name in names] == [shape] * len(names), layer


@pytest.mark.parametrize("line", ["cli = TrainingCLI(args)", "cli.fit()", "cli.test()", "cli.print_summary()"])
def test_the_lines_of_train_py_in_the_tutorial_are_those_of_train_py(line):
    assert f"| `{line}` |" in TUTORIAL
    assert f"    {line}\n" in (ROOT / "train.py").read_text()


def test_the_plain_api_takes_five_lines():
    program = code_blocks((ROOT / "docs" / "how-to" / "custom-network.md").read_text())[0].code
    lines = [line for line in program.splitlines() if line]
    assert len(lines) == 5
    assert any("DigitNet(), MNISTDataModule()" in line for line in lines)
