"""docs/numbers.md: its program and commands run, and its tables are of all kinds of numbers."""

import re
import subprocess
import sys

import pytest
from PIL import Image, ImageDraw

from benchmarks.synthetic_numbers import KINDS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "numbers.md").read_text()


@pytest.fixture
def images(tmp_path):
    """A directory with the images that the page names."""
    image = Image.new("L", (200, 120), 255)
    ImageDraw.Draw(image).line([(60, 25), (60, 95)], 0, width=8)
    (tmp_path / "scans").mkdir()
    for name in ("form.png", "page.png", "scans/a.png"):
        image.save(tmp_path / name)
    return tmp_path


def test_the_program_runs(images):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run([sys.executable, "-c", program], cwd=images, check=True)


@pytest.mark.parametrize("command", re.findall(r"^digitnet (read .*?)(?:  #.*)?$", PAGE, re.MULTILINE))
def test_each_command_runs(command, images):
    arguments = [sys.executable, "-m", "digitnet", *command.split()]
    run = subprocess.run(arguments, cwd=images, capture_output=True, text=True, check=True)
    assert "1" in run.stdout
    assert run.stderr == ""


def test_the_tables_have_a_row_for_each_kind():
    assert [kind for kind in KINDS if f"| {kind} | " not in PAGE] == []
