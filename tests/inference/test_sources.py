import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.forking import DEADLINE
from tests.images import draw_digit, encode_image
from tests.inference.conftest import records_of, run


def test_a_list_names_the_inputs(tmp_path):
    draw_digit(1).save(tmp_path / "one.png")
    draw_digit(7).save(tmp_path / "seven.png")
    result = subprocess.run(
        [sys.executable, "-m", "digitnet", "predict", "--files-from", "-", "--format", "csv"],
        input=f"{tmp_path}/seven.png\n{tmp_path}/one.png\n", cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [record["label"] for record in csv.DictReader(io.StringIO(result.stdout))] == ["7", "1"]


def test_names_of_files_are_unchanged_in_any_locale(tmp_path):
    names = ["é.png".encode(), b"\xff.png"]  # the second is not valid UTF-8
    for name in names:
        draw_digit(7).save(os.fsdecode(os.fsencode(tmp_path) + b"/" + name), "PNG")
    done = subprocess.run(
        [sys.executable, "-m", "digitnet", "predict", tmp_path],
        cwd=ROOT, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert [os.path.basename(line) for line in done.stdout.splitlines()] == names


def opened(pipe):
    """Return a file descriptor for writing to a named pipe, or None if no process reads it yet."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_signal_interrupts_the_wait_for_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for signum, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen(
            [sys.executable, "-m", "digitnet", "predict", tmp_path / "a.png"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until = time.monotonic() + DEADLINE
        while (pipe := opened(tmp_path / "a.png")) is None and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signum)
        _, err = process.communicate(timeout=DEADLINE)
        os.close(pipe)
        assert process.returncode == status
        assert err == f"Interrupted ({signum.name}).\n"


def test_an_image_is_read_from_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "digitnet", "predict", tmp_path / "a.png", "--format", "json"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    (tmp_path / "a.png").write_bytes(encode_image(draw_digit(7), "PNG"))
    assert json.loads(process.communicate(timeout=DEADLINE)[0])["label"] == 7


def test_a_pipe_in_a_directory_does_not_block(tmp_path, capsys):
    draw_digit(7).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert run(tmp_path, "--format", "csv", "--output", tmp_path / "records.csv") == 1
    assert [record["label"] for record in records_of(tmp_path / "records.csv")] == ["7", ""]
    assert capsys.readouterr().err == f"error: {tmp_path}/b.png: expected a file, got a pipe, socket or device\n"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every directory")
def test_a_directory_without_permission_is_an_error(tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0)
    draw_digit(1, 28).save(tmp_path / "a.png")
    assert run(tmp_path) == 1
    assert "closed: Permission denied" in capsys.readouterr().err
