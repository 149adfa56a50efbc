"""Measure what each part of the released model's training recipe gains, by training without it. Twenty minutes.

    python benchmarks/ablation.py [--datasets DIR] [--epochs 4] [--data-dir data]

A run has four epochs by default. MNIST's validation images are used, because its test images must not influence a
choice. --datasets names a directory of .npz files with images, uint8 (N, H, W), and labels, -1 for a non-digit.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.data.datamodule import split_indices
from digitnet.data.mnist import fetch_mnist
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.model.checkpoint import load_model
from digitnet.model.framing import Framing

ROOT = Path(__file__).parent.parent
CORRUPTED = 1000  # number of validation images to which each corruption is applied
LEARNING_RATE = 0.006  # of a run that starts with random weights
COVERAGE = 0.95  # the threshold for measuring non-digits accepts this fraction of the dataset "pen"
VARIANTS = {
    "complete recipe": [],
    "without degradation": ["--data.degradation=0"],
    "without synthetic digits": ["--data.synthetic_digits=0"],
    "without non-digits": ["--data.non_digits=0"],
    "without printed digits": ["--data.printed_digits=0"],
    "without seven-segment digits": ["--data.seven_segment_digits=0"],
    "without printed letters and signs": ["--data.printed_non_digits=0"],
    "without altered digits": ["--data.altered_digits=0"],
    "without words": ["--data.words=0"],
    "without textures": ["--data.textures=0"],
    "without elastic deformation": ["--data.augment.displacement=0"],
    "without augmentation": ["--data.augmentation=false"],
}

Datasets = dict[str, tuple[torch.Tensor, np.ndarray]]  # framed images, uint8 (N, 28, 28), and labels (N,)


def frame(images: np.ndarray) -> torch.Tensor:
    """Frame grayscale images.

    Args:
        images: Uint8 (N, H, W).

    Returns:
        Uint8 (N, 28, 28), 255 = ink.
    """
    framing = Framing()
    chunks = np.array_split(images[..., None], -(-images.size // 2**20))
    with torch.inference_mode():
        return torch.cat([(framing(torch.from_numpy(chunk))[0] * 255).round().to(torch.uint8) for chunk in chunks])


def load_datasets(data_dir: str, directory: Path | None) -> Datasets:
    """Load MNIST's validation images, also with corruptions, and the datasets of a directory.

    Args:
        data_dir: The directory with MNIST/raw.
        directory: A directory of .npz files, or None.

    Returns:
        The datasets by name; omniglot is the last one, because it needs the result of pen.
    """
    datasets = dict(_load_each(data_dir, directory))
    return {name: datasets[name] for name in sorted(datasets, key=lambda name: name == "omniglot")}


def _load_each(data_dir: str, directory: Path | None) -> Iterator[tuple[str, tuple[torch.Tensor, np.ndarray]]]:
    mnist = MNIST(data_dir, train=True)
    val, _ = split_indices(len(mnist.data), 0.1)
    ink, labels = mnist.data[val], mnist.targets[val].numpy()
    yield "MNIST val", (ink, labels)
    for path in sorted(directory.glob("*.npz")) if directory else ():
        with np.load(path) as data:
            yield path.stem, (frame(data["images"]), data["labels"])
    chunks = np.array_split(ink[:CORRUPTED].numpy(), 4)
    for name, corruptions in (("corrupted", CORRUPTIONS), ("pages", PAGE_CORRUPTIONS)):
        corrupted = [frame(corrupt(c, np.random.default_rng(0))) for corrupt in corruptions.values() for c in chunks]
        yield name, (torch.cat(corrupted), np.tile(labels[:CORRUPTED], len(corruptions)))


def measure(checkpoint: Path, datasets: Datasets) -> Iterator[float]:
    """Measure the accuracy of a network on each dataset.

    Args:
        checkpoint: A checkpoint of the network.
        datasets: Framed images, uint8 (N, 28, 28), and labels, (N,), of each dataset; "pen" precedes non-digits.

    Yields:
        The accuracy in [0, 1]; for non-digits, the fraction accepted where 95 % of the dataset "pen" are.
    """
    network = load_model(checkpoint).network
    confidence = {}
    for name, (ink, labels) in datasets.items():
        with torch.inference_mode():
            logits = torch.cat([network(batch[:, None].float() / 255) for batch in ink.split(500)])
        confidence[name] = logits.softmax(1).amax(1).numpy()
        if (labels >= 0).all():
            yield (logits.argmax(1).numpy() == labels).mean()
        else:
            yield (confidence[name] >= np.quantile(confidence["pen"], 1 - COVERAGE)).mean()


def train(options: list[str], epochs: int, data_dir: str, directory: str) -> Path:
    """Train a variant.

    Args:
        options: Options of train.py that replace those of the released model.
        epochs: Number of epochs.
        data_dir: The directory with MNIST/raw.
        directory: Where to write the run.

    Returns:
        The path of the best checkpoint.
    """
    command = [
        sys.executable, "train.py", f"--config={ROOT}/checkpoints/release/fine_tuning.yaml",
        f"--model.learning_rate={LEARNING_RATE}", f"--data.data_dir={Path(data_dir).resolve()}",
        f"--trainer.default_root_dir={directory}",
        f"--trainer.max_epochs={epochs}", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return Path(directory) / "checkpoints" / "best.ckpt"


def main() -> None:
    """Print a table: a row for each variant, a column for each dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    if options.datasets and not (options.datasets / "pen.npz").is_file():
        parser.error(f"{options.datasets} has no pen.npz, with which the acceptance of non-digits is measured")
    fetch_mnist(options.data_dir)
    datasets = load_datasets(options.data_dir, options.datasets)
    print(f"| {options.epochs} epochs | {' | '.join(datasets)} |\n|---|{'---|' * len(datasets)}")
    for name, changes in VARIANTS.items():
        with TemporaryDirectory() as directory:
            accuracies = measure(train(changes, options.epochs, options.data_dir, directory), datasets)
            print(f"| {name} | {' | '.join(f'{accuracy:.2%}' for accuracy in accuracies)} |", flush=True)


if __name__ == "__main__":
    main()
