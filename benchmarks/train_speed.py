"""Training speed compared with a plain PyTorch loop and the Keras baseline. A quarter of an hour.

    python benchmarks/train_speed.py [--rounds 5] [--data-dir data]

Each round measures, one after the other on the same machine:

- Trainer.fit: training as train.py runs it, one epoch of MNIST and synthetic digits, with callbacks, logs and
  checkpoints;
- plain PyTorch loop: the same network, batches, augmentation and optimizer without Lightning, to measure its overhead.
  The overhead is smaller than the fluctuations of the machine, so the two alternate every few steps;
- Keras baseline in PyTorch: the recipe of the Keras example in plain PyTorch, in a separate process. It has the same
  convolutions and dense layers, ReLU before pooling, no batch normalization, Keras' initial weights, Adam with a
  learning rate of 1e-3, batches of 128 from torchvision's dataset through a DataLoader, and no augmentation. It trains
  until the test accuracy is 99.0 %;
- Keras: the same recipe in Keras, if it is installed, on the same images.

No decision depends on the test set here; it only determines when timing stops. The breakdown of a step comes from
torch's profiler on the plain PyTorch loop.
"""

import argparse
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
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
from digitnet.training.cli import TrainingCLI
from digitnet.training.module import DigitNet, one_cycle, soft_targets
from digitnet.training.report import TrainingReport, cpu_name

STEPS_PER_TURN = 25  # steps of Trainer.fit, then as many of the plain loop
TARGET_ACCURACY = 0.99
TARGET = f"{TARGET_ACCURACY * 100:.1f} %"
MAX_EPOCHS = 10
FIT, PLAIN, BASELINE, KERAS = "Trainer.fit", "plain PyTorch loop", "Keras baseline in PyTorch", "Keras"
# Parts of torch's names for each operation of a step.
OPERATIONS = {
    "convolutions": ("mkldnn_convolution", "convolution_backward"),
    "pooling": ("max_pool2d",),
    "batch normalization": ("batch_norm",),
    "dense layers": ("aten::addmm", "aten::mm"),
    "optimizer": ("adam",),
}

Figures = dict[str, float]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-dir", default="data")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    fetch_mnist(options.data_dir)
    test = MNIST(options.data_dir, train=False)
    test_ink, test_labels = test.data.unsqueeze(1).float() / 255, test.targets
    rounds = measure(options.rounds, options.data_dir, test_ink, test_labels)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"\n{cpu_name()}, {torch.get_num_threads()} threads; {versions}; n = {options.rounds}\n")
    print_table(rounds)
    print("\n| operation in a step of the plain PyTorch loop | fraction |\n|---|---|")
    for name, fraction in step_fractions(options.data_dir).items():
        print(f"| {name} | {fraction:.0%}{' (requirement: ≤ 25 %)' if name == 'augmentation' else ''} |")


def measure(count: int, data_dir: str, test_ink: Tensor, test_labels: Tensor) -> list[Figures]:
    """Measure all methods several times, after a warm-up.

    Args:
        count: Number of rounds.
        data_dir: The directory with MNIST/raw.
        test_ink: MNIST's test images, float32 (N, 1, 28, 28) in [0, 1].
        test_labels: Int64 (N,), 0 to 9.

    Returns:
        The figures of each round by name.
    """
    methods: list[Callable[..., Figures]] = [time_fit, time_baseline]
    methods += [time_keras] if keras_demo.INSTALLED else []
    print("warming up: imports, memory, kernels ...", file=sys.stderr, flush=True)
    time_fit(data_dir, 0, test_ink, test_labels)
    rounds = []
    for seed in range(count):
        print(f"round {seed + 1} of {count}", file=sys.stderr, flush=True)
        figures: Figures = {}
        for method in methods[:: (-1) ** seed]:  # the order may matter, so it alternates
            print(f"  {method.__name__}", file=sys.stderr, flush=True)
            figures |= method(data_dir, seed, test_ink, test_labels)
        rounds.append(figures)
    return rounds


