"""How fast digitnet trains, side by side with what one would do otherwise. Prints tables; about 6 minutes on 2 cores.

    python benchmarks/train_speed.py [--rounds 3] [--data_dir data]

In each round, in turn on the same machine:

- fit: `Trainer.fit` as train.py runs it, one epoch of MNIST and handwriting, with callbacks, logs and checkpoints;
- bare loop: the same network, batches, augmentation and optimizer in a plain loop, to see what Lightning costs;
- usual way: the recipe of the Keras demo in plain torch. The same convolutions and dense layers with ReLU before
  pooling and no normalisation, Keras' first weights, Adam at 1e-3, batches of 128 from torchvision's dataset through
  DataLoader, no augmentation; epoch after epoch until it reads 99.0 % of the test set.

The test set decides nothing here: it says when the clock of a finished design stops.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from lightning import seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.augment import distort
from digitnet.callbacks import History
from digitnet.data import MNISTDataModule, split_indices
from digitnet.mnist import fetch_mnist
from digitnet.model import DigitNet, one_cycle, targets
from digitnet.reports import cpu_name
from digitnet.trainer import build_trainer, quieten

GOAL = 0.99
MOST_EPOCHS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()
    quieten()
    fetch_mnist(options.data_dir)
    test = MNIST(options.data_dir, train=False)
    test_ink, test_labels = test.data.unsqueeze(1).float() / 255, test.targets

    contestants: list[Callable[[str, int, Tensor, Tensor], dict[str, float]]] = [
        time_fit, time_bare_loop, time_usual_way,
    ]  # fmt: skip
    print("warming up: imports, memory, kernels ...", flush=True)
    for contestant in (time_fit, time_bare_loop):
        contestant(options.data_dir, 0, test_ink, test_labels)
    rounds = []
    for seed in range(options.rounds):
        figures: dict[str, float] = {}
        for contestant in contestants:
            print(f"round {seed + 1} of {options.rounds}: {contestant.__name__}", flush=True)
            figures |= contestant(options.data_dir, seed, test_ink, test_labels)
        rounds.append(figures)
        contestants.reverse()  # who goes first may fare better or worse

    def column(name: str) -> list[float]:
        return [figures[name] for figures in rounds]

    def ratio(name: str, other: str) -> list[float]:
        return [figures[name] / figures[other] for figures in rounds]

    def line(label: str, values: list[float], form: str, bar: str = "") -> None:
        middle, low, high = (format(v, form) for v in (statistics.median(values), min(values), max(values)))
        print(f"| {label} | {middle} | {low} to {high} | {bar} |")

    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"\n{cpu_name()}, {torch.get_num_threads()} threads; {versions}; n = {options.rounds}\n")
    print("| | median | range | bar |\n|---|---|---|---|")
    line("fit, images/s", column("fit"), ",.0f")
    line("bare loop, images/s", column("bare"), ",.0f")
    line("usual way, images/s", column("usual"), ",.0f")
    line("fit / bare loop", ratio("fit", "bare"), ".2f", "≥ 0.90")
    line("fit / usual way", ratio("fit", "usual"), ".2f", "≥ 1.6")
    line("fit: test accuracy after one epoch", column("accuracy"), ".2%", "≥ 99.0 %")
    line("fit: seconds of that epoch, validation included", column("fit_seconds"), ".1f")
    line(f"usual way: epochs to {GOAL:.1%}", column("usual_epochs"), ".0f")
    line("usual way: seconds of them, without tests", column("usual_seconds"), ".1f")
    line("seconds, fit / usual way", ratio("fit_seconds", "usual_seconds"), ".2f", "≤ 0.20")


def accuracy_on(model: nn.Module, ink: Tensor, labels: Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        predictions = torch.cat([model(batch).argmax(1) for batch in ink.split(500)])
    return (predictions == labels).float().mean().item()


def time_fit(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> dict[str, float]:
    seed_everything(seed, verbose=False)
    model, data = DigitNet(), MNISTDataModule(data_dir, seed=seed)
    with TemporaryDirectory() as folder:
        trainer = build_trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder)
        trainer.fit(model, data)
        (row,) = next(callback.rows for callback in trainer.callbacks if isinstance(callback, History))
    return {
        "fit": len(data.train_set) / row["train_seconds"],
        "fit_seconds": row["seconds"],
        "accuracy": accuracy_on(model, test_ink, test_labels),
    }


def time_bare_loop(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> dict[str, float]:
    torch.manual_seed(seed)
    model, data = DigitNet(), MNISTDataModule(data_dir, seed=seed)
    data.setup("fit")
    batches = data.train_dataloader()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=model.learning_rate, weight_decay=model.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / len(batches)))
    model.train()
    start = time.perf_counter()
    for images, labels in batches:
        ink = distort(images.unsqueeze(1).float() / 255)
        loss = F.cross_entropy(model(ink), targets(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {"bare": len(data.train_set) / (time.perf_counter() - start)}


def time_usual_way(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> dict[str, float]:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    dataset = MNIST(data_dir, transform=transforms.ToTensor())
    _, train = split_indices(len(dataset), 0.1)
    batches = DataLoader(Subset(dataset, train.tolist()), batch_size=128, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds = 0.0
    epochs = 0
    for epochs in range(1, MOST_EPOCHS + 1):  # noqa: B007  # read after the loop
        model.train()
        start = time.perf_counter()
        for ink, labels in batches:
            loss = F.cross_entropy(model(ink), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - start
        if accuracy_on(model, test_ink, test_labels) >= GOAL:
            break
    else:
        print(f"(not {GOAL:.1%} after {MOST_EPOCHS} epochs: the seconds are a lower bound)", end=" ")
    return {"usual": len(train) * epochs / seconds, "usual_seconds": seconds, "usual_epochs": epochs}


if __name__ == "__main__":
    main()
