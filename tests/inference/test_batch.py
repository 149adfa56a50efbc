"""digitnet predict on many pictures: wherever they lie, however many, killed in the middle or not."""

import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from digitnet import DigitClassifier
from digitnet.inference.batch import predict_chunks
from digitnet.inference.sources import CHUNK_SIZE, Chunk, find_chunks
from digitnet.inference.writers import FORMATS
from tests.conftest import ROOT, child_processes, encode_idx
from tests.images import draw_digit, encode_image
from tests.inference.test_cli import run


@pytest.fixture(scope="module")
def grey():
    """300 pictures of 1 and 7 in turn, uint8 (300, 28, 28)."""
    return np.stack([np.asarray(draw_digit((1, 7)[i % 2], 28).convert("L")) for i in range(300)])


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def arrays(folder, grey):
    np.save(folder / "grey.npy", grey)
    np.savez_compressed(folder / "packed.npz", images=np.repeat(grey[..., None], 3, 3))
    (folder / "some-images-idx3-ubyte").write_bytes(encode_idx(grey))
    with gzip.open(folder / "zipped-images-idx3-ubyte.gz", "wb") as file:
        file.write(encode_idx(grey))
    with tarfile.open(folder / "pictures.tar.gz", "w:gz") as tar:
        for i, image in enumerate(grey):
            content = encode_image(Image.fromarray(image), "PNG")
            member = tarfile.TarInfo(f"a/{i:03}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_arrays_idx_files_and_tar_files_are_read_as_their_pictures_are_one_by_one(tmp_path, grey):
    read = DigitClassifier()
    wanted = [read(image).label for image in grey]
    for path in arrays(tmp_path, grey):
        rows = list(predict_chunks(read, find_chunks([str(path)]), workers=2))
        assert [label for block in rows for label in block.labels.tolist()] == wanted, path
        names = [name for block in rows for name in block.names]
        assert names[7] in (f"{path}[7]", f"{path}/a/007.png")
        assert len(set(names)) == 300


@pytest.mark.parametrize("few", [0, 1000], ids=["in processes", "in threads"])
def test_pictures_of_many_sizes_come_out_in_the_order_they_went_in(tmp_path, monkeypatch, few):
    monkeypatch.setattr("digitnet.inference.batch.FEW", few)
    random = np.random.default_rng(0)
    digits = random.choice([1, 7], 2 * CHUNK_SIZE + 5)
    for i, digit in enumerate(digits):
        draw_digit(int(digit), int(random.choice([28, 40, 61]))).save(tmp_path / f"{i:04}.png")
    assert run(tmp_path, "--format", "csv", "--output", tmp_path / "rows.csv", "--threads", "3") == 0
    rows = rows_of(tmp_path / "rows.csv")
    assert [row["file"] for row in rows] == [str(tmp_path / f"{i:04}.png") for i in range(len(digits))]
    assert [row["label"] for row in rows] == [str(digit) for digit in digits]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_each_picture_has_one_row_and_one_that_cannot_be_read_says_why(tmp_path, form, capsys):
    draw_digit(7).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    Image.new("L", (30, 30), 200).save(tmp_path / "c.png")
    (tmp_path / "d.npy").write_bytes(b"no array")
    goal = tmp_path / "goal"
    names = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png", "d.npy", "e.png")]
    assert run(*names, "--format", form, "--output", goal) == 1
    if form == "parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(goal).to_pylist()
    else:
        rows = [json.loads(line) for line in goal.read_text().splitlines()] if form == "json" else rows_of(goal)
    assert [row["file"] for row in rows] == names
    assert [str(row["label"] or "") for row in rows] == ["7", "", "", "", ""]
    for row, says in zip(rows, [None, "not a picture", None, "damaged", "No such file"], strict=True):
        assert says is None or says in row["error"]
        assert says or not row.get("error")
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_list_names_what_to_read(tmp_path):
    draw_digit(1).save(tmp_path / "one.png")
    draw_digit(7).save(tmp_path / "seven.png")
    result = subprocess.run(
        [sys.executable, "-m", "digitnet", "predict", "--files-from", "-", "--format", "csv"],
        input=f"{tmp_path}/seven.png\n{tmp_path}/one.png\n", cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [row["label"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["7", "1"]


def test_names_of_files_come_out_as_they_are_whatever_the_locale(tmp_path):
    names = ["é.png".encode(), b"\xff.png"]  # the second is no UTF-8
    for name in names:
        draw_digit(7).save(os.fsdecode(os.fsencode(tmp_path) + b"/" + name), "PNG")
    done = subprocess.run(
        [sys.executable, "-m", "digitnet", "predict", tmp_path],
        cwd=ROOT, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert [os.path.basename(line) for line in done.stdout.splitlines()] == names


def opened(pipe):
    """To write to, as soon as somebody reads it."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_signal_ends_the_wait_for_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for signum, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = subprocess.Popen(
            [sys.executable, "-m", "digitnet", "predict", tmp_path / "a.png"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until = time.monotonic() + 60
        while (pipe := opened(tmp_path / "a.png")) is None and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signum)
        _, err = process.communicate(timeout=20)
        os.close(pipe)
        assert process.returncode == status
        assert err == f"Interrupted ({signum.name}).\n"


def test_a_picture_comes_through_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "digitnet", "predict", tmp_path / "a.png", "--format", "json"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    (tmp_path / "a.png").write_bytes(encode_image(draw_digit(7), "PNG"))
    assert json.loads(process.communicate(timeout=60)[0])["label"] == 7


def test_what_a_full_disk_did_not_take_is_named_and_gone_on_with(tmp_path, grey):
    np.save(tmp_path / "many.npy", np.tile(grey, (20, 1, 1)))
    options = [str(tmp_path / "many.npy"), "--format", "csv", "--output", str(tmp_path / "rows.csv")]
    small = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{small}from digitnet.cli import main; main(sys.argv[1:])", "predict", *options],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/rows.csv.part: File too large. What it holds is kept: --resume")
    assert run(*options, "--resume") == 0
    assert len({row["file"] for row in rows_of(tmp_path / "rows.csv")}) == 20 * len(grey)


@pytest.mark.parametrize("name", ["none.npy", "none.tar"])
def test_a_file_without_pictures_is_said(tmp_path, name, capsys):
    if name == "none.npy":
        np.save(tmp_path / name, np.zeros((0, 28, 28), np.uint8))
    else:
        tarfile.open(tmp_path / name, "w").close()
    assert run(tmp_path / name) == 1
    assert re.search(rf"error: .*{name}: .*(no|without) pictures", capsys.readouterr().err)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path, capsys):
    draw_digit(7).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert run(tmp_path, "--format", "csv", "--output", tmp_path / "rows.csv") == 1
    assert [row["label"] for row in rows_of(tmp_path / "rows.csv")] == ["7", ""]
    assert capsys.readouterr().err == f"error: {tmp_path}/b.png: a pipe, socket or device, no file\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"\x00\x00\x0d\x03" + b"\x00\x00\x00\x01" * 3, "not an IDX file of bytes"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x09\xff\xff\xff\xff\xff\xff\xff\xff", "an array of shape"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x09\x00\x00\x00\x1c\x00\x00\x00\x1c" + bytes(784), "ends after 1 pictures"),
    ],
)
def test_an_idx_file_that_lies_is_one_error(tmp_path, content, says):
    path = tmp_path / "bad-ubyte"
    path.write_bytes(content)
    blocks = list(find_chunks([str(path)]))
    assert says in str(blocks[-1].images[0])


def test_an_array_that_would_run_code_is_not_unpickled(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([print], dtype=object), allow_pickle=True)
    (block,) = find_chunks([str(tmp_path / "bad.npy")])
    assert "object" in str(block.images[0])


def killed(tmp_path, form, source, rows_before):
    """Starts a run and kills it once it has written so many rows; where they lie."""
    goal = tmp_path / f"goal.{form}"
    part = tmp_path / f"goal.{form}.part"
    process = subprocess.Popen(
        [sys.executable, "-m", "digitnet", "predict", str(source), "--format", form, "--output", str(goal)], cwd=ROOT
    )
    deadline = time.monotonic() + 120
    while not (part.exists() and part.read_bytes().count(b"\n") > rows_before):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not goal.exists()
    return goal, part


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_run_killed_in_the_middle_is_resumed_without_a_row_lost_or_doubled(tmp_path, grey, form):
    source = tmp_path / "many.npy"
    np.save(source, np.tile(grey, (100, 1, 1)))
    goal, part = killed(tmp_path, form, source, 2000)
    with open(part, "ab") as file:
        file.write(b'"half a r')  # as if the kill had come in the middle of a write
    before = part.read_bytes().count(b"\n")
    assert run(source, "--format", form, "--output", goal, "--resume") == 0
    assert not part.exists()
    rows = rows_of(goal) if form == "csv" else [json.loads(line) for line in goal.read_text().splitlines()]
    assert 2000 < before < len(rows) == 30_000
    assert [row["file"] for row in rows] == [f"{source}[{i}]" for i in range(30_000)]
    assert [str(row["label"]) for row in rows[:2]] == ["1", "7"]
    assert run(source, "--format", form, "--output", goal, "--resume") == 2, "it is complete"


def test_parquet_is_resumed_after_the_last_whole_file(tmp_path, grey, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install '.[parquet]'")
    monkeypatch.setattr("digitnet.inference.writers.PART_ROWS", 1000)
    source, goal = tmp_path / "many.npy", tmp_path / "goal"
    np.save(source, np.tile(grey, (10, 1, 1)))
    assert run(source, "--format", "parquet", "--output", goal, "--probabilities") == 0
    parts = sorted(goal.iterdir())
    parts[-1].unlink()  # as if killed before it was written
    assert run(source, "--format", "parquet", "--output", goal, "--probabilities") == 2
    assert run(source, "--format", "parquet", "--output", goal, "--probabilities", "--resume") == 0
    table = parquet.read_table(goal)
    assert table["file"].to_pylist() == [f"{source}[{i}]" for i in range(3000)]
    assert table["probability_1"][0].as_py() == pytest.approx(table["confidence"][0].as_py())


@pytest.mark.parametrize("form", FORMATS[1:])
def test_what_could_not_be_read_before_the_kill_counts_after_it(tmp_path, grey, monkeypatch, form):
    if form == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install '.[parquet]'")
    monkeypatch.setattr("digitnet.inference.writers.PART_ROWS", 400)
    np.save(tmp_path / "many.npy", np.tile(grey, (3, 1, 1)))
    for first, status in ((tmp_path / 'no "error": "such.png', 1), (tmp_path / "many.npy", 0)):
        goal = tmp_path / f"goal-{status}"
        options = [first, tmp_path / "many.npy", "--format", form, "--output", goal]
        assert run(*options) == status
        if form == "parquet":
            sorted(goal.iterdir())[-1].unlink()
        else:
            goal.with_name(goal.name + ".part").write_bytes(b"".join(goal.read_bytes().splitlines(True)[:700]))
            goal.unlink()
        assert run(*options, "--resume") == status


def test_resuming_with_other_inputs_says_so(tmp_path, grey, capsys):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.tile(grey, (100, 1, 1)))
    goal, _ = killed(tmp_path, "csv", tmp_path / "a.npy", 500)
    for options, says in [
        ([tmp_path / "b.npy", "--format", "csv"], "Resume with the inputs"),
        ([tmp_path / "a.npy", "--format", "csv", "--probabilities"], "has other columns"),
    ]:
        capsys.readouterr()
        assert run(*options, "--output", goal, "--resume") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line


def test_what_was_begun_is_neither_overwritten_nor_mixed_with_other_rows(tmp_path, grey, capsys):
    np.save(tmp_path / "a.npy", grey)
    options = [tmp_path / "a.npy", "--output", tmp_path / "rows", "--format"]
    assert run(*options, "json") == 0
    begun = tmp_path / "rows.part"
    (tmp_path / "rows").rename(begun)
    content = begun.read_bytes()
    for more, says in [
        (["json"], "is of a run that was not ended. Go on with --resume, or remove it"),
        (["json", "--probabilities", "--resume"], "has other columns than this run"),
        (["csv", "--resume"], "has other columns than this run"),
    ]:
        assert run(*options, *more) == 2
        assert says in capsys.readouterr().err
        assert begun.read_bytes() == content
    begun.write_bytes(content + b"\0\0\0\n")  # as a power cut leaves it
    assert run(*options, "json", "--resume") == 2
    assert "is damaged, or no json" in capsys.readouterr().err


def test_parquet_that_is_damaged_or_lacks_a_file_is_not_gone_on_with(tmp_path, grey, monkeypatch, capsys):
    pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install '.[parquet]'")
    monkeypatch.setattr("digitnet.inference.writers.PART_ROWS", 1000)
    np.save(tmp_path / "many.npy", np.tile(grey, (10, 1, 1)))
    goal = tmp_path / "goal"
    options = [tmp_path / "many.npy", "--format", "parquet", "--output", goal]
    assert run(*options) == 0
    assert run(*options, "--probabilities", "--resume") == 2
    assert "has other columns" in capsys.readouterr().err
    (goal / "part-00000.parquet").rename(tmp_path / "first")
    assert run(*options, "--resume") == 2
    assert "lacks part-00000.parquet" in capsys.readouterr().err
    (goal / "part-00000.parquet").write_bytes((tmp_path / "first").read_bytes()[:-100])
    assert run(*options, "--resume") == 2
    assert "part-00000.parquet is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_rows_go_into_no_folder_or_device_or_file_that_is_another_thing(tmp_path, form, capsys):
    draw_digit(1, 28).save(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for goal in (tmp_path / "pipe", tmp_path / ("folder" if form == "csv" else "a.png")):
        assert run(tmp_path / "a.png", "--format", form, "--output", goal) == 2
        assert "Choose another --output" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_a_missing_list_leaves_what_was_begun(tmp_path, capsys):
    (tmp_path / "rows.part").write_text("begun")
    options = ["--files-from", tmp_path / "none", "--format", "csv", "--output", tmp_path / "rows", "--resume"]
    assert run(*options) == 2
    assert "none: No such file" in capsys.readouterr().err
    assert (tmp_path / "rows.part").read_text() == "begun"


def test_names_with_any_character_come_back_from_csv(tmp_path, capsys):
    names = ["a,b.png", 'a"b.png', "a\nb.png", "a\rb.png", "\u00e9.png"]
    for name in names:
        draw_digit(1, 28).save(tmp_path / name)
    assert run(tmp_path, "--format", "csv", "--output", tmp_path / "rows.csv") == 0
    assert sorted(row["file"] for row in rows_of(tmp_path / "rows.csv")) == sorted(f"{tmp_path}/{n}" for n in names)
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbf" + f"{tmp_path}/a,b.png\r\n{tmp_path}/a\rb.png\n".encode())
    assert run("--files-from", tmp_path / "list", "--format", "json") == 0
    read = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert read == [f"{tmp_path}/a,b.png", f"{tmp_path}/a\rb.png"]


def packed(pictures):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for i, picture in enumerate(pictures):
            member = tarfile.TarInfo(f"{i}.png")
            member.size = len(picture)
            tar.addfile(member, io.BytesIO(picture))
    return content.getvalue()


def test_a_tar_that_is_cut_or_damaged_says_so_behind_what_could_be_read(tmp_path, capsys):
    whole = packed([encode_image(draw_digit(1, 28), "PNG")] * 4)
    third = len(packed([encode_image(draw_digit(1, 28), "PNG")] * 2).rstrip(b"\0")) // 512 * 512 + 512
    assert whole[third : third + 5] == b"2.png"
    broken = {
        "edge": whole[:third],
        "header": whole[: third + 100],
        "picture": whole[: third + 600],
        "byte": whole[: third + 3] + b"?" + whole[third + 4 :],
    }
    for name, content in broken.items():
        (tmp_path / f"{name}.tar").write_bytes(content)
        assert run(tmp_path / f"{name}.tar", "--format", "csv") == 1
        said = capsys.readouterr()
        assert said.out.count(".png,1,") == 2, name
        assert f"{name}.tar: damaged" in said.err


def test_links_in_a_tar_have_a_row(tmp_path, capsys):
    draw_digit(1, 28).save(tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
        tar.add(tmp_path / "b.png", "b.png")
    assert run(tmp_path / "c.tar", "--format", "csv") == 1
    said = capsys.readouterr()
    assert "c.tar/a.png,1," in said.out
    assert "c.tar/b.png: a link or device; make the tar with --hard-dereference" in said.err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_has_a_row(tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0)
    draw_digit(1, 28).save(tmp_path / "a.png")
    assert run(tmp_path) == 1
    assert "closed: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "says"),
    [((28, 28), "an array of shape (28, 28); wanted"), ((3, 28, 28, 2), "wanted"), ((7,), "wanted (N, H, W)")],
)
def test_an_array_of_another_shape_says_which(tmp_path, shape, says, capsys):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    np.savez(tmp_path / "b.npz", x_train=np.zeros((2, 28, 28), np.uint8))
    assert run(tmp_path / "a.npy", tmp_path / "b.npz") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/a.npy: " in first
    assert says in first
    assert f"{tmp_path}/b.npz: holds x_train.npy; wanted an array named images" in second


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["a.png", "--format", "parquet"], "--format parquet writes a folder"),
        (["a.png", "--resume"], "--resume goes on with a file"),
        (["a.png", "--output", "b"], "a table is for looking at"),
        (["a.png", "--files-from", "-"], "name images one way"),
        ([], "no image to classify"),
    ],
)
def test_options_that_cannot_go_together_are_one_line(options, says, capsys):
    assert run(*options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for processes and their memory")


def one_file_often(folder, count):
    """A list that names a picture of a 1 so many times."""
    draw_digit(1, 28).convert("L").save(folder / "one.png")
    (folder / "list.txt").write_text(f"{folder}/one.png\n" * count)
    return "--files-from", str(folder / "list.txt")


def begun(goal, *inputs, options=()):
    """A run of `digitnet predict` in two processes besides its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "digitnet", "predict", *inputs, "--format", "csv", "--output", str(goal),
         "--threads=2", *options],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def readers(process):
    """Waits until the run has begun its processes; their numbers."""
    deadline = time.monotonic() + 60
    while len(found := [pid for pid in child_processes(process.pid) if "serve_blocks" in command(pid)]) < 2:
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
    """Bytes that it and those it began hold, each page counted once, however many share it."""
    try:
        own = int(re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) * 1024
    except (OSError, TypeError):  # it has ended
        return 0
    return own + sum(memory(child) for child in child_processes(pid))


@LINUX
@pytest.mark.parametrize("source", ["images", "files"])
def test_a_hundred_thousand_pictures_take_no_more_memory_than_a_few(tmp_path, grey, source):
    if source == "images":
        inputs = [str(tmp_path / "many.npy")]
        np.save(inputs[0], np.tile(grey, (334, 1, 1)))
    else:
        inputs = one_file_often(tmp_path, 100_000)
    process = begun(tmp_path / "rows.csv", *inputs)
    most = 0
    while process.poll() is None:
        most = max(most, memory(process.pid))
        time.sleep(0.1)
    assert process.communicate()[1] == ""
    assert (tmp_path / "rows.csv").read_bytes().count(b"\n") - 1 >= 100_000
    assert 50e6 < most < 300e6


@LINUX
def test_a_reader_that_is_killed_ends_the_run_in_one_line_and_resume_goes_on(tmp_path):
    inputs = one_file_often(tmp_path, 30_000)
    process = begun(tmp_path / "rows.csv", *inputs)
    os.kill(readers(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = err.splitlines()
    assert line.startswith("error: One of the processes that read pictures was killed")
    assert not (tmp_path / "rows.csv").exists()
    process = begun(tmp_path / "rows.csv", *inputs, options=["--resume"])
    assert process.communicate(timeout=120)[1] == ""
    assert [row["label"] for row in rows_of(tmp_path / "rows.csv")] == ["1"] * 30_000


@LINUX
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_reader_outlives_the_run(tmp_path, signum):
    process = begun(tmp_path / "rows.csv", *one_file_often(tmp_path, 100_000))
    found = readers(process)
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)  # as Ctrl-C does
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-signum if signum == signal.SIGKILL else 128 + signum)
    assert err == ("" if signum == signal.SIGKILL else f"Interrupted ({signum.name}).\n")
    deadline = time.monotonic() + 30
    while any("serve_blocks" in command(pid) for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_script_that_calls_main_without_a_guard_has_each_row_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; from digitnet.cli import main; main(sys.argv[1:])")
    result = subprocess.run(
        [sys.executable, script, "predict", *one_file_often(tmp_path, 3000), "--format", "csv", "--threads", "2"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("one.png,1,") == 3000 == len(result.stdout.splitlines()) - 1


def test_a_closed_standard_output_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it after >&-
    assert run("a.png") == 2
    assert "standard output is closed" in capsys.readouterr().err


def test_blocks_are_read_as_they_are_asked_for():
    """Nobody who looks at the first rows of a million pictures waits for the rest."""
    made = 0

    def blocks():
        nonlocal made
        for made in range(1, 1001):  # noqa: B007  # counted
            yield Chunk(["x"], np.zeros((1, 5, 5, 1), np.uint8))

    assert next(predict_chunks(DigitClassifier(), blocks(), workers=2)).labels.tolist() == [-1]
    assert made < 10
