import csv
import io
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from digitnet import DigitClassifier, Prediction
from digitnet.cli import main
from digitnet.data.mnist import read_test_set
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.metrics import LabeledPrediction, calibration_error, confusion
from tests.conftest import ROOT
from tests.images import draw_digit, encode_image


@pytest.fixture
def folder(tmp_path):
    """Folders 1/ and 7/ with two pictures each, one of which is in the wrong folder."""
    for place, digit in {"1/a.png": 1, "1/b.png": 1, "7/c.png": 7, "7/d.png": 1}.items():
        path = tmp_path / "set" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_digit(digit).save(path)
    return tmp_path / "set"


def run(*args):
    with pytest.raises(SystemExit) as caught:
        main([*map(str, args)])
    return caught.value.code


def test_a_table_has_a_line_a_picture(folder, capsys):
    assert run("predict", folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "1", "7", "1"]
    assert [line.split()[-1] for line in lines] == [
        str(folder / p) for p in ("1/a.png", "1/b.png", "7/c.png", "7/d.png")
    ]


def test_json_lines_can_be_read_back(folder, capsys):
    assert run("predict", folder / "7", "--format", "json", "--all") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == [7, 1]
    assert rows[0]["confidence"] == pytest.approx(max(rows[0]["probabilities"]))
    assert sum(rows[0]["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_csv_can_be_read_back(folder, capsys, tmp_path):
    Image.new("L", (30, 30), 200).save(tmp_path / "blank.png")
    assert run("predict", folder / "7", tmp_path / "blank.png", "--format", "csv", "--all") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows] == ["7", "1", ""]
    assert float(rows[0]["probability_7"]) == float(rows[0]["confidence"])


def test_one_bad_file_is_reported_and_passed_over(folder, capsys):
    (folder / "7" / "cc.png").write_text("no picture")
    assert run("predict", folder / "7", folder / "missing.png") == 1
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == ["7", "1"]
    errors = captured.err.splitlines()
    assert len(errors) == 2
    assert "cc.png: not a picture" in errors[0]
    assert "missing.png: No such file" in errors[1]


def test_an_empty_folder_is_reported_and_the_rest_is_read(folder, capsys):
    (folder / "void").mkdir()
    assert run("predict", folder / "7", folder / "void", folder / "1") == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert "void: a folder without pictures" in captured.err


def test_a_reader_that_has_seen_enough_is_no_error(folder):
    for index in range(300):
        draw_digit(1, 30).save(folder / f"{index}.png")
    program = f"{shlex.quote(sys.executable)} -m digitnet predict {shlex.quote(str(folder))} | head -n 1"
    result = subprocess.run(program, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def test_two_models_on_one_folder_are_compared(folder, capsys, tmp_path):
    path = DigitClassifier().path
    assert run("evaluate", folder, path, path, "--mistakes", tmp_path / "worst.png") == 0
    assert capsys.readouterr().out.count(f"{path} on {folder}") == 2


def test_a_dash_reads_standard_input():
    result = subprocess.run(
        [sys.executable, "-m", "digitnet", "predict", "-"],
        cwd=ROOT,
        input=encode_image(draw_digit(7), "PNG"),
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] == b"7"


def test_evaluate_prints_accuracy_confusion_and_calibration_and_draws_the_mistakes(folder, capsys, tmp_path):
    assert run("evaluate", folder, "--mistakes", tmp_path / "worst.png") == 0
    printed = capsys.readouterr().out
    assert "accuracy           75.00% (1 of 4 wrong)" in printed
    assert "calibration error" in printed
    assert printed.splitlines()[2].split() == ["is", "\\", "read", "as", *"0123456789", "none"]
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.size[0] > 28


def test_evaluate_remakes_the_table_of_corruptions_from_mnist_alone(tiny_mnist, capsys):
    tables = []
    for _ in range(2):
        assert run("evaluate", "--robustness", "--data_dir", tiny_mnist.folder) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1], "the same every time"
    rows = dict([cell.strip() for cell in line.strip("|").split("|")][:2] for line in tables[0].splitlines()[2:])
    assert len(rows) == 2 + 1 + 15 + 8 + 2
    images, labels = read_test_set(tiny_mnist.folder)
    spoilt = CORRUPTIONS["spatter"](images, np.random.default_rng(0))
    right = [DigitClassifier()(one).probabilities.argmax() == label for one, label in zip(spoilt, labels, strict=True)]
    assert rows["spatter"] == f"{np.mean(right):.2%}"
    mean = np.mean([float(rows[name.replace("_", " ")][:-1]) for name in CORRUPTIONS])
    assert float(rows["mean of the fifteen, as MNIST-C's"][:-1]) == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["evaluate", "some.onnx"], "no folder to evaluate on"),
        (["evaluate", "--robustness", "{folder}"], "--robustness reads MNIST with .onnx files"),
        (["evaluate", "--robustness", "no.onnx"], "No model no.onnx"),
        (["evaluate", "--robustness", "--data_dir", "README.md"], "it must be a folder. Name another: --data_dir"),
        (["evaluate", "--robustness", "--data_dir", ""], "data_dir is empty"),
        (["predict", "x.png", "--model", "no.onnx"], "No model no.onnx"),
        (["predict", "x.png", "--model", "README.md"], "README.md is damaged or not an ONNX model"),
        (["predict", "x.png", "--threads", "0"], "threads is 0"),
        (["evaluate", "{folder}/empty"], "holds no pictures in folders named 0 to 9"),
        (["evaluate", "{folder}/missing"], "is not a folder"),
    ],
)
def test_bad_input_gets_one_clear_line_and_status_2(folder, capsys, args, says):
    (folder / "empty").mkdir()
    assert run(*(arg.format(folder=folder) for arg in args)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line


def test_a_thousand_pictures_stream_in_order(tmp_path, capsys):
    for index in range(600):
        draw_digit((1, 7)[index % 2], 24 + index % 3).convert("L").save(tmp_path / f"{index:04}.png")
    assert run("predict", tmp_path, "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == sorted(str(path) for path in tmp_path.glob("*.png"))


def reading(label, confidence, guess):
    probabilities = np.full(10, (1 - confidence) / 9, np.float32)
    probabilities[guess] = confidence
    return LabeledPrediction("x", label, Prediction(guess, probabilities, confidence, np.zeros((28, 28), np.float32)))


def test_the_calibration_error_agrees_with_arithmetic_by_hand():
    # Two bins: 0.95 sure and 3 of 4 right, 0.55 sure and 1 of 1 right: (4 x 0.20 + 1 x 0.45) / 5.
    readings = [reading(3, 0.95, 3)] * 3 + [reading(3, 0.95, 4), reading(5, 0.55, 5)]
    assert calibration_error(readings) == pytest.approx((4 * 0.20 + 0.45) / 5)


def test_the_confusion_counts_no_digit_in_a_column_of_its_own():
    blank = DigitClassifier()(np.zeros((5, 5), np.uint8))
    table = confusion([reading(3, 0.9, 4), LabeledPrediction("x", 3, blank)])
    assert table[3, 4] == table[3, 10] == 1
    assert table.sum() == 2
