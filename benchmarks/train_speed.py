"""How fast digitnet trains, side by side with what one would do otherwise. A quarter of an hour.

    python benchmarks/train_speed.py [--rounds 3] [--data_dir data]

In each round, in turn on the same machine:

- fit: `Trainer.fit` as train.py runs it, one epoch of MNIST and handwriting, with callbacks, logs and checkpoints;
- bare loop: the same network, batches, augmentation and optimizer in a plain loop, to see what Lightning costs. That is
  less than a machine's own ups and downs, so the two take turns, some steps of one and some of the other;
- usual way: the recipe of the Keras demo in plain torch, in a process of its own. The same convolutions and dense
  layers with ReLU before pooling and no normalisation, Keras' first weights, Adam at 1e-3, batches of 128 from
  torchvision's dataset through DataLoader, no augmentation; epoch after epoch until it reads 99.0 % of the test set;
- Keras: the same recipe in Keras itself, where it is installed, on the same images.

The test set decides nothing here: it says when the clock of a finished design stops. Where a step's time goes is what
torch's profiler says of the bare loop.
"""

import argparse
import contextlib
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from lightning import Callback, Trainer, seed_everything
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import MNIST

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from benchmarks import keras_demo
from digitnet.data.datamodule import MNISTDataModule, split_indices
from digitnet.data.mnist import fetch_mnist
from digitnet.training.callbacks import History
from digitnet.training.cli import build_trainer, filter_warnings
from digitnet.training.module import DigitNet, one_cycle, soft_targets
from digitnet.training.report import cpu_name

