"""The table of docs/runtimes.md, and the comparison of runtimes that writes it."""

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks import runtimes
from benchmarks.runtimes import BEGIN, END, MODELS, PAGE, RELEASE, RESULTS, ROOT, RUNTIMES, Row

ROWS = [Row(**row) for row in json.loads(RESULTS.read_text())]


def measure(title, model, inputs):
    (runtime,) = [one for one in RUNTIMES if one[0] == title]
    options = argparse.Namespace(environments=ROOT / "environments", node=ROOT / "environments" / "node")
    return runtimes.measure(*runtime, model, inputs, options)


def test_the_page_shows_the_measurements():
    assert f"{BEGIN}\n{runtimes.table(ROWS)}\n{END}" in PAGE.read_text()
    for row in ROWS:
        assert RELEASE.joinpath(MODELS[row.model]).exists()
        assert bool(row.error) != (row.difference is not None)


def test_at_least_eight_runtimes_agree_with_onnxruntime():
    assert len({row.runtime for row in ROWS if row.agrees}) >= 8


@pytest.mark.parametrize(
    "name", ["OpenVINO", "OpenCV", "tract", "MNN", "ncnn", "LiteRT", "tinygrad", "IREE", "Apache TVM"]
)
def test_an_example_loads_files_that_agree_in_its_runtime(name):
    (section,) = re.findall(rf"^\*\*{name}\*\*(.*?)(?=^\*\*|^## )", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    models = {file: model for model, file in MODELS.items()}
    loaded = {models[file] for file in re.findall(r"digitnet[-\d]*\.onnx", section)}
    assert loaded
    assert loaded <= {row.model for row in ROWS if row.runtime.startswith(name) and row.agrees}


def test_a_label_that_differs_and_a_large_difference_are_no_agreement():
    assert Row("some", "network", 18, difference=1e-5, labels=0).agrees
    assert not Row("some", "network", 18, difference=1e-5, labels=1).agrees
    assert not Row("some", "network", 18, difference=2e-4, labels=0).agrees
    assert not Row("some", "network", 18, error="it failed").agrees


@pytest.mark.runtimes
def test_onnxruntime_in_another_process_agrees_with_itself():
    images = [np.zeros((1, 1, 28, 28), np.float32), np.full((1, 1, 28, 28), 0.5, np.float32)] * 2
    row = measure("ONNX Runtime, newest", "network", images)
    assert (row.error, row.difference, row.labels, row.images) == ("", 0, 0, 4)


@pytest.mark.runtimes
def test_a_runtime_that_fails_or_is_missing_gets_a_row_with_its_error(monkeypatch):
    row = measure("ONNX Runtime, newest", "network", [np.zeros((1, 3, 28, 28), np.float32)])
    assert "invalid dimensions" in row.error
    monkeypatch.setitem(runtimes.ADAPTERS, "missing", ("missing", None))
    monkeypatch.setattr(runtimes, "RUNTIMES", [("Missing", "missing", "missing")])
    monkeypatch.setitem(globals(), "RUNTIMES", [("Missing", "missing", "missing")])
    assert "KeyError: 'missing'" in measure("Missing", "network", [np.zeros((1, 1, 28, 28), np.float32)]).error


@pytest.mark.runtimes
@pytest.mark.parametrize("runtime", [one for one in RUNTIMES if one[1] in runtimes.ADAPTERS], ids=lambda one: one[0])
def test_an_installed_runtime_agrees_with_onnxruntime(runtime):
    ink = np.zeros((1, 1, 28, 28), np.float32)
    ink[..., 4:24, 12:15] = 1
    row = measure(runtime[0], "network", [ink, 0 * ink])
    if any(text in row.error for text in (*runtimes.NOT_INSTALLED, "No package metadata")):
        pytest.skip(row.error)
    assert row.agrees, row


CPP = ROOT / "environments" / "cpp"  # with onnxruntime_cxx_api.h and the headers that it includes
CPP_MAIN = """
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>
{includes}
int main() {{
  std::ifstream file("image.rgba", std::ios::binary);
  std::vector<uint8_t> pixels((std::istreambuf_iterator<char>(file)), {{}});
  const int64_t height = 280, width = 280;
{statements}
  std::printf("%d", label);
  for (int i = 0; i < 10; i++) std::printf(" %.9g", results[0].GetTensorData<float>()[i]);
}}
"""


@pytest.mark.runtimes
def test_the_example_in_cpp_gives_the_outputs_of_the_python_package(tmp_path):
    if shutil.which("g++") is None or not (CPP / "onnxruntime_cxx_api.h").exists():
        pytest.skip(f"needs g++ and ONNX Runtime's headers in {CPP.relative_to(ROOT)}")
    (code,) = re.findall(r"```cpp\n(.*?)```", PAGE.read_text(), re.DOTALL)
    includes, statements = code.split("\n\n", 1)
    (tmp_path / "main.cpp").write_text(CPP_MAIN.format(includes=includes, statements=statements))
    (library,) = Path(ort.__file__).parent.glob("capi/libonnxruntime.so.*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    (tmp_path / "digitnet.onnx").symlink_to(RELEASE / "digitnet.onnx")
    command = ["g++", "-std=c++17", f"-I{CPP}", "main.cpp", "libonnxruntime.so.1", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run(command, cwd=tmp_path, check=True)
    image = np.full((280, 280, 4), 255, np.uint8)
    image[60:200, 130:150, :3] = 0
    image.tofile(tmp_path / "image.rgba")
    result = subprocess.run([tmp_path / "a.out"], cwd=tmp_path, capture_output=True, text=True, check=True)
    label, *probabilities = map(float, result.stdout.split())
    session = ort.InferenceSession(RELEASE / "digitnet.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(["probabilities", "label"], {"image": image[None]})
    assert label == expected[1][0] == 1
    np.testing.assert_allclose(probabilities, expected[0][0], rtol=0, atol=1e-6)
