"""The wheel in an empty environment, on the oldest onnxruntime that it admits."""

import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from digitnet import DigitClassifier
from digitnet.inference.classifier import released_model_path
from tests.conftest import ROOT
from tests.images import draw_digit, random_image

OLDEST = "onnxruntime==1.17.*"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an environment with nothing but the wheel, what it takes, and the oldest onnxruntime."""
    if sys.version_info >= (3, 13):
        pytest.skip("onnxruntime 1.17 has builds for Python up to 3.12")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # so that the build leaves nothing in the repository
    kept = shutil.ignore_patterns(".*", "data", "logs", "reports", "node_modules", "*.egg-info", "build", "tests")
    shutil.copytree(ROOT, source, ignore=kept)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run(
            [*pip, "wheel", "--no-deps", "--wheel-dir", folder, source], check=True, capture_output=True, text=True
        )
        (wheel,) = folder.glob("*.whl")
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True, capture_output=True, text=True)
        python = folder / "env" / "bin" / "python"
        subprocess.run(
            [python, *pip[1:], "install", wheel, OLDEST, "numpy<2"], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        if "No matching distribution" in error.stderr or "Could not find a version" in error.stderr:
            pytest.skip(f"needs a package index: {error.stderr.strip().splitlines()[-1]}")
        raise AssertionError(error.stderr) from error
    return python, wheel


def outside(python, *command, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run([python, *command], cwd=cwd, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_carries_the_released_model_and_no_tests(installed):
    names = zipfile.ZipFile(installed[1]).namelist()
    assert "digitnet/release/digitnet.onnx" in names
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks", "data"))]


def test_in_an_empty_environment_without_torch_it_reads_a_png(installed, tmp_path):
    draw_digit().save(tmp_path / "seven.png")
    program = (
        "import importlib.util as i, onnxruntime, digitnet; assert not i.find_spec('torch');"
        "print(onnxruntime.__version__, digitnet.DigitClassifier()('seven.png').label)"
    )
    version, label = outside(installed[0], "-c", program, cwd=tmp_path).split()
    assert version.startswith("1.17.")
    assert label == "7"


def test_the_command_is_installed_and_reads_a_png(installed, tmp_path):
    draw_digit().save(tmp_path / "seven.png")
    assert outside(installed[0], "-m", "digitnet", "predict", "seven.png", cwd=tmp_path).startswith("7 ")
    command = subprocess.run(
        [installed[0].with_name("digitnet"), "predict", "seven.png"], cwd=tmp_path, capture_output=True, text=True
    )
    assert command.stdout.startswith("7 "), command.stderr


def test_the_oldest_onnxruntime_gives_what_the_newest_gives(installed, tmp_path):
    random = np.random.default_rng(3)
    pictures = [random_image(random, largest=300) for _ in range(200)] + [
        np.asarray(draw_digit(digit)) for digit in (1, 7)
    ]
    here = DigitClassifier(released_model_path())(pictures)
    np.savez(tmp_path / "pictures.npz", *pictures)
    program = (
        "import numpy as np, digitnet; pictures = np.load('pictures.npz'); read = digitnet.DigitClassifier();"
        "all = [read(pictures[f'arr_{i}']) for i in range(len(pictures.files))];"
        "np.savez('there.npz', labels=[-1 if p.label is None else p.label for p in all],"
        "probabilities=[p.probabilities for p in all])"
    )
    outside(installed[0], "-c", program, cwd=tmp_path)
    there = np.load(tmp_path / "there.npz")
    assert there["labels"].tolist() == [-1 if p.label is None else p.label for p in here]
    np.testing.assert_allclose(there["probabilities"], [p.probabilities for p in here], rtol=0, atol=1e-5)