TURN = 25  # steps of fit, then as many of the bare loop
GOAL = 0.99
MOST_EPOCHS = 10
# What torch calls the parts of a step; what is none of these, augmentation apart, is "all else".
PARTS = {
    "convolutions": ("mkldnn_convolution", "convolution_backward"),
    "pooling": ("max_pool2d",),
    "normalisation": ("batch_norm",),
    "dense layers": ("aten::addmm", "aten::mm"),
    "optimizer": ("adam",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()
    filter_warnings()
    fetch_mnist(options.data_dir)
    test = MNIST(options.data_dir, train=False)
    test_ink, test_labels = test.data.unsqueeze(1).float() / 255, test.targets

    others = [time_usual_way, *([time_keras] if keras_demo.INSTALLED else [])]
    print("warming up: imports, memory, kernels ...", file=sys.stderr, flush=True)
    time_fit(options.data_dir, 0, test_ink, test_labels)
    rounds = []
    for seed in range(options.rounds):
        print(f"round {seed + 1} of {options.rounds}", file=sys.stderr, flush=True)
        figures: dict[str, float] = {}
        for contestant in [time_fit, *others][:: (-1) ** seed]:  # who goes first may fare better or worse
            print(f"  {contestant.__name__}", file=sys.stderr, flush=True)
            figures |= contestant(options.data_dir, seed, test_ink, test_labels)
        rounds.append(figures)

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
    line("fit / bare loop", ratio("fit", "bare"), ".2f", "≥ 0.95")
    line("fit / usual way", ratio("fit", "usual"), ".2f", "≥ 1.6")
    line("fit: test accuracy after one epoch", column("accuracy"), ".2%", "≥ 99.0 %")
    line("fit: seconds of that epoch, validation included", column("fit_seconds"), ".1f")
    line(f"usual way: epochs to {GOAL:.1%}", column("usual_epochs"), ".0f")
    line("usual way: seconds of them, without tests", column("usual_seconds"), ".1f")
    line("seconds, fit / usual way", ratio("fit_seconds", "usual_seconds"), ".2f", "≤ 0.20")
    if keras_demo.INSTALLED:
        line("Keras, images/s", column("keras"), ",.0f")
        line(f"Keras: epochs to {GOAL:.1%}", column("keras_epochs"), ".0f")
        line("Keras: seconds of them, without tests", column("keras_seconds"), ".1f")
        line("seconds, fit / Keras", ratio("fit_seconds", "keras_seconds"), ".2f")
    else:
        print("| Keras: seconds of them, without tests | not measured: pip install '.[bench]' | | |")
    print("\n| of a step of the bare loop | part |\n|---|---|")
    for name, part in step_parts(options.data_dir).items():
        print(f"| {name} | {part:.0%}{' (bar: ≤ 25 %)' if name == 'augmentation' else ''} |")


def accuracy_on(model: nn.Module, ink: Tensor, labels: Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        predictions = torch.cat([model(batch).argmax(1) for batch in ink.split(500)])
    return (predictions == labels).float().mean().item()


class TakesTurns(Callback):
    """Lets the bare loop go so many steps whenever fit has done as many; `seconds` is what its `steps` took."""

    def __init__(self, bare: Iterator[int]) -> None:
        self.bare, self.steps, self.seconds = bare, 0, 0.0

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step % TURN == 0:
            start = time.perf_counter()
            with torch.random.fork_rng(devices=[]):  # fit draws as it would without
                self.steps += sum(1 for _ in islice(self.bare, TURN))
            self.seconds += time.perf_counter() - start


def time_fit(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> dict[str, float]:
    bare_data = MNISTDataModule(data_dir, seed=seed)
    bare_data.setup("fit")
    bare = bare_steps(bare_data)
    next(bare)
    turns = TakesTurns(bare)
    seed_everything(seed, verbose=False)
    model, data = DigitNet(), MNISTDataModule(data_dir, seed=seed)
    with TemporaryDirectory() as folder:
        trainer = build_trainer(max_epochs=1, accelerator="cpu", default_root_dir=folder, callbacks=[turns])
        with contextlib.redirect_stdout(sys.stderr):  # its line for the epoch is no part of our tables
            trainer.fit(model, data)
        (row,) = next(callback.rows for callback in trainer.callbacks if isinstance(callback, History))
    return {
        "fit": len(data.train_set) / (row["train_seconds"] - turns.seconds),
        "bare": turns.steps * data.batch_size / turns.seconds,
        "fit_seconds": row["seconds"] - turns.seconds,
        "accuracy": accuracy_on(model, test_ink, test_labels),
    }


def bare_steps(data: MNISTDataModule) -> Iterator[int]:
    """Trains a new network for an epoch; yields after each step."""
    model, batches = DigitNet(), data.train_dataloader()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=model.learning_rate, weight_decay=model.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / len(batches)))
    model.train()
    for step, (images, labels) in enumerate(batches):
        with record_function("augmentation"):
            ink = data.varied(images.unsqueeze(1).float() / 255)
        loss = F.cross_entropy(model(ink), soft_targets(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step


def step_parts(data_dir: str, warm_up: int = 20, steps: int = 100) -> dict[str, float]:
    """Which part of the time of a step goes where, by PARTS."""
    data = MNISTDataModule(data_dir)
    data.setup("fit")
    going = bare_steps(data)
    for _ in range(warm_up):
        next(going)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            next(going)
    events = profiler.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    parts = {"augmentation": sum(event.cpu_time_total for event in events if event.key == "augmentation")}
    for name, keys in PARTS.items():
        parts[name] = sum(e.self_cpu_time_total for e in events if any(key in e.key.lower() for key in keys))
    parts["all else"] = whole - sum(parts.values())
    return {name: part / whole for name, part in parts.items()}


def time_keras(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> dict[str, float]:
    mnist, test = MNIST(data_dir), MNIST(data_dir, train=False)
    _, train = split_indices(len(mnist), 0.1)
    sets = [(images.numpy(), labels.numpy()) for images, labels in
            [(mnist.data[train], mnist.targets[train]), (test.data, test.targets)]]  # fmt: skip
    return keras_demo.apart(keras_demo.train, seed, *sets, GOAL, MOST_EPOCHS)


def time_usual_way(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> dict[str, float]:
    # A process of its own: what makes our training quick here (see configure_malloc) would help it too.
    return keras_demo.apart(usual_way, data_dir, seed, test_ink.numpy(), test_labels.numpy())


def usual_way(data_dir: str, seed: int, test_images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    test_ink, test_labels = torch.from_numpy(test_images), torch.from_numpy(labels)
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
