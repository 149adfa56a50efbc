"""Latency and accuracy of the exported model. About two minutes.

    python benchmarks/inference_speed.py [--model ONNX] [--data-dir data] [--runs 200]

It uses one thread. The baseline is a program that embeds the network alone: Pillow finds the ink, crops it, resizes it
to 20 pixels and pastes it into 28 x 28; then the same network without framing runs in onnxruntime. PyTorch eager is the
same network and framing before the export. The Keras baseline (if Keras is installed; a separate process, any number of
threads) inverts and shrinks the whole image with Pillow and calls predict. It and DigitClassifier start from a PNG's
bytes.
"""

import argparse
import io
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from PIL import Image, ImageChops
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks import keras_demo
from digitnet.data.mnist import fetch_mnist
from digitnet.export.graph import ExportedModel
from digitnet.inference.classifier import DigitClassifier, released_model_path
from digitnet.model.checkpoint import load_model
from digitnet.model.network import ConvNet
from digitnet.training.report import cpu_name

Times = dict[str, list[float]]  # milliseconds

REQUIREMENTS = {"28 x 28 grayscale": "≤ 0.35", "280 x 280 RGBA": "≤ 1.0", "1000 x 1000 RGBA": "≤ 12"}
RELEASED_CHECKPOINT = Path(__file__).parent.parent / "checkpoints" / "release" / "digitnet.ckpt"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=released_model_path())
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fetch_mnist(options.data_dir)
    test = MNIST(options.data_dir, train=False)
    images, labels = test.data.numpy(), test.targets.numpy()
    session = one_thread(options.model.read_bytes())
    print("timing ...", file=sys.stderr)
    times = measure(options.model, session, images, options.runs)
    versions = f"Python {platform.python_version()}, onnxruntime {ort.__version__}"
    print(f"{cpu_name()}, one thread; {versions}; n = {options.runs}\n")
    print_times(times)
    print("cold start ...", file=sys.stderr)
    digitnet_seconds, torch_seconds = cold_start(options.model)
    print(f"| cold start: import, load, first prediction, s | {digitnet_seconds:.2f} | n = 5 | |")
    print(f"| import torch alone, s | {torch_seconds:.2f} | n = 5 | |")
    print(f"| cold start relative to import torch | {digitnet_seconds / torch_seconds:.2f} | | ≤ 0.33 |")
    print("accuracy ...", file=sys.stderr)
    print_accuracies(session, images, labels)


