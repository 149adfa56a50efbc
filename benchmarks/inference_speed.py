"""How fast and how well the exported file reads, side by side with what one would do otherwise. About two minutes.

    python benchmarks/inference_speed.py [--model ONNX] [--data_dir data] [--runs 200]

One thread. The usual way is what embedding a bare network takes: Pillow finds the ink, crops, resizes to 20 pixels and
pastes into 28 x 28, then the same network without the framing runs in onnxruntime. torch eager is the same network and
framing before their export. The way of the Keras demo, where Keras is installed (in a process of its own, on as many
threads as it likes): Pillow inverts and shrinks the picture as a whole, then predict. It and DigitClassifier begin with
a PNG's bytes.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=released_model_path())
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fetch_mnist(options.data_dir)
    test = MNIST(options.data_dir, train=False)
    images, labels = test.data.numpy(), test.targets.numpy()
    session = one_thread(options.model.read_bytes())
    bare = one_thread(bare_network())

    def read(image: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"image": image})[0]

    grey = images[:1, :, :, None]
    canvas = on_canvas(images[0], 280, np.random.default_rng(0))
    large = np.asarray(Image.fromarray(canvas).resize((1000, 1000)).convert("RGBA"))[None]
    small = np.array(Image.fromarray(canvas).convert("RGBA"))[None]
    Image.fromarray(255 - canvas).save(buffer := io.BytesIO(), "PNG")
    png = buffer.getvalue()
    classifier = DigitClassifier(options.model, threads=1)
    eager = ExportedModel(load_model(Path(__file__).parent.parent / "checkpoints" / "release" / "digitnet.ckpt")).eval()

    def read_eager(image: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            return eager(torch.from_numpy(image))[0]

    contestants: dict[str, Callable[[], object]] = {
        "28 x 28 grey": lambda: read(grey),
        "usual way, 28 x 28 grey": lambda: bare.run(None, {"ink": crop_and_resize(images[0])}),
        "torch eager, 28 x 28 grey": lambda: read_eager(grey),
        "bare network alone": lambda: bare.run(None, {"ink": grey.transpose(0, 3, 1, 2).astype(np.float32)}),
        "280 x 280 RGBA": lambda: read(small),
        "usual way, 280 x 280 RGBA": lambda: bare.run(None, {"ink": crop_and_resize(small[0])}),
        "torch eager, 280 x 280 RGBA": lambda: read_eager(small),
        "1000 x 1000 RGBA": lambda: read(large),
        "usual way, 1000 x 1000 RGBA": lambda: bare.run(None, {"ink": crop_and_resize(large[0])}),
        "280 x 280 PNG, DigitClassifier": lambda: classifier(png),
        "64 of 28 x 28": lambda: read(images[:64, :, :, None]),
    }
    print("timing ...", file=sys.stderr)
    times = take_turns(contestants, options.runs)
    if keras_demo.INSTALLED:
        times["280 x 280 PNG, the Keras demo's way"] = keras_demo.apart(keras_demo.read, png, options.runs)
    versions = f"Python {platform.python_version()}, onnxruntime {ort.__version__}"
    print(f"{cpu_name()}, one thread; {versions}; n = {options.runs}\n")
    bars = {"28 x 28 grey": "≤ 0.35", "280 x 280 RGBA": "≤ 1.0", "1000 x 1000 RGBA": "≤ 12"}
    print("| picture to probabilities | median, ms | quartiles | bar |\n|---|---|---|---|")
    for name, milliseconds in times.items():
        low, middle, high = statistics.quantiles(milliseconds, n=4)
        print(f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {bars.get(name, '')} |")
    ratio = statistics.median(times["28 x 28 grey"]) / statistics.median(times["usual way, 28 x 28 grey"])
    rate = 64 / statistics.median(times["64 of 28 x 28"]) * 1000
    print(f"| 28 x 28, over the usual way | {ratio:.2f} | | ≤ 1.5 |")
    print(f"| batch of 64, pictures/s | {rate:,.0f} | | ≥ 6,000 |")

    print("cold start ...", file=sys.stderr)
    ours, torchs = cold_start(options.model)
    print(f"| cold start: import, load, first prediction, s | {ours:.2f} | n = 5 | |")
    print(f"| import torch alone, s | {torchs:.2f} | n = 5 | |")
    print(f"| cold start over import torch | {ours / torchs:.2f} | | ≤ 0.33 |")

    print("accuracy ...", file=sys.stderr)

    def accuracy(pictures: Callable[[int, int], np.ndarray]) -> float:
        right = 0
        for start in range(0, len(labels), 50):
            batch = pictures(start, start + 50)
            likeliest = session.run(["probabilities"], {"image": batch})[0].argmax(1)
            right += (likeliest == labels[start : start + 50]).sum()
        return right / len(labels)

    random = np.random.default_rng(0)
    promised = float(session.get_modelmeta().custom_metadata_map["test_accuracy"])
    print("\n| MNIST test set through the file | accuracy | bar |\n|---|---|---|")
    print(f"| the checkpoint | {promised:.2%} | |")
    print(f"| as it is | {accuracy(lambda a, b: images[a:b, :, :, None]):.2%} | the checkpoint's |")
    print(f"| inverted | {accuracy(lambda a, b: 255 - images[a:b, :, :, None]):.2%} | the checkpoint's |")
    redrawn = accuracy(lambda a, b: np.stack([on_canvas(image, 280, random)[..., None] for image in images[a:b]]))
    print(f"| redrawn x10 at a random place of 280 x 280 | {redrawn:.2%} | within 0.15 points |")


def one_thread(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bare_network() -> bytes:
    """The network without framing; its weights do not matter for the time it takes."""
    ink = torch.zeros(1, 1, 28, 28)
    program = torch.onnx.export(ConvNet().fused(), (ink,), dynamo=True, input_names=["ink"], verbose=False)
    return program.model_proto.SerializeToString()


def crop_and_resize(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, 4) to float32 (1, 1, 28, 28), as one does it with Pillow."""
    picture = Image.fromarray(image).convert("L")
    if picture.getpixel((0, 0)) > 127:
        picture = ImageChops.invert(picture)
    picture = picture.crop(picture.getbbox())
    scale = 20 / max(picture.size)
    picture = picture.resize((max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)))
    framed = Image.new("L", (28, 28))
    framed.paste(picture, ((28 - picture.width) // 2, (28 - picture.height) // 2))
    return np.asarray(framed, np.float32)[None, None] / 255


def on_canvas(image: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    """The digit of a 28 x 28 image, ten times larger, anywhere on a black square, uint8 (side, side)."""
    ys, xs = np.nonzero(image)
    digit = Image.fromarray(image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1])
    digit = digit.resize((digit.width * 10, digit.height * 10), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (side, side))
    canvas.paste(digit, tuple(int(random.integers(0, side - length + 1)) for length in digit.size))
    return np.asarray(canvas)


def take_turns(contestants: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Milliseconds of each, `runs` times, ten in a row and then the next, so that a noisy minute hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(1 + -(-runs // 10)):
        for name, work in contestants.items():
            for _ in range(10):
                start = time.perf_counter()
                work()
                if turn:  # the first turn warms up
                    times[name].append((time.perf_counter() - start) * 1000)
    return times


def cold_start(model: Path) -> tuple[float, float]:
    """Seconds of whole processes, medians of five in turn: our first prediction, and importing torch."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy, digitnet;"
        "digitnet.DigitClassifier(sys.argv[2])(numpy.zeros((28, 28), numpy.uint8))"
    )
    ours, torchs = [], []
    for _ in range(5):
        for times, command in [
            (ours, [program, str(Path(__file__).parent.parent), str(model)]),
            (torchs, ["import torch"]),
        ]:
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", *command], check=True)
            times.append(time.perf_counter() - start)
    return statistics.median(ours), statistics.median(torchs)


if __name__ == "__main__":
    main()
