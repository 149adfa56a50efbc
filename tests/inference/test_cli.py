import csv
import io
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.images import draw_digit, encode_image
from tests.inference.conftest import run


def test_a_table_has_a_line_per_image(directory, capsys):
    assert run(directory) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "1", "7", "1"]
    assert [line.split()[-1] for line in lines] == [
        str(directory / p) for p in ("1/a.png", "1/b.png", "7/c.png", "7/d.png")
    ]


def test_json_lines_can_be_read_back(directory, capsys):
    assert run(directory / "7", "--format", "json", "--probabilities") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["label"] for record in records] == [7, 1]
    assert records[0]["confidence"] == pytest.approx(max(records[0]["probabilities"]))
    assert sum(records[0]["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_csv_can_be_read_back(directory, capsys, tmp_path):
    Image.new("L", (30, 30), 200).save(tmp_path / "blank.png")
    assert run(directory / "7", tmp_path / "blank.png", "--format", "csv", "--probabilities") == 0
    records = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [record["label"] for record in records] == ["7", "1", ""]
    assert float(records[0]["probability_7"]) == float(records[0]["confidence"])


def test_a_bad_file_is_reported_and_skipped(directory, capsys):
    (directory / "7" / "cc.png").write_text("not an image")
    assert run(directory / "7", directory / "missing.png") == 1
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == ["7", "1"]
    errors = captured.err.splitlines()
    assert len(errors) == 2
    assert "cc.png: not an image" in errors[0]
    assert "missing.png: No such file" in errors[1]


def test_an_image_of_a_size_that_the_model_does_not_take_gets_an_error_record(tmp_path, capsys):
    names = [str(tmp_path / name) for name in ("one.png", "seven.png", "three.npy")]
    draw_digit(1, 60).save(names[0])
    draw_digit(7, 280).resize((280, 280)).save(names[1])
    np.save(names[2], np.zeros((3, 28, 28), np.uint8))
    model = ROOT / "checkpoints" / "release" / "digitnet-280.onnx"
    assert run(*names, "--format", "csv", "--model", model) == 1
    captured = capsys.readouterr()
    records = list(csv.DictReader(io.StringIO(captured.out)))
    assert [record["label"] for record in records] == ["", "7", "", "", ""]
    assert "one.png: this model takes images of 280 x 280 pixels" in records[0]["error"]
    assert records[1]["error"] == ""
    assert len(captured.err.splitlines()) == 4


def test_an_empty_directory_is_reported_and_the_others_are_classified(directory, capsys):
    (directory / "void").mkdir()
    assert run(directory / "7", directory / "void", directory / "1") == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4
    assert "void: no images in this directory" in captured.err


def test_a_closed_pipe_is_not_an_error(directory):
    for index in range(300):
        draw_digit(1, 30).save(directory / f"{index}.png")
    program = f"{shlex.quote(sys.executable)} -m digitnet predict {shlex.quote(str(directory))} | head -n 1"
    result = subprocess.run(program, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def test_a_dash_reads_standard_input():
    result = subprocess.run(
        [sys.executable, "-m", "digitnet", "predict", "-"],
        cwd=ROOT,
        input=encode_image(draw_digit(7), "PNG"),
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] == b"7"


def test_hundreds_of_images_are_classified_in_order(tmp_path, capsys):
    for index in range(600):
        draw_digit((1, 7)[index % 2], 24 + index % 3).convert("L").save(tmp_path / f"{index:04}.png")
    assert run(tmp_path, "--format", "csv") == 0
    records = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [record["file"] for record in records] == sorted(str(path) for path in tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["x.png", "--model", "no.onnx"], "No model no.onnx"),
        (["x.png", "--model", "README.md"], "README.md is damaged or not an ONNX model"),
        (
            ["x.png", "--model", f"{ROOT}/checkpoints/release/digitnet-28.onnx"],
            "digitnet-28.onnx, which takes ink; use digitnet.onnx",
        ),
        (["x.png", "--threads", "0"], "threads is 0"),
    ],
)
def test_bad_input_gets_one_clear_line_and_status_2(directory, capsys, args, expected):
    (directory / "empty").mkdir()
    assert run(*(arg.format(directory=directory) for arg in args)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["a.png", "--format", "parquet"], "--format parquet writes a directory"),
        (["a.png", "--resume"], "--resume completes a file"),
        (["a.png", "--output", "b"], "got table, which is for terminals"),
        (["a.png", "--files-from", "-"], "expected --files-from or names of images, got both"),
        ([], "no image to classify"),
    ],
)
def test_options_that_exclude_each_other_are_one_line(options, expected, capsys):
    assert run(*options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
