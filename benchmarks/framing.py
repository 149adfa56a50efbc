"""What framing buys: MNIST's test digits made hard, read framed and as most demos read them. Four minutes.

    python benchmarks/framing.py [--checkpoint checkpoints/best.ckpt] [--data_dir data] [--sheet docs/hard.png]

The usual way shrinks the whole picture to 28 x 28, inverted where it is light; the same network reads both. The sheet
shows three of each: the picture, and what the network gets to see of it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.data.mnist import fetch_mnist
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.model.checkpoint import load_model
from digitnet.model.framing import Framing

CELL, SHOWN = 84, 3  # pixels of the sheet, pictures in a row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/best.ckpt"))
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    fetch_mnist(options.data_dir)
    test = MNIST(options.data_dir, train=False)
    ink, labels = test.data.numpy(), test.targets
    network, framing = load_model(options.checkpoint).network, Framing()
    rows = []

    def accuracy(read: torch.Tensor) -> float:
        with torch.inference_mode():
            return (torch.cat([network(part) for part in read.split(500)]).argmax(1) == labels).float().mean().item()

    for title, hard in (("28 x 28, in the manner of MNIST-C", CORRUPTIONS), ("a page of 160 x 160", PAGE_CORRUPTIONS)):
        print(f"\n| {title} | shrunk to 28 x 28 | framed |\n|---|---|---|")
        figures = []
        for name, make in hard.items():
            random = np.random.default_rng(0)
            parts = [make(part, random) for part in np.array_split(ink, 20)]
            pictures = torch.from_numpy(np.concatenate(parts))[..., None]
            with torch.inference_mode():
                framed = torch.cat([framing(part)[0] for part in pictures.split(250)])
            figures.append((accuracy(shrunk(pictures)), accuracy(framed[:, None])))
            print(f"| {name.replace('_', ' ')} | {figures[-1][0]:.1%} | {figures[-1][1]:.1%} |", flush=True)
            rows.append((name, pictures[:SHOWN, ..., 0].numpy(), framed[:SHOWN].numpy()))
        usual, ours = np.mean(figures, 0)
        print(f"| mean | {usual:.1%} | {ours:.1%} |")
    if options.sheet:
        draw(rows).save(options.sheet)


def shrunk(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 (N, H, W, 1) to float32 (N, 1, 28, 28), light on dark, as a demo with a canvas does it."""
    grey = np.stack([np.asarray(Image.fromarray(p[..., 0]).resize((28, 28))) for p in pictures.numpy()])
    light = np.median(grey, (1, 2), keepdims=True) > 127
    return torch.from_numpy(np.where(light, 255 - grey, grey)[:, None].astype(np.float32) / 255)


def draw(rows: list[tuple[str, np.ndarray, np.ndarray]]) -> Image.Image:
    sheet = Image.new("L", (120 + 2 * SHOWN * (CELL + 4), len(rows) * (CELL + 4)), 255)
    for row, (name, pictures, framed) in enumerate(rows):
        ImageDraw.Draw(sheet).text((6, row * (CELL + 4) + CELL // 2), name.replace("_", " "), fill=0)
        for place, (picture, ink) in enumerate(zip(pictures, framed, strict=True)):
            for aside, one in ((0, picture), (CELL + 2, 255 - np.rint(ink * 255).astype(np.uint8))):
                small = Image.fromarray(one).resize((CELL, CELL), Image.Resampling.BOX)
                sheet.paste(small, (120 + 2 * place * (CELL + 4) + aside, row * (CELL + 4)))
    return sheet


if __name__ == "__main__":
    main()
