import ast
import subprocess
import sys
from pathlib import Path

import pytest

import digitnet
from tests.conftest import ROOT

MODULES = sorted((ROOT / "digitnet").glob("*.py"))


def test_importing_digitnet_imports_no_torch():
    program = "import sys, digitnet; print(sorted({'torch', 'torchvision', 'lightning'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_no_module_imports_a_root_script(module: Path):
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    assert not names & {"train", "export", "app"}


def test_every_error_is_a_digitnet_error():
    for name in ("ConfigError", "DatasetError", "CheckpointError"):
        assert issubclass(getattr(digitnet, name), digitnet.DigitnetError)


def test_train_py_stays_short_enough_to_read():
    assert len((ROOT / "train.py").read_text().splitlines()) <= 60


def test_readme_lists_every_file_of_the_package():
    readme = (ROOT / "README.md").read_text()
    for path in [*MODULES, *(ROOT / "benchmarks").glob("*.py"), ROOT / "train.py"]:
        assert path.name in readme, f"README's tree lacks {path.name}"
