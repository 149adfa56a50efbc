import re

import numpy as np
import pytest
from PIL import Image

from digitnet import DigitClassifier
from digitnet.data.mnist import read_test_set
from digitnet.evaluation.cli import main
from digitnet.evaluation.corruptions import CORRUPTIONS


def run(*args):
    """Run the command and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, args)])
    return caught.value.code


def test_two_models_on_one_directory_are_compared(directory, capsys, tmp_path):
    path = DigitClassifier().path
    assert run(directory, path, path, "--mistakes", tmp_path / "worst.png") == 0
    assert capsys.readouterr().out.count(f"{path} on {directory}") == 2


def test_evaluate_prints_accuracy_confusion_and_calibration_and_draws_the_mistakes(directory, capsys, tmp_path):
    assert run(directory, "--mistakes", tmp_path / "worst.png") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[:3] == [
        "accuracy                     75.00% (1 of 4 wrong)",
        "coverage                     100.00% (0 of 4 rejected)",
        "accuracy on accepted images  75.00% (1 of 4 wrong)",
    ]
    assert "calibration error" in printed
    assert ["label", *"0123456789", "rejected"] in [line.split() for line in printed.splitlines()]
    assert ["7", ".", "1", *["."] * 5, "1", ".", ".", "."] in [line.split() for line in printed.splitlines()]
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.size[0] > 28


def test_a_rejected_image_counts_in_the_coverage_only(tmp_path, capsys):
    (tmp_path / "5").mkdir()
    Image.new("L", (30, 30), 255).save(tmp_path / "5" / "blank.png")
    assert run(tmp_path, "--mistakes", tmp_path / "worst.png") == 0
    printed = capsys.readouterr().out
    assert "coverage                     0.00% (1 of 1 rejected)" in printed
    assert "accuracy on accepted images  none (no image was accepted)" in printed


@pytest.mark.slow
def test_evaluate_measures_robustness_with_mnist_only(tiny_mnist, capsys):
    tables = []
    for _ in range(2):
        assert run("--robustness", "--data-dir", tiny_mnist.directory) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    rows = dict(re.findall(r"^ *(\S.*?) {2,}([\d.]+%)", tables[0], re.MULTILINE))
    assert len(rows) == 1 + 15 + 11 + 2
    images, labels = read_test_set(tiny_mnist.directory)
    corrupted = CORRUPTIONS["spatter"](images, np.random.default_rng(0))
    correct = [
        DigitClassifier()(one).probabilities.argmax() == label for one, label in zip(corrupted, labels, strict=True)
    ]
    assert rows["spatter"] == f"{np.mean(correct):.2%}"
    mean = np.mean([float(rows[name.replace("_", " ")][:-1]) for name in CORRUPTIONS])
    assert float(rows["mean of the fifteen corruptions of MNIST-C"][:-1]) == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["some.onnx"], "no directory to evaluate on"),
        (["--robustness", "{directory}"], "--robustness uses MNIST and takes .onnx files"),
        (["--robustness", "no.onnx"], "No model no.onnx"),
        (["--robustness", "--data-dir", "README.md"], "it must be a directory. Use another one: --data-dir"),
        (["--robustness", "--data-dir", ""], "data_dir is empty"),
        (["{directory}/empty"], "contains no images in directories named 0 to 9"),
        (["{directory}/missing"], "expected a directory"),
    ],
)
def test_bad_input_gets_one_clear_line_and_status_2(directory, capsys, args, expected):
    (directory / "empty").mkdir()
    assert run(*(arg.format(directory=directory) for arg in args)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
