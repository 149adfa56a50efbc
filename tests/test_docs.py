"""README and docs say what holds: their commands run, their links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
import tarfile

import pytest
from PIL import Image

from benchmarks import page
from digitnet.training.cli import TrainingCLI
from tests.conftest import ROOT
from tests.images import draw_digit

PAGES = [
    ROOT / "README.md", ROOT / "checkpoints" / "release" / "MODEL_CARD.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "model_card.md"),  # the card's template
]  # fmt: skip
README = PAGES[0].read_text()
COMMANDS = [
    line.split("   ")[0].split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def commands(word):
    found = [command for command in COMMANDS if word in command]
    assert found
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_link_to_a_file_or_heading_leads_somewhere(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        goal = path.parent / name if name else path
        assert goal.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", goal.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("command", commands("train.py --"))
def test_train_py_takes_the_options_that_readme_gives(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(ROOT / "checkpoints" / "release" / "config.yaml", tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as stop:
        TrainingCLI([*command.partition("train.py ")[2].split(), "--print_config"])
    assert stop.value.code == 0
    assert "max_epochs:" in capsys.readouterr().out


@pytest.fixture
def pictures(tmp_path):
    """A folder with all that the commands name."""
    for name in ("scans", "folder/1", "folder/7"):
        (tmp_path / name).mkdir(parents=True)
    for label, names in {
        1: ("picture.png", "scans/a.png", "folder/1/a.png"),
        7: ("scans/b.png", "folder/7/b.png"),
    }.items():
        for name in names:
            draw_digit(label, 280).save(tmp_path / name)
    with tarfile.open(tmp_path / "scans.tar", "w") as tar:
        tar.add(tmp_path / "scans", "scans")
    return tmp_path


@pytest.mark.parametrize("command", commands("digitnet predict") + commands("digitnet evaluate"))
def test_readmes_digitnet_commands_run(command, pictures):
    scripts = os.path.dirname(sys.executable)
    run = subprocess.run(
        ["bash", "-c", command], cwd=pictures, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert "error" not in run.stderr


def test_readmes_python_reads_pictures(pictures):
    (program,) = re.findall(r"```python\n(from digitnet import.*?)```", README, re.DOTALL)
    program = program.replace("[image, array, ", "[Image.open('picture.png'), numpy.zeros((9, 9), 'uint8'), ")
    Image.open(pictures / "picture.png").convert("RGB").save(pictures / "other.jpg")
    subprocess.run([sys.executable, "-c", f"import numpy; from PIL import Image\n{program}"], cwd=pictures, check=True)


def test_readme_shows_the_figures_of_the_benchmarks_page():
    sections = page.read_sections()
    assert list(sections) == list(page.SCRIPTS)
    rows = page.table(sections)
    assert rows.count("\n") == 2 + len(page.SHOWN)
    assert page.BEGIN + rows + page.END in README
