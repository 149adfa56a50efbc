"""The Python and shell blocks of README.md and docs/ run, in a directory with the files that they name.

A block that needs minutes, a GPU, another host or a package that is not installed has a comment before it, which the
site shows: <!-- not run: the reason -->. `<!-- not run below: the reason -->` holds up to the next heading.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT, TinyMNIST, tiny_images
from tests.forking import DEADLINE, LIGHTNING, ForkedProcess
from tests.images import draw_digit

pytestmark = pytest.mark.slow

RELEASE = ROOT / "checkpoints" / "release"
TEMPLATES = (ROOT / "docs" / "model_card.md",)
PAGES = [ROOT / "README.md", *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path not in TEMPLATES)]
LANGUAGES = ("python", "sh", "bash")
# The fence of a block, or what stops or starts running blocks: a marker or a heading.
PARTS = re.compile(
    r"^(?:<!-- not run(?P<below> below)?: (?P<reason>[^\n]+?) -->|#+ (?P<heading>[^\n]*)"
    r"|(?P<fence>```+)(?P<language>\w*)\n(?P<code>.*?)^(?P=fence))[ \t]*$",
    re.MULTILINE | re.DOTALL,
)

# Before the first block of a page: what its text takes as given.
PREPARATION = {
    "docs/runtimes.md": """
import numpy as np
image, ink = np.zeros((1, 280, 280, 4), np.uint8), np.zeros((1, 1, 28, 28), np.float32)
""",
}
# After the last block of a page: what its text promises.
CHECKS = {
    "docs/how-to/service.md": """
from fastapi.testclient import TestClient
client = TestClient(app)
assert client.post("/digit", content=open("digit.png", "rb").read()).json()["label"] == 7
assert client.post("/digit", content=b"no image").status_code == 422
assert client.post("/digit", content=bytes(MAX_BYTES + 1)).status_code == 413
""",
}
# A tiny MNIST, and few synthetic images by default.
TINY = """
import json
from digitnet.data import mnist
from digitnet.data.datamodule import MNISTDataModule
mnist.MD5.update(json.loads(sys.argv.pop(1)))
defaults = list(MNISTDataModule.__init__.__defaults__)
assert defaults[4:6] == [12000, 4000]
MNISTDataModule.__init__.__defaults__ = (*defaults[:4], 40, 10, *defaults[6:])
"""
TINY_OPTIONS = [
    "--data.synthetic_digits=40", "--data.non_digits=10",
    "--trainer.accelerator=cpu", "--trainer.limit_train_batches=2",
]  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        line: The number of its first line.
        language: The language that its fence names.
        code: Its text.
        reason: Why it is not run, or an empty string.
    """

    line: int
    language: str
    code: str
    reason: str


def code_blocks(text: str) -> list[Block]:
    """Return the Python and shell blocks of a page."""
    found, reason, reason_below, end = [], "", "", 0
    for part in PARTS.finditer(text):
        if text[end : part.start()].strip():
            reason = ""  # a marker is directly before its block
        end = part.end()
        if part["heading"]:
            reason_below = ""
        elif part["reason"] and part["below"]:
            reason_below = part["reason"]
        elif part["reason"]:
            reason = part["reason"]
        else:
            if part["language"] in LANGUAGES:
                line = text.count("\n", 0, part.start()) + 2
                found.append(Block(line, part["language"], part["code"], reason or reason_below))
            reason = ""
    return found


BLOCKS = {path: code_blocks(path.read_text()) for path in PAGES}
RUN = [path for path, blocks in BLOCKS.items() if any(not block.reason for block in blocks)]


