"""Every program and command of docs/tutorial.md runs, on a tiny dataset."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import ROOT, TinyMNIST, tiny_images
from tests.forking import DEADLINE, LIGHTNING, ForkedProcess

pytestmark = pytest.mark.slow

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TUTORIAL, re.DOTALL) for line in block.splitlines()]
RELEASED = ROOT / "checkpoints" / "release" / "digitnet.ckpt"
# The checksums of the tiny MNIST, and few synthetic images by default.
TINY = """
import json
from digitnet.data import mnist
from digitnet.data.datamodule import MNISTDataModule
mnist.MD5.update(json.loads(sys.argv.pop(1)))
defaults = list(MNISTDataModule.__init__.__defaults__)
assert defaults[4:6] == [12000, 4000]
MNISTDataModule.__init__.__defaults__ = (*defaults[:4], 40, 10, *defaults[6:])
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A directory with everything that the tutorial's programs use, and the MD5 sums of its tiny MNIST."""
    directory = tmp_path_factory.mktemp("tutorial")
    tiny = TinyMNIST(directory / "data")
    for label in range(10):
        (directory / "my_digits" / str(label)).mkdir(parents=True)
    for index, (image, label) in enumerate(zip(*tiny_images(50, seed=3), strict=True)):
        Image.fromarray(image).resize((60, 60)).save(directory / "my_digits" / str(label) / f"{index}.png")
    (directory / "checkpoints").mkdir()
    shutil.copy(RELEASED, directory / "checkpoints" / "best.ckpt")
    return directory, json.dumps(tiny.md5)


def run(workspace, program, *args):
    """Run a Python program in the workspace."""
    directory, md5 = workspace
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{TINY}{program}"
    process = ForkedProcess(LIGHTNING, program, ["-c", md5, *args], cwd=directory, env=dict(os.environ))
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors[-3000:]


@pytest.mark.parametrize("program", PROGRAMS, ids=[f"program {number}" for number in range(1, len(PROGRAMS) + 1)])
def test_each_program_of_the_tutorial_runs(program, workspace):
    run(workspace, program)


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("python train.py")])
def test_each_training_command_of_the_tutorial_runs(command, workspace):
    tiny = ["--data.synthetic_digits=40", "--data.non_digits=10", "--trainer.accelerator=cpu"]
    options = [*tiny, *shlex.split(command)[2:]]
    run(workspace, "sys.argv[0] = 'train.py'; import train; train.main()", *options)


def test_the_tutorial_ends_with_an_exported_and_evaluated_model(workspace, mnist_dir):
    """With the released checkpoint, since the network of the tiny images fails the verification on other images."""
    directory, _ = workspace
    shutil.copy(RELEASED, directory / "checkpoints" / "best.ckpt")
    commands = [shlex.split(line)[1:] for line in COMMANDS if line.startswith("digitnet ")]
    assert [command[0] for command in commands] == ["export", "evaluate"]
    commands[0] += ["--data-dir", str(mnist_dir)]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "digitnet", *command],
            cwd=directory, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (directory / "my.onnx").exists()


def test_every_command_of_the_tutorial_is_run_by_a_test():
    assert len(PROGRAMS) >= 5
    assert all(line.startswith(("python train.py", "digitnet ")) for line in COMMANDS)


def test_the_plain_api_takes_five_lines():
    lines = [line for line in PROGRAMS[0].splitlines() if line]
    assert len(lines) == 5
    assert any("DigitNet(), MNISTDataModule()" in line for line in lines)