def print_table(rounds: list[Figures]) -> None:
    """Print median and range of each figure.

    Args:
        rounds: The figures of each round by name.
    """

    def row(label: str, name: str, format_spec: str, requirement: str = "", relative_to: str = "") -> None:
        values = [figures[name] / figures.get(relative_to, 1) for figures in rounds]
        numbers = (statistics.median(values), min(values), max(values))
        median, low, high = (format(number, format_spec) for number in numbers)
        print(f"| {label} | {median} | {low} to {high} | {requirement} |")

    print("| | median | range | requirement |\n|---|---|---|---|")
    row(f"{FIT}, images/s", "fit", ",.0f")
    row(f"{PLAIN}, images/s", "plain", ",.0f")
    row(f"{BASELINE}, images/s", "baseline", ",.0f")
    row(f"{FIT} / {PLAIN}", "fit", ".2f", "≥ 0.92", "plain")
    row(f"{FIT} / {BASELINE}", "fit", ".2f", "≥ 1.6", "baseline")
    row(f"{FIT}: test accuracy after one epoch", "accuracy", ".2%", "≥ 99.0 %")
    row(f"{FIT}: seconds per epoch, including validation", "fit_seconds", ".1f")
    row(f"{BASELINE}: epochs to {TARGET}", "baseline_epochs", ".0f")
    row(f"{BASELINE}: training time to {TARGET} (s)", "baseline_seconds", ".1f")
    row(f"seconds, {FIT} / {BASELINE}", "fit_seconds", ".2f", "≤ 0.20", "baseline_seconds")
    if not keras_demo.INSTALLED:
        print(f"| {KERAS}: training time to {TARGET} (s) | not measured: pip install '.[bench]' | | |")
        return
    row(f"{KERAS}, images/s", "keras", ",.0f")
    row(f"{KERAS}: epochs to {TARGET}", "keras_epochs", ".0f")
    row(f"{KERAS}: training time to {TARGET} (s)", "keras_seconds", ".1f")
    row(f"seconds, {FIT} / {KERAS}", "fit_seconds", ".2f", "", "keras_seconds")


def accuracy(model: nn.Module, ink: Tensor, labels: Tensor) -> float:
    """Measure the accuracy of a network.

    Args:
        model: Maps ink to logits, (N, 10).
        ink: Float32 (N, 1, 28, 28) in [0, 1].
        labels: Int64 (N,), 0 to 9.

    Returns:
        A number in [0, 1].
    """
    model.eval()
    with torch.inference_mode():
        predictions = torch.cat([model(batch).argmax(1) for batch in ink.split(500)])
    return (predictions == labels).float().mean().item()


