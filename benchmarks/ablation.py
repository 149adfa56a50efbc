"""What each ingredient of the release's training buys: each left out in turn, in four epochs. Twenty minutes.

    python benchmarks/ablation.py [--sets DIR] [--epochs 4] [--data_dir data]

MNIST's validation images, never its test images, stand for MNIST: what guides a choice must not be what reports it.
--sets names a folder of .npz files with images, uint8 (N, H, W), and labels, -1 for what is no digit.
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
from digitnet.evaluation.corruptions import CORRUPTIONS, PAGES
from digitnet.model.checkpoint import load_model
from digitnet.model.framing import Framing

ROOT = Path(__file__).parent.parent
HARD = 1000  # validation images made hard in each way
WITHOUT = {
    "the whole recipe": [],
    "without the pad": ["--data.degradation=0"],
    "without synthesised digits": ["--data.synthetic_digits=0"],
    "without what is no digit": ["--data.non_digits=0"],
    "without bending": ["BEND=0"],
    "without turning, slanting, bending": ["--data.augmentation=false"],
}

Sets = dict[str, tuple[torch.Tensor, np.ndarray]]  # ink, uint8 (N, 28, 28), and labels


def framed(pictures: np.ndarray) -> torch.Tensor:
    framing = Framing()
    parts = np.array_split(pictures[..., None], -(-pictures.size // 2**20))
    with torch.inference_mode():
        return torch.cat([(framing(torch.from_numpy(part))[0] * 255).round().to(torch.uint8) for part in parts])


def read_sets(data_dir: str, folder: Path | None) -> Sets:
    """MNIST's validation images, as they are and made hard, and the sets in the folder."""
    sets = dict(_sets(data_dir, folder))
    return {name: sets[name] for name in sorted(sets, key=lambda name: name == "omniglot")}  # after pen


def _sets(data_dir: str, folder: Path | None) -> Iterator[tuple[str, tuple[torch.Tensor, np.ndarray]]]:
    mnist = MNIST(data_dir, train=True)
    val, _ = split_indices(len(mnist.data), 0.1)
    ink, labels = mnist.data[val], mnist.targets[val].numpy()
    yield "MNIST val", (ink, labels)
    for path in sorted(folder.glob("*.npz")) if folder else ():
        with np.load(path) as data:
            yield path.stem, (framed(data["images"]), data["labels"])
    some = np.array_split(ink[:HARD].numpy(), 4)
    for group, ways in (("corrupted", CORRUPTIONS), ("pages", PAGES)):
        made = [framed(make(part, np.random.default_rng(0))) for make in ways.values() for part in some]
        yield group, (torch.cat(made), np.tile(labels[:HARD], len(ways)))


def figures(checkpoint: Path, sets: Sets) -> Iterator[float]:
    """Accuracy of each set; of what is no digit, how much is accepted where 95 % of the tablet's digits are."""
    network = load_model(checkpoint).network
    surest = {}
    for name, (ink, labels) in sets.items():
        with torch.inference_mode():
            logits = torch.cat([network(part[:, None].float() / 255) for part in ink.split(500)])
        surest[name] = logits.softmax(1).amax(1).numpy()
        if (labels >= 0).all():
            yield (logits.argmax(1).numpy() == labels).mean()
        else:
            yield (surest[name] >= np.quantile(surest["pen"], 0.05)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()
    if options.sets and not (options.sets / "pen.npz").is_file():
        parser.error(f"there is no pen.npz in {options.sets}; what is no digit is measured against its digits")
    fetch_mnist(options.data_dir)
    sets = read_sets(options.data_dir, options.sets)
    print(f"| {options.epochs} epochs | {' | '.join(sets)} |\n|---|{'---|' * len(sets)}")
    for name, changes in WITHOUT.items():
        constants = [f"augment.{change}" for change in changes if not change.startswith("--")]
        code = "; ".join(["import train", "from digitnet import augment", *constants, "train.main()"])
        with TemporaryDirectory() as folder:
            subprocess.run(
                [
                    sys.executable, "-c", code, f"--config={ROOT}/checkpoints/release/config.yaml",
                    f"--data.data_dir={Path(options.data_dir).resolve()}", f"--trainer.default_root_dir={folder}",
                    f"--trainer.max_epochs={options.epochs}", *(c for c in changes if c.startswith("--")),
                ],
                check=True, stdout=subprocess.DEVNULL, cwd=ROOT,
            )  # fmt: skip
            read = figures(Path(folder) / "checkpoints" / "best.ckpt", sets)
            print(f"| {name} | {' | '.join(f'{accuracy:.2%}' for accuracy in read)} |", flush=True)


if __name__ == "__main__":
    main()
