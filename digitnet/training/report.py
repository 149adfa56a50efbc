"""Pictures and figures of a run, for people who would rather look than read."""

import io
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics import CatMetric

from digitnet import __version__
from digitnet.files import write_atomically
from digitnet.training.callbacks import History, Metrics

CLASSES = 10
SAMPLES = 100
MAX_MISTAKES = 100


class Report(Callback):
    """Writes reports/: samples.png before training, everything else after the test.

    Needs a MNISTDataModule and a `History` among the trainer's callbacks.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self.folder, self.history = folder, history

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            images, labels = trainer.datamodule.train_set.tensors  # type: ignore[attr-defined]
            shown = torch.linspace(0, len(images) - 1, min(SAMPLES, len(images))).long().to(images.device)
            save_picture(self.folder / "samples.png", draw_samples(images[shown].cpu(), labels[shown].cpu()))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.logits = CatMetric().to(pl_module.device)  # a metric, since these are gathered over ranks, in order

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        self.logits.update(outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logits = torch.as_tensor(self.logits.compute()).float().cpu()  # (10000, 10) on every rank
        if not trainer.is_global_zero:
            return
        images, labels = (tensor.cpu() for tensor in trainer.datamodule.test_set.tensors)  # type: ignore[attr-defined]
        predictions = logits.argmax(1)
        confusion = count_confusion(labels, predictions)
        save_picture(self.folder / "curves.png", draw_curves(self.history.rows))
        save_picture(self.folder / "confusion.png", draw_confusion(confusion))
        save_picture(self.folder / "mistakes.png", save_mistakes(images, labels, logits))
        metrics = {name.replace("/", "_"): value.item() for name, value in trainer.callback_metrics.items()}
        write_atomically(
            self.folder / "metrics.json", json.dumps(self._figures(trainer, metrics, confusion), indent=2).encode()
        )

    def _figures(self, trainer: Trainer, test: Metrics, confusion: np.ndarray) -> dict[str, Any]:
        rows, best = self.history.rows, self.history.best
        train_images = len(trainer.datamodule.train_set)  # type: ignore[attr-defined]
        per_class = confusion.diagonal() / confusion.sum(1).clip(1)
        return {
            "test_accuracy": test["test_accuracy"],
            "test_loss": test["test_loss"],
            "val_accuracy": best["val/accuracy"],
            "val_loss": best["val/loss"],
            "fit_seconds": round(sum(row["seconds"] for row in rows), 3),
            "images_per_second": round(train_images * len(rows) / sum(row["train_seconds"] for row in rows), 1),
            "epochs": len(rows),
            "best_epoch": rows.index(best) + 1,
            "seed": trainer.datamodule.seed,  # type: ignore[attr-defined]
            **{f"test_accuracy_of_{digit}": accuracy for digit, accuracy in enumerate(per_class.tolist())},
            "digitnet_version": __version__,
            **{f"{package}_version": version(package) for package in ("torch", "torchvision", "lightning")},
            "python_version": platform.python_version(),
            "device": _device_name(trainer.strategy.root_device),
            "devices": trainer.world_size,
            "cpu": cpu_name(),
            "cpu_cores": os.cpu_count(),
        }


def count_confusion(labels: Tensor, predictions: Tensor) -> np.ndarray:
    """int64 (10, 10): how often the digit of a row was read as the digit of a column."""
    return torch.bincount(labels * CLASSES + predictions, minlength=CLASSES**2).view(CLASSES, CLASSES).numpy()


def summary(trainer: Trainer) -> str:
    """What came of the run, where it lies, and what to do next."""
    root = Path(trainer.default_root_dir)
    export_options = "" if root == Path() else f" --checkpoint {root / 'checkpoints' / 'best.ckpt'}"
    figures = json.loads((root / "reports" / "metrics.json").read_text())
    return f"""
Test accuracy {figures["test_accuracy"]:.2%} (epoch {figures["best_epoch"]} of {figures["epochs"]}, seed \
{figures["seed"]}), {figures["fit_seconds"]:.0f} s of training at {figures["images_per_second"]:,.0f} images/s.

  {root / "checkpoints"}/best.ckpt   the network        last.ckpt       to resume from
  {root / "checkpoints"}/config.yaml the options
  {root / "reports"}/samples.png     what it learns     curves.png      how it learnt
  {root / "reports"}/mistakes.png    what it misreads   confusion.png   and as what
  {root / "reports"}/metrics.json    all figures
  {root / "logs"}/                   for TensorBoard: tensorboard --logdir {root / "logs"}

Next: look at {root / "reports" / "mistakes.png"}, then make a file that reads any picture: \
python export.py{export_options}"""


def save_picture(path: Path, figure: Figure) -> None:
    """Writes the figure as PNG, by rename."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())


def draw_samples(images: Tensor, labels: Tensor) -> Figure:
    """A sheet of images, uint8 (N, 28, 28), each with its label, int64 (N,); -1 is none."""
    captions = [str(label) if label >= 0 else "none" for label in labels.tolist()]
    return _draw_sheet(images, captions, "Training images and their labels")


def save_mistakes(images: Tensor, labels: Tensor, logits: Tensor) -> Figure:
    """A sheet of the images, uint8 (N, 28, 28), whose largest logit, of (N, 10), is not their label's; surest first."""
    confidence, predictions = logits.softmax(1).max(1)
    wrong = (predictions != labels).nonzero().flatten()
    shown = wrong[confidence[wrong].argsort(descending=True)][:MAX_MISTAKES]
    captions = [f"{labels[i]} read as {predictions[i]}\n{confidence[i]:.0%} sure" for i in shown.tolist()]
    which = "all" if len(shown) == len(wrong) else f"the surest {len(shown)}"
    return _draw_sheet(images[shown], captions, f"{len(wrong)} of {len(labels):,} test images misread ({which})")


def _draw_sheet(images: Tensor, captions: Sequence[str], title: str) -> Figure:
    columns = 10
    rows = max(1, -(-len(images) // columns))
    lines = captions[0].count("\n") + 1 if captions else 1
    height = 0.75 + 0.17 * lines  # inches of one cell
    figure = Figure(figsize=(columns * 0.95, rows * height + 0.5), layout="constrained")
    figure.suptitle(title)
    for cell, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if cell < len(images):
            axes.imshow(images[cell].numpy(), cmap="gray_r", vmin=0, vmax=255)
            axes.set_title(captions[cell], fontsize=8, pad=2)
    return figure


def draw_curves(rows: Sequence[Metrics]) -> Figure:
    """Accuracy and loss over the epochs, on training and on validation images."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = range(1, len(rows) + 1)
    for axes, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for split, style, label in (
            ("train", "o--", "train (distorted, with dropout, while it learnt)"),
            ("val", "o-", "val (as it is, after the epoch)"),
        ):
            axes.plot(epochs, [row[f"{split}/{metric}"] for row in rows], style, label=label)
        axes.set(xlabel="epoch", ylabel=metric, title=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def draw_confusion(confusion: np.ndarray) -> Figure:
    """The table of `count_confusion`, coloured by the mistakes: the diagonal would drown them."""
    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots()
    mistakes = confusion.astype(float)
    np.fill_diagonal(mistakes, np.nan)
    axes.imshow(mistakes, cmap="Reds", vmin=0)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            dark = row != column and count > np.nanmax(mistakes) / 2
            axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color="white" if dark else "black")
    ticks = range(CLASSES)
    axes.set(xlabel="read as", ylabel="is", xticks=ticks, yticks=ticks, title="What the test images were read as")
    return figure


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()  # platform.processor() is empty on Linux
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
