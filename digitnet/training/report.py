"""The report of a training run: plots and metrics in one directory."""

import json
import math
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torchmetrics import CatMetric

from digitnet import __version__
from digitnet.contract import NUM_CLASSES
from digitnet.evaluation.image_grids import save_mistakes, save_samples
from digitnet.evaluation.metrics import LabeledPrediction, confusion_matrix
from digitnet.evaluation.plots import plot_confusion, plot_curves, save_figure
from digitnet.files import write_atomically
from digitnet.inference.classifier import Prediction
from digitnet.training.callbacks import METRICS
from digitnet.training.module import Batch


class TrainingReport(Callback):
    """Write samples.png after the first epoch, and the other plots and metrics.json after the test.

    It keeps the metrics of each epoch in the checkpoint, so that a resumed run reports all of its epochs.

    Args:
        directory: The directory to write to.

    Attributes:
        epochs: Metrics, "images" (their number), and seconds of each epoch with ("seconds") and without validation
            ("train_seconds").
        metrics: The content of metrics.json, empty before the test.
        written: The files of this run, and what each shows.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.epochs: list[dict[str, float]] = []
        self.metrics: dict[str, Any] = {}
        self.written: list[tuple[Path, str]] = []
        self._images = 0  # number of images trained on in the current epoch
        self._samples: Batch | None = None  # the first batch
        self._start = self._validation_start = self._validation_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, also of a run that is resumed within an epoch.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the clock.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._start, self._validation_seconds, self._images = time.perf_counter(), 0.0, 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count the images, and keep the first batch of the run.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
            outputs: Unused.
            batch: Ink, float32 (N, 1, 28, 28) in [0, 1], and labels, int64 (N,), 0 to 9, or -1 for a non-digit.
            batch_idx: The index of the batch in the epoch.
        """
        if self._images == 0 and trainer.current_epoch == 0:
            self._samples = batch
        self._images += len(batch[1]) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock of training.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._validation_start = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the clock of training.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._validation_seconds += time.perf_counter() - self._validation_start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of the epoch, and plot the first batch of the run.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        logged = trainer.callback_metrics
        epoch = {name: logged[name].item() for name in METRICS if name in logged}
        seconds = time.perf_counter() - self._start
        train_seconds = seconds - self._validation_seconds
        self.epochs.append({**epoch, "seconds": seconds, "train_seconds": train_seconds, "images": self._images})
        if self._samples and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            ink, labels = (tensor.cpu().float().numpy() for tensor in self._samples)
            samples = self.directory / "samples.png"
            save_samples(ink[:, 0], labels.astype(int), samples)
            self.written.append((samples, "training images"))
            self._samples = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for the checkpoint.

        Returns:
            The metrics of each epoch as "epochs".
        """
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint.

        Args:
            state_dict: A value that `state_dict` returned.
        """
        self.epochs = [{str(name): float(value) for name, value in epoch.items()} for epoch in state_dict["epochs"]]

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prepare to collect the test images and logits, which are gathered over the processes.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        self._ink, self._labels, self._logits = (CatMetric().to(pl_module.device) for _ in range(3))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Collect a batch.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
            outputs: Logits, float32 (N, 10).
            batch: Ink, float32 (N, 1, 28, 28) in [0, 1], and labels, int64 (N,), 0 to 9, or -1 for a non-digit.
            batch_idx: The index of the batch in the epoch.
            dataloader_idx: Unused.
        """
        self._ink.update(batch[0])
        self._labels.update(batch[1])
        self._logits.update(outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the plots and the metrics.

        Args:
            trainer: The trainer of the run.
            pl_module: The module that is trained.
        """
        collected = (self._ink, self._labels, self._logits)
        ink, labels, logits = (torch.as_tensor(metric.compute()).float().cpu() for metric in collected)
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        # CatMetric returns the label of a single image as a scalar.
        self._write(trainer, ink[:, 0].numpy(), labels.reshape(-1).numpy().astype(int), logits.softmax(1).numpy())

    def _write(self, trainer: Trainer, ink: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Write the files: ink (N, 28, 28), labels (N,), probabilities (N, 10)."""
        confusion = confusion_matrix(labels, probabilities.argmax(1))[:, :NUM_CLASSES]  # nothing is rejected here
        if self.epochs:
            self._save_figure(plot_curves(self.epochs), "curves.png", "learning curves")
        self._save_figure(plot_confusion(confusion), "confusion.png", "confusion matrix of the test images")
        mistakes = self.directory / "mistakes.png"
        if save_mistakes(_labeled_predictions(ink, labels, probabilities), mistakes):
            self.written.append((mistakes, "misclassified test images"))
        else:
            mistakes.unlink(missing_ok=True)  # of another run
        per_class = confusion.diagonal() / confusion.sum(1).clip(1)
        self.metrics = {
            **{name.replace("/", "_"): value.item() for name, value in sorted(trainer.callback_metrics.items())},
            **self._fit_metrics(),
            "seed": int(os.environ["PL_GLOBAL_SEED"]) if "PL_GLOBAL_SEED" in os.environ else None,
            **{f"test_accuracy_of_{digit}": accuracy for digit, accuracy in enumerate(per_class.tolist())},
            **environment(trainer),
        }
        write_atomically(self.directory / "metrics.json", encode_json(self.metrics))
        self.written.append((self.directory / "metrics.json", "all metrics"))

    def _save_figure(self, figure: Figure, name: str, meaning: str) -> None:
        """Write a plot, and remember what it shows."""
        save_figure(figure, self.directory / name)
        self.written.append((self.directory / name, meaning))

    def describe(self) -> str:
        """Describe the epoch, the seed and the speed of a run, as the second half of the summary line.

        Returns:
            Text that follows the accuracy, for example " (epoch 5 of 5), seed 0, 60 s with validation, 4,500 training
            images/s without it".
        """
        metrics = self.metrics
        text = f" (epoch {metrics['best_epoch']} of {metrics['epochs']})" if "best_epoch" in metrics else ""
        if metrics.get("seed") is not None:
            text += f", seed {metrics['seed']}"
        if "images_per_second" in metrics:
            text += f", {metrics['fit_seconds']:.0f} s with validation, "
            text += f"{metrics['images_per_second']:,.0f} training images/s without it"
        return text

    def _fit_metrics(self) -> dict[str, float]:
        """Return the metrics of the best epoch, and the duration and speed of training."""
        validated = [epoch for epoch in self.epochs if "val/loss" in epoch]
        metrics: dict[str, float] = {"epochs": len(self.epochs)}
        if validated:
            best = min(validated, key=lambda epoch: epoch["val/loss"])
            metrics |= {"val_accuracy": best["val/accuracy"], "val_loss": best["val/loss"]}
            metrics["best_epoch"] = self.epochs.index(best) + 1
        if self.epochs:
            images, seconds = (sum(epoch[name] for epoch in self.epochs) for name in ("images", "train_seconds"))
            metrics["fit_seconds"] = round(sum(epoch["seconds"] for epoch in self.epochs), 3)
            metrics["images_per_second"] = round(images / seconds, 1)
        return metrics


def _labeled_predictions(ink: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> list[LabeledPrediction]:
    """Return predictions in the form that `digitnet evaluate` uses; names are the indices of the images."""
    return [
        LabeledPrediction(str(index), int(label), Prediction.from_outputs(p, p.argmax(), framed))
        for index, (framed, label, p) in enumerate(zip(ink, labels, probabilities, strict=True))
    ]


def encode_json(metrics: dict[str, Any]) -> bytes:
    """Return metrics as JSON, in which a number that is not finite becomes null.

    Args:
        metrics: Numbers, strings and None by name.

    Returns:
        The content of a JSON file.
    """
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
    return json.dumps(finite, indent=2, allow_nan=False).encode()


def environment(trainer: Trainer) -> dict[str, Any]:
    """Describe the versions and the hardware of a run.

    Args:
        trainer: The trainer of the run.

    Returns:
        Plain values for metrics.json.
    """
    device = trainer.strategy.root_device
    return {
        "digitnet_version": __version__,
        **{f"{package}_version": version(package) for package in ("torch", "torchvision", "lightning")},
        "python_version": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "devices": trainer.world_size,
        "cpu": cpu_name(),
        "cpu_cores": os.cpu_count(),
    }


def cpu_name() -> str:
    """Look up the name of the processor.

    Returns:
        The model name of /proc/cpuinfo, or what Python knows of it on other systems.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()  # platform.processor() is empty on Linux
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
