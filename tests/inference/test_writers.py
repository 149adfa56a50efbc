import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from digitnet.inference.writers import FORMATS
from tests.conftest import ROOT
from tests.forking import DEADLINE
from tests.images import draw_digit
from tests.inference.conftest import records_of, run


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_each_image_has_one_record_with_the_reason_if_it_cannot_be_decoded(tmp_path, form, capsys):
    draw_digit(7).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    Image.new("L", (30, 30), 200).save(tmp_path / "c.png")
    (tmp_path / "d.npy").write_bytes(b"no array")
    output = tmp_path / "output"
    names = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png", "d.npy", "e.png")]
    assert run(*names, "--format", form, "--output", output) == 1
    if form == "parquet":
        records = pytest.importorskip("pyarrow.parquet").read_table(output).to_pylist()
    else:
        records = (
            [json.loads(line) for line in output.read_text().splitlines()] if form == "json" else records_of(output)
        )
    assert [record["file"] for record in records] == names
    assert [str(record["label"] or "") for record in records] == ["7", "", "", "", ""]
    for record, reason in zip(records, [None, "not an image", None, "damaged", "No such file"], strict=True):
        assert reason is None or reason in record["error"]
        assert reason or not record.get("error")
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.slow
def test_a_run_that_fails_on_a_full_disk_is_resumed(tmp_path, gray):
    np.save(tmp_path / "many.npy", np.tile(gray, (20, 1, 1)))
    options = [str(tmp_path / "many.npy"), "--format", "csv", "--output", str(tmp_path / "records.csv")]
    small = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{small}from digitnet.cli import main; main(sys.argv[1:])", "predict", *options],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/records.csv.part: File too large. The output so far is kept")
    assert run(*options, "--resume") == 0
    assert len({record["file"] for record in records_of(tmp_path / "records.csv")}) == 20 * len(gray)


def killed(tmp_path, form, source, records_before):
    """Start a run, kill it after some records, and return the paths of the output."""
    output = tmp_path / f"output.{form}"
    part = tmp_path / f"output.{form}.part"
    process = subprocess.Popen(
        [sys.executable, "-m", "digitnet", "predict", str(source), "--format", form, "--output", str(output)], cwd=ROOT
    )
    deadline = time.monotonic() + DEADLINE
    while not (part.exists() and part.read_bytes().count(b"\n") > records_before):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    return output, part


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.slow
def test_a_killed_run_is_resumed_without_a_missing_or_duplicate_record(tmp_path, gray, form):
    source = tmp_path / "many.npy"
    np.save(source, np.tile(gray, (100, 1, 1)))
    output, part = killed(tmp_path, form, source, 2000)
    with open(part, "ab") as file:
        file.write(b'"half a r')  # as if the kill had come in the middle of a write
    before = part.read_bytes().count(b"\n")
    assert run(source, "--format", form, "--output", output, "--resume") == 0
    assert not part.exists()
    records = records_of(output) if form == "csv" else [json.loads(line) for line in output.read_text().splitlines()]
    assert 2000 < before < len(records) == 30_000
    assert [record["file"] for record in records] == [f"{source}[{i}]" for i in range(30_000)]
    assert [str(record["label"]) for record in records[:2]] == ["1", "7"]
    assert run(source, "--format", form, "--output", output, "--resume") == 2, "it is complete"


@pytest.mark.parametrize("form", FORMATS[1:])
@pytest.mark.slow
def test_errors_before_a_kill_count_in_the_exit_status_after_resuming(tmp_path, gray, monkeypatch, form):
    if form == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install '.[parquet]'")
    monkeypatch.setattr("digitnet.inference.parquet.RECORDS_PER_FILE", 400)
    np.save(tmp_path / "many.npy", np.tile(gray, (3, 1, 1)))
    for first, status in ((tmp_path / 'no "error": "such.png', 1), (tmp_path / "many.npy", 0)):
        output = tmp_path / f"output-{status}"
        options = [first, tmp_path / "many.npy", "--format", form, "--output", output]
        assert run(*options) == status
        if form == "parquet":
            sorted(output.iterdir())[-1].unlink()
        else:
            output.with_name(output.name + ".part").write_bytes(b"".join(output.read_bytes().splitlines(True)[:700]))
            output.unlink()
        assert run(*options, "--resume") == status


