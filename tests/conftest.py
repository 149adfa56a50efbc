"""Data for the tests: made images for what holds of any data, the real MNIST for what is claimed about MNIST."""

import hashlib
import json
import os
import shlex
import struct
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from digitnet import mnist
from digitnet.errors import DatasetError
from digitnet.mnist import RAW_FOLDER, fetch_mnist

ROOT = Path(__file__).parent.parent
TRAIN_IMAGES, TEST_IMAGES = 640, 200
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",  # a camera that shows a moving figure
]  # fmt: skip


def children(pid: int) -> list[int]:
    """The processes that this one has begun."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found]


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file with this uint8 array, as http://yann.lecun.com/exdb/mnist/ defines it."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def made_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 28, 28) and (count,): a bright bar whose place says the label, over noise; easy to learn."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    images = random.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 2 * label : 7 + 2 * label, 6:22] = 230
    return images, labels


class MadeMNIST:
    """A data_dir with four made files, the MD5 that they have, and train.py as a process of its own on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        raw = folder / RAW_FOLDER
        raw.mkdir(parents=True)
        self.md5 = {}
        for part, (images, labels) in {
            "train": made_images(TRAIN_IMAGES, seed=1),
            "t10k": made_images(TEST_IMAGES, seed=2),
        }.items():
            for name, array in {f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": labels}.items():
                (raw / name).write_bytes(idx(array))
                self.md5[name] = hashlib.md5(idx(array)).hexdigest()

    def train(self, root: Path, *options: str, terminal: str | None = None) -> subprocess.Popen:
        """Starts `python train.py` on the made data, writing below `root`; on a terminal made by `script`, if given."""
        program = (
            "import json, sys; from digitnet import mnist; mnist.MD5.update(json.loads(sys.argv.pop(1)));"
            "sys.argv[0] = 'train.py'; import train; train.main()"
        )
        command = [sys.executable, "-c", program, json.dumps(self.md5), *self.options(root), *options]
        if terminal:
            command = [terminal, "--quiet", "--return", "--command", shlex.join(command), "/dev/null"]
        return subprocess.Popen(
            command,
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", "TERM": "xterm"},
        )  # fmt: skip

    def options(self, root: Path) -> list[str]:
        return [
            f"--data.data_dir={self.folder}", f"--trainer.default_root_dir={root}", "--data.batch_size=16",
            "--data.handwriting=40", "--data.none=10",
            "--trainer.accelerator=cpu",
        ]  # fmt: skip


@pytest.fixture
def made_mnist(tmp_path, monkeypatch):
    made = MadeMNIST(tmp_path / "made")
    monkeypatch.setattr(mnist, "MD5", made.md5)
    return made


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    """A data_dir with the real MNIST, fetched once into the repository's data/."""
    try:
        fetch_mnist(ROOT / "data")
    except (DatasetError, OSError) as error:
        pytest.skip(f"needs the real MNIST: {error}")
    return ROOT / "data"


@pytest.fixture(scope="module")  # not session: Playwright keeps an event loop running in this thread until it ends
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


class Visits:
    """Opens pages; what went wrong on them and where they sent requests is looked at when the test is over."""

    def __init__(self, browser) -> None:
        self.browser = browser
        self.contexts, self.errors, self.strangers = [], [], []

    def open(self, url: str, **options):
        self.contexts.append(self.browser.new_context(**options))
        page = self.contexts[-1].new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self._look_at(request.url))
        page.goto(url)
        return page

    def _look_at(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.strangers.append(url)


@pytest.fixture
def visits(browser):
    visits = Visits(browser)
    yield visits
    for context in visits.contexts:
        context.close()
    assert visits.errors == []
    assert visits.strangers == []
