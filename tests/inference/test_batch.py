import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from digitnet import DigitClassifier
from digitnet.inference.batch import predict_chunks
from digitnet.inference.chunks import CHUNK_SIZE, Chunk
from tests.conftest import ROOT, child_processes
from tests.forking import DEADLINE
from tests.images import draw_digit
from tests.inference.conftest import records_of, run


@pytest.mark.parametrize("min_files", [0, 1000], ids=["in processes", "in threads"])
def test_images_of_many_sizes_keep_their_order(tmp_path, monkeypatch, min_files):
    monkeypatch.setattr("digitnet.inference.batch.MIN_FILES_FOR_PROCESSES", min_files)
    rng = np.random.default_rng(0)
    digits = rng.choice([1, 7], 2 * CHUNK_SIZE + 5)
    for i, digit in enumerate(digits):
        draw_digit(int(digit), int(rng.choice([28, 40, 61]))).save(tmp_path / f"{i:04}.png")
    assert run(tmp_path, "--format", "csv", "--output", tmp_path / "records.csv", "--threads", "3") == 0
    records = records_of(tmp_path / "records.csv")
    assert [record["file"] for record in records] == [str(tmp_path / f"{i:04}.png") for i in range(len(digits))]
    assert [record["label"] for record in records] == [str(digit) for digit in digits]


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for processes and their memory")


def one_file_often(directory, count, size=28):
    """Return options that name an image of a 1 `count` times."""
    draw_digit(1, size).convert("L").save(directory / "one.png")
    (directory / "list.txt").write_text(f"{directory}/one.png\n" * count)
    return "--files-from", str(directory / "list.txt")


def start(output, *inputs, options=()):
    """Start `digitnet predict` with two workers."""
    return subprocess.Popen(
        [sys.executable, "-m", "digitnet", "predict", *inputs, "--format", "csv", "--output", str(output),
         "--threads=2", *options],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def workers(process):
    """Wait until the run has started its worker processes and return their IDs."""
    deadline = time.monotonic() + DEADLINE
    while len(found := [pid for pid in child_processes(process.pid) if "popen_loky" in command(pid)]) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended
        return ""


def memory(pid):
    """Return the memory of a process and its children in bytes, with shared pages counted once."""
    try:
        own = int(re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) * 1024
    except (OSError, TypeError):  # it has ended
        return 0
    return own + sum(memory(child) for child in child_processes(pid))


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("source", ["images", "files"])
def test_many_images_take_no_more_memory_than_a_few(tmp_path, gray, source):
    if source == "images":
        inputs = [str(tmp_path / "many.npy")]
        np.save(inputs[0], np.tile(gray, (334, 1, 1)))
        expected = 100_000
    else:
        expected = 30_000
        inputs = one_file_often(tmp_path, expected, size=100)  # 300 MB of pixels
    process = start(tmp_path / "records.csv", *inputs)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.3)
    assert process.communicate()[1] == ""
    assert (tmp_path / "records.csv").read_bytes().count(b"\n") - 1 >= expected
    assert 50e6 < peak < 300e6


@pytest.mark.slow
@LINUX
def test_a_killed_worker_ends_the_run_with_one_line_and_it_can_be_resumed(tmp_path):
    inputs = one_file_often(tmp_path, 30_000)
    process = start(tmp_path / "records.csv", *inputs)
    os.kill(workers(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    (line,) = err.splitlines()
    assert line.startswith("error: A worker process was killed")
    assert line.endswith(f"{tmp_path / 'records.csv'} is not complete: complete it with --resume")
    assert not (tmp_path / "records.csv").exists()
    process = start(tmp_path / "records.csv", *inputs, options=["--resume"])
    assert process.communicate(timeout=DEADLINE)[1] == ""
    assert [record["label"] for record in records_of(tmp_path / "records.csv")] == ["1"] * 30_000


@LINUX
@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.slow
def test_a_killed_worker_names_no_option_that_was_not_used(tmp_path, command):
    draw_digit(1, 28).convert("L").save(tmp_path / "one.png")
    (tmp_path / "set" / "1").mkdir(parents=True)
    for index in range(10_000):
        os.link(tmp_path / "one.png", tmp_path / "set" / "1" / f"{index}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "digitnet", command, str(tmp_path / "set"), "--threads=2"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.kill(workers(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert err == (
        "error: A worker process was killed, perhaps because memory ran out: use fewer workers (--threads)\n"
    )


@LINUX
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.slow
def test_no_worker_outlives_the_run(tmp_path, signum):
    process = start(tmp_path / "records.csv", *one_file_often(tmp_path, 100_000))
    found = workers(process)
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)  # as Ctrl-C does
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum)
    if signum != signal.SIGKILL:  # then the resource tracker of loky reports what it cleans up
        assert err == f"Interrupted ({signum.name}).\n"
    deadline = time.monotonic() + DEADLINE
    while any("popen_loky" in command(pid) for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_script_without_a_main_guard_has_each_record_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; from digitnet.cli import main; main(sys.argv[1:])")
    result = subprocess.run(
        [sys.executable, script, "predict", *one_file_often(tmp_path, 3000), "--format", "csv", "--threads", "2"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("one.png,1,") == 3000 == len(result.stdout.splitlines()) - 1


def test_chunks_are_read_on_demand():
    """The first records do not wait for the others."""
    made = 0

    def chunks():
        nonlocal made
        for made in range(1, 1001):  # noqa: B007  # counted
            yield Chunk(["x"], np.zeros((1, 5, 5, 1), np.uint8))

    assert next(predict_chunks(DigitClassifier(), chunks(), workers=2)).labels.tolist() == [-1]
    assert made < 10