def test_resuming_with_other_inputs_is_refused(tmp_path, gray, capsys):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.tile(gray, (100, 1, 1)))
    output, _ = killed(tmp_path, "csv", tmp_path / "a.npy", 500)
    for options, expected in [
        ([tmp_path / "b.npy", "--format", "csv"], "Resume with the inputs"),
        ([tmp_path / "a.npy", "--format", "csv", "--probabilities"], "has other columns"),
    ]:
        capsys.readouterr()
        assert run(*options, "--output", output, "--resume") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert expected in line


def test_an_interrupted_output_is_neither_overwritten_nor_mixed_with_other_records(tmp_path, gray, capsys):
    np.save(tmp_path / "a.npy", gray)
    options = [tmp_path / "a.npy", "--output", tmp_path / "records", "--format"]
    assert run(*options, "json") == 0
    partial = tmp_path / "records.part"
    (tmp_path / "records").rename(partial)
    content = partial.read_bytes()
    for more, expected in [
        (["json"], "is from an interrupted run. Complete it with --resume, or remove it"),
        (["json", "--probabilities", "--resume"], "has other columns than this run"),
        (["csv", "--resume"], "has other columns than this run"),
    ]:
        assert run(*options, *more) == 2
        assert expected in capsys.readouterr().err
        assert partial.read_bytes() == content
    partial.write_bytes(content + b"\0\0\0\n")  # as after a power failure
    assert run(*options, "json", "--resume") == 2
    assert "is damaged or not json" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_output_of_another_type_is_refused(tmp_path, form, capsys):
    draw_digit(1, 28).save(tmp_path / "a.png")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for output in (tmp_path / "pipe", tmp_path / ("directory" if form == "csv" else "a.png")):
        assert run(tmp_path / "a.png", "--format", form, "--output", output) == 2
        assert "as --output with --format" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_a_missing_list_leaves_an_interrupted_output_unchanged(tmp_path, capsys):
    (tmp_path / "records.part").write_text("partial")
    options = ["--files-from", tmp_path / "none", "--format", "csv", "--output", tmp_path / "records", "--resume"]
    assert run(*options) == 2
    assert "none: No such file" in capsys.readouterr().err
    assert (tmp_path / "records.part").read_text() == "partial"


def test_names_with_any_character_survive_csv(tmp_path, capsys):
    names = ["a,b.png", 'a"b.png', "a\nb.png", "a\rb.png", "\u00e9.png"]
    for name in names:
        draw_digit(1, 28).save(tmp_path / name)
    assert run(tmp_path, "--format", "csv", "--output", tmp_path / "records.csv") == 0
    assert sorted(record["file"] for record in records_of(tmp_path / "records.csv")) == sorted(
        f"{tmp_path}/{n}" for n in names
    )
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbf" + f"{tmp_path}/a,b.png\r\n{tmp_path}/a\rb.png\n".encode())
    assert run("--files-from", tmp_path / "list", "--format", "json") == 0
    read = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert read == [f"{tmp_path}/a,b.png", f"{tmp_path}/a\rb.png"]


def test_a_closed_standard_output_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it after >&-
    assert run("a.png") == 2
    assert "standard output is closed" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("script") is None, reason="needs script, from util-linux")
def test_a_terminal_shows_a_table_with_a_header_and_names_as_they_are(tmp_path):
    draw_digit(7).save(tmp_path / "[bold]seven.png")
    program = [sys.executable, "-m", "digitnet", "predict", str(tmp_path), "--probabilities"]
    command = ["script", "--quiet", "--return", "--command", shlex.join(program), "/dev/null"]
    environment = {**os.environ, "COLUMNS": "250", "NO_COLOR": "1", "TERM": "xterm"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    header, row = (line.split() for line in re.sub(r"\x1b\[[\d;]*m", "", run.stdout).splitlines())
    assert header == ["digit", "confidence", *"0123456789", "file"]
    assert (row[0], row[9], row[-1]) == ("7", "1.000", str(tmp_path / "[bold]seven.png"))
