"""The wheel in fresh environments: alone with the oldest onnxruntime that it admits, and with every extra."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

from digitnet import DigitClassifier
from digitnet.inference.classifier import released_model_path
from tests.conftest import ROOT
from tests.forking import DEADLINE
from tests.images import draw_digit, random_image

pytestmark = [pytest.mark.slow, pytest.mark.network]

OLDEST_ONNXRUNTIME = "onnxruntime==1.17.*"
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]


def pip(python: str | Path, *command: str | Path) -> None:
    """Run pip, and skip the test if there is no package index."""
    result = subprocess.run([python, *PIP, *command], capture_output=True, text=True)
    if "No matching distribution" in result.stderr or "Could not find a version" in result.stderr:
        pytest.skip(f"needs a package index: {result.stderr.strip().splitlines()[-1]}")
    assert result.returncode == 0, result.stderr


def create_environment(directory: Path) -> Path:
    """Create a virtual environment and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True, capture_output=True, text=True)
    return directory / "bin" / "python"


def environment_variables() -> dict[str, str]:
    """Return the environment variables without those that make the repository importable."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


def run(python: Path, *command: str | Path, cwd: Path) -> str:
    """Run Python outside the repository and return what it prints."""
    result = subprocess.run([python, *command], cwd=cwd, capture_output=True, text=True, env=environment_variables())
    assert result.returncode == 0, result.stderr
    return result.stdout


def find_python(version: str) -> str | None:
    """Return the path of an installed Python of a version such as "3.12", also of one that only pyenv knows."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*pyenv.glob(f"{version}.*/bin/python"), shutil.which(f"python{version}")]
    for candidate in filter(None, candidates):
        result = subprocess.run([candidate, "--version"], capture_output=True, text=True)
        if result.stdout.startswith(f"Python {version}."):
            return str(candidate)
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build the sdist, and from it the wheel, of a copy of the repository, so that the build leaves nothing there."""
    directory = tmp_path_factory.mktemp("wheel")
    patterns = shutil.ignore_patterns(".*", "reports", "node_modules", "*.egg-info", "build", "tests", "__pycache__")

    def left_out(directory: str, names: list[str]) -> set[str]:
        generated = {"data", "lightning_logs", "logs"} if Path(directory) == ROOT else set()
        return patterns(directory, names) | generated

    shutil.copytree(ROOT, directory / "source", ignore=left_out)
    command = [sys.executable, "-m", "build", "--outdir", directory, directory / "source"]
    result = subprocess.run(command, capture_output=True, text=True)
    if "No matching distribution" in result.stdout + result.stderr:
        pytest.skip("needs a package index")
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def base_python(wheel, tmp_path_factory) -> Path:
    """Return the Python of an environment with the wheel, its dependencies and the oldest onnxruntime."""
    if sys.version_info >= (3, 13):
        pytest.skip("onnxruntime 1.17 has builds for Python up to 3.12")
    python = create_environment(tmp_path_factory.mktemp("base"))
    pip(python, "install", wheel, OLDEST_ONNXRUNTIME, "numpy<2")
    return python


@pytest.fixture(scope="module")
def full_command(wheel, tmp_path_factory) -> Path:
    """Return the `digitnet` command of an environment with the wheel and the packages that run this test.

    Installing the extras again would download more than 5 GB. A path file makes the packages importable without
    processing the path files among them, so that the repository itself is not importable.
    """
    python = create_environment(tmp_path_factory.mktemp("full"))
    pip(python, "install", "--no-deps", wheel)
    (site_packages,) = python.parents[1].glob("lib/python*/site-packages")
    (site_packages / "extras.pth").write_text(sysconfig.get_path("purelib") + "\n")
    location = run(python, "-c", "import digitnet; print(digitnet.__file__)", cwd=wheel.parent)
    assert Path(location.strip()).is_relative_to(site_packages)
    return python.with_name("digitnet")


def test_the_wheel_contains_the_released_model_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    models = {
        f"digitnet/release/{name}.onnx"
        for name in ("digitnet", "digitnet-28", "digitnet-280", "digitnet.activations", "framing")
    }
    assert models | {"digitnet/data/glyphs.json"} <= set(names)
    assert any(name.startswith("digitnet/app/static/") for name in names)
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks", "data"))]


def test_the_description_and_metadata_are_valid_for_a_package_index(wheel):
    files = [wheel, *wheel.parent.glob("*.tar.gz")]
    assert len(files) == 2
    result = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("PASSED") == 2


def test_the_wheel_declares_that_it_has_types(wheel):
    assert "digitnet/py.typed" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_a_png_is_classified_by_each_python_of_this_machine(wheel, tmp_path, version):
    python = find_python(version)
    if python is None or version == f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"needs Python {version}, other than the one that runs the tests")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True, capture_output=True)
    pip(tmp_path / "venv" / "bin" / "python", "install", wheel)
    draw_digit().save(tmp_path / "seven.png")
    program = "import digitnet; print(digitnet.DigitClassifier()('seven.png').label)"
    assert run(tmp_path / "venv" / "bin" / "python", "-c", program, cwd=tmp_path).strip() == "7"


def test_a_png_is_classified_without_torch(base_python, tmp_path):
    draw_digit().save(tmp_path / "seven.png")
    program = (
        "import importlib.util as i, onnxruntime, digitnet; assert not i.find_spec('torch');"
        "print(onnxruntime.__version__, digitnet.DigitClassifier()('seven.png').label)"
    )
    version, label = run(base_python, "-c", program, cwd=tmp_path).split()
    assert version.startswith("1.17.")
    assert label == "7"


def test_predict_and_evaluate_need_only_the_base_install(base_python, tmp_path):
    path = tmp_path / "labeled" / "7" / "seven.png"
    path.parent.mkdir(parents=True)
    draw_digit().save(path)
    assert run(base_python, "-m", "digitnet", "predict", path, cwd=tmp_path).startswith("7 ")
    assert "100.00" in run(base_python, "-m", "digitnet", "evaluate", "labeled", cwd=tmp_path)
    command = subprocess.run(
        [base_python.with_name("digitnet"), "predict", path], cwd=tmp_path, capture_output=True, text=True
    )
    assert command.stdout.startswith("7 "), command.stderr


@pytest.mark.parametrize(("command", "extra"), [("train", "train"), ("export", "train"), ("app", "app")])
def test_a_command_without_its_extra_names_the_extra_in_one_line(base_python, tmp_path, command, extra):
    result = subprocess.run(
        [base_python, "-m", "digitnet", command], cwd=tmp_path, capture_output=True, text=True,
        env=environment_variables(),
    )  # fmt: skip
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"pip install 'digitnet[{extra}]'" in result.stderr


def test_the_five_commands_run_from_the_wheel(full_command, mnist_dir, tmp_path):
    def digitnet(*options: str | Path) -> str:
        result = subprocess.run(
            [full_command, *options], cwd=tmp_path, capture_output=True, text=True, env=environment_variables()
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    digitnet(
        "train", f"--data.data_dir={mnist_dir}", "--data.synthetic_digits=0", "--data.non_digits=0",
        "--trainer.max_epochs=1", "--trainer.limit_train_batches=0.3", "--trainer.accelerator=cpu",
    )  # fmt: skip
    assert (tmp_path / "checkpoints" / "best.ckpt").exists()

    assert "digitnet.onnx" in digitnet("export", "--data-dir", mnist_dir)
    model = tmp_path / "checkpoints" / "digitnet.onnx"
    path = tmp_path / "labeled" / "7" / "seven.png"
    path.parent.mkdir(parents=True)
    draw_digit().save(path)
    assert str(path) in digitnet("predict", "--model", model, path)
    assert "accuracy" in digitnet("evaluate", "--model", model, "labeled").lower()

    with subprocess.Popen(
        [full_command, "app", "--no-open", "--port", "7894", "--model", model], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment_variables(),
    ) as app:  # fmt: skip
        assert app.stdout is not None
        line = next((line for line in app.stdout if "http://127.0.0.1:7894" in line), "")
        try:
            assert line, app.stderr and app.stderr.read()
            with urllib.request.urlopen("http://127.0.0.1:7894/") as response:
                assert response.status == 200
        finally:
            app.send_signal(signal.SIGINT)
            app.wait(timeout=DEADLINE)  # before its output is closed, to which Gradio prints
    assert app.returncode == 130


def test_the_oldest_onnxruntime_gives_the_results_of_the_newest(base_python, tmp_path):
    rng = np.random.default_rng(3)
    images = [random_image(rng, largest=300) for _ in range(200)] + [np.asarray(draw_digit(digit)) for digit in (1, 7)]
    here = DigitClassifier(released_model_path())(images)
    np.savez(tmp_path / "images.npz", *images)
    program = (
        "import numpy as np, digitnet; images = np.load('images.npz'); classifier = digitnet.DigitClassifier();"
        "all = [classifier(images[f'arr_{i}']) for i in range(len(images.files))];"
        "np.savez('there.npz', labels=[-1 if p.label is None else p.label for p in all],"
        "probabilities=[p.probabilities for p in all])"
    )
    run(base_python, "-c", program, cwd=tmp_path)
    there = np.load(tmp_path / "there.npz")
    assert there["labels"].tolist() == [-1 if p.label is None else p.label for p in here]
    np.testing.assert_allclose(there["probabilities"], [p.probabilities for p in here], rtol=0, atol=1e-5)
