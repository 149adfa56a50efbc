"""The README and the docs are correct: their commands run, their links exist, and their figures were measured."""

import json
import re
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO

import pytest

from benchmarks import page, results
from digitnet.cli import COMMANDS
from digitnet.training.cli import TrainingCLI
from docs import hooks
from tests.conftest import ROOT

PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY", "CODE_OF_CONDUCT")),
    ROOT / "checkpoints" / "release" / "MODEL_CARD.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "model_card.md"),  # a template
]  # fmt: skip
README = PAGES[0].read_text()
GENERATED = {  # pages of the site that docs/hooks.py generates; tests/test_site.py tests them
    *(ROOT / "docs" / "reference" / "commands" / f"{command}.md" for command in COMMANDS),
    *(ROOT / "docs" / "reference" / "api" / f"{package}.md" for package in hooks.packages()),
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_link_to_a_file_or_heading_resolves(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists() or target.resolve() in GENERATED, link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.fixture(scope="module")
def training_options():
    """The options of train.py that its help lists."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as text:
        patch.setattr(sys, "argv", ["train.py"])
        with pytest.raises(SystemExit):
            TrainingCLI(["--help"])
    return set(re.findall(r"--(?:data|model|trainer)\.\w+", text.getvalue()))


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_each_training_option_in_the_docs_exists(path, training_options):
    assert set(re.findall(r"--(?:data|model|trainer)\.\w+", path.read_text())) <= training_options


def test_the_layout_in_the_docs_is_the_layout_of_the_project():
    design = (ROOT / "docs" / "design.md").read_text()
    (layout,) = re.findall(r"## Project layout\n\n```\n(.*?)```", design, re.DOTALL)
    listed = re.findall(r"^  (\w+)/ ", layout, re.MULTILINE)
    assert sorted(listed) == sorted(path.parent.name for path in (ROOT / "digitnet").glob("*/__init__.py"))
    for name in re.findall(r"^(\S+/) ", layout, re.MULTILINE):
        assert (ROOT / name).is_dir(), name


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
