import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import digitnet
from tests.conftest import ROOT

PACKAGE = ROOT / "digitnet"
MODULES = sorted(PACKAGE.rglob("*.py"))
TORCH_FREE = [
    "digitnet",
    "digitnet.cli",
    "digitnet.inference.cli",
    "digitnet.evaluation.cli",
    "digitnet.app.cli",
    "digitnet.app.explanation",
    "digitnet.data.mnist",
    "digitnet.data.synthetic",
]


@pytest.mark.slow  # importing Gradio takes seconds
def test_inference_imports_no_torch():
    program = (
        "import importlib, sys\nfor module in sys.argv[1:]:\n    importlib.import_module(module)\n"
        "    print(module, sorted({'torch', 'torchvision', 'lightning'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, *TORCH_FREE]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [f"{module} []" for module in TORCH_FREE]


def lint_imports(directory: Path) -> subprocess.CompletedProcess:
    """Run import-linter on the package below `directory`, with the contracts of pyproject.toml."""
    shutil.copy(ROOT / "pyproject.toml", directory)
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, env={"PYTHONPATH": str(directory)})


@pytest.fixture
def copied_package(tmp_path):
    """Return a directory with a copy of the package."""
    shutil.copytree(PACKAGE, tmp_path / "digitnet", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_packages_import_downward_only(copied_package):
    result = lint_imports(copied_package)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("inference/sources.py", "import digitnet.model.framing"),
        ("inference/sources.py", "import torch"),
        ("model/network.py", "import digitnet.training.module"),
        ("data/mnist.py", "import digitnet.evaluation.metrics"),
        ("training/module.py", "import digitnet.export.graph"),
        ("app/demo.py", "import train"),
    ],
)
def test_an_import_in_the_wrong_direction_is_noticed(copied_package, module: str, statement: str):
    path = copied_package / "digitnet" / module
    path.write_text(f"{path.read_text()}\n{statement}\n")
    if statement == "import train":
        shutil.copy(ROOT / "train.py", copied_package)
    result = lint_imports(copied_package)
    assert result.returncode == 1, result.stdout
    assert "BROKEN" in result.stdout


def test_every_error_is_a_digitnet_error():
    for name in (name for name in digitnet.__all__ if name.endswith("Error")):
        assert issubclass(getattr(digitnet, name), digitnet.DigitnetError)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_commands_print(module: Path):
    calls = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert module.name in ("cli.py", "read_cli.py", "console.py") or not prints, f"{module} prints in lines {prints}"


@pytest.mark.parametrize("script", ["train.py", "export.py", "app.py"])
def test_a_root_script_fits_a_screen(script: str):
    assert len((ROOT / script).read_text().splitlines()) <= 60


def steps(path: Path) -> str:
    """Return the statements of `main` in a module, without comments and the docstring."""
    (main,) = [
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == "main"
    ]
    return ast.unparse(main.body[1:])


@pytest.mark.parametrize(("script", "package"), [("train.py", "training"), ("export.py", "export"), ("app.py", "app")])
def test_a_root_script_shows_the_steps_of_its_subcommand(script: str, package: str):
    assert steps(ROOT / script) == steps(PACKAGE / package / "cli.py")


def test_the_tests_mirror_the_packages():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages <= {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