class Alternate(Callback):
    """Run some steps of the plain loop whenever Trainer.fit has done as many.

    Args:
        plain: Runs a step of the plain loop each time it is advanced.

    Attributes:
        steps: Number of these steps.
        seconds: Their duration.
    """

    def __init__(self, plain: Iterator[int]) -> None:
        self.plain, self.steps, self.seconds = plain, 0, 0.0

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Run the steps of the plain loop.

        Args:
            trainer: The trainer of the run.
            _: Unused.
        """
        if trainer.global_step % STEPS_PER_TURN == 0:
            start = time.perf_counter()
            with torch.random.fork_rng(devices=[]):  # Trainer.fit gets the same random numbers as without this callback
                self.steps += sum(1 for _ in islice(self.plain, STEPS_PER_TURN))
            self.seconds += time.perf_counter() - start


def time_fit(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> Figures:
    """Measure an epoch of Trainer.fit and of the plain loop.

    Args:
        data_dir: The directory with MNIST/raw.
        seed: The seed of the run.
        test_ink: MNIST's test images, float32 (N, 1, 28, 28) in [0, 1].
        test_labels: Int64 (N,), 0 to 9.

    Returns:
        Images/s of both, seconds of the epoch, and test accuracy.
    """
    seed_everything(seed)
    plain_data = MNISTDataModule(data_dir)
    plain_data.setup("fit")
    plain = plain_steps(plain_data)
    next(plain)
    alternate = Alternate(plain)
    with TemporaryDirectory() as directory:
        cli = TrainingCLI(
            [
                f"--seed_everything={seed}", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
                f"--trainer.default_root_dir={directory}", f"--data.data_dir={data_dir}",
                "--trainer.enable_model_summary=false",
            ]
        )  # fmt: skip
        cli.trainer.callbacks.insert(0, alternate)
        cli.trainer.fit(cli.model, cli.datamodule)
        (epoch,) = next(c.epochs for c in cli.trainer.callbacks if isinstance(c, TrainingReport))
    return {
        "fit": epoch["images"] / (epoch["train_seconds"] - alternate.seconds),
        "plain": alternate.steps * plain_data.batch_size / alternate.seconds,
        "fit_seconds": epoch["seconds"] - alternate.seconds,
        "accuracy": accuracy(cli.model, test_ink, test_labels),
    }


def plain_steps(data: MNISTDataModule) -> Iterator[int]:
    """Train a new network for an epoch in a plain loop.

    Args:
        data: A data module that is set up for fitting.

    Yields:
        The index of each step, after it.
    """
    model, batches = DigitNet(), data.train_dataloader()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=model.learning_rate, weight_decay=model.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / len(batches)))
    model.train()
    for step, (images, labels) in enumerate(batches):
        with record_function("augmentation"):
            ink = data.transform(images.unsqueeze(1).float() / 255)
        loss = F.cross_entropy(model.network(ink), soft_targets(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step


def step_fractions(data_dir: str, warm_up: int = 20, steps: int = 100) -> Figures:
    """Profile the steps of the plain loop.

    Args:
        data_dir: The directory with MNIST/raw.
        warm_up: Number of steps before the profile.
        steps: Number of steps in the profile.

    Returns:
        The fraction of the time of a step that each operation takes.
    """
    data = MNISTDataModule(data_dir)
    data.setup("fit")
    plain = plain_steps(data)
    for _ in range(warm_up):
        next(plain)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            next(plain)
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    times = {"augmentation": sum(event.cpu_time_total for event in events if event.key == "augmentation")}
    for name, keys in OPERATIONS.items():
        times[name] = sum(e.self_cpu_time_total for e in events if any(key in e.key.lower() for key in keys))
    times["everything else"] = total - sum(times.values())
    return {name: value / total for name, value in times.items()}


def time_keras(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> Figures:
    """Measure the baseline in Keras.

    Args:
        data_dir: The directory with MNIST/raw.
        seed: The seed of the run.
        test_ink: Unused.
        test_labels: Unused.

    Returns:
        Images/s, seconds and number of epochs until the target accuracy.
    """
    mnist, test = MNIST(data_dir), MNIST(data_dir, train=False)
    _, train = split_indices(len(mnist), 0.1)
    datasets = [(images.numpy(), labels.numpy()) for images, labels in
                [(mnist.data[train], mnist.targets[train]), (test.data, test.targets)]]  # fmt: skip
    return keras_demo.run_in_process(keras_demo.train, seed, *datasets, TARGET_ACCURACY, MAX_EPOCHS)


def time_baseline(data_dir: str, seed: int, test_ink: Tensor, test_labels: Tensor) -> Figures:
    """Measure the baseline in PyTorch.

    Args:
        data_dir: The directory with MNIST/raw.
        seed: The seed of the run.
        test_ink: MNIST's test images, float32 (N, 1, 28, 28) in [0, 1].
        test_labels: Int64 (N,), 0 to 9.

    Returns:
        Images/s, seconds and number of epochs until the target accuracy.
    """
    # In a process of its own, because configure_malloc would make it faster, too.
    return keras_demo.run_in_process(train_baseline, data_dir, seed, test_ink.numpy(), test_labels.numpy())


def baseline_network() -> nn.Sequential:
    """Build the network of the Keras example with Keras' initial weights.

    Returns:
        A network from ink, float32 (N, 1, 28, 28), to logits, (N, 10).
    """
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def train_baseline(data_dir: str, seed: int, test_images: np.ndarray, labels: np.ndarray) -> Figures:
    """Train the baseline until it reaches the target accuracy.

    Args:
        data_dir: The directory with MNIST/raw.
        seed: The seed of the run.
        test_images: MNIST's test images, float32 (N, 1, 28, 28) in [0, 1].
        labels: Int64 (N,), 0 to 9.

    Returns:
        Images/s, seconds and number of epochs.
    """
    test_ink, test_labels = torch.from_numpy(test_images), torch.from_numpy(labels)
    torch.manual_seed(seed)
    model = baseline_network()
    dataset = MNIST(data_dir, transform=transforms.ToTensor())
    _, train = split_indices(len(dataset), 0.1)
    batches = DataLoader(Subset(dataset, train.tolist()), batch_size=128, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds, epochs = 0.0, 0
    for epochs in range(1, MAX_EPOCHS + 1):  # noqa: B007  # read after the loop
        model.train()
        start = time.perf_counter()
        for ink, targets in batches:
            loss = F.cross_entropy(model(ink), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - start
        if accuracy(model, test_ink, test_labels) >= TARGET_ACCURACY:
            break
    else:
        print(f"({TARGET} not reached in {MAX_EPOCHS} epochs: the seconds are a lower bound)", end=" ")
    return {"baseline": len(train) * epochs / seconds, "baseline_seconds": seconds, "baseline_epochs": epochs}


if __name__ == "__main__":
    main()
