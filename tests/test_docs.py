"""The README and the docs are correct: their commands run, and their links and figures exist."""

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
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY", "CODE_OF_CONDUCT")),
    ROOT / "checkpoints" / "release" / "MODEL_CARD.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "model_card.md"),  # a template
]  # fmt: skip
README = PAGES[0].read_text()
COMMANDS = [
    line.split("   ")[0].split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def commands(word):
    """Return the README's shell commands that contain `word`."""
    found = [command for command in COMMANDS if word in command]
    assert found
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_link_to_a_file_or_heading_resolves(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("command", commands("train.py --"))
def test_train_py_accepts_the_options_in_the_readme(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "logs" / "tensorboard" / "version_0").mkdir(parents=True)
    shutil.copy(ROOT / "checkpoints" / "release" / "config.yaml", tmp_path / "logs" / "tensorboard" / "version_0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as stop:
        TrainingCLI([*command.partition("train.py ")[2].split(), "--print_config"])
    assert stop.value.code == 0
    assert "max_epochs:" in capsys.readouterr().out


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_each_training_option_in_the_docs_exists(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit):
        TrainingCLI(["--help"])
    existing = set(re.findall(r"--(?:data|model|trainer)\.\w+", capsys.readouterr().out))
    assert set(re.findall(r"--(?:data|model|trainer)\.\w+", path.read_text())) <= existing


def test_the_layout_in_the_readme_is_the_layout_of_the_project():
    (layout,) = re.findall(r"## Project layout\n\n```\n(.*?)```", README, re.DOTALL)
    listed = re.findall(r"^  (\w+)/ ", layout, re.MULTILINE)
    assert sorted(listed) == sorted(path.parent.name for path in (ROOT / "digitnet").glob("*/__init__.py"))
    for name in re.findall(r"^(\S+/) ", layout, re.MULTILINE):
        assert (ROOT / name).is_dir(), name


@pytest.fixture
def images(tmp_path):
    """A directory with all the files that the commands name."""
    for name in ("scans", "my_digits/1", "my_digits/7"):
        (tmp_path / name).mkdir(parents=True)
    for label, names in {
        1: ("digit.png", "scans/a.png", "my_digits/1/a.png"),
        7: ("scans/b.png", "my_digits/7/b.png"),
    }.items():
        for name in names:
            draw_digit(label, 280).save(tmp_path / name)
    with tarfile.open(tmp_path / "scans.tar", "w") as tar:
        tar.add(tmp_path / "scans", "scans")
    return tmp_path


@pytest.mark.parametrize("command", commands("digitnet predict") + commands("digitnet evaluate"))
def test_the_digitnet_commands_in_the_readme_run(command, images):
    scripts = os.path.dirname(sys.executable)
    run = subprocess.run(
        ["bash", "-c", command], cwd=images, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert "error" not in run.stderr


def test_the_python_program_in_the_readme_runs(images):
    (program,) = re.findall(r"```python\n(from digitnet import.*?)```", README, re.DOTALL)
    program = program.replace("[image, array, ", "[Image.open('digit.png'), numpy.zeros((9, 9), 'uint8'), ")
    Image.open(images / "digit.png").convert("RGB").save(images / "other.jpg")
    subprocess.run([sys.executable, "-c", f"import numpy; from PIL import Image\n{program}"], cwd=images, check=True)


def test_the_readme_shows_the_figures_of_the_benchmarks_page():
    sections = page.read_sections()
    assert list(sections) == list(page.SCRIPTS)
    rows = page.table(sections)
    assert rows.count("\n") == 2 + len(page.SHOWN)
    assert page.BEGIN + rows + page.END in README
