import csv
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digitnet.inference.read_cli import main


@pytest.fixture
def page(tmp_path):
    """An image with 17 on the first line and 1 on the second."""
    image = Image.new("L", (300, 240), 255)
    for stroke in ([(60, 25), (60, 95)], [(110, 30), (155, 30), (125, 95)], [(60, 150), (60, 220)]):
        ImageDraw.Draw(image).line(stroke, 0, width=8, joint="curve")
    image.save(tmp_path / "page.png")
    return tmp_path / "page.png"


def run(*args):
    """Run `digitnet read` in this process and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, args)])
    return caught.value.code


def test_a_table_has_a_line_per_number(page, capsys):
    assert run(page) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [("17", str(page)), ("1", str(page))]


def test_csv_can_be_read_back(page, capsys):
    assert run(page, "--format", "csv") == 0
    records = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(record["line"], record["text"]) for record in records] == [("0", "17"), ("1", "1")]
    assert float(records[0]["left"]) == pytest.approx(56, abs=4)


def test_json_lines_have_the_digits_and_their_boxes(page, capsys):
    assert run(page, "--format", "json") == 0
    record, _ = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [digit["label"] for digit in record["digits"]] == [1, 7]
    assert record["box"][:2] == record["digits"][0]["box"][:2]


@pytest.mark.parametrize("output_format", ["table", "csv", "json"])
def test_an_image_without_a_number_has_a_record(tmp_path, capsys, output_format):
    Image.new("L", (90, 60), 255).save(tmp_path / "blank.png")
    assert run(tmp_path / "blank.png", "--format", output_format) == 0
    assert "blank.png" in capsys.readouterr().out.splitlines()[-1]


def test_the_images_of_an_array_are_read(page, tmp_path, capsys):
    np.save(tmp_path / "pages.npy", np.stack([np.asarray(Image.open(page))] * 2))
    assert run(tmp_path / "pages.npy") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["17", "1", "17", "1"]


def test_drawn_boxes_are_green_around_digits(page, tmp_path, capsys):
    assert run(page, "--draw", tmp_path / "drawn") == 0
    (drawn,) = (tmp_path / "drawn").iterdir()
    colors = {color for _, color in Image.open(drawn).getcolors(10000)}
    assert (10, 125, 50) in colors


def test_bad_files_are_reported_in_one_line_each_and_the_others_are_read(page, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("not an image")
    assert run(tmp_path / "bad.png", tmp_path / "missing.png", page) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    errors = captured.err.splitlines()
    assert len(errors) == 2
    assert "bad.png: not an image" in errors[0]
    assert "missing.png: No such file" in errors[1]


def test_too_many_candidates_are_reported_with_the_name_of_the_file(tmp_path, capsys):
    image = np.full((80, 1600), 255, np.uint8)
    image[20:60, 20:1535:15] = image[20:60, 21:1535:15] = 0
    Image.fromarray(image).save(tmp_path / "fence.png")
    assert run(tmp_path / "fence.png") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "fence.png" in line
    assert "at most 100 candidates" in line


def test_no_input_is_an_error(capsys):
    assert run() == 2
    assert "name files or directories" in capsys.readouterr().err
