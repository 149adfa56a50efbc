"""How many pictures a second `digitnet predict` reads, side by side with bare onnxruntime and with a plain loop.

    python benchmarks/predict_speed.py [--pictures 40000] [--rounds 3]

Bare onnxruntime reads batches that lie decoded in memory, in as many threads, and keeps nothing of what it reads: all
that `predict` takes besides is finding, decoding, and writing rows. The plain loop opens one file after the other and
calls DigitClassifier. Made digits, since how long a picture takes does not depend on whose it is.
"""

import argparse
import io
import platform
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet import DigitClassifier
from digitnet.handwriting import draw, write_digit
from digitnet.pipeline import all_cores
from digitnet.reports import cpu_name
from digitnet.sources import BLOCK, find_blocks

DRAWN = 500  # different pictures; each comes up many times
FILES = 8  # of so many pictures of the arrays one is a file, for files take longer
SIDES = (28, 280)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=40_000, help="of 28 x 28; a twentieth as many of 280 x 280")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    threads = [1, all_cores()] if all_cores() > 1 else [1]
    versions = f"Python {platform.python_version()}, onnxruntime {ort.__version__}"
    print(f"{cpu_name()}; {versions}; n = {options.rounds}\n")
    print("| pictures, threads | pictures/s, median | range | over bare onnxruntime |\n|---|---|---|---|")
    for side in SIDES:
        count = options.pictures if side == 28 else options.pictures // 20
        with TemporaryDirectory() as folder:
            images = made(count, side)
            write_sources(Path(folder), images)
            for workers in threads:
                compare(Path(folder), images, workers, options.rounds)


def made(count: int, side: int) -> np.ndarray:
    """uint8 (count, side, side), dark on light."""
    random = np.random.default_rng(0)
    drawn = np.stack([255 - draw(write_digit(i % 10, random), side, random) for i in range(DRAWN)])
    return drawn[np.arange(count) % DRAWN]


def write_sources(folder: Path, images: np.ndarray) -> None:
    np.save(folder / "images.npy", images)
    (folder / "scans").mkdir()
    with tarfile.open(folder / "scans.tar", "w") as tar:
        for i, image in enumerate(images[: len(images) // FILES]):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            name = f"scans/{i:06}.png"
            (folder / name).write_bytes(buffer.getvalue())
            tar.add(folder / name, name)


def compare(folder: Path, images: np.ndarray, workers: int, rounds: int) -> None:
    side, files = images.shape[1], len(images) // FILES

    def predict(source: str) -> None:
        subprocess.run(
            [
                sys.executable, "-m", "digitnet", "predict", str(folder / source), "--format", "csv",
                "--output", str(folder / "rows.csv"), "--threads", str(workers),
            ],
            check=True, cwd=Path(__file__).parent.parent,
        )  # fmt: skip

    contestants: dict[str, tuple[Callable[[], None], int]] = {
        "bare onnxruntime, decoded": (lambda: bare(images, workers), len(images)),
        "predict images.npy": (lambda: predict("images.npy"), len(images)),
        "predict scans.tar": (lambda: predict("scans.tar"), files),
        "predict scans/": (lambda: predict("scans"), files),
    }
    if workers == 1:
        contestants["plain loop over scans/"] = (lambda: plain_loop(folder / "scans"), files)
    start = time.perf_counter()
    DigitClassifier()
    subprocess.run([sys.executable, "-m", "digitnet", "--help"], check=True, stdout=subprocess.DEVNULL)
    started = time.perf_counter() - start  # a million pictures share it; here it would count too much
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (work, count) in contestants.items():
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start - (started if name.startswith("predict") else 0)
            rates[name].append(count / seconds)
    for name, values in rates.items():
        ratio = statistics.median(v / b for v, b in zip(values, rates["bare onnxruntime, decoded"], strict=True))
        print(
            f"| {side} x {side}, {workers}: {name} | {statistics.median(values):,.0f}"
            f" | {min(values):,.0f} to {max(values):,.0f} | {ratio:.2f} |",
            flush=True,
        )


def bare(images: np.ndarray, workers: int) -> None:
    classifier = DigitClassifier()
    step = max(1, min(BLOCK, 2**22 // images[0].size))
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(
            lambda start: classifier.run(images[start : start + step, :, :, None]), range(0, len(images), step)
        ):
            pass


def plain_loop(folder: Path) -> None:
    classifier = DigitClassifier()
    for block in find_blocks([str(folder)]):
        for picture in block.pictures:
            classifier(picture)


if __name__ == "__main__":
    main()
