"""Accuracy gained by framing, on MNIST's corrupted test images. It takes four minutes.

    python benchmarks/framing.py [--checkpoint checkpoints/best.ckpt] [--data-dir data] [--plot docs/framing.png]

The baseline shrinks the whole image to 28 x 28 and inverts it if it is light; the same network classifies both. The
plot shows three examples of each corruption: the image, and the framed image that the network gets.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.data.mnist import fetch_mnist
from digitnet.evaluation.corruptions import CORRUPTIONS, Corruption
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.model.checkpoint import load_model
from digitnet.model.framing import Framing
from digitnet.model.network import ConvNet

CELL, EXAMPLES, MARGIN = 84, 3, 120  # of the plot: pixels of an image, images per row, pixels for the name
CHUNKS = 20  # in which the images are corrupted

Example = tuple[str, np.ndarray, np.ndarray]  # name of the corruption, images, framed images


def main() -> None:
    """Print a table for the corruptions and one for the page corruptions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/best.ckpt"))
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    test = MNIST(options.data_dir, train=False)
    network = load_model(options.checkpoint).network
    examples: list[Example] = []
    for title, corruptions in (
        ("corruptions of 28 x 28, as in MNIST-C", CORRUPTIONS),
        ("page corruptions, 160 x 160", PAGE_CORRUPTIONS),
    ):
        print(f"\n| {title} | shrunk to 28 x 28 | framed |\n|---|---|---|")
        examples += print_rows(network, test, corruptions)
    if options.plot:
        plot(examples).save(options.plot)


def print_rows(network: ConvNet, test: MNIST, corruptions: dict[str, Corruption]) -> list[Example]:
    """Print the accuracy with both methods for each corruption.

    Args:
        network: Maps ink, float32 (N, 1, 28, 28), to logits, (N, 10).
        test: MNIST's test images and labels.
        corruptions: The corruptions by name.

    Returns:
        Three examples for each corruption.
    """
    framing, examples, accuracies = Framing(), [], []
    for name, corrupt in corruptions.items():
        rng = np.random.default_rng(0)
        chunks = [corrupt(chunk, rng) for chunk in np.array_split(test.data.numpy(), CHUNKS)]
        images = torch.from_numpy(np.concatenate(chunks))[..., None]
        with torch.inference_mode():
            framed = torch.cat([framing(batch)[0] for batch in images.split(250)])
        both = [accuracy(network, ink, test.targets) for ink in (shrink(images), framed[:, None])]
        print(f"| {name.replace('_', ' ')} | {both[0]:.1%} | {both[1]:.1%} |", flush=True)
        accuracies.append(both)
        examples.append((name, images[:EXAMPLES, ..., 0].numpy(), framed[:EXAMPLES].numpy()))
    shrunk, framed_accuracy = np.mean(accuracies, 0)
    print(f"| mean | {shrunk:.1%} | {framed_accuracy:.1%} |")
    return examples


def accuracy(network: ConvNet, ink: Tensor, labels: Tensor) -> float:
    """Measure the accuracy of a network.

    Args:
        network: Maps ink to logits, (N, 10).
        ink: Float32 (N, 1, 28, 28) in [0, 1].
        labels: Int64 (N,), 0 to 9.

    Returns:
        A number in [0, 1].
    """
    with torch.inference_mode():
        predictions = torch.cat([network(batch) for batch in ink.split(500)]).argmax(1)
    return (predictions == labels).float().mean().item()


def shrink(images: Tensor) -> Tensor:
    """Prepare images as most demos do: shrink them as a whole and invert light ones.

    Args:
        images: Uint8 (N, H, W, 1).

    Returns:
        Float32 (N, 1, 28, 28) in [0, 1], bright on dark.
    """
    gray = np.stack([np.asarray(Image.fromarray(image[..., 0]).resize((28, 28))) for image in images.numpy()])
    light = np.median(gray, (1, 2), keepdims=True) > 127
    return torch.from_numpy(np.where(light, 255 - gray, gray)[:, None].astype(np.float32) / 255)


def plot(examples: list[Example]) -> Image.Image:
    """Draw a row for each corruption: its name, and pairs of an image and the framed image.

    Args:
        examples: Three examples for each corruption: images, uint8 (3, H, W), and framed images, float32 (3, 28, 28).

    Returns:
        A grayscale image.
    """
    step = CELL + 4
    grid = Image.new("L", (MARGIN + 2 * EXAMPLES * step, len(examples) * step), 255)
    for row, (name, images, framed) in enumerate(examples):
        ImageDraw.Draw(grid).text((6, row * step + CELL // 2), name.replace("_", " "), fill=0)
        for index, (image, ink) in enumerate(zip(images, framed, strict=True)):
            for offset, cell in ((0, image), (CELL + 2, 255 - np.rint(ink * 255).astype(np.uint8))):
                reduced = Image.fromarray(cell).resize((CELL, CELL), Image.Resampling.BOX)
                grid.paste(reduced, (MARGIN + 2 * index * step + offset, row * step))
    return grid


if __name__ == "__main__":
    main()