def shell_commands(code: str) -> list[str]:
    """Return the commands of a shell block; a line that ends within quotes or with a backslash is continued."""
    commands, command = [], ""
    for line in code.splitlines():
        command += line + "\n"
        try:
            shlex.split(command, comments=True)
        except ValueError:
            continue
        if not line.endswith("\\"):
            commands.append(command.strip())
            command = ""
    assert not command, command
    return commands


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A directory with all files that the pages name, and the MD5 sums of its tiny MNIST."""
    directory = tmp_path_factory.mktemp("pages")
    tiny = TinyMNIST(directory / "data")
    for name in ("my_digits", "my_test_digits"):
        for label in range(10):
            (directory / name / str(label)).mkdir(parents=True)
        for index, (image, label) in enumerate(zip(*tiny_images(50, seed=3), strict=True)):
            Image.fromarray(image).resize((60, 60)).save(directory / name / str(label) / f"{index}.png")
    (directory / "scans").mkdir()
    for label, names in {1: ("scans/a.png",), 7: ("scans/b.png", "digit.png", "form.png", "page.png")}.items():
        for name in names:
            draw_digit(label, 280).save(directory / name)
    Image.open(directory / "digit.png").convert("RGB").save(directory / "other.jpg")
    with tarfile.open(directory / "scans.tar", "w") as tar:
        tar.add(directory / "scans", "scans")
    for checkpoint in ("checkpoints/best.ckpt", "run1/checkpoints/best.ckpt", "run2/checkpoints/best.ckpt", "my.ckpt"):
        (directory / checkpoint).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RELEASE / "digitnet.ckpt", directory / checkpoint)
    for model in RELEASE.glob("*.onnx"):
        shutil.copy(model, directory)
    shutil.copy(RELEASE / "digitnet.onnx", directory / "my.onnx")
    shutil.copytree(RELEASE, directory / "checkpoints" / "release")
    (directory / "logs" / "tensorboard" / "version_0").mkdir(parents=True)
    (directory / "logs" / "tensorboard" / "version_0" / "config.yaml").write_text("trainer:\n  max_epochs: 1\n")
    (directory / "examples").symlink_to(ROOT / "examples")
    return directory, json.dumps(tiny.md5)


class Workspace:
    """Runs the blocks of a page in its own copy of the prepared directory.

    Args:
        directory: The copy.
        md5: The MD5 sums of the tiny MNIST, as JSON.
        request: Loads the fixture `mnist_dir` if an export is verified.
    """

    def __init__(self, directory: Path, md5: str, request: pytest.FixtureRequest) -> None:
        self.directory, self.md5, self.request = directory, md5, request

    def run_python(self, program: str, *args: str, output: Path | None = None) -> None:
        """Run a Python program in a process that has already imported Lightning."""
        program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{TINY}{program}"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = ForkedProcess(LIGHTNING, program, ["-c", self.md5, *args], cwd=self.directory, env=environment)
        printed, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors[-3000:]
        if output:
            output.write_text(printed)

    def run_shell(self, code: str) -> None:
        """Run a shell block: training on the tiny MNIST, everything else as it is."""
        for command in shell_commands(code):
            words = shlex.split(command, comments=True)
            if words[:2] in (["python", "train.py"], ["digitnet", "train"]):
                self.train(words[2:])
            elif words[:2] == ["digitnet", "export"]:
                # The network of the tiny images fails the verification on other images.
                shutil.copy(RELEASE / "digitnet.ckpt", self.directory / "checkpoints" / "best.ckpt")
                self.run_command(f"{command} --data-dir {self.request.getfixturevalue('mnist_dir')}")
            elif words:
                self.run_command(command)

    def train(self, options: list[str]) -> None:
        """Run train.py with its options, and those that make it short."""
        options, output = (options[:-2], self.directory / options[-1]) if ">" in options else (options, None)
        epochs = ["--trainer.max_epochs=2" if "--ckpt_path" in options else "--trainer.max_epochs=1"]
        program = "sys.argv[0] = 'train.py'; import train; train.main()"
        self.run_python(program, *TINY_OPTIONS, *options, *epochs, output=output)

    def run_command(self, command: str) -> None:
        """Run a command as it is."""
        scripts = os.path.dirname(sys.executable)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{scripts}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command], cwd=self.directory, capture_output=True, text=True,
            env=environment,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("path", RUN, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_blocks_of_a_page_run(path, prepared, tmp_path, request):
    directory, md5 = prepared
    workspace = Workspace(shutil.copytree(directory, tmp_path / "page", symlinks=True), md5, request)
    blocks = [block for block in BLOCKS[path] if not block.reason]
    programs = [block.code for block in blocks if block.language == "python"]
    if programs:
        name = str(path.relative_to(ROOT))
        workspace.run_python("\n".join([PREPARATION.get(name, ""), *programs, CHECKS.get(name, "")]))
    for block in blocks:
        if block.language != "python":
            workspace.run_shell(block.code)


def test_the_guides_have_code_that_runs():
    names = {path.stem for path in RUN}
    assert {"README", "tutorial", "own-images", "tune", "repeat-a-run", "custom-network", "python", "batch"} <= names


def test_a_marker_holds_for_its_block_only_or_up_to_the_next_heading():
    block = "```sh\nls\n```\n"
    text = (
        f"<!-- not run: slow -->\n{block}\n{block}\n"
        f"<!-- not run below: far -->\n\n{block}text\n\n{block}# Next\n{block}"
    )
    assert [one.reason for one in code_blocks(text)] == ["slow", "", "far", "far", ""]


def test_a_failing_block_is_noticed(prepared, tmp_path, request):
    workspace = Workspace(tmp_path, prepared[1], request)
    with pytest.raises(AssertionError, match="no-such-file"):
        workspace.run_shell("echo 'a\nb'\nls no-such-file")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        workspace.run_python("1 / 0")
