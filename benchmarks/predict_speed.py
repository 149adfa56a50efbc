"""Throughput of `digitnet predict` compared with onnxruntime alone and a plain loop.

    python benchmarks/predict_speed.py [--images 40000] [--rounds 3] [--plot PNG]

onnxruntime alone classifies decoded batches in memory on the same number of cores and discards the results, so the
difference from it is the time for finding files, decoding, and writing records. The plain loop opens one file after the
other and calls DigitClassifier. The requirement applies to arrays, which need no decoding. Images are synthetic digits,
since the time does not depend on the content. It takes five minutes.
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
from digitnet.inference.images import batch_size
from digitnet.inference.sources import find_chunks
from digitnet.training.report import cpu_name

DISTINCT = 500  # different images, which are repeated
IMAGES_PER_FILE = 4  # one in four images of the arrays is also a file, because files take longer
SIZES = {28: 1, 100: 4, 280: 20, 1000: 100}  # width in pixels, and the factor by which the number of images is divided
ALONE, NPY, TAR, FILES, LOOP = (
    "onnxruntime alone, decoded", "predict images.npy", "predict scans.tar", "predict scans/", "plain loop over scans/",
)  # fmt: skip

Rates = dict[tuple[str, int], dict[int, float]]  # images/s by method and threads, and by width


def main() -> None:
    """Print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40_000, help="of 28 x 28 pixels; fewer larger ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    threads = sorted({1, *(2**i for i in range(10) if 2**i < available_cores()), available_cores()})
    versions = f"Python {platform.python_version()}, onnxruntime {ort.__version__}"
    print(f"{cpu_name()}; {versions}; n = {options.rounds}\n")
    print("| input, threads | images/s, median | range | relative to onnxruntime alone |\n|---|---|---|---|")
    medians: Rates = {}
    for size, fewer in SIZES.items():
        with TemporaryDirectory() as directory:
            images = draw_images(options.images // fewer, size)
            write_sources(Path(directory), images)
            for workers in threads:
                for name, rate in compare(Path(directory), images, workers, options.rounds).items():
                    medians.setdefault((name, workers), {})[size] = rate
    if options.plot:
        save_figure(plot_rates(medians), options.plot)


def draw_images(count: int, size: int) -> np.ndarray:
    """Draw synthetic digits.

    Args:
        count: Number of images, N; 500 of them differ.
        size: Width and height S in pixels.

    Returns:
        Uint8 (N, S, S), dark on bright.
    """
    rng = np.random.default_rng(0)
    images = np.stack([255 - render(draw_digit(index % 10, rng), size, rng) for index in range(DISTINCT)])
    return images[np.arange(count) % DISTINCT]


def write_sources(directory: Path, images: np.ndarray) -> None:
    """Write the images as an array, and some of them as files and as a tar file.

    Args:
        directory: The directory to write to.
        images: Uint8 (N, S, S).
    """
    np.save(directory / "images.npy", images)
    (directory / "scans").mkdir()
    with tarfile.open(directory / "scans.tar", "w") as tar:
        for index, image in enumerate(images[: len(images) // IMAGES_PER_FILE]):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            name = f"scans/{index:06}.png"
            (directory / name).write_bytes(buffer.getvalue())
            tar.add(directory / name, name)


def compare(directory: Path, images: np.ndarray, workers: int, rounds: int) -> dict[str, float]:
    """Measure each method and print a row for it.

    Args:
        directory: A directory that `write_sources` filled.
        images: The same images, uint8 (N, S, S).
        workers: Number of CPU cores to use.
        rounds: Number of measurements of each method.

    Returns:
        The medians in images/s, by method.
    """
    files = len(images) // IMAGES_PER_FILE
    methods: dict[str, tuple[Callable[[], None], int]] = {
        ALONE: (lambda: run_alone(images, workers), len(images)),
        NPY: (lambda: run_predict(directory, "images.npy", workers), len(images)),
        TAR: (lambda: run_predict(directory, "scans.tar", workers), files),
        FILES: (lambda: run_predict(directory, "scans", workers), files),
    }
    if workers == 1:
        methods[LOOP] = (lambda: run_loop(directory / "scans"), files)
    startup = startup_seconds()
    rates: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, (run, count) in methods.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start - (startup if name.startswith("predict") else 0)
            rates[name].append(count / seconds)
    for name, values in rates.items():
        ratio = statistics.median(rate / alone for rate, alone in zip(values, rates[ALONE], strict=True))
        requirement = " (requirement: ≥ 0.85)" if name == NPY else ""
        print(
            f"| {images.shape[1]} x {images.shape[1]}, {workers}: {name} | {statistics.median(values):,.0f}"
            f" | {min(values):,.0f} to {max(values):,.0f} | {ratio:.2f}{requirement} |",
            flush=True,
        )
    return {name: statistics.median(values) for name, values in rates.items()}


def startup_seconds() -> float:
    """Measure the start of the command and the loading of the model, which do not depend on the images.

    Returns:
        The duration in seconds.
    """
    start = time.perf_counter()
    DigitClassifier()
    subprocess.run([sys.executable, "-m", "digitnet", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def run_predict(directory: Path, source: str, workers: int) -> None:
    """Run `digitnet predict`.

    Args:
        directory: A directory that `write_sources` filled.
        source: The name of the input in it.
        workers: Number of CPU cores to use.
    """
    command = [
        sys.executable, "-m", "digitnet", "predict", str(directory / source), "--format", "csv",
        "--output", str(directory / "predictions.csv"), "--threads", str(workers),
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=Path(__file__).parent.parent)


def run_alone(images: np.ndarray, workers: int) -> None:
    """Classify decoded images in threads.

    Args:
        images: Uint8 (N, S, S).
        workers: Number of threads.
    """
    classifier = DigitClassifier()
    step = batch_size(images[0])
    starts = range(0, len(images), step)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda start: classifier.run(images[start : start + step, :, :, None]), starts):
            pass


def run_loop(directory: Path) -> None:
    """Classify files one after the other.

    Args:
        directory: A directory of images.
    """
    classifier = DigitClassifier()
    for chunk in find_chunks([str(directory)]):
        for image in chunk.images:
            classifier(image)


def plot_rates(medians: Rates) -> Figure:
    """Plot images/s by width: a line for each method, a panel for each number of threads.

    Args:
        medians: Images/s by method and number of threads, and by width in pixels.

    Returns:
        The figure.
    """
    workers = sorted({number for _, number in medians})
    figure = Figure(figsize=(5 * len(workers), 4), layout="constrained")
    panels = figure.subplots(1, len(workers), sharey=True, squeeze=False)[0]
    for panel, number in zip(panels, workers, strict=True):
        for name, threads in medians:
            if threads == number:
                panel.loglog(*zip(*medians[name, threads].items(), strict=True), marker="o", label=name)
        panel.set(title=f"{number} thread{'s' * (number > 1)}", xlabel="width of an image, pixels", xticks=list(SIZES))
        panel.set_xticklabels(map(str, SIZES))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("images/s")
    panels[0].legend()
    return figure


if __name__ == "__main__":
    main()
