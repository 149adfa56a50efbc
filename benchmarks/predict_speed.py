"""How many pictures a second `digitnet predict` reads, side by side with bare onnxruntime and with a plain loop.

    python benchmarks/predict_speed.py [--pictures 40000] [--rounds 3] [--plot PNG]

Bare onnxruntime reads batches that lie decoded in memory, on as many cores, and keeps nothing of what it reads: all
that `predict` takes besides is finding, decoding, and writing rows. The plain loop opens one file after the other and
calls DigitClassifier. The bar is for what needs no decoding. Made digits, since how long a picture takes does not
depend on whose it is. Five minutes.
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
from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet import DigitClassifier
from digitnet.data.synthetic import draw_digit, render
from digitnet.evaluation.plots import save_figure
from digitnet.inference.batch import available_cores
from digitnet.inference.sources import BLOCK, find_chunks
from digitnet.training.report import cpu_name

DRAWN = 500  # different pictures; each comes up many times
FILES = 4  # of so many pictures of the arrays one is a file, for files take longer
SIDES = {28: 1, 100: 4, 280: 20, 1000: 100}  # pixels; one of how many pictures there is of this size
BARE, NPY, TAR, FOLDER, LOOP = (
    "bare onnxruntime, decoded", "predict images.npy", "predict scans.tar", "predict scans/", "plain loop over scans/",
)  # fmt: skip

Rates = dict[tuple[str, int], dict[int, float]]  # of a way of reading and threads, by side: pictures a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=40_000, help="of 28 x 28; fewer of larger ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    threads = sorted({1, *(2**i for i in range(10) if 2**i < available_cores()), available_cores()})
    versions = f"Python {platform.python_version()}, onnxruntime {ort.__version__}"
    print(f"{cpu_name()}; {versions}; n = {options.rounds}\n")
    print("| pictures, threads | pictures/s, median | range | over bare onnxruntime |\n|---|---|---|---|")
    medians: Rates = {}
    for side, fewer in SIDES.items():
        with TemporaryDirectory() as folder:
            images = made(options.pictures // fewer, side)
            write_sources(Path(folder), images)
            for workers in threads:
                for name, rate in compare(Path(folder), images, workers, options.rounds).items():
                    medians.setdefault((name, workers), {})[side] = rate
    if options.plot:
        save_figure(draw_rates(medians), options.plot)


def made(count: int, side: int) -> np.ndarray:
    """uint8 (count, side, side), dark on light."""
    random = np.random.default_rng(0)
    drawn = np.stack([255 - render(draw_digit(i % 10, random), side, random) for i in range(DRAWN)])
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


def compare(folder: Path, images: np.ndarray, workers: int, rounds: int) -> dict[str, float]:
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
        BARE: (lambda: bare(images, workers), len(images)),
        NPY: (lambda: predict("images.npy"), len(images)),
        TAR: (lambda: predict("scans.tar"), files),
        FOLDER: (lambda: predict("scans"), files),
    }
    if workers == 1:
        contestants[LOOP] = (lambda: plain_loop(folder / "scans"), files)
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
        ratio = statistics.median(v / b for v, b in zip(values, rates[BARE], strict=True))
        bar = " (bar: ≥ 0.85)" if name == NPY else ""
        print(
            f"| {side} x {side}, {workers}: {name} | {statistics.median(values):,.0f}"
            f" | {min(values):,.0f} to {max(values):,.0f} | {ratio:.2f}{bar} |",
            flush=True,
        )
    return {name: statistics.median(values) for name, values in rates.items()}


def draw_rates(medians: Rates) -> Figure:
    """Pictures a second against their side: a line for each way of reading, a panel for each number of threads."""
    workers = sorted({number for _, number in medians})
    figure = Figure(figsize=(5 * len(workers), 4), layout="constrained")
    panels = figure.subplots(1, len(workers), sharey=True, squeeze=False)[0]
    for panel, number in zip(panels, workers, strict=True):
        for name, of in medians:
            if of == number:
                panel.loglog(*zip(*medians[name, of].items(), strict=True), marker="o", label=name)
        panel.set(title=f"{number} thread{'s' * (number > 1)}", xlabel="side of a picture, pixels", xticks=list(SIDES))
        panel.set_xticklabels(map(str, SIDES))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("pictures a second")
    panels[0].legend()
    return figure


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
    for block in find_chunks([str(folder)]):
        for picture in block.pictures:
            classifier(picture)


if __name__ == "__main__":
    main()
