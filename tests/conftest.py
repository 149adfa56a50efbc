"""Shared fixtures: a tiny dataset for claims about any data, the real MNIST for claims about MNIST, and a browser."""

import hashlib
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from digitnet.data import mnist
from digitnet.data.mnist import RAW_DIRECTORY, fetch_mnist
from digitnet.errors import DatasetError
from tests.forking import LIGHTNING, ForkedProcess
from tests.images import draw_digit

ROOT = Path(__file__).parent.parent
TRAIN_IMAGES, TEST_IMAGES = 640, 200
AXE = "axe-core@4.14.1"
CHROMIUM = "/usr/bin/chromium"
PAGE_TIMEOUT = 120_000  # milliseconds until a page is considered to hang; a shared machine can be very slow
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",  # a simulated camera
]  # fmt: skip


# The files that take longest, in this order. The processes of pytest-xdist share the suite by file; with a long file at
# its end, all but one would wait.
LONGEST = [
    "examples/test_ray.py", "training/test_cli.py", "app/test_page.py", "training/test_flags.py",
    "training/test_ddp.py", "test_wheel.py", "export/test_verify.py", "app/test_server.py", "app/test_limits.py",
    "adaptation/test_adapt.py", "test_code_blocks.py", "test_site.py", "training/test_resume.py",
    "app/test_connection.py", "app/test_teaching.py", "adaptation/test_cli.py", "demo/test_demo_site.py",
    "app/test_layout.py", "inference/test_batch.py",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first."""
    position = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: position.get(item.path.relative_to(ROOT / "tests").as_posix(), len(LONGEST)))


def child_processes(pid: int) -> list[int]:
    """Return the process IDs of the children of `pid`."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found]


def encode_idx(array: np.ndarray) -> bytes:
    """Return a uint8 array in the IDX format, as http://yann.lecun.com/exdb/mnist/ defines it."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def tiny_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return easy images, uint8 (count, 28, 28), and labels (count,): a bar over noise at the row of its label."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 2 * label : 7 + 2 * label, 6:22] = 230
    return images, labels


# Of a process that trains: one thread, and a wide terminal.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "TERM": "xterm"}
TRAIN = (
    "import json, sys; from digitnet.data import mnist; mnist.MD5.update(json.loads(sys.argv.pop(1)));"
    "sys.argv[0] = 'train.py'; import train; train.main()"
)


class TinyMNIST:
    """A data directory with four small IDX files, their MD5 sums, and a method that runs train.py on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        raw = directory / RAW_DIRECTORY
        raw.mkdir(parents=True)
        self.md5 = {}
        for part, (images, labels) in {
            "train": tiny_images(TRAIN_IMAGES, seed=1),
            "t10k": tiny_images(TEST_IMAGES, seed=2),
        }.items():
            for name, array in {f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": labels}.items():
                (raw / name).write_bytes(encode_idx(array))
                self.md5[name] = hashlib.md5(encode_idx(array)).hexdigest()

    def train(self, root: Path, *options: str) -> ForkedProcess:
        """Start `python train.py` on this data with output below `root`, in a forked process."""
        return ForkedProcess(
            LIGHTNING, TRAIN, self.arguments(root, *options), cwd=ROOT, env={**os.environ, **ENVIRONMENT}
        )

    def train_in_new_process(self, root: Path, *options: str, terminal: str | None = None) -> subprocess.Popen:
        """Start `python train.py` in a process that imports everything; in a pseudo-terminal of `script` if given."""
        command = [sys.executable, *self.arguments(root, *options)]
        command[2:2] = [TRAIN]
        if terminal:
            command = [terminal, "--quiet", "--return", "--command", shlex.join(command), "/dev/null"]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip

    def arguments(self, root: Path, *options: str) -> list[str]:
        """Return the command line of TRAIN, with the MD5 sums of this data."""
        return ["-c", json.dumps(self.md5), *self.options(root), *options]

    def options(self, root: Path) -> list[str]:
        return [
            f"--data.data_dir={self.directory}", f"--trainer.default_root_dir={root}", "--data.batch_size=16",
            "--data.synthetic_digits=40", "--data.non_digits=10",
            "--trainer.accelerator=cpu",
        ]  # fmt: skip


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    tiny = TinyMNIST(tmp_path / "tiny")
    monkeypatch.setattr(mnist, "MD5", tiny.md5)
    return tiny


@pytest.fixture
def directory(tmp_path):
    """Directories 1/ and 7/ with two images each, one of which is in the wrong directory."""
    for name, digit in {"1/a.png": 1, "1/b.png": 1, "7/c.png": 7, "7/d.png": 1}.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_digit(digit).save(path)
    return tmp_path / "set"


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """Return a data directory with the real MNIST, downloaded once to data/ in the repository."""
    try:
        fetch_mnist(ROOT / "data")
    except (DatasetError, OSError) as error:
        pytest.skip(f"needs the real MNIST: {error}")
    return ROOT / "data"


@pytest.fixture(scope="module")  # not session: Playwright keeps an event loop running in this thread until it is closed
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        browser.on("context", lambda context: context.set_default_timeout(PAGE_TIMEOUT))
        yield browser
        browser.close()


class Pages:
    """Opens pages and records their errors and the requests that they send to other hosts."""

    def __init__(self, browser) -> None:
        self.browser = browser
        self.contexts, self.errors, self.foreign_requests = [], [], []

    def open(self, url: str, **options):
        self.contexts.append(self.browser.new_context(**options))
        page = self.contexts[-1].new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._check_message)
        page.on("request", lambda request: self._check_host(request.url))
        page.goto(url)
        return page

    def check(self) -> None:
        """Check that no error was logged and no request sent to another host."""
        assert self.errors == []
        assert self.foreign_requests == []

    def close(self) -> None:
        """Close all pages."""
        for context in self.contexts:
            context.close()

    def _check_message(self, message) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url')}")

    def _check_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.foreign_requests.append(url)


@pytest.fixture
def pages(browser):
    """Open pages that must log no error and send no request to another host."""
    pages = Pages(browser)
    yield pages
    pages.close()
    pages.check()


@pytest.fixture(scope="session")
def axe_script(tmp_path_factory) -> str:
    """Return the text of axe-core, which finds accessibility problems in a page."""
    directory = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("needs npm: apt-get install npm")
    command = ["npm", "pack", AXE, "--silent", "--ignore-scripts"]
    if subprocess.run(command, cwd=directory, capture_output=True, text=True).returncode:
        pytest.skip(f"npm cannot download {AXE}")
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as tar:
        file = tar.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


def accessibility_problems(page, axe_script: str) -> list[str]:
    """Return what axe-core finds in a page: the rule, and the elements that violate it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe_script)  # an added script element would be subject to the page's Content-Security-Policy
    violations = page.evaluate("axe.run().then((result) => result.violations)")
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in violations]