def measure(model: Path, session: ort.InferenceSession, images: np.ndarray, runs: int) -> Times:
    """Time the predictions of each method.

    Args:
        model: Path of the exported model.
        session: A session of that model.
        images: Uint8 (N, 28, 28), N at least 64.
        runs: Number of predictions with each method.

    Returns:
        The durations in milliseconds, by method.
    """
    network = one_thread(export_network())
    gray = images[:1, :, :, None]
    canvas = enlarge(images[0], 280, np.random.default_rng(0))
    large = np.asarray(Image.fromarray(canvas).resize((1000, 1000)).convert("RGBA"))[None]
    small = np.array(Image.fromarray(canvas).convert("RGBA"))[None]
    Image.fromarray(255 - canvas).save(buffer := io.BytesIO(), "PNG")
    png = buffer.getvalue()
    classifier = DigitClassifier(model, threads=1)
    eager = ExportedModel(load_model(RELEASED_CHECKPOINT)).eval()

    def predict(image: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"image": image})[0]

    def predict_baseline(image: np.ndarray) -> np.ndarray:
        return network.run(None, {"ink": crop_and_resize(image)})

    def predict_eager(image: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            return eager(torch.from_numpy(image))[0]

    methods: dict[str, Callable[[], object]] = {
        "28 x 28 grayscale": lambda: predict(gray),
        "baseline, 28 x 28 grayscale": lambda: predict_baseline(images[0]),
        "PyTorch eager, 28 x 28 grayscale": lambda: predict_eager(gray),
        "network alone": lambda: network.run(None, {"ink": gray.transpose(0, 3, 1, 2).astype(np.float32)}),
        "280 x 280 RGBA": lambda: predict(small),
        "baseline, 280 x 280 RGBA": lambda: predict_baseline(small[0]),
        "PyTorch eager, 280 x 280 RGBA": lambda: predict_eager(small),
        "1000 x 1000 RGBA": lambda: predict(large),
        "baseline, 1000 x 1000 RGBA": lambda: predict_baseline(large[0]),
        "280 x 280 PNG, DigitClassifier": lambda: classifier(png),
        "64 of 28 x 28": lambda: predict(images[:64, :, :, None]),
    }
    times = time_interleaved(methods, runs)
    if keras_demo.INSTALLED:
        times["280 x 280 PNG, Keras baseline"] = keras_demo.run_in_process(keras_demo.time_predictions, png, runs)
    return times


def print_times(times: Times) -> None:
    """Print the table of durations.

    Args:
        times: Durations in milliseconds, by method.
    """
    print("| image to probabilities | median, ms | quartiles | requirement |\n|---|---|---|---|")
    for name, milliseconds in times.items():
        low, median, high = statistics.quantiles(milliseconds, n=4)
        print(f"| {name} | {median:.3f} | {low:.3f} to {high:.3f} | {REQUIREMENTS.get(name, '')} |")
    ratio = statistics.median(times["28 x 28 grayscale"]) / statistics.median(times["baseline, 28 x 28 grayscale"])
    rate = 64 / statistics.median(times["64 of 28 x 28"]) * 1000
    print(f"| 28 x 28, relative to the baseline | {ratio:.2f} | | ≤ 1.5 |")
    print(f"| batch of 64, images/s | {rate:,.0f} | | ≥ 6,000 |")


def print_accuracies(session: ort.InferenceSession, images: np.ndarray, labels: np.ndarray) -> None:
    """Print the accuracy on MNIST's test images in several variants.

    Args:
        session: A session of the exported model.
        images: MNIST's test images, uint8 (N, 28, 28).
        labels: Integers (N,), 0 to 9.
    """

    def accuracy(transform: Callable[[np.ndarray], np.ndarray]) -> float:
        correct = 0
        for start in range(0, len(labels), 50):
            batch = transform(images[start : start + 50])[..., None]
            probabilities = session.run(["probabilities"], {"image": batch})[0]
            correct += (probabilities.argmax(1) == labels[start : start + 50]).sum()
        return correct / len(labels)

    rng = np.random.default_rng(0)
    expected = float(session.get_modelmeta().custom_metadata_map["test_accuracy"])
    enlarged = accuracy(lambda batch: np.stack([enlarge(image, 280, rng) for image in batch]))
    print("\n| MNIST test set, exported model | accuracy | requirement |\n|---|---|---|")
    print(f"| the checkpoint | {expected:.2%} | |")
    print(f"| original | {accuracy(lambda batch: batch):.2%} | equal to the checkpoint |")
    print(f"| inverted | {accuracy(lambda batch: 255 - batch):.2%} | equal to the checkpoint |")
    print(f"| enlarged 10 times, at a random position in 280 x 280 | {enlarged:.2%} | within 0.15 points |")


def one_thread(model: bytes) -> ort.InferenceSession:
    """Create a session with one thread.

    Args:
        model: The content of an ONNX file.

    Returns:
        The session.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def export_network() -> bytes:
    """Export the network without framing; its weights do not influence the time.

    Returns:
        The content of an ONNX file with the input `ink`, float32 (1, 1, 28, 28).
    """
    ink = torch.zeros(1, 1, 28, 28)
    program = torch.onnx.export(ConvNet().fused(), (ink,), dynamo=True, input_names=["ink"], verbose=False)
    return program.model_proto.SerializeToString()


def crop_and_resize(image: np.ndarray) -> np.ndarray:
    """Prepare an image with Pillow, as a program does that embeds the network alone.

    Args:
        image: Uint8 (H, W) or (H, W, 4), not blank.

    Returns:
        Float32 (1, 1, 28, 28) in [0, 1].
    """
    digit = Image.fromarray(image).convert("L")
    if digit.getpixel((0, 0)) > 127:
        digit = ImageChops.invert(digit)
    digit = digit.crop(digit.getbbox())
    scale = 20 / max(digit.size)
    digit = digit.resize((max(round(digit.width * scale), 1), max(round(digit.height * scale), 1)))
    framed = Image.new("L", (28, 28))
    framed.paste(digit, ((28 - digit.width) // 2, (28 - digit.height) // 2))
    return np.asarray(framed, np.float32)[None, None] / 255


def enlarge(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Enlarge a digit ten times and place it at random in a black image.

    Args:
        image: Uint8 (28, 28), not blank.
        size: Width and height of the result in pixels; at least 280 fits every digit.
        rng: Source of the random numbers.

    Returns:
        Uint8 (`size`, `size`).
    """
    ys, xs = np.nonzero(image)
    digit = Image.fromarray(image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1])
    digit = digit.resize((digit.width * 10, digit.height * 10), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (size, size))
    canvas.paste(digit, tuple(int(rng.integers(0, size - length + 1)) for length in digit.size))
    return np.asarray(canvas)


def time_interleaved(methods: dict[str, Callable[[], object]], runs: int) -> Times:
    """Time each method, ten runs in turn, so that other load affects all of them.

    Args:
        methods: The methods by name.
        runs: Number of timed runs of each, rounded up to a multiple of ten.

    Returns:
        Durations in milliseconds, by method.
    """
    times: Times = {name: [] for name in methods}
    for index in range(1 + -(-runs // 10)):
        for name, work in methods.items():
            for _ in range(10):
                start = time.perf_counter()
                work()
                if index:  # the first turn is the warm-up
                    times[name].append((time.perf_counter() - start) * 1000)
    return times


def cold_start(model: Path) -> tuple[float, float]:
    """Measure how long new processes take.

    Args:
        model: Path of the exported model.

    Returns:
        Seconds of a process with one prediction, and of one that imports torch; medians of five.
    """
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy, digitnet;"
        "digitnet.DigitClassifier(sys.argv[2])(numpy.zeros((28, 28), numpy.uint8))"
    )
    digitnet_times, torch_times = [], []
    for _ in range(5):
        for times, command in [
            (digitnet_times, [program, str(Path(__file__).parent.parent), str(model)]),
            (torch_times, ["import torch"]),
        ]:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", *command], check=True)
            times.append(time.perf_counter() - start)
    return statistics.median(digitnet_times), statistics.median(torch_times)


if __name__ == "__main__":
    main()
