"""The README and the docs are correct: their commands run, their links exist, and their figures were measured."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

import pytest
from PIL import Image

from benchmarks import page, results
from digitnet.training.cli import TrainingCLI
from tests.conftest import ROOT
from tests.images import draw_digit

PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY", "CODE_OF_CONDUCT")),
    ROOT / "checkpoints" / "release" / "MODEL_CARD.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "model_card.md"),  # a template
]  # fmt: skip
README = PAGES[0].read_text()
USAGE = (ROOT / "docs" / "usage.md").read_text()
COMMANDS = [
    line.split("   ")[0].split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README + USAGE, re.DOTALL)
    for line in block.splitlines()
]


def commands(word):
    """Return the shell commands of the README and of docs/usage.md that contain `word`."""
    found = dict.fromkeys(command for command in COMMANDS if word in command)
    assert found
    return list(found)


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
def test_train_py_accepts_the_options_in_the_docs(command, tmp_path, monkeypatch, capsys):
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


def test_the_layout_in_the_docs_is_the_layout_of_the_project():
    design = (ROOT / "docs" / "design.md").read_text()
    (layout,) = re.findall(r"## Project layout\n\n```\n(.*?)```", design, re.DOTALL)
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
def test_the_digitnet_commands_in_the_docs_run(command, images):
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


def test_the_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def test_the_readme_shows_the_recorded_measurements():
    metrics, measurements = json.loads(results.METRICS.read_text()), json.loads(results.MEASUREMENTS.read_text())
    assert results.render(metrics[0], measurements) in README


def test_the_readme_has_no_figure_outside_of_the_recorded_measurements():
    prose = README.partition(results.BEGIN)[0] + README.partition(results.END)[2]
    prose = re.sub(r"```.*?```", "", prose, flags=re.DOTALL)
    units = (
        r"\d[\d,.]*\s?(?:%|percent\b|points?\b|m?s\b|(?:milli)?seconds?\b|minutes?\b|[KMG]i?B\b|images\b|parameters\b)"
    )
    assert re.findall(units, prose) == []


def test_the_recorded_measurements_are_those_of_the_benchmarks_page():
    sections, measurements = page.read_sections(), json.loads(results.MEASUREMENTS.read_text())
    assert list(sections) == list(page.SCRIPTS)
    for measured in measurements.values():
        measured.pop("note", None)
    assert {name: results.record(section) for name, section in sections.items()} == measurements
    assert all(measured["tables"] for measured in measurements.values())


def test_a_new_measurement_replaces_the_one_in_the_readme(tmp_path):
    measurements = json.loads(results.MEASUREMENTS.read_text())
    (cell,) = results.COMPARISONS[2].digitnet
    results.row(cell, measurements)[cell.column] = "123,456"
    (tmp_path / "measurements.json").write_text(json.dumps(measurements))
    shutil.copy(ROOT / "README.md", tmp_path)
    results.write_results(tmp_path / "README.md", measurements=tmp_path / "measurements.json")
    old, new = README.splitlines(), (tmp_path / "README.md").read_text().splitlines()
    (changed,) = [index for index, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
    assert "| 123,456 |" in new[changed]


def test_a_row_that_a_benchmark_no_longer_prints_is_an_error():
    measurements = json.loads(results.MEASUREMENTS.read_text())
    measurements["app_load"]["tables"] = [[["another row", "1"]]]
    with pytest.raises(LookupError, match="0 rows of app_load begin with 'pen-up'; expected one"):
        results.render(json.loads(results.METRICS.read_text())[0], measurements)
