import errno
import os
import subprocess

import pytest

from digitnet.files import write_atomically
from tests.forking import DEADLINE


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_failed_write_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomically(path, b"old")

    def no_space(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.fixture
def full_disk(tmp_path):
    """A real filesystem of 64 KB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a filesystem here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_leaves_the_old_file(full_disk):
    path = full_disk / "file"
    write_atomically(path, b"old")
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert os.listdir(full_disk) == ["file"]


def test_training_onto_a_full_disk_is_one_line_and_status_2(full_disk, tiny_mnist):
    process = tiny_mnist.train(full_disk)
    _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert errors.strip().splitlines()[-1].startswith("error: ")
    assert "No space left on device" in errors
    assert "Traceback" not in errors


def test_a_named_pipe_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="Not a regular file"):
        write_atomically(pipe, b"new")
    assert not pipe.is_file()
